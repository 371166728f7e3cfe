"""Photos with tags come in: from an API that pages, limits and fails, from files, from the library's own labels."""

from __future__ import annotations

import csv
import json
import os
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import polars as pl
import pytest

from tests.vlm.unsplash import KEY, Unsplash, picture, running
from vibe_assets.records.tags import TAGGED_PHOTOS
from vibe_assets.settings import Settings
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.pace import Pace
from vibe_assets.vlm import unsplash
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.ingest import Ingested, Order, batches, downloads_dir, ingest
from vibe_assets.vlm.unsplash import Wish

QUICK = Pace(first_wait_s=0.001, longest_wait_s=0.002)
NOW = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[Unsplash]:
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", KEY)
    with running(Unsplash()) as server:
        yield server


@pytest.fixture
def home(tmp_path: Path) -> Platform:
    return opened(tmp_path)


def opened(folder: Path, **vlm: object) -> Platform:
    settings = {"library": {"root": str(folder / "photos"), "home": str(folder / "data"), "scan_workers": 1}, "vlm": vlm}
    (folder / "photos").mkdir(exist_ok=True)
    return Platform(Settings.model_validate(settings), progress=False)


def draw(home: Platform, api: Unsplash, batch: str = "b1", *, allow_nothing_new: bool = False, **wish: object) -> Ingested:
    settings = home.settings.model_copy(update={"vlm": home.settings.vlm.model_copy(update={"unsplash_url": api.base})})
    order = Order(unsplash=Wish(**{"query": "sea", **wish}), allow_nothing_new=allow_nothing_new)  # type: ignore[arg-type]
    return ingest(Platform(settings, progress=False), batch, order, now=NOW, pace=QUICK)


# -- Unsplash ----------------------------------------------------------------------------------------------------------
def test_a_search_is_read_page_by_page_and_what_it_owes_the_photographers_is_kept(home: Platform, api: Unsplash) -> None:
    rows = draw(home, api, count=33).rows
    assert rows.height == 33
    row = rows.filter(source_id="photo-3").row(0, named=True)
    assert row["tags"] == ["nature", "sea side", "thing 3", "light", "sky", "water"]
    assert row["raw_tags"] == 7
    assert (row["photographer"], row["licence"]) == ("Photographer 3", "Unsplash License, https://unsplash.com/license")
    assert row["credit_url"] == "https://unsplash.com/@p3?utm_source=vibe_assets&utm_medium=referral"
    pages = [query["page"] for path, query, _ in api.asked if path == "/search/photos"]
    assert pages == ["1", "2"]
    assert sum(path.endswith("/download") for path, _, _ in api.asked) == 33
    assert home.lake.read(TAGGED_PHOTOS, folder_key="b1").height == 33


def test_the_key_goes_to_the_api_and_to_no_file_server(home: Platform, api: Unsplash) -> None:
    draw(home, api, count=3)
    assert all((key is None) == path.startswith("/files/") for path, _, key in api.asked)


def test_a_used_up_limit_ends_the_run_with_what_came(home: Platform, api: Unsplash) -> None:
    api.remaining = 6
    first = draw(home, api, count=20)
    assert "hourly limit" in first.stopped
    assert 3 <= first.rows.height <= 6
    api.remaining = 100
    second = draw(home, api, "b2", count=10)
    assert second.stopped == ""
    assert not set(first.rows["source_id"]) & set(second.rows["source_id"])
    assert batches(home) == ["b1", "b2"]


def test_a_limit_before_the_first_photo_is_an_error_that_says_when_to_come_back(home: Platform, api: Unsplash) -> None:
    api.remaining = 0
    with pytest.raises(VlmError, match="next hour"):
        draw(home, api)


def test_a_busy_server_is_asked_again_and_a_dead_one_is_named(home: Platform, api: Unsplash) -> None:
    api.fail_first = 3
    assert draw(home, api, count=2).rows.height == 2
    api.fail_first = 99
    with pytest.raises(VlmError, match=r"HTTP 503.*5 tries"):
        draw(home, api, "b2", query="other")


