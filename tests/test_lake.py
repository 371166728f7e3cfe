"""The lake under everything that goes wrong: other writers, kills, a full or read-only disk, hostile names."""

from __future__ import annotations

import contextlib
import dataclasses
import multiprocessing
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from multiprocessing.pool import ThreadPool
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import polars as pl
import pyarrow as pa
import pytest
from polars.testing import assert_frame_equal

import vibe_assets.lake
from vibe_assets.defs.resources import Warehouse
from vibe_assets.lake import Lake, LakeError, atomic_file, checked_key, write_text
from vibe_assets.photos.scan import folder_key
from vibe_assets.records import ANNOTATIONS, FOLDER_SET, IMAGE_EMBEDDINGS, METRICS, PREDICTIONS, RAW_PHOTOS, TABLES, Table

KEY, OTHER = "a-0", "b-1"
HOSTILE = [
    "x' OR '1'='1",
    "../x",
    "..",
    "",
    "😀",
    "a\nb",
    "a b",
    "A",
    "-a",
    "a" * 70,
    "a/b",
    "a%2f",
    "a\0",
    "É",
    "e\u0301",
    "\u0301a",
    "\u202ea",
    "東京_1",
    "東" * 15,
    "½",
    "a-0\n",
]
VALUES: dict[str, list[Any]] = {
    "str": ["plain", "", 'it\'s "quoted", 50 %', "emoji 😀\nand a line", None],
    "i64": [0, -1, 2**63 - 1, -(2**63), None],
    "i32": [0, -1, 2**31 - 1, -(2**31), None],
    "f64": [0.0, -1.5, 1e308, float("nan"), None],
    "f32": [0.0, -1.5, float("inf"), 1e-30, None],
    "bool": [True, False, None, True, None],
    "bytes": [b"", b"\xff\x00'", "é".encode(), b"/", None],
    "time": [datetime(2024, 2, 29, 12, 30, 1, 123456, UTC), datetime(1969, 1, 1, tzinfo=UTC), datetime(2199, 1, 1, tzinfo=UTC), None, None],
    "wall": [datetime(2024, 2, 29, 12, 30, 1, 123456), datetime(1900, 1, 1), None, None, datetime(2199, 1, 1)],
    "list[str]": [["b", "a"], [], None, ["", "it's"], ["😀"]],
    "list[f32]": [[0.5, -0.5], [], None, [float("nan")], [1.0] * 64],
}


def rows_of(table: Table, key: str = KEY) -> pl.DataFrame:
    """Five rows with every awkward value of each type."""
    keyed = table.key if table.partitioned else "folder_key"
    columns = {name: [key] * 5 if name == keyed else VALUES[column.dtype] for name, column in table.columns.items()}
    return pl.DataFrame(columns, schema=table.polars_schema())


def numbered(key: str, generation: int, count: int = 5) -> pl.DataFrame:
    """ANNOTATIONS rows that all say which write they belong to."""
    rows = [dict.fromkeys(ANNOTATIONS.columns) | {"folder_key": key, "image_id": f"{i}", "latency_s": generation} for i in range(count)]
    return pl.DataFrame(rows, schema=ANNOTATIONS.polars_schema())


def generations(rows: pl.DataFrame) -> dict[str, int]:
    """folder -> the one write its rows come from; fails on a mixture."""
    found = {}
    for (key,), part in rows.group_by("folder_key"):
        assert part["image_id"].sort().to_list() == ["0", "1", "2", "3", "4"], f"{key}: {part}"
        (generation,) = part["latency_s"].unique()
        found[str(key)] = int(generation)
    return found


def replace(lake: Lake, table: Table, rows: pl.DataFrame, key: str = KEY, **options: Any) -> int:
    return lake.replace(table, rows, folder_key=key if table.partitioned else None, **options)


@pytest.fixture
def lake(tmp_path: Path) -> Lake:
    return Lake(tmp_path / "lake")


