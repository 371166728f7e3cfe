"""The stages on an engine that works elsewhere: everything is pickled, chunks come back in the wrong order, some never. Needs no Ray."""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from vibe_assets.demo.render import DemoLibrary, render_library
from vibe_assets.engine import Lost, Work
from vibe_assets.records import FOLDER_SET, IMAGE_EMBEDDINGS, RAW_PHOTOS
from vibe_assets.settings import Settings
from vibe_assets.stages.embeddings import embed_folder, embed_folders
from vibe_assets.stages.library import accepted_photos, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.teacher import annotate_rows
from vibe_assets.teacher.replay import ReplayTeacher, running_replay


@dataclass
class Elsewhere:
    """Pickles what goes out and what comes back; chunks last to first; `dies_with` loses items, tries go up to `tries`."""

    dies_with: Any = lambda item: False
    tries: int = 1
    workers: int = 2
    calls: list[dict[str, Any]] = field(default_factory=list)

    def arrivals(self, work: Work) -> Iterator[tuple[int, Any]]:
        self.calls.append(
            {"items": len(work.items), "chunk": work.chunk, "workers": work.workers, "variables": list(work.variables)}
        )  # fmt: skip
        size = work.chunk or 3
        for start in reversed(range(0, len(work.items), size)):
            task = pickle.loads(pickle.dumps(work.make_task))()
            part = pickle.loads(pickle.dumps(list(work.items[start : start + size])))
            lost = [self.dies_with(item) for item in part]
            done = pickle.loads(pickle.dumps(list(task([item for item, gone in zip(part, lost, strict=True) if not gone], self.tries))))
            results = iter(done)
            yield from ((start + at, Lost(3) if gone else next(results)) for at, gone in enumerate(lost))


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> DemoLibrary:
    return render_library(tmp_path_factory.mktemp("library"), seed=4, photos=60)


def installation(home: Path, library: DemoLibrary, engine: Elsewhere | None = None) -> Platform:
    sections = {"library": {"root": library.root, "home": home, "scan_workers": 1}, "encoder": {"batch_size": 4, "decode_workers": 1}}
    platform = Platform(Settings.model_validate(sections), progress=False)
    if engine is not None:
        platform.__dict__["engine"] = engine
    for key in look_at_folders(platform).folders["folder_key"]:
        scan_folder(platform, key)
    return platform


@pytest.fixture(scope="module")
def own(library: DemoLibrary, tmp_path_factory: pytest.TempPathFactory) -> Platform:
    return installation(tmp_path_factory.mktemp("own"), library)


def rows(platform: Platform, table: Any) -> pl.DataFrame:
    """The rows as they say what was found, not how often and when somebody looked."""
    return platform.lake.read(table).sort("folder_key", "image_id", "reason").drop("tries", "tried_at", strict=False)


def keys(platform: Platform) -> list[str]:
    return platform.lake.read(FOLDER_SET)["folder_key"].to_list()


def test_a_scan_elsewhere_gives_the_same_rows(library: DemoLibrary, own: Platform, tmp_path: Path) -> None:
    other = installation(tmp_path, library, Elsewhere())
    assert rows(other, RAW_PHOTOS).equals(rows(own, RAW_PHOTOS))


def test_a_photo_that_no_worker_survived_is_a_row_with_a_reason_and_looked_at_again(
    library: DemoLibrary, own: Platform, tmp_path: Path
) -> None:
    victim = rows(own, RAW_PHOTOS).filter(pl.col("reason").is_null())["rel_path"][0]
    other = installation(tmp_path, library, Elsewhere(dies_with=lambda path: path.endswith(victim.encode())))
    found = rows(other, RAW_PHOTOS).filter(pl.col("rel_path") == victim)
    assert found["reason"].to_list() == ["decoder_crashed"]
    assert found["detail"].to_list() == ["3 workers died while they had this photo"]
    other.__dict__["engine"] = Elsewhere()
    scan_folder(other, found["folder_key"][0])
    assert rows(other, RAW_PHOTOS).equals(rows(own, RAW_PHOTOS))