def test_a_wrong_key_an_unknown_collection_and_no_key_are_told_apart(
    home: Platform, api: Unsplash, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(VlmError, match="collection id"):
        draw(home, api, query="", collection="nope")
    monkeypatch.setenv("UNSPLASH_ACCESS_KEY", "wrong-key-98765")
    with pytest.raises(VlmError, match="refuses the access key") as caught:
        draw(home, api)
    assert "wrong-key-98765" not in str(caught.value)
    monkeypatch.delenv("UNSPLASH_ACCESS_KEY")
    with pytest.raises(VlmError, match="no access key"):
        draw(home, api)


def test_broken_photos_are_rows_with_a_reason(home: Platform, api: Unsplash) -> None:
    api.broken, api.garbled = frozenset({1}), frozenset({2})
    rows = draw(home, api, count=4).rows
    reasons = dict(rows.select("source_id", "reason").iter_rows())
    assert reasons == {"photo-0": None, "photo-1": "unreachable", "photo-2": "unsupported_format", "photo-3": None}
    assert not [path for path, _, _ in api.asked if path == "/photos/photo-1/download"]


def test_a_photo_that_was_withdrawn_costs_only_itself(home: Platform, api: Unsplash) -> None:
    api.withdrawn = frozenset({1})
    rows = draw(home, api, query="", collection="abc", count=3).rows
    assert dict(rows.select("source_id", "reason").iter_rows()) == {"photo-0": None, "photo-1": "unreachable", "photo-2": None}


def test_collections_and_random_draws_bring_photos_too(home: Platform, api: Unsplash) -> None:
    collection = draw(home, api, query="", collection="abc", count=2).rows
    assert all(len(tags) == 6 for tags in collection["tags"])  # lists leave the tags out: each photo was asked for
    drawn = draw(home, api, "b2", query="", random=True, count=5).rows
    assert drawn.height == 3  # this server always draws the same five, two of which are known
    assert not set(drawn["image_id"]) & set(collection["image_id"])


def test_nothing_new_fails_unless_allowed(home: Platform, api: Unsplash) -> None:
    api.photos = 3
    draw(home, api)
    with pytest.raises(VlmError, match="--allow-nothing-new"):
        draw(home, api, "b2")
    assert draw(home, api, "b2", allow_nothing_new=True).rows.is_empty()


@pytest.mark.parametrize(
    "odd",
    [7, [], {"id": ["x"]}, {"id": "x", "urls": ["a"]}, {"id": "x", "urls": {"regular": 7}}, {"id": "x", "links": "l", "user": "u"},
     {"id": "x", "user": {"name": 7, "links": 7}, "tags": {"title": "t"}}, {"id": "x", "tags": [7, {"title": ["t"]}, "t"]}],
)  # fmt: skip
def test_photos_of_odd_shapes_cost_only_themselves(home: Platform, api: Unsplash, odd: object) -> None:
    api.odd = {**api.photo(1), **odd} if isinstance(odd, dict) else odd
    rows = draw(home, api).rows
    assert rows.filter(pl.col("reason").is_null())["source_id"].to_list()[0] == "photo-0"
    assert set(rows["source_id"]) <= {"photo-0", "x"}


@pytest.mark.parametrize("answers", [7, [7, [], None], {"results": 7}, {"results": {"a": 1}}, "x", [[[]]]])
def test_lists_of_odd_shapes_hold_no_photos(home: Platform, api: Unsplash, answers: object) -> None:
    api.answers = answers
    with pytest.raises(VlmError, match="nothing new"):
        draw(home, api)
    with pytest.raises(VlmError, match="nothing new"):
        draw(home, api, query="", random=True)


def test_an_answer_nested_without_end_is_no_json(home: Platform, api: Unsplash) -> None:
    for _ in range(600):
        api.answers = [api.answers or 1]
    with pytest.raises(VlmError, match=r"no JSON.*vlm\.unsplash_url"):
        draw(home, api)


def test_only_pages_of_the_web_are_linked_to(home: Platform, api: Unsplash) -> None:
    api.odd = {**api.photo(1), "user": {"name": "Eve", "links": {"html": "javascript:alert(1)"}}}
    rows = draw(home, api).rows.filter(source_id="photo-1")
    assert rows["credit_url"].to_list() == ["https://unsplash.com/photos/photo-1?utm_source=vibe_assets&utm_medium=referral"]
    api.odd = {**api.photo(2), "user": {"links": {"html": "javascript:alert(1)"}}, "links": {"html": "data:text/html,x"}}
    assert draw(home, api, "b2").rows["credit_url"].to_list() == [None]


def test_pages_that_repeat_themselves_end_the_search(home: Platform, api: Unsplash) -> None:
    api.answers = {"total_pages": 10**9, "results": [api.photo(at) for at in range(3)]}
    assert draw(home, api, count=30).rows.height == 3


@pytest.mark.parametrize("drips", ["/search", "/files"])
def test_a_server_that_sends_a_byte_now_and_then_holds_nobody(
    home: Platform, api: Unsplash, drips: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unsplash, "ANSWER_S", 0.2 if drips == "/search" else 60.0)
    monkeypatch.setattr(unsplash, "DOWNLOAD_S", 0.2)
    api.drips = drips
    with pytest.raises(VlmError, match=r"not all there within 0\.2 s" if drips == "/search" else "nothing new: .*unreachable"):
        draw(home, api, count=1)


# -- files -------------------------------------------------------------------------------------------------------------
def tagged_folder(folder: Path, count: int = 6, first: int = 0) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    lines = []
    for at in range(count):
        (folder / f"{at}.jpg").write_bytes(picture(first + at))
        lines.append({"file_name": f"{at}.jpg", "tags": ["Dog", f"thing {at}"]})
    (folder / "metadata.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return folder


def test_a_folder_with_metadata_is_a_batch(home: Platform, tmp_path: Path) -> None:
    rows = ingest(home, "b1", Order(file=tagged_folder(tmp_path / "mine")), now=NOW).rows
    assert rows["tags"].to_list()[0] == ["dog", "thing 0"]
    assert set(rows["split"]) <= {"train", "val", "test"}
    assert rows["reason"].null_count() == 6


def test_a_csv_may_separate_tags_in_several_ways(home: Platform, tmp_path: Path) -> None:
    folder = tagged_folder(tmp_path / "mine", 3)
    with (folder / "list.csv").open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerows([["file_name", "tags"], ["0.jpg", "a cat; Sofa"], ["1.jpg", "tree|lake"], ["gone.jpg", "red, blue"]])
    rows = ingest(home, "b1", Order(file=folder / "list.csv"), now=NOW).rows
    assert rows["tags"].to_list() == [["a cat", "sofa"], ["tree", "lake"], ["red", "blue"]]
    assert rows["reason"].to_list() == [None, None, "unreachable"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no photo in it"),
        ("{", "line 1: not JSON"),
        ('{"file_name": "0.jpg", "tags": 3}', "line 1: tags"),
        ('{"tags": ["a"]}', "line 1: no photo named"),
    ],
)
def test_a_wrong_line_is_named(home: Platform, tmp_path: Path, text: str, message: str) -> None:
    file = tmp_path / "metadata.jsonl"
    file.write_text(text)
    with pytest.raises(VlmError, match=message):
        ingest(home, "b1", Order(file=file), now=NOW)


def test_the_same_picture_twice_counts_once(home: Platform, tmp_path: Path) -> None:
    folder = tagged_folder(tmp_path / "mine", 2)
    (folder / "1.jpg").write_bytes(picture(0))
    rows = ingest(home, "b1", Order(file=folder), now=NOW).rows
    assert rows["reason"].to_list() == [None, "duplicate"]


def test_a_near_duplicate_in_a_later_batch_joins_the_group_and_its_side(home: Platform, tmp_path: Path) -> None:
    from PIL import Image

    first = ingest(home, "b1", Order(file=tagged_folder(tmp_path / "mine", 5)), now=NOW).rows
    folder = tagged_folder(tmp_path / "again", 5)
    for at in range(5):
        Image.open(folder / f"{at}.jpg").save(folder / f"{at}.jpg", quality=40)  # other bytes, same picture
    second = ingest(home, "b2", Order(file=folder), now=NOW).rows
    assert second["group_id"].to_list() == first["group_id"].to_list()
    assert second["split"].to_list() == first["split"].to_list()


# -- upkeep ------------------------------------------------------------------------------------------------------------
def test_old_batches_and_their_downloads_go_people_s_own_files_stay(api: Unsplash, tmp_path: Path) -> None:
    home = opened(tmp_path, keep_days=30)
    draw(home, api, count=2)
    own = tagged_folder(tmp_path / "mine", 2, first=10)
    ingest(home, "b2", Order(file=own), now=NOW)
    assert len(list(downloads_dir(home).iterdir())) == 2
    done = ingest(home, "b3", Order(file=tagged_folder(tmp_path / "later", 3, first=20)), now=NOW + timedelta(days=31))
    assert done.pruned == ("b1", "b2")
    assert batches(home) == ["b3"]
    assert list(downloads_dir(home).iterdir()) == []
    assert (own / "0.jpg").exists()


def test_library_labels_serve_without_any_key(home: Platform) -> None:
    from vibe_assets.records import AUDITED_GROUND_TRUTH, FOLDER_SET, RAW_PHOTOS

    with pytest.raises(VlmError, match="no audited labels"):
        ingest(home, "b1", Order(library="audited"), now=NOW)
    (home.settings.root / "f").mkdir()
    (home.settings.root / "f" / "x.jpg").write_bytes(picture(1))
    folder = {"folder_key": "f-00000000", "rel_path": "f", "path_bytes": b"f", "files": 1, "listing": "x", "gone_at": None}
    home.lake.replace(FOLDER_SET, pl.DataFrame([folder], schema=FOLDER_SET.polars_schema()))
    photo = {"folder_key": "f-00000000", "image_id": "a" * 32, "rel_path": "f/x.jpg", "path_bytes": b"f/x.jpg", "phash": "00ff00ff00ff00ff"}
    home.lake.replace(RAW_PHOTOS, pl.DataFrame([photo], schema=RAW_PHOTOS.polars_schema()), folder_key="f-00000000")
    said = {"image_id": "a" * 32, "scene": "scene.food", "has_person": True, "objects": ["object.food.dessert"], "annotator": "me"}
    home.lake.replace(AUDITED_GROUND_TRUTH, pl.DataFrame([said], schema=AUDITED_GROUND_TRUTH.polars_schema()))
    row = ingest(home, "b1", Order(library="audited"), now=NOW).rows.row(0, named=True)
    assert row["tags"] == ["dessert", "food", "person"]
    assert os.fsdecode(row["path_bytes"]).endswith("photos/f/x.jpg")
