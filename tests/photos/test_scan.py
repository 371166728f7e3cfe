"""What becomes of every file of a folder, what is opened again and what is not, and when missing photos are believed."""

# ruff: noqa: PTH118, PTH119, PTH123 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import io
import os
import shutil
import struct
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.photos.library import SETTINGS, bomb_png, by_name, only_folder, picture, save, scan
from vibe_assets.lake import Lake
from vibe_assets.photos import folders
from vibe_assets.photos.scan import LibraryVanished, discover_folders, scan_folder
from vibe_assets.photos.workers import measure_photo
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.settings import LibrarySettings

LATER = datetime.now(UTC) + timedelta(hours=2)  # no file is young any more


def opened(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """Names of the files that later scans open."""
    from vibe_assets.photos import workers

    names: list[bytes] = []
    measure = workers.measure_photos

    def noted(paths: list[bytes], **options: Any) -> Any:
        names.extend(os.path.basename(path) for path in paths)
        return measure(paths, **options)

    monkeypatch.setattr(workers, "measure_photos", noted)
    return names


def one_by_one(paths: Sequence[bytes]) -> list[dict[str, Any]]:
    return [measure_photo(path, SETTINGS.max_pixels, SETTINGS.max_bytes) for path in paths]


def test_a_photo_becomes_a_row_with_every_measure(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg", 1)
    row = by_name(scan(tmp_path))["p.jpg"]
    assert row["reason"] is None
    assert (row["format"], row["width"], row["height"], row["frames"], row["orientation"]) == ("JPEG", 96, 64, 1, 1)
    assert len(row["image_id"]) == 32
    assert len(row["phash"]) == 16
    assert row["bytes"] == (tmp_path / "p.jpg").stat().st_size
    assert row["sharpness"] > 0
    assert row["colourfulness"] > 0
    assert 0 < row["exposure"] < 1
    assert 0 < row["contrast"] < 1
    assert [name for name, value in row.items() if value is None] == [
        "taken_at",
        "offset_min",
        "latitude",
        "longitude",
        "camera",
        "reason",
        "detail",
        "tries",
        "tried_at",
    ]
    assert row["stored_share"] == 1


def test_the_rows_fit_the_lake(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "p.jpg")
    rows = scan(tmp_path / "photos")
    Lake(tmp_path / "lake").replace(RAW_PHOTOS, rows, folder_key="root-e3b0c442")
    assert Lake(tmp_path / "lake").read(RAW_PHOTOS).equals(rows)


def test_files_that_are_no_photos_are_rows_with_a_reason(tmp_path: Path) -> None:
    for name, content in {
        "p.jpg.xmp": b"<x/>", "Thumbs.db": b"\0", "notes.txt": b"hello", "film.mp4": b"\0\0\0\x18ftypmp42",
        "p.AAE": b"x", "README": b"read me",
        "void.png": b"", "text.jpg": b"not a picture", "bomb.png": bomb_png(60_000, 60_000), "wide.png": bomb_png(9_000, 9_000),
        "damaged.jpg": b"\xff\xd8\xff\xe0" + bytes(40), "large.jpg": b"\xff\xd8" + bytes(SETTINGS.max_bytes),
    }.items():  # fmt: skip
        (tmp_path / name).write_bytes(content)
    (tmp_path / ".hidden.jpg").write_bytes(b"x")
    (tmp_path / "cut.jpg").write_bytes(save(tmp_path / "p.jpg").read_bytes()[:-200])
    started = time.monotonic()
    rows = by_name(scan(tmp_path))
    assert {name: row["reason"] for name, row in rows.items()} == {
        "p.jpg": None, "cut.jpg": "truncated", "void.png": "empty", "text.jpg": "unsupported_format", "README": "unsupported_format",
        "p.jpg.xmp": "unsupported_format", "Thumbs.db": "unsupported_format", "notes.txt": "unsupported_format", 
        "film.mp4": "unsupported_format",
        "p.AAE": "unsupported_format", "bomb.png": "too_many_pixels", "wide.png": "too_many_pixels", "damaged.jpg": "unreadable",
        "large.jpg": "too_many_bytes",
    }  # fmt: skip
    assert all(row["detail"] for row in rows.values() if row["reason"])
    assert rows["notes.txt"]["image_id"] is None
    assert rows["void.png"]["image_id"] is None
    assert rows["large.jpg"]["image_id"] is None
    assert rows["cut.jpg"]["image_id"] is not None
    assert time.monotonic() - started < 20


def test_only_new_and_changed_photos_are_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for seed in range(3):
        save(tmp_path / f"{seed}.jpg", seed)
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    known = scan(tmp_path)
    names = opened(monkeypatch)
    assert scan(tmp_path, known).equals(known)
    assert names == []
    save(tmp_path / "1.jpg", 11)
    save(tmp_path / "new.jpg", 12)
    later = scan(tmp_path, known)
    assert sorted(names) == [b"1.jpg", b"new.jpg"]
    assert later.height == 5
    assert by_name(later)["1.jpg"]["image_id"] != by_name(known)["1.jpg"]["image_id"]


def test_links_and_empty_files_that_did_not_change_are_left_unopened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "p.jpg")
    (tmp_path / "link.jpg").symlink_to("p.jpg")
    (tmp_path / "void.jpg").touch()
    known = scan(tmp_path)
    names = opened(monkeypatch)
    assert scan(tmp_path, known).equals(known)
    assert names == []


def test_a_photo_is_opened_again_when_its_reason_may_have_passed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "p.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"bad")
    known = scan(tmp_path)
    stalled = known.with_columns(reason=pl.when(pl.col("rel_path") == "p.jpg").then(pl.lit("decode_timeout")).otherwise("reason"))
    names = opened(monkeypatch)
    assert scan(tmp_path, stalled).equals(known)
    assert names == [b"p.jpg"]


def test_moved_limits_are_applied_to_known_photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "p.jpg")
    strict = SETTINGS.model_copy(update={"max_pixels": 100})
    small = SETTINGS.model_copy(update={"max_bytes": 100})
    known = scan(tmp_path)
    refused = scan(tmp_path, known, settings=strict)
    assert refused["reason"].to_list() == ["too_many_pixels"]
    assert scan(tmp_path, refused).equals(known)
    assert scan(tmp_path, known, settings=small)["reason"].to_list() == ["too_many_bytes"]
    names = opened(monkeypatch)
    assert scan(tmp_path, refused, settings=strict).equals(refused)
    assert names == []


