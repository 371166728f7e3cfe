"""What a hostile world does to the real graph: names, files, a teacher that is away, kills, and a key that must not leak."""

from __future__ import annotations

import http.server
import json
import os
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import dagster as dg
import numpy as np
import polars as pl
import pytest
from dagster._core.launcher import WorkerStatus
from PIL import Image

from tests.defs.world import SETTINGS, World
from tests.photos.library import save
from tests.photos.test_folders import earlier_key
from tests.teacher.conftest import always
from vibe_assets.definitions import defs
from vibe_assets.defs.drive import report_outside_world
from vibe_assets.defs.standing import graph_status
from vibe_assets.encoders.base import Encoder, load_encoder
from vibe_assets.encoders.cache import EmbeddingCache
from vibe_assets.encoders.engine import embed_photos
from vibe_assets.lake import is_key
from vibe_assets.records import ANNOTATIONS, FOLDER_SET, IMAGE_EMBEDDINGS, RAW_PHOTOS
from vibe_assets.settings import LibrarySettings, Settings, load_settings
from vibe_assets.stages import gates
from vibe_assets.stages.library import look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.standalone import find_photos
from vibe_assets.teacher.replay import ReplayFaults, ReplayTeacher, running_replay

CANARY = "canary-5d1f0c9e-key"
UP_TO_VECTORS = [dg.AssetKey(name) for name in ("raw_photos", "annotations", "image_embeddings")]
ANNOTATE = [dg.AssetKey("annotations")]
NOWHERE = "http://127.0.0.1:9/v1"


@contextmanager
def installation(folder: Path, replay: ReplayTeacher, **environment: str) -> Iterator[World]:
    """An installation over whatever lies in folder/photos."""
    (folder / "vibe.toml").write_text(SETTINGS.replace("[teacher]", "[teacher]\nretries = 1\ntimeout_s = 10"))
    (folder / "dagster_home").mkdir()
    shutil.copy(Path(__file__).parents[1] / "dagster_home" / "dagster.yaml", folder / "dagster_home")
    before = dict(os.environ)
    with running_replay(replay) as base_url:
        home = {"VIBE_CONFIG": str(folder / "vibe.toml"), "QWEN_BASE_URL": base_url, "DAGSTER_HOME": str(folder / "dagster_home")}
        os.environ |= home | environment
        try:
            with dg.DagsterInstance.get() as instance:
                world = World(folder, instance, replay)
                report_outside_world(world.platform, instance)
                yield world
        finally:
            os.environ.clear()
            os.environ |= before


def wait_until(true: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.005)


def errors_of_last_run(world: World) -> str:
    """What the event log keeps of the last run's failure."""
    run = world.instance.get_run_records(limit=1)[0].dagster_run
    logs = world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return "\n".join(str(entry.dagster_event.step_failure_data.error) for entry in logs if entry.dagster_event)


# -- names -------------------------------------------------------------------------------------------------------------
NAMES = [
    b'it\'s "quoted"',
    b"x' OR '1'='1",
    "emoji \U0001f600 \u202egnp".encode(),
    b"..x",
    b"...",
    b"a, b; c",
    b"new\nline\ttab",
    b" lead and trail ",
    b"caf\xe9 \xff",
    "東京/写真".encode(),
    "हिन्दी तस्वीरें".encode(),
    "\u202eצילום".encode(),
    ("あ" * 80).encode(),
    b"n" * 250,
    b"[2024]*?{x}",
    b"<script>alert(1)</script>"[:20],
    b"$(touch pwned) `id` %2e%2e",
    b"deep/" + b"/".join([b"d" * 60] * 8),
]


