"""The published DuckDB file is lost, damaged or locked: the message names one command, and that command rebuilds it from the lake."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import duckdb
import pyarrow as pa
import pytest
from click.testing import CliRunner

from tests.faults import writers
from vibe_assets.cli import main
from vibe_assets.defs.resources import Warehouse
from vibe_assets.lake import Lake, LakeError, write_text
from vibe_assets.records import AUTO_GROUND_TRUTH, METRICS
from vibe_assets.stages.drift import published_metrics
from vibe_assets.stages.platform import Platform

REMEDY = r"warehouse\.duckdb cannot be used: .*`vibe warehouse rebuild`"


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An installation with a lake and nothing published; `vibe.toml` and environment point to it."""
    monkeypatch.setenv("VIBE_CONFIG", str(write_text(tmp_path / "vibe.toml", f'[library]\nroot = "{tmp_path}"\nhome = "data"\n')))
    blank = dict.fromkeys(AUTO_GROUND_TRUTH.columns)
    truth = [blank | {"image_id": str(number), "scene": "scene.food"} for number in range(3)]
    lake = Lake(tmp_path / "data" / "lake")
    lake.replace(AUTO_GROUND_TRUTH, writers.pl.DataFrame(truth, schema=AUTO_GROUND_TRUTH.polars_schema()))
    metric = dict.fromkeys(METRICS.columns) | {"at": writers.AT, "metric": "scene"}
    lake.append(METRICS, writers.pl.DataFrame([metric], schema=METRICS.polars_schema()))
    return tmp_path / "data"


def vibe(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(main, list(arguments))
    assert result.exception is None or isinstance(result.exception, SystemExit), repr(result.exception)
    return result.exit_code, result.output


def published(home: Path) -> int:
    with duckdb.connect(str(home / "warehouse.duckdb"), read_only=True) as connection:
        ((count,),) = connection.sql("SELECT count(*) FROM auto_ground_truth").fetchall()
    return int(count)


def overwrite_the_start(file: Path) -> None:
    file.write_bytes(b"x" * 4096 + file.read_bytes()[4096:])


def overwrite_the_blocks(file: Path) -> None:
    content = file.read_bytes()
    file.write_bytes(content[: 3 * 4096] + b"\xa5" * (len(content) - 3 * 4096))


def cut_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:5000])


@pytest.mark.parametrize("damage", [overwrite_the_start, overwrite_the_blocks, cut_off], ids=lambda damage: damage.__name__)
def test_a_damaged_file_is_named_with_the_command_that_rebuilds_it(home: Path, damage: Callable[[Path], None]) -> None:
    assert vibe("warehouse", "rebuild")[0] == 0
    damage(home / "warehouse.duckdb")
    began = time.monotonic()
    with pytest.raises(LakeError, match=REMEDY):
        Warehouse().publish({"auto_ground_truth": pa.table({"a": [1]})})
    with pytest.raises(LakeError, match=REMEDY):
        published_metrics(Platform.open(progress=False))
    code, said = vibe("sql", "select * from warehouse.auto_ground_truth")
    assert (code, "vibe warehouse rebuild" in said) == (1, True), said
    assert time.monotonic() - began < 20, "a damaged file is no locked one: nothing to wait for"
    assert vibe("warehouse", "rebuild")[0] == 0
    assert published(home) == 3
    assert published_metrics(Platform.open(progress=False)).height == 1


def test_a_lost_or_empty_file_is_made_again_and_an_old_log_beside_it_is_not_believed(home: Path) -> None:
    assert vibe("warehouse", "rebuild")[0] == 0
    (home / "warehouse.duckdb").write_bytes(b"")
    (home / "warehouse.duckdb.wal").write_bytes(b"\x01" * 400)
    assert vibe("warehouse", "rebuild")[0] == 0
    assert published(home) == 3
    assert sorted(path.name for path in home.iterdir()) == ["lake", "lake.tables", "notes.jsonl", "warehouse.duckdb"]


HOLDER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1])
print("held", flush=True)
sys.stdin.readline()
"""


def test_a_file_that_another_process_holds_is_rebuilt_beside_it(home: Path) -> None:
    assert vibe("warehouse", "rebuild")[0] == 0
    command = [sys.executable, "-c", HOLDER, str(home / "warehouse.duckdb")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=dict(os.environ)) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        with pytest.raises(LakeError, match=REMEDY):
            published_metrics(Platform.open(progress=False))
        assert vibe("warehouse", "rebuild")[0] == 0
        assert published(home) == 3
        holder.communicate("\n")
    assert published(home) == 3


def test_clients_of_older_versions_can_open_the_published_file(home: Path) -> None:
    file = home / "warehouse.duckdb"

    def layout() -> int:
        return int.from_bytes(file.read_bytes()[12:20], "little")

    assert vibe("warehouse", "rebuild")[0] == 0
    assert layout() == 64, "what duckdb 1.0 writes, and every later version reads"
    file.unlink()
    Warehouse().publish({"auto_ground_truth": pa.table({"a": [1]})})
    assert layout() == 64
    file.unlink()
    with duckdb.connect(str(file), config={"storage_compatibility_version": "latest"}) as connection:
        connection.execute("CREATE TABLE metrics AS SELECT 5 AS value")
    assert layout() != 64
    Warehouse().publish({"auto_ground_truth": pa.table({"a": [1]})})
    assert (layout(), published(home)) == (64, 1)
    with duckdb.connect(str(file), read_only=True) as connection:
        assert connection.sql("FROM metrics").fetchall() == [(5,)], "other tables of the file stay"
