"""Keys are in no file and on no screen: after a whole lineage, after every kind of failure, in any spelling, in part or whole."""

from __future__ import annotations

import gzip
import os
import shutil
import sqlite3
import subprocess
import sys
import traceback
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import dagster as dg
import polars as pl
import pytest

from tests.defs.world import KEYS, World, opened
from tests.photos.library import save
from tests.teacher.conftest import QUICK
from tests.trust.careless import MODES, careless_server, spellings
from tests.trust.traces import forms, traces
from vibe_assets.defs.drive import report_outside_world
from vibe_assets.defs.tag_walk import Walk
from vibe_assets.records import ANNOTATIONS
from vibe_assets.settings import SettingsError, load_settings
from vibe_assets.stages.standalone import find_photos
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.failures import TeacherError, redact
from vibe_assets.teacher.journal import Journal

ANNOTATE = [dg.AssetKey("annotations")]
NOWHERE = "http://127.0.0.1:9/v1"
SECRET = KEYS["QWEN_API_KEY"]
EXTRA = """
[teacher.candidate]
model = "candidate"
api_key_env = "CANDIDATE_KEY"

[vlm]
unsplash_url = "{address}/401"

[vlm.models.careless]
base_url = "{address}/answer/v1"
model = "careless"
retries = 0

[vlm.models.refusing]
base_url = "{address}/401/v1"
model = "refusing"
retries = 0
"""


# -- the check itself --------------------------------------------------------------------------------------------------
def test_a_secret_is_found_in_every_packing_and_every_form(tmp_path: Path) -> None:
    told = spellings(f"Bearer {SECRET}")
    (tmp_path / "plain.log").write_text(told)
    pl.DataFrame({"detail": [told] * 50}).write_parquet(tmp_path / "packed.parquet", compression="zstd")
    (tmp_path / "packed.gz").write_bytes(gzip.compress(told.encode()))
    with sqlite3.connect(tmp_path / "events.db") as connection:
        connection.execute("create table snapshots (body blob)")
        connection.execute("insert into snapshots values (?)", [zlib.compress(told.encode())])
    connection.close()
    found = traces(tmp_path, {"key": SECRET})
    for name in ("plain.log", "packed.parquet", "packed.gz", "events.db"):
        shown = {line.split(", ")[1] for line in found if line.startswith(name)}
        assert shown >= {"raw", "end", "url"}, name
        assert any(form.startswith("base64") for form in shown), name
    (tmp_path / "clean").mkdir()
    (tmp_path / "clean" / "plain.log").write_text(redact(told, SECRET))
    assert traces(tmp_path / "clean", {"key": SECRET}) == []


@pytest.mark.parametrize("form", sorted(forms(SECRET).keys() - {"hex"}))
def test_every_form_is_masked_wherever_it_stands(form: str) -> None:
    told = forms(SECRET)[form].decode()
    assert told not in redact(f'before {told}, and again:{told}after {{"{told}": "{told}"}}', SECRET)


def test_honest_text_is_left_as_it_is() -> None:
    text = "A canary in a cage, a key on a table; card number 0001, https://example.org/x+2mZ"
    assert redact(text, SECRET) == text


# -- a whole lineage ---------------------------------------------------------------------------------------------------
def test_no_key_is_anywhere_after_the_whole_lineage(settled: Path) -> None:
    names = {path.suffix for path in settled.rglob("*")}
    assert names >= {".db", ".jsonl", ".parquet", ".html", ".duckdb", ".safetensors", ".csv", ".err"}, "the lineage wrote all it writes"
    assert traces(settled, KEYS) == []


# -- failures ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def careless(settled: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> Iterator[tuple[World, str, list[tuple[str, str | None]]]]:
    """A settled installation and a careless server; afterwards everything written and printed is searched."""
    folder = tmp_path / "installation"
    shutil.copytree(settled, folder)
    with opened(folder) as world, careless_server() as (address, asked):
        world.setting("[audit]", "retries = 1\n\n[audit]")
        with (folder / "vibe.toml").open("a") as file:
            file.write(EXTRA.format(address=address))
        yield world, address, asked
    out, err = capfd.readouterr()
    (tmp_path / "screen.log").write_text(out + err)
    assert traces(tmp_path, KEYS) == []


def errors(world: World) -> str:
    """What the event log keeps of the last run's failure."""
    run = world.instance.get_run_records(limit=1)[0].dagster_run
    logs = world.instance.all_logs(run.run_id, of_type=dg.DagsterEventType.STEP_FAILURE)
    return "\n".join(str(entry.dagster_event.step_failure_data.error) for entry in logs if entry.dagster_event)