def test_vectors_from_elsewhere_are_the_same_and_one_pass_serves_all_folders(library: DemoLibrary, own: Platform, tmp_path: Path) -> None:
    engine = Elsewhere()
    other = installation(tmp_path, library, engine)
    engine.calls.clear()
    together = embed_folders(other, keys(other))
    assert len(engine.calls) == 1
    for key in keys(own):
        embed_folder(own, key)
    assert rows(other, IMAGE_EMBEDDINGS).equals(rows(own, IMAGE_EMBEDDINGS))
    assert {key: frame.height for key, frame in together.items()} == {key: accepted_photos(own, key).height for key in keys(own)}
    engine.calls.clear()
    embed_folder(other, keys(other)[0])
    assert sum(call["items"] for call in engine.calls) == 0, "the cache held them all"


def test_of_a_batch_that_kills_workers_only_the_photo_to_blame_has_no_vector(library: DemoLibrary, own: Platform, tmp_path: Path) -> None:
    victim = accepted_photos(own)["image_id"][5]
    engine = Elsewhere(dies_with=lambda batch: any(copies[0].image_id == victim for copies in batch))
    other = installation(tmp_path, library)
    other.__dict__["engine"] = engine
    found = pl.concat(embed_folders(other, keys(other)).values())
    lost = found.filter(pl.col("embedding").is_null())
    assert set(lost["image_id"]) == {victim}
    assert set(lost["reason"]) == {"worker_died"}


def test_each_photo_is_asked_about_once_wherever_it_happens(
    library: DemoLibrary, own: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_API_KEY", "a-key-of-the-tests")
    engine = Elsewhere()
    other = installation(tmp_path, library, engine)
    photos = accepted_photos(own)
    found = []
    for platform in (own, other):
        teacher = ReplayTeacher(library.teacher_file, library.root, api_key="a-key-of-the-tests")
        with running_replay(teacher) as base_url:
            settings = platform.settings.teacher.model_copy(update={"base_url": base_url, "concurrency": 5})
            found.append(annotate_rows(platform, pl.concat([photos, photos.head(3)]), settings=settings, folder_key="all"))
            annotate_rows(platform, photos, settings=settings, folder_key="all")
        assert teacher.counts()["requests"] == photos.height
    assert found[0].drop("latency_s").equals(found[1].drop("latency_s"))
    call = engine.calls[-1]
    assert call == {"items": photos.height, "chunk": 32, "workers": 2, "variables": ["QWEN_API_KEY"]}


def test_a_chunk_that_is_tried_again_reads_the_journal_first(
    library: DemoLibrary, own: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_API_KEY", "a-key-of-the-tests")
    other = installation(tmp_path, library)
    refs = other.photo_refs(accepted_photos(own))
    teacher = ReplayTeacher(library.teacher_file, library.root, api_key="a-key-of-the-tests")
    from vibe_assets.stages.spread import asker
    from vibe_assets.teacher.annotate import teacher_fingerprint

    with running_replay(teacher) as base_url:
        settings = other.settings.teacher.model_copy(update={"base_url": base_url})
        for engine, part in ((Elsewhere(), refs[:10]), (Elsewhere(tries=2), refs)):
            other.__dict__["engine"] = engine
            ask = asker(other, settings, writer="all", teacher=teacher_fingerprint(settings))
            assert ask is not None
            assert len(list(ask(part, {}))) == len(part)
    assert teacher.counts()["requests"] == len(refs), "the ten that a worker had answered before it died were not asked again"


def test_photos_lost_with_their_workers_have_a_reason_and_are_asked_next_time(
    library: DemoLibrary, own: Platform, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_API_KEY", "a-key-of-the-tests")
    photos = accepted_photos(own)
    victim = photos["image_id"][2]
    other = installation(tmp_path, library)
    other.__dict__["engine"] = Elsewhere(dies_with=lambda photo: photo.image_id == victim)
    with running_replay(ReplayTeacher(library.teacher_file, library.root, api_key="a-key-of-the-tests")) as base_url:
        settings = other.settings.teacher.model_copy(update={"base_url": base_url})
        found = annotate_rows(other, photos, settings=settings, folder_key="all").filter(pl.col("reason").is_not_null())
        assert found.select("image_id", "reason").rows() == [(victim, "worker_died")]
        other.__dict__["engine"] = Elsewhere()
        assert annotate_rows(other, photos, settings=settings, folder_key="all")["reason"].null_count() == photos.height
