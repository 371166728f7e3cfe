"""Every stage that runs on Ray gives what it gives in process: the same rows, whatever dies on the way."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import signal
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from tests.heads.examples import plain_head
from tests.photos.library import bomb_png
from tests.scale.ray_cluster import _title, _tree
from tests.vlm.conftest import Study, opened
from vibe_assets.demo.render import DemoLibrary, render_library
from vibe_assets.engine import EngineError, Lost, Work, in_order, open_engine
from vibe_assets.records import ANNOTATIONS, FOLDER_SET, IMAGE_EMBEDDINGS, PROMPT_EMBEDDINGS, RAW_PHOTOS
from vibe_assets.sections import EngineSettings
from vibe_assets.settings import Settings
from vibe_assets.stages import spread
from vibe_assets.stages.embeddings import embed_folders
from vibe_assets.stages.library import accepted_photos, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.teacher import annotate_rows
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay
from vibe_assets.vlm.instructions import DatasetKnobs, build_dataset

pytestmark = [
    pytest.mark.scale,
    pytest.mark.timeout(900),
    pytest.mark.skipif(importlib.util.find_spec("ray") is None, reason="the extra `ray` is not installed"),
]

RAY: dict[str, Any] = {"kind": "ray", "chunk": 8, "tries": 2, "max_workers": 2}
KEY = "canary-key-" + "7f3a91" * 4
PHOTOS = 60


@pytest.fixture(scope="module", autouse=True)
def own_ray() -> Iterator[None]:
    """A Ray of this process, gone afterwards, with what it put into the environment."""
    before = dict(os.environ)
    yield
    import ray

    ray.shutdown()
    for name in set(os.environ) - set(before):
        del os.environ[name]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> DemoLibrary:
    """Two folders of rendered photos, one with a decompression bomb and a file that is no photo."""
    made = render_library(tmp_path_factory.mktemp("library"), seed=3, photos=PHOTOS)
    folders = sorted({Path(photo["rel_path"]).parent for photo in made.truth}, key=lambda at: -len(list((made.root / at).iterdir())))
    whole = made.root.rename(made.root.with_name("whole"))
    for folder in folders[:2]:
        shutil.copytree(whole / folder, made.root / folder, ignore=lambda at, names: [name for name in names if (Path(at) / name).is_dir()])
    (made.root / folders[0] / "bomb.png").write_bytes(bomb_png(20_000, 20_000))
    (made.root / folders[0] / "torn.jpg").write_bytes(b"\xff\xd8\xff\xe0 no picture")
    return made


def installation(home: Path, library: DemoLibrary, **sections: Any) -> Platform:
    values = {"library": {"root": library.root, "home": home, "scan_workers": 1}, "encoder": {"batch_size": 8, "decode_workers": 1}}
    return Platform(Settings.model_validate(values | sections), progress=False)


@pytest.fixture(scope="module")
def scanned(library: DemoLibrary, tmp_path_factory: pytest.TempPathFactory) -> tuple[Platform, Platform]:
    """The same library, scanned in process and on Ray."""
    own = installation(tmp_path_factory.mktemp("own"), library)
    ray = installation(tmp_path_factory.mktemp("ray"), library, engine=RAY)
    for platform in (own, ray):
        for key in look_at_folders(platform).folders["folder_key"]:
            scan_folder(platform, key)
    return own, ray


def rows(platform: Platform, table: Any) -> pl.DataFrame:
    return platform.lake.read(table).sort("folder_key", "image_id", "rel_path" if "rel_path" in table.columns else "image_id")


# -- the engine itself -------------------------------------------------------------------------------------------------
def squares():
    return lambda items, tries: [item * item for item in items]


def deadly():
    def task(items: Sequence[int], tries: int) -> Iterator[int]:
        for item in items:
            if item == 13:
                os.kill(os.getpid(), signal.SIGKILL)
            yield item * item

    return task


def failing():
    def task(items: Sequence[int], tries: int) -> list[int]:
        raise PermissionError(13, "Permission denied", "/photos/x.jpg")

    return task


def test_results_are_those_of_the_local_engine_in_order() -> None:
    engine = open_engine(EngineSettings.model_validate(RAY))
    assert list(in_order(engine.arrivals(Work(squares, range(100))))) == [at * at for at in range(100)]
    assert list(engine.arrivals(Work(squares, []))) == []


def test_an_item_that_kills_every_worker_is_given_up_and_no_other() -> None:
    engine = open_engine(EngineSettings.model_validate(RAY | {"tries": 1}))
    found = list(in_order(engine.arrivals(Work(deadly, range(8, 24)))))
    assert [one for one in found if not isinstance(one, Lost)] == [at * at for at in range(8, 24) if at != 13]
    assert found[5] == Lost(2), "once with its chunk, once alone"


def test_what_a_task_raises_comes_back_as_it_was() -> None:
    with pytest.raises(PermissionError, match=r"Permission denied: '/photos/x.jpg'"):
        list(open_engine(EngineSettings.model_validate(RAY)).arrivals(Work(failing, [1, 2])))


def test_a_worker_larger_than_any_node_is_refused_at_once() -> None:
    with pytest.raises(EngineError, match=r"\[engine\] cpus = 500, gpus = 0 for each worker: no node of the cluster has that many"):
        list(open_engine(EngineSettings.model_validate(RAY | {"cpus": 500})).arrivals(Work(squares, [1])))


def test_our_own_cluster_listens_on_loopback_only() -> None:
    import ray

    list(open_engine(EngineSettings.model_validate(RAY)).arrivals(Work(squares, [1])))
    assert [node["NodeManagerAddress"] for node in ray.nodes()] == ["127.0.0.1"]
    listening = {inode for inode, address in _listeners() if address not in ("loopback",)}
    for pid in _tree(os.getpid()):
        with contextlib.suppress(OSError):
            sockets = {str(link.readlink()) for link in Path(f"/proc/{pid}/fd").iterdir()}
            assert not {f"socket:[{inode}]" for inode in listening} & sockets, _title(pid)
    assert os.environ["RAY_AUTH_MODE"] == "token"


def _listeners() -> Iterator[tuple[str, str]]:
    """(inode, "loopback" or the hexadecimal address) of the TCP sockets of this network that listen."""
    loopback = ("0100007F", "00000000000000000000000001000000", "0000000000000000FFFF00000100007F")
    for table in ("tcp", "tcp6"):
        for line in Path(f"/proc/net/{table}").read_text().splitlines()[1:]:
            words = line.split()
            if words[3] == "0A":
                address = words[1].partition(":")[0]
                yield words[9], "loopback" if address in loopback else address


# -- stages ------------------------------------------------------------------------------------------------------------
def test_a_scan_gives_the_same_rows_hostile_files_included(scanned: tuple[Platform, Platform]) -> None:
    own, ray = (rows(platform, RAW_PHOTOS).drop("tried_at") for platform in scanned)
    assert own.equals(ray)
    assert {"too_many_pixels", "unreadable"} <= set(ray["reason"].drop_nulls())
    assert ray["reason"].null_count() > 20


def test_embeddings_of_all_folders_are_the_same(scanned: tuple[Platform, Platform]) -> None:
    found = []
    for platform in scanned:
        embed_folders(platform, platform.lake.read(FOLDER_SET)["folder_key"].to_list())
        found.append(rows(platform, IMAGE_EMBEDDINGS))
    own, ray = found
    assert own.drop("embedding").equals(ray.drop("embedding"))
    assert own["encoder"].n_unique() == 1
    np.testing.assert_allclose(np.stack(own["embedding"].to_list()), np.stack(ray["embedding"].to_list()), rtol=0, atol=1e-6)
    ours, theirs = (sorted(path.name for path in (p.settings.cache_dir / "embeddings").iterdir()) for p in scanned)
    assert ours == theirs, "one fingerprint, one cache"


def test_labels_are_the_same(scanned: tuple[Platform, Platform], monkeypatch: pytest.MonkeyPatch) -> None:
    own, ray = scanned
    embed_folders(own, own.lake.read(FOLDER_SET)["folder_key"].to_list())
    vectors = own.lake.read(IMAGE_EMBEDDINGS).sort("image_id")
    weight = np.random.default_rng(0).normal(size=(4, len(vectors["embedding"][0])))
    labels = ("scene.food", "scene.people", "scene.document", "scene.animals")
    heads = {"scene": plain_head("scene", labels, weight, encoder=vectors["encoder"][0])}
    prompts = own.lake.read(PROMPT_EMBEDDINGS)
    monkeypatch.setattr(spread, "ROWS_AT_A_TIME", 16)
    said = [spread.classify_rows(platform, vectors, heads, prompts) for platform in (own, ray)]
    assert said[0].equals(said[1])
    assert said[0]["scene_confidence"].n_unique() > 10


def test_instruction_records_are_the_same(tmp_path: Path) -> None:
    found = []
    for name in ("own", "ray"):  # one after the other at the same place: the photos' paths are part of the records
        study: Study = opened(tmp_path)
        study.batch("b1", range(24))
        study.values["engine"] = RAY if name == "ray" else {}
        for at in range(8):  # some of them lie in train or val
            (tmp_path / "b1" / f"{at}.jpg").write_bytes(b"another picture")
        made = build_dataset(study.platform, DatasetKnobs())
        found.append((made.rows, made.train.read_text(), made.val.read_text()))
        for folder in ("photos", "b1", "data"):
            shutil.rmtree(tmp_path / folder)
    assert found[0][0].drop("batch").equals(found[1][0].drop("batch"))
    assert found[0][1:] == found[1][1:]
    assert "unreachable" in set(found[0][0]["reason"])


# -- annotate ----------------------------------------------------------------------------------------------------------
def asked(platform: Platform, base_url: str) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Annotation rows of the library on an engine, twice."""
    settings = platform.settings.teacher.model_copy(update={"base_url": base_url, "concurrency": 4})
    photos = accepted_photos(platform)
    first, again = (annotate_rows(platform, photos, settings=settings, folder_key="all") for _ in range(2))
    return first, again