def test_no_key_is_told_by_any_failure_of_a_run(careless: tuple[World, str, list[tuple[str, str | None]]]) -> None:
    world, address, asked = careless
    for number in range(2):
        save(world.photos / "new" / f"{number}.jpg", seed=500 + number)
    report_outside_world(world.platform, world.instance)
    key = next(name for name in world.folders() if name.startswith("new-"))
    assert world.driver.run([dg.AssetKey("raw_photos")], key)
    for mode in ("401", "500", "refusal", "answer"):
        os.environ |= {"QWEN_BASE_URL": f"{address}/{mode}/v1", "QWEN_MODEL": f"model-{mode}"}  # another model: nothing is cached
        passed = world.driver.run(ANNOTATE, key)  # the others may leave rows with their reasons instead
        assert passed is (mode == "answer") or mode in ("500", "refusal"), (mode, errors(world))
    assert {sent for _, sent in asked} == {f"Bearer {SECRET}"}, "the key was sent, and told back"
    rows = world.platform.lake.read(ANNOTATIONS, folder_key=key)
    assert "***" in "".join(rows["annotation"].drop_nulls()) + "".join(rows["detail"].drop_nulls()), "what was told back was masked"


def test_no_key_is_in_journals_or_messages_whatever_the_server_does(
    careless: tuple[World, str, list[tuple[str, str | None]]], tmp_path: Path
) -> None:
    _, address, asked = careless
    save(tmp_path / "one" / "1.jpg", seed=5)
    settings = load_settings()
    photos = find_photos(settings, tmp_path / "one")
    said = {}
    for url in [*(f"{address}/{mode}/v1" for mode in MODES), NOWHERE]:
        teacher = settings.teacher.model_copy(update={"base_url": url, "retries": 1, "timeout_s": 5.0})
        journal = Journal(settings.journal_dir / f"teacher-{len(said)}", "by-hand")
        try:
            said[url] = repr(annotate(photos, settings=teacher, journal=journal, pace=QUICK, progress=False))
        except TeacherError as error:
            said[url] = "".join(traceback.format_exception(error))
    (tmp_path / "said.log").write_text("\n".join(said.values()))
    assert {mode for mode, _ in asked} == set(MODES)
    assert sum("***" in text for text in said.values()) >= len(MODES) - 5, said
    assert "cannot reach the teacher" in said[NOWHERE]


