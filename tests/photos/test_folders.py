"""Which folders are partitions, what they are called, and when a missing one is believed."""

# ruff: noqa: PTH102, PTH118, PTH123 -- paths are bytes here, and pathlib takes text only
from __future__ import annotations

import hashlib
import os
import re
import shutil
import subprocess
import tempfile
import unicodedata
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.photos.library import save
from vibe_assets.lake import Lake, checked_key
from vibe_assets.photos.folders import folder_path
from vibe_assets.photos.scan import Discovery, LibraryVanished, discover_folders, folder_key, next_folder_set
from vibe_assets.records import FOLDER_SET

NOON, LATER = datetime(2024, 5, 1, 12, tzinfo=UTC), datetime(2024, 5, 2, 12, tzinfo=UTC)
ODD_NAMES = [
    b"it's \"quoted\"", "été 🏖 emoji".encode(), b"...", b"a..b", b"a, b", b"two\nlines", b"latin-\xe9", b"x" * 255,
    b"x' OR '1'='1", b"%2e%2e", b"-rf", b"a b", b"a-b", b"A-B", "日本".encode(), b"semi;colon\\back",
]  # fmt: skip


@given(st.binary(max_size=300) | st.text(max_size=150).map(lambda text: text.encode("utf-8", "ignore")))
def test_every_path_gives_a_key_that_the_lake_takes(path_bytes: bytes) -> None:
    key = folder_key(path_bytes)
    assert checked_key(key) == key


def test_keys_read_like_their_folder() -> None:
    assert folder_key(b"2021/Autumn & Wind") == "2021-autumn-wind-" + folder_key(b"2021/Autumn & Wind")[-8:]
    assert folder_key(b"").startswith("root-")


def slug(path: str) -> str:
    return folder_key(path.encode()).rpartition("-")[0]


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("東京/写真 2021", "東京-写真-2021"), ("Москва/Лето", "москва-лето"), ("ΟΔΟΣ Αθήνα", "οδος-αθήνα"), ("हिन्दी चित्र", "हिन्दी-चित्र"),
        ("हिन्दी तस्वीरें", "न्दी-तस्वीरें"),
        ("صور العائلة", "صور-العائلة"),
        ("서울", "서울"), ("Straße", "straße"), ("Łódź é", "łódź-é"), ("ﾊﾝｶｸ", "ﾊﾝｶｸ"),
        (unicodedata.normalize("NFD", "서울 Й"), "서울-й"),  # as macOS names them
        ("\u202eצילום\u202c \u200fחיפה", "צילום-חיפה"), ("می\u200cخواهم", "میخواهم"), ("葛\U000e0100", "葛"), ("東\ufe0f🏖️京", "東-京"),
        ("🏖️", "folder"), ("\u3164", "folder"), ("…/—", "folder"), ("\u0301", "folder"), ("東" + "\u0301" * 99, "folder"),
    ],
)  # fmt: skip
def test_letters_of_any_script_stay_in_a_key_and_nothing_else_does(path: str, expected: str) -> None:
    assert slug(path) == expected


def earlier_key(path_bytes: bytes) -> str:
    """As releases gave keys that took ASCII only."""
    text = unicodedata.normalize("NFKD", path_bytes.decode("utf-8", "ignore")).encode("ascii", "ignore").decode()
    kept = re.sub(r"[^a-z0-9]+", "-", text.lower())[-60:].strip("-")
    return f"{kept or ('folder' if path_bytes else 'root')}-{hashlib.sha256(path_bytes).hexdigest()[:8]}"


PLAIN = ["müller", "Été", "Ｆｏｔｏ ①", "a\u200bb ﬁ", "🏖️ 2021", "Å" * 80, "it's", "Wien–Linz", "½ £ ™ ª", "x" * 255]


@pytest.mark.parametrize("path_bytes", [*(name for name in ODD_NAMES if name != "日本".encode()), *(path.encode() for path in PLAIN)])
def test_keys_whose_letters_ascii_holds_are_those_of_earlier_releases(path_bytes: bytes) -> None:
    assert folder_key(path_bytes) == earlier_key(path_bytes)


