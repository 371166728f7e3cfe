"""Bytes go in, one parser of strangers' data runs; whatever it raises that its callers do not expect is a finding.

`SEEDS` holds a small corpus for every target, made by code. A target must neither raise, nor hang, nor take unbounded memory.
"""

from __future__ import annotations

import functools
import io
import json
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

from PIL import Image

MAX_PIXELS = 2_000_000  # the caps of a scan, small enough that no input can take long
MAX_BYTES = 200_000
SCRATCH = "/dev/shm" if Path("/dev/shm").is_dir() else None  # where a sync costs nothing
ID = "0" * 32
LABELS = {"image_id": ID, "scene": ["scene.food"], "attributes": {"attr.has_person": True}, "objects": ["object.food"]}
ANSWER = {
    "scene": "food", "has_person": False, "has_animal": False, "has_text": "unknown", "is_document": False, "is_screenshot": False,
    "objects": [{"name_free": "bread", "coarse_type": "food", "is_main": True, "confidence": 0.9}],
}  # fmt: skip
RECORD = {"image_id": ID, "rel_path": "a.jpg", "annotation": ANSWER, "teacher": "a" * 16, "model": "m", "at": "2026-01-01T00:00:00+00:00",
          "latency_s": 1.0, "usage": {"prompt_tokens": 3}}  # fmt: skip


# -- photos ------------------------------------------------------------------------------------------------------------
def decode(data: bytes) -> None:
    """A file's bytes as a scan's worker reads them: a picture, or a rejection."""
    from vibe_assets.photos.decode import PhotoRejected, open_photo
    from vibe_assets.photos.quality import at_measuring_size, measure, perceptual_hash

    try:
        photo = open_photo(io.BytesIO(data), max_pixels=MAX_PIXELS, max_bytes=MAX_BYTES, draft_px=512)
    except PhotoRejected:
        return
    assert photo.image.mode == "RGB"
    assert photo.width * photo.height <= MAX_PIXELS
    small = at_measuring_size(photo.image)
    measure(small)
    perceptual_hash(small)


def exif(data: bytes) -> None:
    """An EXIF block inside a sound JPEG: facts that can be true, or none."""
    from vibe_assets.photos.exif import read_exif

    block = data[:65_000]
    jpeg = b"\xff\xd8\xff\xe1" + (len(block) + 8).to_bytes(2, "big") + b"Exif\0\0" + block + _jpeg()[2:]
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module=r"PIL\.")  # as open_photo does: junk in metadata is no news
        try:
            image = Image.open(io.BytesIO(jpeg), formats=["JPEG"])
        except (OSError, SyntaxError, ValueError, OverflowError, KeyError):  # open_photo words these; here only the block is of interest
            return
        found = read_exif(image)
    assert found.orientation in range(1, 9)
    assert found.latitude is None or -90 <= found.latitude <= 90
    assert found.longitude is None or -180 <= found.longitude <= 180
    json.dumps([str(found.taken_at), found.offset_min, found.camera]).encode()


# -- answers -----------------------------------------------------------------------------------------------------------
def journal(data: bytes) -> None:
    """A journal's file with anything in it: intact records, and room for the next one."""
    from vibe_assets.teacher.journal import Journal

    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        (Path(folder) / "writer.jsonl").write_bytes(data)
        with Journal(Path(folder), "writer") as written:
            before = written.known()
            written.append(RECORD | {"image_id": "f" * 32, "at": "9"})
            after = written.known()
        assert set(after) == set(before) | {"f" * 32}, "one more record, none less"
        assert after["f" * 32]["annotation"] == ANSWER or before.get("f" * 32)


def annotation(data: bytes) -> None:
    """A server's body, its text as an answer, and the same text as a line of an imported file: labels of the label file, or a reason."""
    from vibe_assets.teacher.answers import read_answer
    from vibe_assets.teacher.failures import TeacherFailure
    from vibe_assets.teacher.interchange import import_annotations
    from vibe_assets.teacher.schema import InvalidAnswer, parse_answer

    questions = _questions()

    def plain() -> dict[str, Any]:
        return parse_answer(data.decode("utf-8", "replace"), questions)

    def of_server() -> dict[str, Any]:
        return read_answer(data, redact=lambda value: value, parse=lambda text: parse_answer(text, questions))[0]

    for read in (plain, of_server):
        try:
            answer = read()
        except (InvalidAnswer, TeacherFailure):
            continue
        json.dumps(answer, allow_nan=False).encode("utf-8")
        labels = questions.tell(answer, min_confidence=0.0, include_non_main=True).values
        assert set(labels) == set(questions.columns)
        for name, value in labels.items():
            said = value if isinstance(value, list) else [] if value is None or isinstance(value, bool) else [value]
            assert set(said) <= set(questions.owner[name].keys)
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        file = Path(folder) / "answers.jsonl"
        file.write_bytes(data)
        done = import_annotations(file, Path(folder) / "journal", questions=questions, as_teacher="b" * 16)
        again = import_annotations(file, Path(folder) / "journal", questions=questions, as_teacher="b" * 16)
        assert again.kept == 0, "the same file twice changes nothing"
        assert len(again.rejected) == len(done.rejected)


