"""A photo root in a bucket: the same folders and rows as on a disk, looked at without opening anything twice."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.photos.library import SETTINGS, bomb_png, save
from tests.support.object_store import ObjectStore
from vibe_assets.photos.scan import LibraryVanished, discover_folders, next_folder_set, scan_folder
from vibe_assets.storage import Place, Url

pytestmark = pytest.mark.scale
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def fill(root: Path) -> Path:
    """Photos and what is none, in folders with awkward names."""
    for seed, name in enumerate(["top.jpg", "a/1.jpg", "a/2.png", "a/é #?%41[1].jpg", "day 1/x/3.jpg", "day 1/4.jpg"]):
        save(root / name, seed)
    (root / "a" / "same.jpg").write_bytes((root / "a" / "1.jpg").read_bytes())
    (root / "a" / "empty.jpg").write_bytes(b"")
    (root / "a" / "broken.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    (root / "a" / "large.jpg").write_bytes(bytes(SETTINGS.max_bytes + 1))
    (root / "a" / "bomb.png").write_bytes(bomb_png(20_000, 20_000))
    (root / "a" / "raw.cr2").write_bytes(b"raw")
    (root / "a" / ".hidden.jpg").write_bytes(b"no")
    (root / "words").mkdir()
    (root / "words" / "notes.txt").write_text("no photo")
    return root


def scanned(root: Place, known: pl.DataFrame | None = None) -> pl.DataFrame:
    """Rows of the whole root."""
    parts = []
    for folder in discover_folders(root).folders:
        mine = known.filter(pl.col("folder_key") == folder.folder_key) if known is not None else None
        parts.append(scan_folder(root, folder.folder_key, folder.path_bytes, known_rows=mine, settings=SETTINGS))
    return pl.concat(parts)


@pytest.fixture
def root(store: ObjectStore, bucket: Url, tmp_path: Path) -> Url:
    store.upload(fill(tmp_path / "photos"), bucket / "my photos")
    return bucket / "my photos"


def test_folders_and_rows_are_those_of_the_same_files_on_a_disk(root: Url, tmp_path: Path) -> None:
    local, stored = tmp_path / "photos", root
    found = [(folder.folder_key, folder.path_bytes, folder.files) for folder in discover_folders(stored).folders]
    assert found == [(folder.folder_key, folder.path_bytes, folder.files) for folder in discover_folders(local).folders]
    assert [path for _, path, _ in found] == [b"", b"a", b"day 1", b"day 1/x"]
    mine, theirs = scanned(local), scanned(stored)
    moments = ["mtime_ns", "tried_at"]
    assert_frame_equal(mine.drop(moments), theirs.drop(moments))
    reasons = dict(theirs.select("rel_path", "reason").iter_rows())
    assert reasons["a/large.jpg"] == "too_many_bytes"
    assert reasons["a/bomb.png"] == "too_many_pixels"
    assert reasons["a/empty.jpg"] == "empty"


def test_a_second_look_lists_and_opens_nothing_but_what_changed(store: ObjectStore, root: Url, tmp_path: Path) -> None:
    known, before = scanned(root), [folder.listing for folder in discover_folders(root).folders]
    with store.asked() as requests:
        assert_frame_equal(scanned(root, known), known)
    assert requests
    assert all("list-type=2" in request for request in requests)
    store.put(root, "a/1.jpg", (tmp_path / "photos" / "a" / "2.png").read_bytes())
    after = [folder.listing for folder in discover_folders(root).folders]
    assert [one != other for one, other in zip(before, after, strict=True)] == [False, True, False, False]
    with store.asked() as requests:
        changed = scanned(root, known)
    opened = [request.split()[1] for request in requests if "list-type=2" not in request]
    assert opened == [f"/{root.bucket}/my%20photos/a/1.jpg"]
    ids = dict(changed.select("rel_path", "image_id").iter_rows())
    assert ids["a/1.jpg"] == ids["a/2.png"]


def test_a_bucket_that_suddenly_lists_empty_is_not_a_deletion(store: ObjectStore, root: Url) -> None:
    def look(*, accept_missing: bool = False) -> pl.DataFrame:
        return next_folder_set(discover_folders(root), folders, max_missing_share=0.5, accept_missing=accept_missing, now=NOW)

    folders = next_folder_set(discover_folders(root), None, max_missing_share=0.5, accept_missing=False, now=NOW)
    rows = scanned(root)
    album = rows.filter(pl.col("rel_path").str.starts_with("a/"))
    for name in store.names(root):
        store.delete(Url("s3", root.bucket), name)
    with pytest.raises(LibraryVanished, match=r"4 of 4 known folders are missing.*right bucket"):
        look()
    with pytest.raises(LibraryVanished, match="known photos are missing"):
        scan_folder(root, album["folder_key"][0], b"a", known_rows=album, settings=SETTINGS)
    assert look(accept_missing=True)["gone_at"].null_count() == 0
    gone = scan_folder(root, album["folder_key"][0], b"a", known_rows=album, settings=SETTINGS, accept_missing=True)
    assert set(gone["reason"]) == {"deleted"}


def test_a_store_that_says_no_leaves_everything_as_it_was(store: ObjectStore, root: Url, monkeypatch: pytest.MonkeyPatch) -> None:
    rows = scanned(root)
    album = rows.filter(pl.col("rel_path").str.starts_with("a/"))
    with store.closed_to_everybody():
        with pytest.raises(LibraryVanished, match="cannot be read: access denied"):
            next_folder_set(discover_folders(root), None, max_missing_share=0.5, accept_missing=True, now=NOW)
        with pytest.raises(LibraryVanished, match="access denied"):
            scan_folder(root, album["folder_key"][0], b"a", known_rows=album, settings=SETTINGS, accept_missing=True)
    with pytest.raises(LibraryVanished, match="there is no bucket 'gone-bucket'"):
        next_folder_set(discover_folders(Url("s3", "gone-bucket")), None, max_missing_share=0.5, accept_missing=False, now=NOW)


def test_keys_that_no_disk_could_hold_are_named(store: ObjectStore, root: Url) -> None:
    for name in ("a//odd.jpg", "a/../odd.jpg", "marker/"):
        store.put(root, name, b"" if name.endswith("/") else b"x")
    found = discover_folders(root)
    assert {problem.path_bytes for problem in found.problems} == {b"a/", b"a/.."}
    assert [folder.path_bytes for folder in found.folders] == [b"", b"a", b"day 1", b"day 1/x"]