@pytest.mark.parametrize("letter", ["東", "ж", "𠀀", "कि", "é東"])
def test_a_key_fits_into_a_file_name_and_is_cut_between_letters(letter: str) -> None:
    key = folder_key((letter * 70).encode())
    assert len(quote(f"folder_key={key}")) <= 143
    assert len(key) <= 69
    assert key.startswith(tuple(letter) if letter == "é東" else letter)
    assert folder_key(("あ" * 90 + "/2021").encode()).startswith("ああああああああ")


def test_folders_with_the_same_slug_have_different_keys() -> None:
    assert folder_key(b"a b") != folder_key(b"a-b")


@pytest.mark.parametrize("path_bytes", [b"..", b"../x", b"a/../../x", b"/etc", b"a//b", b"a/", b".", b"a\0b"])
def test_paths_that_leave_the_root_are_refused(tmp_path: Path, path_bytes: bytes) -> None:
    with pytest.raises(ValueError, match="below the photo root"):
        folder_path(tmp_path, path_bytes)


def test_odd_folder_names_become_partitions_with_their_exact_path(tmp_path: Path) -> None:
    photo = save(tmp_path / "seed.jpg").read_bytes()
    for name in ODD_NAMES:
        folder = os.path.join(os.fsencode(tmp_path), name)
        os.mkdir(folder)
        with open(os.path.join(folder, b"p.jpg"), "wb") as file:
            file.write(photo)
    discovery = discover_folders(tmp_path)
    assert {folder.path_bytes for folder in discovery.folders} == {b"", *ODD_NAMES}
    assert len({folder.folder_key for folder in discovery.folders}) == len(ODD_NAMES) + 1
    assert all(folder.files == 1 for folder in discovery.folders)
    assert discovery.problems == ()


def test_root_sub_folders_and_files_without_extension_count_hidden_ones_do_not(tmp_path: Path) -> None:
    save(tmp_path / "a" / "deep" / "p.png")
    save(tmp_path / ".trash" / "p.png")
    save(tmp_path / "b" / ".hidden.jpg")
    (tmp_path / "c").mkdir()
    (tmp_path / "c" / "noextension").write_bytes(b"?")
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / "notes.txt").write_text("no photo")
    (tmp_path / "e").mkdir()
    (tmp_path / "e" / "raw.NEF").write_bytes(b"?")
    assert [folder.rel_path for folder in discover_folders(tmp_path).folders] == ["a/deep", "c", "e"]
    save(tmp_path / "p.jpg")
    assert discover_folders(tmp_path).folders[0].rel_path == "."


def test_links_to_folders_are_reported_and_not_followed(tmp_path: Path) -> None:
    save(tmp_path / "root" / "a" / "p.jpg")
    save(tmp_path / "outside" / "p.jpg")
    (tmp_path / "root" / "a" / "loop").symlink_to(tmp_path / "root")
    (tmp_path / "root" / "away").symlink_to(tmp_path / "outside")
    discovery = discover_folders(tmp_path / "root")
    assert [folder.rel_path for folder in discovery.folders] == ["a"]
    assert {(problem.rel_path, problem.reason) for problem in discovery.problems} == {
        ("a/loop", "link_to_folder"),
        ("away", "link_to_folder"),
    }


@pytest.fixture
def as_nobody() -> Iterator[Path]:
    """A folder of its own, and the test as a user without rights where it is run by the superuser, who may read everything."""
    folder = Path(tempfile.mkdtemp())
    superuser = os.geteuid() == 0
    if superuser:
        os.chown(folder, 65534, 65534)
        os.seteuid(65534)
    try:
        yield folder
    finally:
        if superuser:
            os.seteuid(0)
        subprocess.run(["chmod", "-R", "u+rwx", folder], check=True)
        shutil.rmtree(folder)