# -- people ------------------------------------------------------------------------------------------------------------
def audit(data: bytes) -> None:
    """An audited file, a Label Studio export, and a verdict log: checked rows, or an error that names lines."""
    from vibe_assets.audit.label_studio import read_export
    from vibe_assets.audit.log import VerdictLog
    from vibe_assets.audit.settle import truth_rows
    from vibe_assets.labels.files import AuditedFileError, read_audited

    questions = _questions()
    with tempfile.TemporaryDirectory(dir=SCRATCH) as folder:
        file = Path(folder) / "a.json"
        file.write_bytes(data)
        try:
            rows = read_audited(file, questions=questions, known_ids={ID})
            assert set(rows["image_id"]) <= {ID}
            assert set(rows["scene"].drop_nulls()) <= set(questions["scene"].keys)
        except AuditedFileError as error:
            _has_faults(error)
        try:
            read_export(file, questions=questions, known_ids={ID})
        except AuditedFileError as error:
            _has_faults(error)
        (Path(folder) / "log").mkdir()
        file.rename(Path(folder) / "log" / "writer.jsonl")
        truth_rows(VerdictLog(Path(folder) / "log", questions).verdicts(), questions)


def _has_faults(error: Any) -> None:
    assert error.faults, "a refusal names lines"
    str(error).encode()


TARGETS: dict[str, Callable[[bytes], None]] = {"decode": decode, "exif": exif, "journal": journal, "annotation": annotation, "audit": audit}


# -- where they start --------------------------------------------------------------------------------------------------
def seeds(name: str) -> list[bytes]:
    """The corpus of a target."""
    return {"decode": _pictures, "exif": _exif_blocks, "journal": _journals, "annotation": _answers, "audit": _audits}[name]()


def _pictures() -> list[bytes]:
    picture = Image.radial_gradient("L").resize((24, 16)).convert("RGB")
    found = []
    for kind, options in (
        ("JPEG", {}), ("JPEG", {"progressive": True, "exif": _exif_blocks()[0]}), ("PNG", {}), ("WEBP", {}), ("BMP", {}), ("GIF", {}),
        ("TIFF", {"compression": "tiff_lzw"}), ("TIFF", {}), ("AVIF", {}),
    ):  # fmt: skip
        buffer = io.BytesIO()
        picture.save(buffer, kind, **options)
        found.append(buffer.getvalue())
    for mode in ("1", "L", "P", "RGBA", "I;16", "CMYK"):
        buffer = io.BytesIO()
        picture.convert("L" if mode == "I;16" else mode).convert(mode).save(buffer, "TIFF" if mode in ("CMYK", "I;16") else "PNG")
        found.append(buffer.getvalue())
    buffer = io.BytesIO()
    picture.save(buffer, "GIF", save_all=True, append_images=[picture.rotate(90), picture.rotate(180)])
    return [*found, buffer.getvalue(), b"", b"\xff\xd8\xff"]


def _exif_blocks() -> list[bytes]:
    tags = Image.Exif()
    tags[0x0112], tags[0x010F], tags[0x0110] = 6, "Maker", "Model 1"
    tags.get_ifd(0x8769)[0x9003] = "2024:05:06 07:08:09"
    tags.get_ifd(0x8769)[0x9011] = "+02:00"
    tags.get_ifd(0x8825).update({1: "N", 2: (52.0, 30.0, 0.0), 3: "E", 4: (13.0, 24.0, 0.0)})
    whole = tags.tobytes()
    return [whole.removeprefix(b"Exif\0\0"), b"MM\0*\0\0\0\x08\0\0", b"II*\0\x08\0\0\0\x01\0\x12\x01\x03\0\x01\0\0\0\x06\0\0\0\0\0\0\0"]


def _journals() -> list[bytes]:
    line = json.dumps(RECORD).encode()
    return [line + b"\n", line + b"\n" + line[:40], b"\n\n{}\n[]\nnull\n" + line, b"", line.replace(b'"at": "2026', b'"at": [1, "2026')]


def _answers() -> list[bytes]:
    from vibe_assets.teacher.hostile import hostile_answer

    text = json.dumps(ANSWER)
    body = {"choices": [{"message": {"content": text}, "finish_reason": "stop"}], "usage": {"prompt_tokens": 3}}
    tricks = [hostile_answer(number, "Bearer key").encode("utf-8", "replace") for number in range(14)]
    return [text.encode(), f"```json\n{text[:-1]},}}\n```".encode(), json.dumps(body).encode(), json.dumps(RECORD).encode(),
            *(trick for trick in tricks if len(trick) < 4096)]  # fmt: skip


def _audits() -> list[bytes]:
    verdict = {
        "verdict_id": "v", "at": "2026-01-01T00:00:00+00:00", "image_id": ID, "annotator": "anna", "act": "labelled", "blind": True,
        "spent_ms": 5, "labels": {"scene": "scene.food", "attributes": {"has_person": True}, "objects": []}, "shown": {},
    }  # fmt: skip
    choice = {"from_name": "scene", "to_name": "image", "type": "choices", "value": {"choices": ["food"]}}
    task: dict[str, Any] = {
        "id": 1, "data": {"image_id": ID, "inclusion_probability": 0.5},
        "annotations": [
            {"id": 2, "completed_by": {"email": "a@b"}, "result": [choice], "created_at": "2026-01-01T00:00:00Z", "lead_time": 3}
        ],
    }  # fmt: skip
    least = {"image_id": ID, "scene": "food", "attributes": {"choices": ["has_person"]}, "annotator": 1, "annotation_id": 3, "id": 1}
    return [json.dumps(value, indent=1).encode() for value in ([LABELS], LABELS, [task], [least])] + [json.dumps(verdict).encode() + b"\n"]


@functools.cache
def _jpeg() -> bytes:
    buffer = io.BytesIO()
    Image.new("RGB", (8, 8)).save(buffer, "JPEG")
    return buffer.getvalue()


def _questions() -> Any:
    from vibe_assets.questions import load

    return load()