# -- what goes in comes out ------------------------------------------------------------------------------------------
@pytest.mark.parametrize("table", [RAW_PHOTOS, METRICS], ids=lambda table: table.name)
def test_a_table_that_an_earlier_release_wrote_gets_its_new_columns(lake: Lake, table: Table) -> None:
    new = list(table.columns)[-2:]
    earlier = dataclasses.replace(table, layout={name: column for name, column in table.columns.items() if name not in new})
    keys = [KEY, OTHER] if table.partitioned else [None]
    for key in keys:
        lake.replace(earlier, rows_of(table, key or KEY).drop(new), folder_key=key)
    before = lake.read(table)
    assert before.select(new).null_count().row(0) == (before.height, before.height)
    assert before.drop(new).height == 5 * len(keys)
    lake.replace(table, rows_of(table), folder_key=keys[0])
    assert_frame_equal(lake.read(table, folder_key=keys[0]), rows_of(table), check_row_order=False)
    if table.partitioned:
        assert_frame_equal(lake.read(table, folder_key=OTHER), before.filter(pl.col("folder_key") == OTHER), check_row_order=False)
    counted = lake.connect().execute(f"SELECT count({new[0]}) FROM {table.name}").fetchone()
    assert counted == (rows_of(table)[new[0]].count(),)


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_gives_back_what_was_written(lake: Lake, table: Table) -> None:
    assert lake.read(table).schema == table.polars_schema()
    assert lake.version(table) is None
    rows = rows_of(table)
    replace(lake, table, rows)
    assert_frame_equal(lake.read(table), rows)
    replace(lake, table, rows.head(0))
    assert lake.read(table).is_empty()
    replace(lake, table, rows.select(reversed(rows.columns)))
    assert_frame_equal(lake.read(table), rows)


@pytest.mark.parametrize("table", [table for table in TABLES.values() if table.partitioned], ids=lambda table: table.name)
def test_a_write_of_one_folder_leaves_the_others_as_they_were(lake: Lake, table: Table) -> None:
    replace(lake, table, rows_of(table))
    replace(lake, table, rows_of(table, OTHER), key=OTHER)
    replace(lake, table, rows_of(table).head(1))
    assert_frame_equal(lake.read(table, folder_key=OTHER), rows_of(table, OTHER))
    assert_frame_equal(lake.read(table, folder_key=KEY), rows_of(table).head(1))


def test_a_folder_is_written_whatever_script_its_key_is_in(lake: Lake) -> None:
    keys = [folder_key(name.encode()) for name in ("東京/写真" * 30, "Москва", "हिन्दी तस्वीरें", "صور العائلة")]
    for number in (1, 2):
        for key in keys:
            replace(lake, ANNOTATIONS, numbered(key, number), key=key)
    assert generations(lake.read(ANNOTATIONS)) == dict.fromkeys(keys, 2)
    assert lake.read(ANNOTATIONS, folder_key=keys[1])["folder_key"].unique().to_list() == [keys[1]]
    assert {key for (key,) in lake.connect().sql("SELECT DISTINCT folder_key FROM annotations").fetchall()} == set(keys)
    assert lake.torn() == []
    replaced = dataclasses.replace(lake, keep_h=0, pinned=dict)
    replaced._tidy(ANNOTATIONS, replaced._opened(ANNOTATIONS))
    assert len(list(lake.path(ANNOTATIONS).rglob("*.parquet"))) == len(keys)  # type: ignore[union-attr]
    assert generations(lake.read(ANNOTATIONS)) == dict.fromkeys(keys, 2)


def test_only_live_folders_are_read_live(lake: Lake) -> None:
    folders = rows_of(FOLDER_SET).head(2).with_columns(folder_key=pl.Series([KEY, OTHER]), gone_at=pl.Series([None, datetime(2024, 1, 1)]))
    lake.replace(FOLDER_SET, folders)
    replace(lake, ANNOTATIONS, numbered(KEY, 1))
    replace(lake, ANNOTATIONS, numbered(OTHER, 2), key=OTHER)
    assert lake.live_folders() == [KEY]
    assert generations(lake.read_live(ANNOTATIONS)) == {KEY: 1}
    assert lake.read_live(ANNOTATIONS, columns=["image_id"]).columns == ["image_id"]