def test_what_cannot_be_looked_at_is_reported_and_hides_neither_its_folder_nor_those_beside_it(as_nobody: Path) -> None:
    root = as_nobody
    for folder in ("a", "a/deep", "b", "b/deep", "locked/in", "unlisted"):
        save(root / folder / "p.jpg")
    for loop in ("a/circle", "b/circle.jpg", "round"):
        (root / loop).symlink_to(root / loop)
    (root / "there").symlink_to(root / "and-back")
    (root / "and-back").symlink_to(root / "there")
    (root / "b" / "into").symlink_to(root / "locked" / "in")
    (root / "locked").chmod(0)
    (root / "unlisted").chmod(0o311)
    discovery = discover_folders(root)
    assert [(folder.rel_path, folder.files) for folder in discovery.folders] == [("a", 2), ("a/deep", 1), ("b", 3), ("b/deep", 1)]
    assert {problem.rel_path: (problem.reason, problem.detail) for problem in discovery.problems} == {
        **dict.fromkeys(["a/circle", "and-back", "b/circle.jpg", "round", "there"], ("unreadable", "Too many levels of symbolic links")),
        **dict.fromkeys(["b/into", "locked", "unlisted"], ("unreadable", "Permission denied")),
    }


def test_a_loop_is_not_told_twice_and_makes_no_folder_of_photos(tmp_path: Path) -> None:
    (tmp_path / "notes").mkdir()
    for name in ("round", "empty"):
        (tmp_path / "notes" / name).symlink_to(tmp_path / "notes" / name)
    save(tmp_path / "p.jpg")
    discovery = discover_folders(tmp_path)
    assert [folder.rel_path for folder in discovery.folders] == ["."]
    assert [problem.rel_path for problem in discovery.problems] == ["notes/empty", "notes/round"]


def test_the_listing_moves_with_names_sizes_and_times_only(tmp_path: Path) -> None:
    path = save(tmp_path / "p.jpg")
    before = discover_folders(tmp_path).folders[0].listing
    assert discover_folders(tmp_path).folders[0].listing == before
    os.utime(path, ns=(0, 1))
    touched = discover_folders(tmp_path).folders[0].listing
    path.rename(tmp_path / "q.jpg")
    assert len({before, touched, discover_folders(tmp_path).folders[0].listing}) == 3


def _look(root: Path, known: pl.DataFrame | None = None, *, accept: bool = False, now: datetime = NOON, share: float = 0.5) -> pl.DataFrame:
    return next_folder_set(discover_folders(root), known, max_missing_share=share, accept_missing=accept, now=now)


def _library(root: Path, count: int) -> list[Path]:
    return [save(root / f"f{index}" / "p.jpg", index).parent for index in range(count)]


def test_gone_folders_stay_as_tombstones_and_return(tmp_path: Path) -> None:
    folders = _library(tmp_path, 4)
    first = _look(tmp_path)
    folders[2].rename(tmp_path / ".away")
    second = _look(tmp_path, first, now=LATER)
    assert second.filter(pl.col("gone_at").is_not_null())["rel_path"].to_list() == ["f2"]
    assert second["gone_at"].drop_nulls().to_list() == [LATER]
    assert _look(tmp_path, second)["gone_at"].drop_nulls().to_list() == [LATER]  # the date of the first miss
    (tmp_path / ".away").rename(folders[2])
    assert _look(tmp_path, second).equals(first)


def test_the_rows_fit_the_lake(tmp_path: Path) -> None:
    _library(tmp_path / "photos", 2)
    Lake(tmp_path / "lake").replace(FOLDER_SET, _look(tmp_path / "photos"))
    assert len(Lake(tmp_path / "lake").live_folders()) == 2


def test_an_empty_mount_is_refused_with_both_numbers_and_the_remedy(tmp_path: Path) -> None:
    folders = _library(tmp_path, 2)
    known = _look(tmp_path)
    for folder in folders:
        shutil.rmtree(folder)
    with pytest.raises(LibraryVanished, match=r"2 of 2 known folders are missing, 0 found.*vibe folders --accept-missing") as caught:
        _look(tmp_path, known)
    assert str(tmp_path) in str(caught.value)
    assert _look(tmp_path, known, accept=True)["gone_at"].null_count() == 0


