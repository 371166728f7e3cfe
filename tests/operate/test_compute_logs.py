"""What a step prints lies in its files, and no process is started or left behind for it."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import dagster as dg
import pytest
import yaml

HOUSE = yaml.safe_load((Path(__file__).parents[2] / "dagster_home" / "dagster.yaml").read_text(encoding="utf-8"))
SETTINGS = {name: HOUSE[name] for name in ("compute_logs", "python_logs", "telemetry")}


@dg.op
def talk() -> int:
    print("said on stdout")
    print("said on stderr", file=sys.stderr)
    children = subprocess.run(["ps", "--ppid", str(os.getpid()), "-o", "args="], capture_output=True, text=True, check=True).stdout
    return len([line for line in children.splitlines() if "tail" in line or "watch_orphans" in line])


@dg.job(executor_def=dg.in_process_executor)
def talking() -> None:
    talk()


def test_output_is_kept_in_files_and_no_tail_is_started(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=SETTINGS) as instance:
        result = talking.execute_in_process(instance=instance)
        assert result.output_for_node("talk") == 0
        files = list((tmp_path / "storage").rglob("compute_logs/*"))
        text = {file.suffix: file.read_text(encoding="utf-8") for file in files}
    assert "said on stdout" in text[".out"]
    assert "said on stderr" in text[".err"]
    assert ".complete" in text


@dg.op
def tell() -> None:
    dg.OpExecutionContext.get().log.info("seven photos")


@dg.job(executor_def=dg.in_process_executor)
def telling() -> None:
    tell()


def test_the_console_shows_what_assets_say_and_the_instance_keeps_every_event(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("DAGSTER_HOME", str(tmp_path))
    with dg.DagsterInstance.local_temp(str(tmp_path), overrides=SETTINGS) as instance:
        result = telling.execute_in_process(instance=instance)
        kept = {event.dagster_event_type for event in instance.all_logs(result.run_id) if event.dagster_event}
        (file,) = (tmp_path / "storage").rglob("compute_logs/*.err")
    assert "seven photos" in file.read_text(encoding="utf-8")
    assert "DEBUG" not in file.read_text(encoding="utf-8") + capfd.readouterr().err
    assert {dg.DagsterEventType.STEP_START, dg.DagsterEventType.STEP_SUCCESS, dg.DagsterEventType.RUN_SUCCESS} <= kept
