"""Files that a strict decoder refuses although the picture is there: an end is added, broken chunks are left out, no pixel is guessed."""

from __future__ import annotations

import io
import re
import zlib
from collections.abc import Iterator

from PIL import PngImagePlugin

JPEG, PNG = b"\xff\xd8\xff", b"\x89PNG\r\n\x1a\n"
EOI = b"\xff\xd9"
MOST_INFLATED = 1 << 31  # bytes of pixels whose checksum is made anew
OWN_ZEROS = 64  # at the end that may be a picture's own: more would show a cut and filled-up picture as whole
NOISE = zlib.compress(bytes(range(256)) * 8)[2:200].replace(b"\xff", b"\x5a")  # no decoder reads it as the end of a picture by chance
_MARKER = re.compile(rb"\xff([^\x00\xff\xd0-\xd7])", re.DOTALL)  # restart markers and stuffed bytes belong to the data of a scan
_PROGRESSIVE, _SEQUENTIAL, _SOS = (0xC2, 0xCA), (0xC0, 0xC1, 0xC9), 0xDA


def ended_jpegs(data: bytes) -> Iterator[tuple[bytes, bytes]]:
    """The file with the end that it lacks, and the same with noise before it: if both show the same, no pixel hung on what is missing.

    In several ways: zeros at the end are room that was kept for a file that never came, but the first of them may be the picture's own, and
    a few may all be; a segment that was cut is left out.
    """
    whole = _without_cut_segment(data)
    stripped = whole.rstrip(b"\0")
    zeros = len(whole) - len(stripped)
    for own in sorted({0, *(count for count in (1, 2, zeros) if count <= min(zeros, OWN_ZEROS))}):
        rest = stripped + bytes(own)
        rest += b"\0" if rest.endswith(b"\xff") else b""
        yield rest + EOI, rest + NOISE + EOI


def _without_cut_segment(data: bytes) -> bytes:
    """The data up to the last segment, where that is cut short."""
    at = 2
    while (found := _MARKER.search(data, at)) is not None:
        end = found.end() + int.from_bytes(data[found.end() : found.end() + 2], "big")
        if end > len(data) or found.end() + 2 > len(data):
            return data[: found.start()]
        at = max(end, found.end() + 2)
    return data


def jpeg_share(data: bytes, *, last_whole: bool) -> float | None:
    """How much of the picture a JPEG without its end holds, 0..1; None where parts of its area are missing altogether.

    Its coefficients count, one that lacks n bits as 1 / (1 + n); a scan counts once it is whole (`last_whole`: the last one is).
    """
    scans, components, ended = _jpeg_scans(data)
    if not last_whole and not ended:
        scans = scans[:-1]
    missing_bits = {(name, place): low for names, places, low in scans for name in names for place in places}
    if not components or sum(place == 0 for _, place in missing_bits) < components:
        return None
    return sum(1 / (1 + low) for low in missing_bits.values()) / (64 * components)


def _jpeg_scans(data: bytes) -> tuple[list[tuple[bytes, range, int]], int, bool]:
    """(components, coefficients, low bits still missing) of each scan, the number of components, and whether anything follows the last."""
    scans: list[tuple[bytes, range, int]] = []
    components, ended, at = 0, True, 2
    while (found := _MARKER.search(data, at)) is not None:
        kind, at, ended = found[1][0], found.end(), True
        length = int.from_bytes(data[at : at + 2], "big")
        body = data[at + 2 : at + length]
        if len(body) < max(1, length - 2):
            break
        if kind in _PROGRESSIVE or kind in _SEQUENTIAL:
            components = body[5] if len(body) > 5 else 0
        elif kind == _SOS:
            count = body[0]
            first, last, bits = body[1 + 2 * count : 4 + 2 * count].ljust(3, b"\0")
            scans.append((body[1 : 1 + 2 * count : 2], range(first, min(last, 63) + 1), bits & 15))
            ended = False
        at += length
    return scans, components, ended


def sound_png(data: bytes) -> bytes:
    """The PNG without the ancillary chunks whose checksum is wrong, or that Pillow refuses (large texts and profiles); a wrong
    checksum of the pixels is made right."""
    kept, at = [data[:8]], 8
    file = io.BytesIO(data)
    stream = PngImagePlugin.PngStream(file)
    while at + 12 <= len(data):
        length, name = int.from_bytes(data[at : at + 4], "big"), data[at + 4 : at + 8]
        end = at + 12 + length
        if name == b"IHDR":
            _refused(stream, file, data, at, length)  # what others mean hangs on it
        if end > len(data) or not (name[0] & 32 and _refused(stream, file, data, at, length)):
            kept.append(data[at:end])
        at = end
    return _with_right_sum(kept) + data[at:]


def _with_right_sum(chunks: list[bytes]) -> bytes:
    """The PNG of these chunks; where its compressed pixels are whole but for the checksum at their end, with the right one."""
    pixels = [chunk for chunk in chunks[1:] if chunk[4:8] == b"IDAT"]
    joined = b"".join(chunk[8:-4] for chunk in pixels)
    if any(zlib.crc32(chunk[4:-4]) != int.from_bytes(chunk[-4:], "big") for chunk in pixels):
        return b"".join(chunks)
    inflate, total, found, waiting = zlib.decompressobj(-15), zlib.adler32(b""), 0, joined[2:]
    try:
        while not inflate.eof and waiting and found <= MOST_INFLATED:
            piece = inflate.decompress(waiting, 1 << 20)
            total, found, waiting = zlib.adler32(piece, total), found + len(piece), inflate.unconsumed_tail
    except zlib.error:
        return b"".join(chunks)
    if not inflate.eof or inflate.unused_data[:4] == total.to_bytes(4, "big"):
        return b"".join(chunks)
    body = b"IDAT" + joined[: len(joined) - len(inflate.unused_data)] + total.to_bytes(4, "big")
    mended = (len(body) - 4).to_bytes(4, "big") + body + zlib.crc32(body).to_bytes(4, "big")
    first = next(at for at, chunk in enumerate(chunks) if at and chunk[4:8] == b"IDAT")
    return b"".join([*chunks[:first], mended, *(chunk for chunk in chunks[first:] if chunk[4:8] != b"IDAT")])


def _refused(stream: PngImagePlugin.PngStream, file: io.BytesIO, data: bytes, at: int, length: int) -> bool:
    if zlib.crc32(data[at + 4 : at + 8 + length]) != int.from_bytes(data[at + 8 + length : at + 12 + length], "big"):
        return True
    file.seek(at + 8)
    try:
        stream.call(data[at + 4 : at + 8], at + 8, length)
    except AttributeError:  # a chunk that Pillow does not know
        return False
    except Exception:  # what junk leads it to
        return True
    return False