def test_a_raised_limit_of_pixels_is_applied_to_what_is_far_above_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "bomb.png").write_bytes(bomb_png(20_000, 20_000))
    known = scan(tmp_path)
    assert known.select("reason", "width", "height").row(0) == ("too_many_pixels", 20_000, 20_000)
    sizeless = known.with_columns(width=pl.lit(None, pl.Int32), height=pl.lit(None, pl.Int32))
    names = opened(monkeypatch)
    assert scan(tmp_path, sizeless).equals(sizeless)
    assert names == []
    scan(tmp_path, sizeless, settings=SETTINGS.model_copy(update={"max_pixels": 30_000_000}))
    assert names == [b"bomb.png"]


def test_what_other_code_measured_is_measured_again_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("p.jpg", "p.png", "p.tif"):
        save(tmp_path / name)
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "notes.txt").write_text("x")
    now = scan(tmp_path, now=LATER)
    earlier = now.with_columns(pl.lit(None).cast(now.schema[name]).alias(name) for name in ("measured_by", "stored_share"))
    names = opened(monkeypatch)
    again = scan(tmp_path, earlier, now=LATER)
    assert sorted(names) == [b"bad.jpg", b"p.png", b"p.tif"]  # of accepted photos, those of formats that were read wrongly
    assert by_name(again)["p.tif"] == by_name(now)["p.tif"]
    assert by_name(again)["bad.jpg"] == by_name(now)["bad.jpg"]
    names.clear()
    assert scan(tmp_path, again, now=LATER).equals(again)
    assert names == []


