"""Search by words and by example: exact, once per group, and a page that loads nothing."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from tests.encoders import models
from tests.export.library import FOLDER, NAMES, build
from vibe_assets.encoders.base import load_encoder
from vibe_assets.export.contact_sheet import Shot, render_sheet
from vibe_assets.export.nearest import Hit
from vibe_assets.records import IMAGE_EMBEDDINGS
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.search import Query, query_photo, query_text, search


@pytest.fixture(scope="module")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Platform:
    platform = build(tmp_path_factory.mktemp("search"))
    embed_folder(platform, FOLDER)
    return platform


def test_a_photo_of_the_library_finds_its_likes_but_not_itself(embedded: Platform) -> None:
    query = query_photo(embedded, Path("album/plain.jpg"))
    found = search(embedded, query, top=4)
    assert found.searched == len(NAMES)
    names = [shot.rel_path for shot in found.shots]
    assert len(names) == 4
    assert "album/plain.jpg" not in names
    assert "album/Grüße & Küsse ❤.jpg" not in names, "of the same group"
    assert [shot.cosine for shot in found.shots] == sorted((shot.cosine for shot in found.shots), reverse=True)
    every = search(embedded, query, top=50, every=True)
    assert len(every.shots) == len(NAMES) - 1


def test_results_come_once_per_group_with_the_number_of_their_likes(embedded: Platform) -> None:
    found = search(embedded, query_photo(embedded, Path("album/plain.jpg")), top=50)
    assert len(found.shots) == len(NAMES) // 2 - 1
    assert {shot.alike for shot in found.shots} == {1}


def test_a_photo_from_elsewhere_is_embedded_on_the_fly(embedded: Platform, tmp_path: Path) -> None:
    copy = tmp_path / "copy.png"
    from PIL import Image

    with Image.open(embedded.settings.root / "album" / "plain.jpg") as picture:
        picture.save(copy)
    best = search(embedded, query_photo(embedded, copy), top=1).shots[0]
    assert best.cosine > 0.99
    assert best.rel_path == "album/plain.jpg"


def test_the_page_is_one_file_without_scripts_and_escapes_names(embedded: Platform) -> None:
    found = search(embedded, query_photo(embedded, Path("album/plain.jpg")), top=50, every=True)
    page = found.page.read_text(encoding="utf-8")
    assert found.page.parent == embedded.settings.reports_dir / "search"
    assert "<script" not in page
    assert not re.search(r'(?:src|href)="(?!data:image/)', page)
    assert page.count("data:image/jpeg;base64,") == len(NAMES)
    assert "quote &#34;double&#34;" in page
    assert "prefers-color-scheme: dark" in page


def test_without_a_text_tower_words_are_refused_with_the_way_out(embedded: Platform) -> None:
    with pytest.raises(StageError, match=r"'handcrafted' has no text tower.*vibe search --like PHOTO"):
        query_text(embedded, "a dog")


def test_words_find_photos_in_the_space_of_an_encoder_with_a_text_tower(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    folder = models.save_siglip(tmp_path / "model")
    platform = build(tmp_path / "lib", NAMES[:4])
    encoder = platform.settings.encoder.model_copy(update={"name": f"siglip:{folder}", "device": "cpu", "precision": "fp32"})
    platform = Platform(platform.settings.model_copy(update={"encoder": encoder}), progress=False)
    embed_folder(platform, FOLDER)
    query = query_text(platform, "a dog")
    found = search(platform, query, top=3, every=True)
    rows = platform.lake.read(IMAGE_EMBEDDINGS)
    cosines = np.array(rows["embedding"].to_list(), dtype=np.float32) @ query.vector
    assert [round(shot.cosine, 5) for shot in found.shots] == [round(float(c), 5) for c in np.sort(cosines)[::-1][:3]]
    assert "“a dog”" in found.page.read_text(encoding="utf-8")


def test_vectors_of_another_encoder_are_passed_over_and_counted(tmp_path: Path) -> None:
    platform = build(tmp_path, NAMES[:4])
    query = Query("x", np.ones(8, np.float32), load_encoder(platform.settings.encoder))
    with pytest.raises(StageError, match=r"no photo of the library has a vector of .*'handcrafted' yet: `vibe run image_embeddings`"):
        search(platform, query)
    embed_folder(platform, FOLDER)
    rows = platform.lake.read(IMAGE_EMBEDDINGS)
    mixed = rows.with_columns(encoder=pl.when(pl.int_range(pl.len()) == 0).then(pl.lit("old")).otherwise("encoder"))
    platform.lake.replace(IMAGE_EMBEDDINGS, mixed, folder_key=FOLDER)
    found = search(platform, query_photo(platform, Path("album/plain.jpg")), every=True)
    assert (found.searched, found.skipped) == (3, 1)


def test_a_second_search_reads_no_vector_of_the_lake_until_a_table_moves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    platform = build(tmp_path, NAMES[:6])
    embed_folder(platform, FOLDER)
    query = query_photo(platform, Path("album/plain.jpg"))
    first = search(platform, query, every=True)
    with monkeypatch.context() as patched:
        patched.setattr("vibe_assets.lake.Lake.batches", lambda *args, **options: pytest.fail("the vectors were read again"))
        assert search(platform, query, every=True).shots == first.shots
    rows = platform.lake.read(IMAGE_EMBEDDINGS)
    platform.lake.replace(IMAGE_EMBEDDINGS, rows.head(3), folder_key=FOLDER)
    assert search(platform, query, every=True).searched == 3
    kept = list((platform.settings.cache_dir / "search" / query.encoder.fingerprint).iterdir())
    assert len(kept) == 1, "the index of the older table is gone"


def test_a_photo_that_is_nowhere_is_named(embedded: Platform) -> None:
    with pytest.raises(StageError, match=r"missing\.jpg: no such photo, neither from here nor below"):
        query_photo(embedded, Path("missing.jpg"))


def test_a_sheet_takes_inline_pictures_only() -> None:
    with pytest.raises(ValueError, match="expected a data URL of a picture"):
        render_sheet([Shot("a.jpg", 0.5, "https://example.org/a.jpg")], title="t", subtitle="s", footer="f")
    assert "cannot be opened" in render_sheet([Shot("a.jpg", 0.5, None)], title="t", subtitle="s", footer="f")


def test_hits_sort_by_cosine() -> None:
    assert max(Hit(0.2, "b"), Hit(0.3, "a")) == Hit(0.3, "a")