def test_answers_are_the_same_and_the_key_is_nowhere(
    library: DemoLibrary, scanned: tuple[Platform, Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    import ray

    list(open_engine(EngineSettings.model_validate(RAY)).arrivals(Work(squares, [1])))  # its workers know nothing of the key
    monkeypatch.setenv("QWEN_API_KEY", KEY)
    found = []
    for platform in scanned:
        teacher = ReplayTeacher(library.teacher_file, library.root, api_key=KEY)
        with running_replay(teacher) as base_url:
            first, again = asked(platform, base_url)
        assert first.equals(again)
        assert teacher.counts()["requests"] == first.height, "each photo once, and none the second time"
        found.append(first.sort("image_id"))
    told = [column for column in ANNOTATIONS.columns if column != "latency_s"]
    assert found[0].select(told).equals(found[1].select(told))
    assert found[0]["annotation"].null_count() == 0
    session = Path(ray._private.worker._global_node.get_session_dir_path())
    for folder in (session, scanned[1].settings.journal_dir):
        files = [file for file in folder.rglob("*") if file.is_file()]
        assert files
        assert not [file for file in files if KEY.encode() in file.read_bytes()]


def test_a_killed_worker_s_answers_are_not_asked_for_again(
    library: DemoLibrary, scanned: tuple[Platform, Platform], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QWEN_API_KEY", KEY)
    _, ray = scanned
    shutil.rmtree(ray.settings.journal_dir, ignore_errors=True)
    teacher = ReplayTeacher(library.teacher_file, library.root, api_key=KEY, faults=ReplayFaults(latency_s=0.5))
    killed: list[int] = []

    def strike() -> None:
        while teacher.counts()["answered"] < 5:
            time.sleep(0.02)
        victim = next(pid for pid in _tree(os.getpid()) if "MapWorker" in _title(pid))
        os.kill(victim, signal.SIGKILL)
        killed.append(victim)

    with running_replay(teacher) as base_url:
        striker = threading.Thread(target=strike)
        striker.start()
        first, _ = asked(ray, base_url)
        striker.join()
    assert killed
    assert first["annotation"].null_count() == 0
    assert teacher.counts()["requests"] <= first.height + 4, "only what was in flight is asked a second time"
    held = [line for file in ray.settings.journal_dir.rglob("*.jsonl") for line in file.read_text().splitlines()]
    assert len(held) == first.height, "one record a photo"
