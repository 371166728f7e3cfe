"""Which folders are looked at again although nothing in them moved, and when."""

from __future__ import annotations

import dataclasses
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.photos.library import bomb_png, save
from tests.stages.rows import open_platform
from vibe_assets.photos.scan import folder_key
from vibe_assets.records import RAW_PHOTOS
from vibe_assets.stages import spread
from vibe_assets.stages.library import folders_to_look_at_again, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform

NOON = datetime.now(UTC) + timedelta(hours=2)  # no file is young any more


@pytest.fixture
def scanned(tmp_path: Path) -> Platform:
    """Three folders: one photo each, a damaged file in one, a huge one in another."""
    for folder in ("damaged", "huge", "whole"):
        save(tmp_path / "photos" / folder / "p.jpg")
    (tmp_path / "photos" / "damaged" / "bad.jpg").write_bytes(b"\xff\xd8\xff\xe0")
    (tmp_path / "photos" / "huge" / "wide.png").write_bytes(bomb_png(20_000, 10_000))
    platform = open_platform(tmp_path)
    look_at_folders(platform)
    for key in platform.lake.live_folders():
        scan_folder(platform, key, now=NOON)
    return platform


def key(folder: str) -> str:
    return folder_key(folder.encode())


def rejections(platform: Platform) -> dict[str, str]:
    return dict(platform.lake.read(RAW_PHOTOS).filter(pl.col("reason").is_not_null()).select("rel_path", "reason").iter_rows())


def test_rejections_that_stay_are_left_alone(scanned: Platform) -> None:
    assert rejections(scanned) == {"damaged/bad.jpg": "unreadable", "huge/wide.png": "too_many_pixels"}
    assert folders_to_look_at_again(scanned, now=NOON + timedelta(days=99)) == []


@pytest.mark.parametrize("reason", ["io_error", "decode_timeout", "decoder_crashed", "out_of_memory"])
def test_what_may_pass_is_looked_at_again_after_pauses_that_grow_to_a_day(
    scanned: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, reason: str
) -> None:
    save(tmp_path / "photos" / "whole" / "new.jpg", 3)
    now, second = NOON, timedelta(seconds=1)
    with monkeypatch.context() as busy:
        busy.setattr(spread, "measurer", lambda platform: lambda paths: [{"reason": reason, "detail": "busy"} for _ in paths])
        scan_folder(scanned, key("whole"), now=now)
        assert rejections(scanned)["whole/new.jpg"] == reason
        for pause in (5, 10, 20, 40, 80, 160, 320, 640, 1280, 1440, 1440):
            now += timedelta(minutes=pause)
            assert folders_to_look_at_again(scanned, now=now - second) == []
            assert folders_to_look_at_again(scanned, now=now) == [key("whole")]
            scan_folder(scanned, key("whole"), now=now)
    scan_folder(scanned, key("whole"), now=now)
    assert "whole/new.jpg" not in rejections(scanned)
    assert folders_to_look_at_again(scanned, now=now + timedelta(days=99)) == []


def test_other_limits_and_other_code_are_applied_to_the_folders_that_they_concern(scanned: Platform) -> None:
    def under(**limits: int) -> list[str]:
        library = scanned.settings.library.model_copy(update=limits)
        return folders_to_look_at_again(Platform(scanned.settings.model_copy(update={"library": library})), now=NOON)

    assert under() == []
    assert under(max_pixels=300_000_000) == [key("damaged"), key("huge")]  # every reject is cheap to look at
    assert under(max_pixels=96 * 64 // 2 - 1) == under(max_bytes=100) == [key("damaged"), key("huge"), key("whole")]
    lake = scanned.lake
    for name in ("huge", "whole"):
        rows = lake.read(RAW_PHOTOS, folder_key=key(name))
        lake.replace(RAW_PHOTOS, rows.with_columns(measured_by=pl.lit("0")), folder_key=key(name))
    assert under() == [key("huge"), key("whole")]
    scan_folder(scanned, key("huge"), now=NOON)
    scan_folder(scanned, key("whole"), now=NOON)
    assert under() == []


def test_a_library_of_an_earlier_release_is_looked_at_again_where_it_rejected(scanned: Platform) -> None:
    new = ["stored_share", "measured_by", "tries", "tried_at"]
    earlier = dataclasses.replace(RAW_PHOTOS, layout={name: column for name, column in RAW_PHOTOS.columns.items() if name not in new})
    rows = scanned.lake.read(RAW_PHOTOS).drop(new)
    shutil.rmtree(scanned.lake.path(RAW_PHOTOS))
    (scanned.settings.home / "lake.tables").unlink()  # that release kept no list of its tables
    for name in ("damaged", "huge", "whole"):
        scanned.lake.replace(earlier, rows.filter(pl.col("folder_key") == key(name)), folder_key=key(name))
    assert folders_to_look_at_again(scanned, now=NOON) == [key("damaged"), key("huge")]
    for name in ("damaged", "huge"):
        scan_folder(scanned, key(name), now=NOON)
    assert folders_to_look_at_again(scanned, now=NOON) == []


def test_what_has_no_size_or_is_gone_is_not_looked_at_again(scanned: Platform, tmp_path: Path) -> None:
    """A link to nowhere moves the folder's listing when its target appears; deleted photos and removed folders when they return."""
    photos = tmp_path / "photos"
    (photos / "whole" / "nowhere.jpg").symlink_to("gone.jpg")
    (photos / "damaged" / "bad.jpg").unlink()
    scan_folder(scanned, key("whole"), now=NOON)
    scan_folder(scanned, key("damaged"), now=NOON)
    assert rejections(scanned)["whole/nowhere.jpg"] == "io_error"
    shutil.rmtree(photos / "huge")
    look_at_folders(scanned)
    library = scanned.settings.library.model_copy(update={"max_pixels": 300_000_000})
    moved = Platform(scanned.settings.model_copy(update={"library": library}))
    assert folders_to_look_at_again(moved, now=NOON + timedelta(days=99)) == []