@pytest.mark.slow
def test_folders_of_any_name_go_through_photos_teacher_and_encoder(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path / "photos")
    source = tmp_path / "source.jpg"
    for number, name in enumerate(NAMES):
        save(source, number)
        folder = os.path.join(root, name)  # noqa: PTH118 - bytes
        os.makedirs(folder)  # noqa: PTH103
        shutil.copy(bytes(source), os.path.join(folder, b"it's,\n\xff " + b"%d.jpg" % number))  # noqa: PTH118
    with installation(tmp_path, ReplayTeacher(always)) as world:
        lake = world.platform.lake
        folders = {bytes(path): key for path, key in lake.read(FOLDER_SET).select("path_bytes", "folder_key").iter_rows()}
        assert set(folders) == set(NAMES)
        assert all(is_key(key) for key in folders.values())
        assert world.folders() == sorted(folders.values())
        driver = world.driver
        for key in folders.values():
            assert driver.run(UP_TO_VECTORS, key), errors_of_last_run(world)
        photos, answers, vectors = (lake.read_live(table) for table in (RAW_PHOTOS, ANNOTATIONS, IMAGE_EMBEDDINGS))
        assert dict(photos.select("folder_key", "reason").iter_rows()) == dict.fromkeys(folders.values())
        for path, key in photos.select("path_bytes", "folder_key").iter_rows():
            assert folders[os.path.dirname(path)] == key  # noqa: PTH120
            assert Path(os.fsdecode(os.path.join(root, path))).is_file()  # noqa: PTH118
        assert set(answers.filter(pl.col("reason").is_null())["folder_key"]) == set(folders.values())
        assert set(vectors.filter(pl.col("reason").is_null())["folder_key"]) == set(folders.values())
        assert world.replay.counts()["photos"] == len(NAMES)
        assert not list(tmp_path.rglob("pwned"))
        assert not driver.tally.not_passed


def test_keys_that_were_made_up_reach_neither_disk_nor_lake(tmp_path: Path) -> None:
    save(tmp_path / "photos" / "a" / "1.jpg")
    with installation(tmp_path, ReplayTeacher(always)) as world:
        outside = "../../etc"
        world.instance.add_dynamic_partitions("photo_folders", [outside])
        assert not world.driver.run(UP_TO_VECTORS[:1], outside)
        assert "no folder '../../etc' in the library; `vibe folders` lists them" in errors_of_last_run(world)
        assert not world.platform.lake.exists(RAW_PHOTOS)