def test_no_key_is_told_by_an_exception_inside_the_sdk(
    careless: tuple[World, str, list[tuple[str, str | None]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    from openai._base_client import AsyncAPIClient

    world, _, _ = careless

    async def broken(self: AsyncAPIClient, *_: object, **__: object) -> None:
        try:
            raise KeyError(f"Authorization: Bearer {self.auth_headers}")
        except KeyError as error:
            raise RuntimeError("no such header") from error  # the cause tells, not the error itself

    monkeypatch.setattr(AsyncAPIClient, "request", broken)
    os.environ["QWEN_MODEL"] = "another"
    assert not world.driver.run(ANNOTATE, world.folders()[0])
    assert "asking the teacher at" in errors(world)
    assert "RuntimeError: no such header" in errors(world)


def test_no_key_is_told_by_the_tag_study(careless: tuple[World, str, list[tuple[str, str | None]]]) -> None:
    world, _, asked = careless
    walk = Walk(world.instance)
    refused = walk.ingest("from-unsplash", {"query": "dogs", "count": 3})
    assert not refused.success
    assert "refuses the access key" in refused.error
    assert walk.ingest("own", {"library": "audited", "limit": 4}).success
    assert [ran.success for ran in walk.ask(["own"], ["careless", "refusing"])] == [True, False]
    sent = {name for name, key in KEYS.items() for _, said in asked if said and key in said}
    assert sent == {"UNSPLASH_ACCESS_KEY", "OPENAI_API_KEY"}


def test_no_key_is_told_by_a_candidate_on_trial(careless: tuple[World, str, list[tuple[str, str | None]]]) -> None:
    world, address, asked = careless
    for mode, succeeds in (("answer", True), ("401", False)):
        os.environ["VIBE_TEACHER__CANDIDATE__BASE_URL"] = f"{address}/{mode}/v1"
        os.environ["VIBE_TEACHER__CANDIDATE__MODEL"] = f"candidate-{mode}"
        assert world.driver.run([dg.AssetKey("teacher_trial")]) is succeeds, errors(world)
    assert {sent for _, sent in asked} == {f"Bearer {KEYS['CANDIDATE_KEY']}"}


COMMANDS = [  # how the server behaves, and what is run against it
    ("401", ["--help"]), ("401", ["doctor"]), ("401", ["annotate", "--output", "refused.jsonl"]),
    ("401", ["tags", "ingest", "--query", "dogs"]),
    ("answer", ["annotate", "--output", "answers.jsonl"]), ("answer", ["sql", "select * from annotations limit 3"]),
]  # fmt: skip


def test_no_command_prints_a_key(careless: tuple[World, str, list[tuple[str, str | None]]], tmp_path: Path) -> None:
    world, address, asked = careless
    shutil.rmtree(world.photos)
    save(world.photos / "one" / "1.jpg", seed=77)
    outs = [tmp_path / f"{number}.out" for number in range(len(COMMANDS))]
    running = []
    for (mode, command), out in zip(COMMANDS, outs, strict=True):
        environment = {**os.environ, "QWEN_BASE_URL": f"{address}/{mode}/v1"}
        vibe = [sys.executable, "-m", "vibe_assets.cli", *command]
        running.append(subprocess.Popen(vibe, cwd=tmp_path, env=environment, stdout=out.open("wb"), stderr=subprocess.STDOUT))
    ends = [process.wait(200) for process in running]
    said = [out.read_text() for out in outs]
    assert ends == [0, 1, 1, 1, 0, 0], said
    assert "First steps" in said[0]
    assert all("refuses the key" in text for text in said[1:3])
    assert "refuses the access key" in said[3]
    assert "1 of 1 photo answered" in said[4]
    assert {sent for _, sent in asked} == {f"Bearer {SECRET}", f"Client-ID {KEYS['UNSPLASH_ACCESS_KEY']}"}


# -- settings ----------------------------------------------------------------------------------------------------------
def test_settings_never_show_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, key in KEYS.items():
        monkeypatch.setenv(name, key)
    (tmp_path / "vibe.toml").write_text(EXTRA.format(address="http://127.0.0.1:9"))
    settings = load_settings(tmp_path / "vibe.toml")
    shown = repr(settings) + str(settings) + settings.model_dump_json() + repr(settings.teacher.api_key)
    assert not [key for key in KEYS.values() if key[:12] in shown]


@pytest.mark.parametrize(
    "text",
    [
        f'[teacher]\napi_key = "{SECRET}"',
        f'[teacher]\napi_key_env = "{SECRET}"',
        f'[teacher.candidate]\napi_key = "{SECRET}"',
        f'[vlm.models.a]\nbase_url = "http://x/v1"\nmodel = "m"\napi_key = "{SECRET}"',
        f'[vlm]\nunsplash_key_env = "{SECRET}"',
        f'[vlm]\nunsplash_key = "{SECRET}"',
        f'[vlm.models.a]\nbase_url = "http://x/v1"\nmodel = "m"\napi_key_env = "{SECRET}"',
    ],
)
def test_a_key_written_into_the_settings_is_refused_without_being_repeated(tmp_path: Path, text: str) -> None:
    (tmp_path / "vibe.toml").write_text(text)
    with pytest.raises(SettingsError) as refused:
        load_settings(tmp_path / "vibe.toml")
    assert SECRET[:12] not in str(refused.value)


def test_an_address_with_a_password_is_shown_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.settings import TeacherSettings
    from vibe_assets.teacher.client import probe
    from vibe_assets.teacher.pace import Pace

    settings = TeacherSettings.model_validate({"base_url": f"http://user:{SECRET.replace('/', '')}@127.0.0.1:9/v1?key={SECRET}"})
    said = probe(settings, pace=Pace(first_wait_s=0.01, give_up_connecting_after=1)).detail
    assert "http://127.0.0.1:9/v1" in said
    assert SECRET[:12] not in said


def test_a_key_that_no_header_can_carry_is_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.settings import TeacherSettings
    from vibe_assets.teacher.client import TeacherClient

    monkeypatch.setenv("QWEN_API_KEY", f"{SECRET}\nÄ")
    client: Callable[..., object] = TeacherClient
    with pytest.raises(TeacherError) as refused:
        client(TeacherSettings.model_validate({"base_url": NOWHERE}))
    assert SECRET[:12] not in str(refused.value)