def test_histories_grow(lake: Lake) -> None:
    lake.append(METRICS, rows_of(METRICS).head(2))
    lake.append(METRICS, rows_of(METRICS).tail(3))
    assert lake.read(METRICS).height == 5


def test_earlier_versions_stay_readable(lake: Lake) -> None:
    first = replace(lake, ANNOTATIONS, numbered(KEY, 1))
    second = replace(lake, ANNOTATIONS, numbered(KEY, 2))
    assert lake.version(ANNOTATIONS) == second == first + 1
    assert generations(lake.read(ANNOTATIONS, version=first)) == {KEY: 1}
    assert generations(lake.read(ANNOTATIONS)) == {KEY: 2}


def test_the_history_says_who_wrote(lake: Lake) -> None:
    assert lake.history(ANNOTATIONS) == []
    replace(lake, ANNOTATIONS, numbered(KEY, 1), commit={"run_id": "r-1", "asset": "annotations"})
    newest = lake.history(ANNOTATIONS)[0]
    assert (newest["run_id"], newest["asset"]) == ("r-1", "annotations")


@pytest.mark.parametrize("name", ["it's", "50% off", "#1", "what?", "*", "é 😀", "a b", "{x}", "a=b", "folder_key=b-1"])
def test_the_lake_may_lie_in_a_folder_of_any_name(tmp_path: Path, name: str) -> None:
    lake = Lake(tmp_path / name / "lake")
    replace(lake, ANNOTATIONS, numbered(KEY, 1))
    replace(lake, ANNOTATIONS, numbered(KEY, 2))
    replace(lake, ANNOTATIONS, numbered(OTHER, 3), key=OTHER)
    assert generations(lake.read(ANNOTATIONS, folder_key=KEY)) == {KEY: 2}
    assert generations(lake.read(ANNOTATIONS)) == {KEY: 2, OTHER: 3}
    assert generations(lake.read(ANNOTATIONS, version=1)) == {KEY: 1}
    assert_frame_equal(Lake(tmp_path / name).read(METRICS), rows_of(METRICS).head(0))
    assert (tmp_path / name / "lake" / "annotations" / "_delta_log").is_dir()
    with lake.connect() as connection:
        assert connection.sql("select distinct latency_s from annotations order by 1").fetchall() == [(2.0,), (3.0,)]


@pytest.mark.parametrize("name", ["[2024]", "a%20b", "a\\b", "a|b", "a^b", "a\nb", "caf\udce9"])
def test_names_that_the_table_format_cannot_hold_are_refused_before_anything_is_written(tmp_path: Path, name: str) -> None:
    with pytest.raises(LakeError, match=r"tables cannot lie below a name with .*; set library\.home to another folder"):
        Lake(tmp_path / name / "lake")


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_a_folder_with_spaces_gives_back_every_table_too(tmp_path: Path, table: Table) -> None:
    lake, rows = Lake(tmp_path / "my photos"), rows_of(table)
    replace(lake, table, rows)
    assert_frame_equal(lake.read(table), rows)


# -- what is refused ---------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("key", HOSTILE)
def test_a_key_of_another_shape_never_reaches_a_predicate(lake: Lake, key: str) -> None:
    replace(lake, ANNOTATIONS, numbered(KEY, 1))
    with pytest.raises(ValueError, match="not a folder key"):
        checked_key(key)
    with pytest.raises(ValueError, match="not a folder key"):
        lake.replace(ANNOTATIONS, numbered(key, 2), folder_key=key)
    assert lake.read(ANNOTATIONS, folder_key=key).is_empty()
    assert generations(lake.read(ANNOTATIONS)) == {KEY: 1}