def test_folders_with_the_keys_of_an_earlier_release_are_not_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for index in range(4):
        save(tmp_path / f"写真{index}" / "p.jpg", index)
    with monkeypatch.context() as earlier:
        earlier.setattr("vibe_assets.photos.folders.folder_key", earlier_key)
        known = _look(tmp_path)
    now = _look(tmp_path, known, now=LATER)
    assert now.filter(pl.col("gone_at").is_null())["folder_key"].str.starts_with("写真").to_list() == [True] * 4
    assert set(now.filter(gone_at=LATER)["folder_key"]) == set(known["folder_key"])
    shutil.rmtree(tmp_path / "写真0")
    shutil.rmtree(tmp_path / "写真1")
    shutil.rmtree(tmp_path / "写真2")
    with pytest.raises(LibraryVanished, match="3 of 4"):
        _look(tmp_path, known)


def test_more_than_the_share_missing_is_refused_from_three_on(tmp_path: Path) -> None:
    folders = _library(tmp_path, 6)
    known = _look(tmp_path)
    for folder in folders[:3]:
        shutil.rmtree(folder)
    assert _look(tmp_path, known)["gone_at"].null_count() == 3  # exactly half
    with pytest.raises(LibraryVanished, match="3 of 6"):
        _look(tmp_path, known, share=0.4)
    assert _look(tmp_path, known, share=0.4, accept=True)["gone_at"].null_count() == 3


def test_two_of_three_may_go_because_small_clean_ups_are_normal(tmp_path: Path) -> None:
    folders = _library(tmp_path, 3)
    known = _look(tmp_path)
    for folder in folders[:2]:
        shutil.rmtree(folder)
    assert _look(tmp_path, known)["gone_at"].null_count() == 1


@pytest.mark.parametrize("accept", [False, True])
def test_an_absent_root_never_counts_as_an_empty_library(tmp_path: Path, accept: bool) -> None:
    _library(tmp_path / "photos", 1)
    known = _look(tmp_path / "photos")
    shutil.rmtree(tmp_path / "photos")
    with pytest.raises(LibraryVanished, match="cannot be read"):
        _look(tmp_path / "photos", known, accept=accept)


def test_an_unreadable_folder_is_a_problem_and_not_a_loss(tmp_path: Path) -> None:
    """A path longer than the system takes cannot be read by anyone, the superuser included."""
    save(tmp_path / "p.jpg")
    handle, path = os.open(tmp_path, os.O_RDONLY), b""
    try:
        for _ in range(20):
            name = b"d" * 250
            os.mkdir(name, dir_fd=handle)
            inner = os.open(name, os.O_RDONLY, dir_fd=handle)
            os.close(handle)
            handle, path = inner, os.path.join(path, name)
        discovery = discover_folders(tmp_path)
        (problem,) = discovery.problems
        assert (problem.reason, problem.detail) == ("unreadable", "File name too long")
        assert path.startswith(problem.path_bytes)
        known = pl.DataFrame(
            [{"folder_key": "x-00000000", "rel_path": "x", "path_bytes": path, "files": 1, "listing": "1", "gone_at": None}],
            schema=FOLDER_SET.polars_schema(),
        )
        rows = next_folder_set(discovery, known, max_missing_share=0.5, accept_missing=False, now=NOON)
        assert rows.height == 2
        assert rows["gone_at"].null_count() == 2
    finally:
        os.close(handle)
        shutil.rmtree(tmp_path / ("d" * 250))


def test_a_first_look_at_an_empty_root_gives_no_rows(tmp_path: Path) -> None:
    rows = next_folder_set(Discovery(tmp_path, (), ()), None, max_missing_share=0.5, accept_missing=False, now=NOON)
    assert rows.schema == pl.Schema(FOLDER_SET.polars_schema())
    assert rows.is_empty()