def test_another_release_of_the_decoder_looks_at_rejects_again(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    save(tmp_path / "p.jpg")
    (tmp_path / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    known = scan(tmp_path, now=LATER)
    names = opened(monkeypatch)
    monkeypatch.setattr("PIL.__version__", "99.0.0")
    assert scan(tmp_path, known, now=LATER)["reason"].to_list() == ["unreadable", None]
    assert names == [b"bad.jpg"]


def test_a_name_that_is_read_now_is_no_longer_refused(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg")
    known = scan(tmp_path).with_columns(
        pl.lit(None).cast(RAW_PHOTOS.polars_schema()[name]).alias(name) for name in ("image_id", "format", "width", "height")
    )
    refused = known.with_columns(reason=pl.lit("unsupported_format"), detail=pl.lit(".jpg files are not read"))
    assert scan(tmp_path, refused)["reason"].to_list() == [None]


def test_a_file_that_was_half_written_is_read_once_it_is_whole_although_size_and_time_stand_still(tmp_path: Path) -> None:
    whole, path = save(tmp_path / "p.jpg").read_bytes(), tmp_path / "p.jpg"
    start = datetime.fromtimestamp(path.stat().st_mtime, UTC)

    def write(data: bytes) -> None:
        path.write_bytes(data)
        os.utime(path, (start.timestamp(), start.timestamp()))

    write(whole[: len(whole) // 2].ljust(len(whole), b"\0"))  # as copying to a share does: the size first, the bytes as they come
    rows = scan(tmp_path, now=start)
    assert rows.select("tries", "tried_at").row(0) == (1, start)
    write(whole)
    assert scan(tmp_path, rows, now=start + timedelta(minutes=4)).equals(rows)
    assert scan(tmp_path, rows, now=start + timedelta(minutes=5)).select("reason", "tries", "tried_at").row(0) == (None, None, None)


def test_a_damaged_file_is_looked_at_again_while_it_is_young_with_growing_pauses(tmp_path: Path) -> None:
    (tmp_path / "bad.jpg").write_bytes(save(tmp_path / "p.jpg").read_bytes()[:-200])
    start = datetime.fromtimestamp((tmp_path / "bad.jpg").stat().st_mtime, UTC)
    rows, looks = None, []
    for minute in range(0, 200):
        rows = scan(tmp_path, rows, now=start + timedelta(minutes=minute), measure=one_by_one)
        if by_name(rows)["bad.jpg"]["tried_at"] == start + timedelta(minutes=minute):
            looks.append(minute)
    assert looks == [0, 5, 15, 35]
    assert by_name(rows)["bad.jpg"]["tries"] is None  # looked at for the last time after 75 minutes


def test_the_same_bytes_twice_are_one_id_under_two_paths(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg")
    shutil.copy(tmp_path / "p.jpg", tmp_path / "q.jpg")
    rows = scan(tmp_path)
    assert rows["image_id"].n_unique() == 1
    assert rows["rel_path"].to_list() == ["p.jpg", "q.jpg"]


def test_links_that_leave_the_root_are_refused_inner_ones_are_photos(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    save(root / "p.jpg")
    save(tmp_path / "secret.jpg", 1)
    (tmp_path / "photos-beside").mkdir()
    save(tmp_path / "photos-beside" / "q.jpg", 2)
    (root / "inner.jpg").symlink_to(root / "p.jpg")
    (root / "out.jpg").symlink_to(tmp_path / "secret.jpg")
    (root / "twice.jpg").symlink_to(root / "out.jpg")
    (root / "beside.jpg").symlink_to("../photos-beside/q.jpg")
    (root / "nowhere.jpg").symlink_to(root / "gone.jpg")
    (root / "circle.jpg").symlink_to(root / "circle.jpg")
    reasons = {name: row["reason"] for name, row in by_name(scan(root)).items()}
    assert reasons == {
        "p.jpg": None, "inner.jpg": None, "out.jpg": "outside_root", "twice.jpg": "outside_root", "beside.jpg": "outside_root",
        "nowhere.jpg": "io_error", "circle.jpg": "io_error",
    }  # fmt: skip


def test_a_known_photo_that_was_swapped_for_an_escaping_link_is_refused(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    path = save(root / "p.jpg")
    known = scan(root)
    shutil.move(path, tmp_path / "p.jpg")
    path.symlink_to(tmp_path / "p.jpg")  # same size and time as before
    assert scan(root, known)["reason"].to_list() == ["outside_root"]


def test_a_folder_that_became_a_link_is_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "photos"
    save(root / "a" / "p.jpg")
    folder = only_folder(root)
    shutil.move(root / "a", tmp_path / "a")
    (root / "a").symlink_to(tmp_path / "a")
    with pytest.raises(LibraryVanished, match="a link stands in its place"):
        scan_folder(root, folder.folder_key, folder.path_bytes, known_rows=None, settings=SETTINGS)


def test_a_root_that_is_itself_a_link_is_fine(tmp_path: Path) -> None:
    save(tmp_path / "disk" / "p.jpg")
    (tmp_path / "photos").symlink_to(tmp_path / "disk")
    assert scan(tmp_path / "photos")["reason"].to_list() == [None]


def test_pipes_and_folders_are_no_files(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")
    (tmp_path / "folder.jpg").mkdir()
    assert scan(tmp_path)["rel_path"].to_list() == ["p.jpg"]


def test_names_that_are_not_utf8_keep_their_bytes(tmp_path: Path) -> None:
    photo = save(tmp_path / "p.jpg").read_bytes()
    with open(os.path.join(os.fsencode(tmp_path), b"caf\xe9\n'.jpg"), "wb") as file:
        file.write(photo)
    rows = by_name(scan(tmp_path))
    row = rows["caf\\xe9\n'.jpg"]
    assert row["path_bytes"] == b"caf\xe9\n'.jpg"
    assert row["image_id"] == rows["p.jpg"]["image_id"]


@pytest.mark.parametrize("seconds", [10_413_792_000, 1 << 33, -9_300_000_000, 300_000_000_000, -70_000_000_000])  # 2300, 2242, 1675, 11476
def test_a_file_dated_beyond_what_a_row_holds_does_not_cost_its_folder(
    tmp_path: Path, seconds: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = tmp_path / "photos"
    for name, content in {"odd.jpg": b"\xff\xd8\xff", "fine.jpg": save(root / "p.jpg").read_bytes()}.items():
        (root / name).write_bytes(content)
    look = folders._look

    def dated(entry: os.DirEntry[bytes]) -> folders.FileSeen | None:  # not every file system holds such times
        found = entry.stat() if entry.name == b"odd.jpg" else None
        if found is None:
            return look(entry)
        fields = SimpleNamespace(st_mode=found.st_mode, st_size=found.st_size, st_mtime_ns=seconds * 10**9)
        return look(SimpleNamespace(name=entry.name, is_dir=lambda **_: False, is_symlink=lambda: False, stat=lambda: fields))

    monkeypatch.setattr(folders, "_look", dated)
    rows = scan(root, measure=one_by_one)
    Lake(tmp_path / "lake").replace(RAW_PHOTOS, rows, folder_key="root-e3b0c442")
    assert by_name(rows)["odd.jpg"]["reason"] == "unreadable"
    assert by_name(rows)["fine.jpg"]["reason"] is None
    assert by_name(rows)["odd.jpg"]["mtime_ns"] == max(-(1 << 63), min((1 << 63) - 1, seconds * 10**9))
    assert scan(root, rows, measure=lambda paths: pytest.fail("opened again"), now=LATER if seconds < 0 else None).equals(rows)


DATES = st.sampled_from(["0000:00:00 00:00:00", "0001:01:01 00:00:00", "9999:12:31 23:59:59", "2024:02:30 25:61:61", "\ud800:\udfff"])
NUMBERS = st.sampled_from([0, -1, 7, 1 << 15, (1 << 31) - 1, 1 << 31, (1 << 32) - 1])
RATIONALS = st.tuples(NUMBERS, NUMBERS).map(lambda pair: struct.pack(">II", *(number & 0xFFFFFFFF for number in pair)))
FLOATS = st.sampled_from([0.0, 1e308, float("inf"), float("-inf"), float("nan"), 90.0])
ENTRIES = st.one_of(  # type and bytes of one value, or of the three of a position
    st.one_of(DATES, st.text(max_size=40)).map(lambda text: (2, text.encode("utf-8", "surrogatepass") + b"\0")),
    NUMBERS.map(lambda number: (4, struct.pack(">I", number & 0xFFFFFFFF))),
    st.lists(RATIONALS, min_size=1, max_size=3).map(lambda parts: (5, b"".join(parts))),
    st.lists(FLOATS, min_size=1, max_size=3).map(lambda numbers: (12, struct.pack(f">{len(numbers)}d", *numbers))),
)
SIZES = {2: 1, 4: 4, 5: 8, 12: 8}


def exif_block(directories: Sequence[dict[int, tuple[int, bytes]]]) -> bytes:
    """An EXIF block of three directories (base, details, place) whose entries have any type."""
    start, blocks = 8, []
    places = [0, 0, 0]
    for at in (2, 1, 0):
        entries = dict(directories[at]) | (
            {0x8769: (4, struct.pack(">I", places[1])), 0x8825: (4, struct.pack(">I", places[2]))} if not at else {}
        )
        beyond = start + 2 + 12 * len(entries) + 4
        head, data = struct.pack(">H", len(entries)), b""
        for tag, (kind, value) in sorted(entries.items()):
            inside = value.ljust(4, b"\0") if len(value) <= 4 else struct.pack(">I", beyond + len(data))
            head += struct.pack(">HHI", tag, kind, len(value) // SIZES[kind]) + inside
            data += value if len(value) > 4 else b""
        places[at] = start
        blocks.append(head + bytes(4) + data)
        start += len(blocks[-1])
    return b"Exif\0\0MM\0*" + struct.pack(">I", places[0]) + b"".join(blocks)


@settings(max_examples=60)
@given(
    base=st.dictionaries(st.sampled_from([0x10F, 0x110, 0x112, 0x132]), ENTRIES),
    details=st.dictionaries(st.sampled_from([0x9003, 0x9004, 0x9010, 0x9011, 0x9291]), ENTRIES),
    place=st.dictionaries(st.sampled_from([1, 2, 3, 4]), ENTRIES),
)
def test_no_value_in_a_photo_costs_its_folder(base: Any, details: Any, place: Any) -> None:
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        picture().save(root / "odd.jpg", exif=exif_block([base, details, place]))
        rows = scan(root, measure=one_by_one)
        assert by_name(rows)["odd.jpg"]["reason"] is None
        assert RAW_PHOTOS.polars_schema() == rows.schema
        rows.drop("path_bytes").write_json(io.BytesIO())


@given(value=st.integers(-(1 << 70), 1 << 70), text=st.text(st.characters(), max_size=20))
def test_a_measure_that_its_column_cannot_hold_costs_neither_its_row_nor_its_folder(value: int, text: str) -> None:
    names = ["width", "height", "frames", "orientation", "offset_min", "bytes"]
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "odd.jpg").write_bytes(b"odd")
        row = scan(Path(folder), measure=lambda paths: [dict.fromkeys(names, value) | {"camera": text, "detail": text + "\udcff"}]).row(
            0, named=True
        )
    assert row["width"] == (value if -(1 << 31) <= value < 1 << 31 else None)
    assert row["bytes"] == (value if -(1 << 63) <= value < 1 << 63 else None)
    assert row["detail"].endswith("\\udcff")


def test_a_picture_of_more_pixels_a_side_than_a_row_holds_is_a_row(tmp_path: Path) -> None:
    entries = {256: 0xFFFFFFFF, 257: 1, 258: 8, 259: 1, 262: 1, 273: 8, 277: 1, 278: 1, 279: 1}
    packed = b"".join(struct.pack("<HHII", tag, 4, 1, value) for tag, value in entries.items())
    (tmp_path / "wide.tif").write_bytes(b"II*\0" + struct.pack("<IH", 8, len(entries)) + packed + bytes(4))
    row = scan(tmp_path, measure=one_by_one).row(0, named=True)
    assert (row["reason"], row["width"], row["height"]) == ("too_many_pixels", None, 1)


def _many(root: Path, count: int) -> pl.DataFrame:
    for seed in range(count):
        save(root / f"{seed:02}.bmp", seed)
    return scan(root)


def test_deleted_photos_stay_as_rows_and_return(tmp_path: Path) -> None:
    known = _many(tmp_path, 4)
    (tmp_path / "02.bmp").rename(tmp_path / ".02")
    later = scan(tmp_path, known)
    assert later.filter(pl.col("reason") == "deleted")["rel_path"].to_list() == ["02.bmp"]
    assert later["image_id"].to_list() == known["image_id"].to_list()
    assert scan(tmp_path, later).equals(later)
    (tmp_path / ".02").rename(tmp_path / "02.bmp")
    assert scan(tmp_path, later).equals(known)


def test_deleted_files_that_were_no_photos_are_forgotten(tmp_path: Path) -> None:
    save(tmp_path / "p.jpg")
    (tmp_path / "notes.txt").write_text("x")
    known = scan(tmp_path)
    (tmp_path / "notes.txt").unlink()
    assert scan(tmp_path, known)["rel_path"].to_list() == ["p.jpg"]


def test_an_emptied_folder_is_refused(tmp_path: Path) -> None:
    known = _many(tmp_path, 2)
    for path in tmp_path.glob("*.bmp"):
        path.unlink()
    with pytest.raises(LibraryVanished, match=r"2 of 2 known photos are missing.*vibe folders --accept-missing"):
        scan(tmp_path, known)
    assert scan(tmp_path, known, accept_missing=True)["reason"].to_list() == ["deleted", "deleted"]


def test_more_than_the_share_missing_is_refused_from_ten_on(tmp_path: Path) -> None:
    known = _many(tmp_path, 19)
    for seed in range(9):
        (tmp_path / f"{seed:02}.bmp").unlink()
    assert scan(tmp_path, known)["reason"].null_count() == 10
    (tmp_path / "09.bmp").unlink()
    with pytest.raises(LibraryVanished, match="10 of 19"):
        scan(tmp_path, known)
    assert scan(tmp_path, known, accept_missing=True)["reason"].null_count() == 9


def test_renaming_everything_is_not_losing_everything(tmp_path: Path) -> None:
    known = _many(tmp_path, 12)
    for path in list(tmp_path.glob("*.bmp")):
        path.rename(path.with_stem(f"holiday-{path.stem}"))
    rows = scan(tmp_path, known)
    assert rows["reason"].null_count() == 12
    assert rows.filter(pl.col("reason").is_null())["image_id"].sort().to_list() == known["image_id"].sort().to_list()


def test_a_vanished_folder_is_refused_and_named(tmp_path: Path) -> None:
    save(tmp_path / "a" / "p.jpg")
    folder = only_folder(tmp_path)
    known = scan_folder(tmp_path, folder.folder_key, folder.path_bytes, known_rows=None, settings=SETTINGS)
    shutil.rmtree(tmp_path / "a")

    def again(**options: Any) -> pl.DataFrame:
        return scan_folder(tmp_path, folder.folder_key, folder.path_bytes, known_rows=known, settings=SETTINGS, **options)

    with pytest.raises(LibraryVanished, match=r"photo folder .*/a cannot be read"):
        again()
    assert again(accept_missing=True)["reason"].to_list() == ["deleted"]
    shutil.rmtree(tmp_path)
    with pytest.raises(LibraryVanished):  # without its root nothing is accepted as deleted
        again(accept_missing=True)


def test_every_malformed_file_ends_as_a_row_in_time(real_data: Path) -> None:
    root = real_data / "malformed"
    settings = LibrarySettings(max_pixels=30_000_000, max_bytes=50_000_000, decode_timeout_s=10)
    started = time.monotonic()
    folders = discover_folders(root).folders
    rows = pl.concat([scan_folder(root, f.folder_key, f.path_bytes, known_rows=None, settings=settings) for f in folders])
    assert time.monotonic() - started < 120
    assert rows.height == sum(path.is_file() for path in root.rglob("*"))
    assert rows["reason"].null_count() >= 150  # odd, but valid ones are decoded
    assert set(rows["reason"].drop_nulls()) == {"unsupported_format", "unreadable", "truncated", "too_many_pixels"}
    accepted = rows.filter(pl.col("reason").is_null())
    assert accepted.select("image_id", "phash", "width", "sharpness").null_count().sum_horizontal().item() == 0
    assert not rows["detail"].str.contains("KeyError|AttributeError|NameError|TypeError").any()  # a decoder's complaint, not our mistake