def test_rows_of_another_folder_are_refused(lake: Lake) -> None:
    replace(lake, ANNOTATIONS, numbered(OTHER, 1), key=OTHER)
    with pytest.raises(ValueError, match=r"annotations: rows of \['b-1'\] in a write of folder_key 'a-0'"):
        replace(lake, ANNOTATIONS, pl.concat([numbered(KEY, 2), numbered(OTHER, 2)]))
    assert generations(lake.read(ANNOTATIONS)) == {OTHER: 1}


@pytest.mark.parametrize(("table", "key"), [(ANNOTATIONS, None), (METRICS, KEY)])
def test_a_partitioned_table_wants_a_key_and_a_whole_one_none(lake: Lake, table: Table, key: str | None) -> None:
    with pytest.raises(ValueError, match=rf"{table.name}: expected "):
        lake.replace(table, rows_of(table), folder_key=key)


def test_missing_and_unexpected_columns_are_named(lake: Lake) -> None:
    rows = rows_of(METRICS).rename({"value": "valeu"})
    with pytest.raises(ValueError, match=r"metrics: missing columns \['value'\], unexpected columns \['valeu'\]"):
        lake.replace(METRICS, rows)
    with pytest.raises(ValueError, match="metrics"):
        lake.append(METRICS, rows)
    assert not lake.exists(METRICS)


def test_values_that_do_not_fit_their_type_are_refused(lake: Lake) -> None:
    rows = rows_of(METRICS).with_columns(n=pl.lit("many"))
    with pytest.raises(pl.exceptions.InvalidOperationError, match="many"):
        lake.replace(METRICS, rows)
    assert not lake.exists(METRICS)


# -- several processes -------------------------------------------------------------------------------------------------
def write_on_and_on(root: Path, key: str, acknowledged: Path, writes: int) -> None:
    """Replace one folder again and again; a number in `acknowledged` says what was committed."""
    lake = Lake(root)
    start = 1 + last_of(acknowledged)
    with acknowledged.open("a") as kept:
        for generation in range(start, start + writes):
            lake.replace(ANNOTATIONS, numbered(key, generation), folder_key=key)
            kept.write(f"{generation}\n")
            kept.flush()


def last_of(acknowledged: Path) -> int:
    lines = acknowledged.read_text().split() if acknowledged.exists() else []
    return int(lines[-1]) if lines else 0


def spawned(function: Any, *arguments: Any) -> multiprocessing.process.BaseProcess:
    process = multiprocessing.get_context("spawn").Process(target=function, args=arguments)
    process.start()
    return process


def wait_until(true: Any, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.002)


def test_writers_that_are_killed_and_a_reader_beside_them_never_see_a_torn_table(tmp_path: Path) -> None:
    lake, keys = Lake(tmp_path / "lake"), [KEY, OTHER, "c-2"]
    acknowledged = {key: tmp_path / f"{key}.acknowledged" for key in keys}
    victim = keys[-1]
    running = {key: spawned(write_on_and_on, lake.root, key, acknowledged[key], 12) for key in keys[:-1]}
    chance, kills, reads = random.Random(4), 0, 0
    try:
        while kills < 3:
            known = last_of(acknowledged[victim])
            running[victim] = spawned(write_on_and_on, lake.root, victim, acknowledged[victim], 10_000)
            wait_until(lambda known=known: last_of(acknowledged[victim]) > known + 1)
            until = time.monotonic() + chance.uniform(0, 0.1)
            while time.monotonic() < until:
                reads += assert_reads_what_was_acknowledged(lake, acknowledged)
            os.kill(running[victim].pid or 0, signal.SIGKILL)
            running[victim].join()
            kills += 1
            reads += assert_reads_what_was_acknowledged(lake, acknowledged)
        while any(running[key].is_alive() for key in keys[:-1]):
            reads += assert_reads_what_was_acknowledged(lake, acknowledged)
        assert [running[key].exitcode for key in keys[:-1]] == [0, 0]
    finally:
        for process in running.values():
            process.kill()
            process.join()
    assert reads > 3
    final = generations(lake.read(ANNOTATIONS))
    assert {key: final[key] for key in keys[:-1]} == dict.fromkeys(keys[:-1], 12)
    assert final[victim] - last_of(acknowledged[victim]) in (0, 1)  # the kill may fall between commit and acknowledgement


