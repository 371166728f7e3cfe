"""Schedules run in the time zone of the machine, by its IANA name."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from vibe_assets.operate import clock
from vibe_assets.operate.clock import schedule_timezone


@pytest.fixture(autouse=True)
def bare(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that says nothing of its time zone."""
    monkeypatch.delenv("TZ", raising=False)
    monkeypatch.setattr(clock, "LOCALTIME", tmp_path / "localtime")
    monkeypatch.setattr(clock, "NAMED", tmp_path / "timezone")


@pytest.mark.parametrize(
    ("variable", "zone"),
    [
        ("Asia/Shanghai", "Asia/Shanghai"),
        (":Europe/Athens", "Europe/Athens"),
        ("/usr/share/zoneinfo/America/New_York", "America/New_York"),
        ("EST5EDT,M3.2.0,M11.1.0", "UTC"),  # a rule without a name: no scheduler can take it
        ("../../etc/passwd", "UTC"),
        ("Nowhere/Land", "UTC"),
        ("", "UTC"),
    ],
)
def test_the_variable_names_the_zone(monkeypatch: pytest.MonkeyPatch, variable: str, zone: str) -> None:
    monkeypatch.setenv("TZ", variable)
    assert schedule_timezone() == zone


def test_without_the_variable_the_systems_link_counts_then_its_file(tmp_path: Path) -> None:
    (tmp_path / "timezone").write_text("Pacific/Auckland\n")
    assert schedule_timezone() == "Pacific/Auckland"
    (tmp_path / "localtime").symlink_to("/usr/share/zoneinfo/posix/Europe/Berlin")
    assert schedule_timezone() == "Europe/Berlin"


def test_every_schedule_of_ours_runs_at_night_where_the_machine_is() -> None:
    code = """
from datetime import UTC, datetime
from dagster._utils.schedules import schedule_execution_time_iterator
from vibe_assets.defs.automation import schedules
start = datetime(2026, 3, 1, tzinfo=UTC).timestamp()
for schedule in schedules:
    tick = next(iter(schedule_execution_time_iterator(start, schedule.cron_schedule, schedule.execution_timezone)))
    print(schedule.name, f"{tick:%H:%M}", f"{tick.astimezone(UTC):%H:%M}")
"""
    environment = {**os.environ, "TZ": "Asia/Shanghai"}
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=environment, timeout=120)
    assert found.stdout.splitlines() == ["nightly_refresh 02:15 18:15", "weekly_retrain 03:45 19:45"]
