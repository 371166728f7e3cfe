"""Picks of a small library beside its photos: written, kept up to date, taken out; labels, stars of people and photos stay."""

from __future__ import annotations

import shutil
from collections import Counter
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from click.testing import CliRunner
from PIL import Image, ImageFilter

from tests.export.test_pick_sidecar import packet
from tests.triage.test_study import opened
from vibe_assets.cli.app import main
from vibe_assets.export.sidecar import Entry
from vibe_assets.export.sidecar_files import CHANGED, DELETED, JUDGED, NO_PICK, REFUSED, UNCHANGED, WRITTEN, write_sidecar
from vibe_assets.records.series import IMAGE_QUALITY, PHOTO_SERIES
from vibe_assets.stages.library import group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.triage import picks, study
from vibe_assets.triage.sidecars import embedded_rating, remove_picks, write_picks

SERIES = 3
LABEL = Entry("scene.food", "people", "anna", None, None, None, None)


def texture(seed: int) -> Image.Image:
    """A coarse pattern with fine grain: its hash survives a blur, its sharpness does not."""
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 255, (6, 8, 3), dtype=np.uint8)).resize((320, 240), Image.Resampling.BICUBIC)
    grain = rng.normal(0, 14, (240, 320, 3))
    return Image.fromarray(np.clip(np.asarray(coarse) + grain, 0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def scanned(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three undated series of a sharp and a blurred take, and a photo by itself."""
    home = tmp_path_factory.mktemp("picks") / "home"
    folder = home / "photos" / "day 1"
    folder.mkdir(parents=True)
    for number in range(SERIES):
        sharp = texture(number)
        sharp.save(folder / f"IMG_{3 * number + 8}.jpg", quality=95)
        sharp.filter(ImageFilter.GaussianBlur(2)).save(folder / f"IMG_{3 * number + 9}.jpg", quality=95)
    texture(99).save(folder / "single.jpg")
    grow(opened(home))
    return home


def grow(platform: Platform) -> pl.DataFrame:
    for folder_key in look_at_folders(platform).listings:
        scan_folder(platform, folder_key)
    group_library(platform)
    rows = study.build_series(platform)
    study.measure_quality(platform)
    return rows


@pytest.fixture
def platform(scanned: Path, tmp_path: Path) -> Platform:
    return opened(Path(shutil.copytree(scanned, tmp_path / "home")))


def run(platform: Platform, rows: pl.DataFrame | None = None, **options: object) -> dict[str, int]:
    rows = picks.pick_library(platform).rows if rows is None else rows
    return dict(Counter(one.what for one in write_picks(platform, rows, **options)))


def sidecars(platform: Platform) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(platform.settings.root.rglob("*.xmp"))}


def photos(platform: Platform) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in platform.settings.root.rglob("*.jpg")}


def test_the_sharp_take_of_every_series_gets_stars_once_and_photos_stay(platform: Platform) -> None:
    before = photos(platform)
    assert run(platform, dry_run=True) == {WRITTEN: SERIES, NO_PICK: SERIES}
    assert sidecars(platform) == {}
    assert run(platform) == {WRITTEN: SERIES, NO_PICK: SERIES}
    written = sidecars(platform)
    assert list(written) == ["IMG_11.jpg.xmp", "IMG_14.jpg.xmp", "IMG_8.jpg.xmp"]
    assert all(b"<xmp:Rating>5<" in text for text in written.values())
    assert run(platform) == {UNCHANGED: SERIES, NO_PICK: SERIES}
    assert sidecars(platform) == written
    assert [one.what for one in remove_picks(platform)] == [DELETED] * SERIES
    assert sidecars(platform) == {}
    assert photos(platform) == before


def test_sidecars_say_what_the_picks_say_now(platform: Platform) -> None:
    rows = picks.pick_library(platform).rows
    run(platform, rows)
    first = rows["series_id"][0]
    left_open = rows.with_columns(pick=pl.col("pick") & (pl.col("series_id") != first))
    assert run(platform, left_open) == {DELETED: 1, UNCHANGED: SERIES - 1, NO_PICK: SERIES}
    assert run(platform, rows.filter(pl.col("series_id") == first)) == {WRITTEN: 1, NO_PICK: 1, DELETED: SERIES - 1}, (
        "a series that is gone"
    )


def test_labels_in_the_same_sidecar_stay_when_picks_come_and_go(platform: Platform) -> None:
    place = platform.settings.root / "day 1" / "IMG_8.jpg.xmp"
    write_sidecar(place, [LABEL], root=place.parent, min_precision=0.9, today="2026-11-22", dry_run=False)
    labels = place.read_bytes()
    assert run(platform) == {CHANGED: 1, WRITTEN: SERIES - 1, NO_PICK: SERIES}
    assert b"scene/food" in place.read_bytes()
    list(remove_picks(platform))
    assert sidecars(platform) == {"IMG_8.jpg.xmp": labels}


def test_stars_in_a_sidecar_or_within_the_photo_are_left_alone_and_named(platform: Platform) -> None:
    folder = platform.settings.root / "day 1"
    rows = picks.pick_library(platform).rows
    theirs = packet('xmp:Rating="1"')
    (folder / "IMG_8.jpg.xmp").write_bytes(theirs)
    exif = Image.Exif()
    exif[0x4746] = 3
    Image.open(folder / "IMG_11.jpg").save(folder / "IMG_11.jpg", exif=exif)
    Image.open(folder / "IMG_14.jpg").save(folder / "IMG_14.jpg", xmp=theirs)
    found = [one for one in write_picks(platform, rows) if one.what == REFUSED]
    assert [one.reason for one in found] == [JUDGED] * 3
    assert [one.detail for one in found] == ["rated 3 within the photo", "rated 1 within the photo", "xmp:Rating is 1"]
    assert sidecars(platform) == {"IMG_8.jpg.xmp": theirs}
    assert embedded_rating(folder / "single.jpg") == embedded_rating(folder / "none.jpg") == ""


def test_the_command_writes_elsewhere_and_takes_out_again(platform: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = platform.settings.root.parent
    (home / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\nscan_workers = 1\n', encoding="utf-8")
    monkeypatch.setenv("VIBE_CONFIG", str(home / "vibe.toml"))
    into = tmp_path / "mirror"

    def vibe(*arguments: str) -> str:
        result = CliRunner().invoke(main, ["triage", "best", *arguments], catch_exceptions=False)
        assert result.exit_code == 0, result.output
        return result.output

    assert "NOT PROVEN" not in vibe()
    assert f"{SERIES} no pick, {SERIES} written" in vibe("--xmp", "--into", str(into))
    assert len(list(into.rglob("*.xmp"))) == SERIES
    assert sidecars(platform) == {}
    assert f"{SERIES} deleted" in vibe("--xmp", "--into", str(into), "--remove")
    assert CliRunner().invoke(main, ["triage", "best", "--remove"]).exit_code == 2


# -- series that go and come back --------------------------------------------------------------------------------------
def test_a_series_that_vanishes_and_returns_keeps_its_id_and_its_split(platform: Platform, tmp_path: Path) -> None:
    before = platform.lake.read(PHOTO_SERIES)
    hidden = Path(shutil.move(platform.settings.root / "day 1", tmp_path / "away"))
    other = platform.settings.root / "day 2"
    other.mkdir()
    for number in range(2):
        texture(50).filter(ImageFilter.GaussianBlur(number)).save(other / f"{number}.jpg", quality=95)
    look_at_folders(platform, accept_missing=True)
    gone = grow(platform)
    assert gone["series_id"].n_unique() == 1
    shutil.move(hidden, platform.settings.root / "day 1")
    changed = opened(platform.settings.root.parent, seed=43)  # another seed would draw other splits
    after = grow(changed).filter(pl.col("series_id").is_in(before["series_id"].to_list()))
    assert after.select("series_id", "image_id", "split").equals(before.select("series_id", "image_id", "split"))
    assert changed.lake.read(IMAGE_QUALITY).height == 2 * SERIES + 2


def test_picks_stay_below_the_root_when_a_folder_became_a_link(platform: Platform, tmp_path: Path) -> None:
    rows = picks.pick_library(platform).rows
    assert run(platform, rows)[WRITTEN] == SERIES
    folder, outside = platform.settings.root / "day 1", tmp_path / "outside"
    folder.rename(outside)
    folder.symlink_to(outside)
    before = {path.name: path.read_bytes() for path in outside.iterdir()}
    found = list(write_picks(platform, rows.with_columns(pick=~rows["pick"])))
    assert {(one.what, one.reason) for one in found} == {(REFUSED, "link")}
    assert list(remove_picks(platform)) == []
    assert {path.name: path.read_bytes() for path in outside.iterdir()} == before