def assert_reads_what_was_acknowledged(lake: Lake, acknowledged: dict[str, Path]) -> bool:
    before = {key: last_of(path) for key, path in acknowledged.items()}
    found = generations(lake.read(ANNOTATIONS))
    assert all(found.get(key, 0) >= generation for key, generation in before.items()), (before, found)
    return True


def write_once(root: Path, key: str, generation: int, barrier: Any) -> None:
    barrier.wait()
    Lake(root).replace(ANNOTATIONS, numbered(key, generation), folder_key=key)


def test_four_processes_that_write_the_same_folder_at_once_end_as_exactly_one_of_them(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    barrier = multiprocessing.get_context("spawn").Barrier(4)
    processes = [spawned(write_once, lake.root, KEY, generation, barrier) for generation in range(1, 5)]
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * 4
    assert generations(lake.read(ANNOTATIONS))[KEY] in range(1, 5)
    assert [commit["operation"] for commit in lake.history(ANNOTATIONS)].count("WRITE") == 4


def vectors(height: int) -> pl.DataFrame:
    """Embeddings that no compression makes smaller: 4 KiB a row."""
    numbers = np.random.default_rng(0).standard_normal((height, 1024)).astype(np.float32)
    columns = {"folder_key": [KEY] * height, "image_id": [f"{i:032x}" for i in range(height)], "encoder": ["e"] * height}
    return pl.DataFrame({**columns, "embedding": pl.Series(numbers).cast(pl.List(pl.Float32)), "reason": None, "detail": None})


def write_vectors(root: Path, height: int) -> None:
    Lake(root).replace(IMAGE_EMBEDDINGS, vectors(height), folder_key=KEY)


def test_a_kill_in_the_middle_of_a_write_leaves_the_last_version(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    write_vectors(lake.root, 3)
    folder = lake.path(IMAGE_EMBEDDINGS)
    before, version = set(folder.rglob("*.parquet")), lake.version(IMAGE_EMBEDDINGS)
    process = spawned(write_vectors, lake.root, 8_000)
    wait_until(lambda: not process.is_alive() or set(folder.rglob("*.parquet*")) - before)
    os.kill(process.pid or 0, signal.SIGKILL)
    process.join()
    assert process.exitcode == -signal.SIGKILL
    assert lake.version(IMAGE_EMBEDDINGS) == version
    assert_frame_equal(lake.read(IMAGE_EMBEDDINGS), vectors(3), check_dtypes=False)
    write_vectors(lake.root, 2)
    assert lake.read(IMAGE_EMBEDDINGS).height == 2


# -- disks -------------------------------------------------------------------------------------------------------------
def mounted(folder: Path, *arguments: str) -> Iterator[Path]:
    folder.mkdir()
    done = subprocess.run(["mount", *arguments, str(folder)], capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"no mount here: {done.stderr.strip()}")
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", str(folder)], check=True)


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 2 MiB."""
    yield from mounted(tmp_path / "disk", "-t", "tmpfs", "-o", "size=2m", "tmpfs")


def test_a_write_that_cannot_fit_is_refused_before_it_starts(small_disk: Path) -> None:
    with pytest.raises(LakeError, match=r"disk full: .* needs about 64 MiB, \d MiB are free; free some space and run again"):
        replace(Lake(small_disk), ANNOTATIONS, numbered(KEY, 1))
    assert list(small_disk.iterdir()) == []


@pytest.mark.parametrize("free_kib", [0, 4, 12, 24])
def test_a_disk_that_fills_during_a_write_keeps_the_last_version(small_disk: Path, monkeypatch: pytest.MonkeyPatch, free_kib: int) -> None:
    monkeypatch.setattr(vibe_assets.lake, "_ensure_space", lambda *_: None)  # another process takes the space after the look
    lake = Lake(small_disk)
    replace(lake, ANNOTATIONS, numbered(KEY, 1))
    free = shutil.disk_usage(small_disk).free
    (small_disk / "filler").write_bytes(bytes(free - free_kib * 1024))
    kept = [1]

    def write_on() -> None:
        for generation in range(2, 20):
            replace(lake, ANNOTATIONS, numbered(KEY, generation))
            kept.append(generation)

    with pytest.raises(LakeError, match=r"table annotations in .*last good version stays in force; free some space"):
        write_on()
    assert generations(lake.read(ANNOTATIONS)) == {KEY: kept[-1]}
    (small_disk / "filler").unlink()
    replace(lake, ANNOTATIONS, numbered(KEY, 99))
    assert generations(lake.read(ANNOTATIONS)) == {KEY: 99}


def test_a_big_write_that_does_not_fit_says_so(small_disk: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vibe_assets.lake, "_ensure_space", lambda *_: None)
    lake = Lake(small_disk)
    replace(lake, IMAGE_EMBEDDINGS, vectors(3))
    with pytest.raises(LakeError, match=r"image_embeddings in .*No space left.* free some space"):
        replace(lake, IMAGE_EMBEDDINGS, vectors(2_000))
    assert lake.read(IMAGE_EMBEDDINGS).height == 3


def test_a_read_only_folder_is_read_and_a_write_to_it_says_what_to_do(tmp_path: Path) -> None:
    lake = Lake(tmp_path / "lake")
    replace(lake, ANNOTATIONS, numbered(KEY, 1))
    with contextlib.contextmanager(mounted)(tmp_path / "frozen", "--bind", str(lake.root)) as folder:
        frozen = Lake(folder)
        if subprocess.run(["mount", "-o", "remount,ro,bind", str(folder)], capture_output=True, check=False).returncode:
            pytest.skip("no read-only mount here")
        assert generations(frozen.read(ANNOTATIONS)) == {KEY: 1}
        for table, rows in ((ANNOTATIONS, numbered(KEY, 2)), (PREDICTIONS, rows_of(PREDICTIONS))):
            with pytest.raises(LakeError, match=rf"table {table.name} .*[Rr]ead-only.*repair access"):
                replace(frozen, table, rows)
        assert generations(frozen.read(ANNOTATIONS)) == {KEY: 1}


# -- files -------------------------------------------------------------------------------------------------------------
def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    file = write_text(tmp_path / "new" / "report.html", "old")
    with contextlib.suppress(ZeroDivisionError), atomic_file(file) as temporary:
        temporary.write_text(f"half {1 / 0}" if temporary.write_text("half") else "")
    assert file.read_text() == "old"
    write_text(file, "new é")
    assert file.read_text(encoding="utf-8") == "new é"
    assert list(file.parent.iterdir()) == [file]


def hang_in_the_middle_of_a_file(file: Path) -> None:
    with atomic_file(file) as temporary:
        temporary.write_text("half")
        time.sleep(600)


def test_a_killed_writer_leaves_the_old_file(tmp_path: Path) -> None:
    file = write_text(tmp_path / "vibe.toml", "old")
    process = spawned(hang_in_the_middle_of_a_file, file)
    wait_until(lambda: any(path.suffix == ".tmp" and path.read_text() == "half" for path in tmp_path.iterdir()))
    process.kill()
    process.join()
    assert file.read_text() == "old"
    write_text(file, "new")
    assert file.read_text() == "new"


def test_a_full_disk_leaves_the_old_file_and_nothing_beside_it(small_disk: Path) -> None:
    file = write_text(small_disk / "cards.json", "old")
    with pytest.raises(OSError, match="No space left"):
        write_text(file, "x" * 3_000_000)
    assert file.read_text() == "old"
    assert list(small_disk.iterdir()) == [file]


# -- queries and the published file ------------------------------------------------------------------------------------
@pytest.fixture
def warehouse(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Warehouse:
    """A warehouse whose path holds a quote."""
    home = tmp_path / 'it\'s "home"'
    home.mkdir()
    config = write_text(tmp_path / "vibe.toml", "[library]\nhome = 'it'\n")
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(home))
    return Warehouse()


def test_sql_joins_the_lakes_tables_with_the_published_file(lake: Lake, warehouse: Warehouse) -> None:
    replace(lake, ANNOTATIONS, numbered(KEY, 7))
    lake.replace(FOLDER_SET, rows_of(FOLDER_SET).head(1).with_columns(gone_at=None))
    warehouse.publish({"notes": pa.table({"image_id": ["3"], "note": ["it's"]})})
    assert "'" in str(warehouse.path())
    query = """
        select note, latency_s, f.rel_path from annotations join warehouse.notes using (image_id) join folder_set f using (folder_key)
        """
    with lake.connect(warehouse.path()) as connection:
        assert connection.sql(query).fetchall() == [("it's", 7.0, "plain")]
        with pytest.raises(duckdb.Error, match="read-only"):
            connection.execute("drop table warehouse.notes")


def test_a_query_without_a_published_file_still_runs(lake: Lake, tmp_path: Path) -> None:
    with lake.connect(tmp_path / "absent.duckdb") as connection:
        assert connection.sql("select 1").fetchall() == [(1,)]
    assert not (tmp_path / "absent.duckdb").exists()


def content(warehouse: Warehouse) -> dict[str, list[dict[str, Any]]]:
    with warehouse.reader() as connection:
        names = [name for (name,) in connection.sql("show tables").fetchall()]
        return {name: connection.sql(f'from "{name}"').to_arrow_table().to_pylist() for name in names}


def test_publishing_replaces_tables_and_matches_columns_by_name(warehouse: Warehouse) -> None:
    warehouse.publish({"photos": pa.table({"a": [1], "b": ["x"]}), "kept": pa.table({"a": [1]})})
    counts = warehouse.publish({"photos": pa.table({"b": ["y", None], "c": [None, [1]], "a": [2, 3]})})
    assert counts == {"photos": 2}
    photos = [{"b": "y", "c": None, "a": 2}, {"b": None, "c": [1], "a": 3}]
    assert content(warehouse) == {"kept": [{"a": 1}], "photos": photos}


def test_a_table_that_fails_leaves_the_published_file_as_it_was(warehouse: Warehouse) -> None:
    warehouse.publish({"photos": pa.table({"a": [1]})})
    too_wide = pa.table({"a": pa.array([1], pa.decimal256(76, 0))})  # a type that DuckDB does not have
    with pytest.raises(duckdb.Error):
        warehouse.publish({"photos": pa.table({"a": [2]}), "more": pa.table({"a": [2]}), "bad": too_wide})
    assert content(warehouse) == {"photos": [{"a": 1}]}
    warehouse.publish({"photos": pa.table({"a": [3]})})
    assert content(warehouse) == {"photos": [{"a": 3}]}


READER = """
import duckdb, sys
connection = duckdb.connect(sys.argv[1], read_only=True)
print(connection.sql("from photos").fetchall(), flush=True)
sys.stdin.readline()
print(connection.sql("from photos").fetchall(), flush=True)
connection.close()
"""


def test_a_reader_that_has_the_file_open_keeps_its_picture_and_the_publication_waits_for_it(warehouse: Warehouse) -> None:
    warehouse.publish({"photos": pa.table({"a": [1]})})
    command = [sys.executable, "-c", READER, str(warehouse.path())]
    reader = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert reader.stdout is not None
    assert reader.stdin is not None
    assert reader.stdout.readline() == "[(1,)]\n"
    publisher = ThreadPool(1).apply_async(warehouse.publish, ({"photos": pa.table({"a": [2]})},))
    publisher.wait(0.3)
    assert not publisher.ready()
    assert reader.communicate("go on\n", timeout=30)[0] == "[(1,)]\n"
    assert publisher.get(30) == {"photos": 1}
    assert content(warehouse) == {"photos": [{"a": 2}]}