@pytest.mark.slow
def test_a_library_whose_keys_move_asks_nobody_again_and_loses_the_old_partitions(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(3):
        save(tmp_path / "photos" / f"写真 {number}" / "p.jpg", number)
    with monkeypatch.context() as earlier:
        earlier.setattr("vibe_assets.photos.folders.folder_key", earlier_key)
        with installation(tmp_path, ReplayTeacher(always)) as world:
            before, lake, driver = world.folders(), world.platform.lake, world.driver
            for key in before:
                assert driver.run(UP_TO_VECTORS, key), errors_of_last_run(world)
            assert world.replay.counts()["photos"] == 3
            answers = lake.read_live(ANNOTATIONS).drop("folder_key").sort("image_id")
            earlier.undo()
            report_outside_world(world.platform, world.instance)
            for key in world.folders():
                assert key.startswith("写真-")
                assert driver.run(UP_TO_VECTORS, key), errors_of_last_run(world)
            assert len(world.folders()) == 3
            assert lake.live_folders() == world.folders()
            assert lake.read_live(ANNOTATIONS).drop("folder_key").sort("image_id").equals(answers)
            assert lake.read_live(IMAGE_EMBEDDINGS).height == 3
            assert world.replay.counts()["photos"] == 3


# -- files -------------------------------------------------------------------------------------------------------------
def test_malformed_files_are_rows_and_the_gates_name_what_was_rejected(tmp_path: Path, real_data: Path) -> None:
    library = real_data / "malformed"
    config = tmp_path / "vibe.toml"
    config.write_text(f'[library]\nroot = "{library}"\nhome = "data"\n[gates]\nmin_readable_share = 0.99\n')
    platform = Platform(load_settings(config), progress=False)
    started = time.monotonic()
    look = look_at_folders(platform)
    for key, rel_path in look.folders.select("folder_key", "rel_path").iter_rows():
        rows = scan_folder(platform, key)
        files = [path for path in (library / rel_path).iterdir() if path.is_file() and not path.name.startswith(".")]
        assert rows.height == len(files)
        assert rows.filter(pl.col("reason").is_null() & pl.col("image_id").is_null()).is_empty()
        assert rows.filter(pl.col("reason").is_null() & (pl.col("width").is_null() | pl.col("phash").is_null())).is_empty()
        rejected = rows.filter(pl.col("reason").is_not_null() & ~pl.col("reason").is_in(gates.NOT_PHOTOS))
        photos = rows.filter(~pl.col("reason").is_in(gates.NOT_PHOTOS).fill_null(False)).height
        listed, readable = gates.nothing_rejected(platform, key), gates.photos_readable(platform, key)
        assert listed.facts["rejected"] == rejected.height
        assert listed.passed == rejected.is_empty()
        assert readable.facts["readable"] == photos - rejected.height
        assert readable.passed == (rejected.height <= 0.01 * photos)
    assert look.folders.height >= 4
    assert time.monotonic() - started < 200


# -- a teacher that is away --------------------------------------------------------------------------------------------
def test_an_absent_teacher_stops_its_folder_only_and_the_next_run_goes_on(tmp_path: Path) -> None:
    for name in ("a", "b"):
        for number in range(3):
            save(tmp_path / "photos" / name / f"{number}.jpg", seed=number + 10 * (name == "b"))
    with installation(tmp_path, ReplayTeacher(always)) as world:
        driver, (first, second), here = world.driver, world.folders(), os.environ["QWEN_BASE_URL"]
        for key in (first, second):
            assert driver.run(UP_TO_VECTORS[:1], key)
        assert driver.run(ANNOTATE, first)
        before = world.platform.lake.read(ANNOTATIONS)
        os.environ["QWEN_BASE_URL"] = NOWHERE
        assert not driver.run(ANNOTATE, second)
        message = errors_of_last_run(world)
        assert f"cannot reach the teacher at {NOWHERE}" in message
        assert "correct teacher.base_url (QWEN_BASE_URL)" in message
        assert driver.run(ANNOTATE, first), "what is answered needs no teacher"
        assert world.platform.lake.read(ANNOTATIONS).equals(before)
        os.environ["QWEN_BASE_URL"] = here
        assert driver.run(ANNOTATE, second)
        assert world.platform.lake.read(ANNOTATIONS).filter(pl.col("reason").is_null()).height == 6
        assert world.replay.counts()["requests"] == 6


# -- kills -------------------------------------------------------------------------------------------------------------
def killed_when(process: subprocess.Popen[bytes], true: Callable[[], object]) -> None:
    """SIGKILL for the process and all it started, once `true`; it must still be at work."""
    try:
        wait_until(lambda: true() or process.poll() is not None)
        assert process.poll() is None, "it was done before it could be killed"
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def test_a_killed_annotation_is_gone_on_with_where_it_ended(tmp_path: Path) -> None:
    for number in range(40):
        save(tmp_path / "photos" / f"{number}.jpg", seed=number)
    output = tmp_path / "answers.jsonl"
    replay = ReplayTeacher(always, faults=ReplayFaults(latency_s=0.1))
    with running_replay(replay) as base_url:
        environment = {**os.environ, "QWEN_BASE_URL": base_url, "VIBE_TEACHER__CONCURRENCY": "2", "VIBE_LIBRARY__SCAN_WORKERS": "1"}
        environment.pop("VIBE_CONFIG", None)
        command = [sys.executable, "-m", "vibe_assets.cli", "annotate", "--root", str(tmp_path / "photos"), "--output", str(output)]
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, start_new_session=True, stderr=subprocess.DEVNULL)
        killed_when(process, lambda: output.exists() and output.read_bytes().count(b"\n") >= 5)
        wait_until(lambda: replay.counts()["in_flight"] == 0)
        kept, paid = output.read_bytes().count(b"\n"), replay.counts()["requests"]
        assert 5 <= kept < 40
        assert paid - kept <= 4  # in flight, or answered and not yet written
        done = subprocess.run(command, env=environment, cwd=tmp_path, capture_output=True, text=True, check=True, timeout=120)
        assert "40 of 40 photos answered" in done.stdout
        assert replay.counts()["requests"] == paid + 40 - kept
    assert len({json.loads(line)["image_id"] for line in output.read_text().splitlines()}) == 40


def test_a_run_that_was_killed_is_not_at_work_and_what_it_was_making_is_to_make(tmp_path: Path) -> None:
    for number in range(4):
        save(tmp_path / "photos" / f"{number}.jpg", seed=number)
    replay = ReplayTeacher(always, faults=ReplayFaults(latency_s=60))
    with installation(tmp_path, replay, VIBE_TEACHER__CONCURRENCY="1", VIBE_TEACHER__TIMEOUT_S="90") as world:
        command = [sys.executable, "-m", "vibe_assets.cli", "run"]
        process = subprocess.Popen(command, start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            wait_until(lambda: replay.counts()["in_flight"] or process.poll() is not None)
            before = graph_status(world.instance, defs, world.platform)
        finally:
            killed_when(process, lambda: True)
        after = graph_status(world.instance, defs, world.platform)
        (run,) = world.instance.get_runs(dg.RunsFilter(statuses=[dg.DagsterRunStatus.STARTED]))
        assert [(one.assets, one.partition) for one in before.runs] == [("annotations", run.tags["dagster/partition"])]
        assert not any(line.startswith("annotations") for line in before.to_make)
        assert after.runs == ()
        assert any(line.startswith("annotations of 1 folder") for line in after.to_make)
        health = world.instance.run_launcher.check_run_worker_health(run)
        assert health.status == WorkerStatus.NOT_FOUND  # so that a daemon that starts then takes it up


EMBED = """
import sys
from pathlib import Path
from vibe_assets.encoders.base import load_encoder
from vibe_assets.encoders.engine import embed_photos
from vibe_assets.settings import Settings
from vibe_assets.stages.standalone import find_photos
if __name__ == "__main__":
    settings = Settings.model_validate({"encoder": {"batch_size": 4}, "library": {"scan_workers": 1}})
    photos = find_photos(settings, Path(sys.argv[1]))
    embed_photos(photos, load_encoder(settings.encoder), settings=settings.encoder, cache_dir=Path(sys.argv[2]), flush_s=0.0)
"""


def test_a_killed_embedding_run_loses_only_what_was_not_yet_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(60):
        save(tmp_path / "photos" / f"{number}.png", seed=number)
        with (tmp_path / "photos" / f"{number}.png").open("ab") as file:
            file.write(b"\0" * number)
    cache_dir, script = tmp_path / "cache", tmp_path / "embed.py"
    script.write_text(EMBED)
    settings = Settings(library=LibrarySettings(scan_workers=1))
    encoder = load_encoder(settings.encoder)
    cache = EmbeddingCache.of(cache_dir, encoder.fingerprint, encoder.dim)
    command = [sys.executable, str(script), str(tmp_path / "photos"), str(cache_dir)]
    process = subprocess.Popen(command, start_new_session=True, stderr=subprocess.DEVNULL)
    killed_when(process, lambda: len(list(cache.folder.glob("[!.]*.parquet"))) >= 2)
    photos = find_photos(settings, tmp_path / "photos")
    known = int(cache.load([photo.image_id for photo in photos], np.zeros((len(photos), encoder.dim), np.float32)).sum())
    assert 8 <= known < 60
    looked_at: list[Image.Image] = []
    preprocess = type(encoder).preprocess

    def counted(self: Encoder, image: Image.Image) -> np.ndarray:
        looked_at.append(image)
        return preprocess(self, image)

    monkeypatch.setattr(type(encoder), "preprocess", counted)
    rows = embed_photos(photos, encoder, settings=settings.encoder, cache_dir=cache_dir, progress=False)
    assert rows["reason"].null_count() == 60
    assert len(looked_at) == 60 - known


# -- the key -----------------------------------------------------------------------------------------------------------
class EchoesTheKey(http.server.BaseHTTPRequestHandler):
    """A server that repeats the key it was given in its refusal, as careless ones do."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["Content-Length"]))
        body = json.dumps({"error": {"message": f"Incorrect API key provided: {self.headers['Authorization']}", "code": "x"}}).encode()
        self.send_response(401)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""


@contextmanager
def careless_server() -> Iterator[str]:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), EchoesTheKey) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_address[1]}/v1"
        finally:
            server.shutdown()
            thread.join()


@pytest.mark.slow
def test_the_key_is_nowhere_after_runs_that_succeed_and_runs_that_fail(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for name in ("a", "b"):
        save(tmp_path / "photos" / name / "1.jpg", seed=ord(name))
    with installation(tmp_path, ReplayTeacher(always, api_key=CANARY), QWEN_API_KEY=CANARY) as world, careless_server() as careless:
        driver, (first, second) = world.driver, world.folders()
        for key in (first, second):
            assert driver.run(UP_TO_VECTORS[:1], key)
        assert driver.run(ANNOTATE, first)
        os.environ["QWEN_BASE_URL"] = careless
        assert not driver.run(ANNOTATE, second)
        assert "refuses the key" in errors_of_last_run(world)
        os.environ["QWEN_BASE_URL"] = NOWHERE
        assert not driver.run(ANNOTATE, second)
        command = [sys.executable, "-m", "vibe_assets.cli", "annotate", "--output", str(tmp_path / "answers.jsonl")]
        for base_url in (careless, NOWHERE):
            said = subprocess.run(command, env={**os.environ, "QWEN_BASE_URL": base_url}, capture_output=True, text=True, check=False)
            assert said.returncode == 1
            assert CANARY not in said.stdout + said.stderr
    looked_at = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {path.suffix for path in looked_at} >= {".db", ".jsonl", ".parquet"}
    assert [path for path in looked_at if CANARY.encode() in path.read_bytes()] == []
    assert CANARY not in "".join(capfd.readouterr())
