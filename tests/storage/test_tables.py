"""Delta tables in a bucket: whole partitions or nothing, whoever else writes and whoever is killed."""

from __future__ import annotations

import os
import random
import signal
import socket
import subprocess
import sys
import time
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from tests.support.object_store import ObjectStore
from tests.test_lake import KEY, OTHER, numbered, rows_of
from vibe_assets.lake import Lake, LakeError
from vibe_assets.records import ANNOTATIONS, FOLDER_SET, METRICS, PREDICTIONS, TABLES
from vibe_assets.storage import Url

pytestmark = pytest.mark.scale

WRITER = """
import sys
from tests.test_lake import numbered
from vibe_assets.lake import Lake
from vibe_assets.records import ANNOTATIONS
from vibe_assets.storage import parse_place
lake, keys = Lake(parse_place(sys.argv[1])), sys.argv[3].split(",")
print("ready", flush=True)
sys.stdin.readline()
for generation in range(int(sys.argv[2])):
    for key in keys:
        print(lake.replace(ANNOTATIONS, numbered(key, generation, 50), folder_key=key), flush=True)
"""


def writer(place: Url, generations: int, *keys: str) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(place), str(generations), ",".join(keys)]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


def start(*writers: subprocess.Popen[str]) -> None:
    for one in writers:
        assert one.stdin is not None
        assert one.stdout is not None
        assert one.stdout.readline() == "ready\n"
    for one in writers:
        assert one.stdin is not None
        one.stdin.write("\n")
        one.stdin.flush()


def generations(lake: Lake) -> dict[str, set[float]]:
    """Key -> the generations that its rows are of: more than one would be a torn partition."""
    rows = lake.read(ANNOTATIONS)
    assert rows.height == 50 * rows["folder_key"].n_unique()
    return {key: set(part["latency_s"]) for (key,), part in rows.group_by("folder_key")}


def test_a_table_reads_from_a_bucket_as_from_a_disk(bucket: Url, tmp_path: Any) -> None:
    for table in (PREDICTIONS, FOLDER_SET):
        for lake in (Lake(tmp_path), Lake(bucket / "lake")):
            assert not lake.exists(table)
            assert lake.version(table) is None
            assert lake.read(table).schema == pl.Schema(table.polars_schema())
            for key in (KEY, OTHER) if table.partitioned else (None,):
                lake.replace(table, rows_of(table, key or KEY), folder_key=key, commit={"run_id": "r1"})
            assert lake.history(table)[0]["run_id"] == "r1"
        assert_frame_equal(Lake(tmp_path).read(table), Lake(bucket / "lake").read(table), check_row_order=False)
    lake = Lake(bucket / "lake")
    assert lake.read(PREDICTIONS, folder_key=OTHER).height == 5
    assert lake.read(PREDICTIONS, version=1).height == 5
    with lake.connect() as connection:
        counts = {name: connection.sql(f"select count(*) from {name}").fetchall() for name in ("predictions", "predictions_with_gone")}
    assert counts == {"predictions": [(5,)], "predictions_with_gone": [(10,)]}  # OTHER is no folder of the library
    lake.append(METRICS, rows_of(METRICS))
    lake.append(METRICS, rows_of(METRICS))
    assert lake.read(METRICS).height == 10


def test_two_writers_of_one_partition_conflict_and_every_commit_survives(bucket: Url) -> None:
    """Without the conditional put one commit would silently take another's place: there would be fewer versions than writes."""
    lake, first, second = Lake(bucket), writer(bucket, 8, KEY), writer(bucket, 8, KEY)
    before = lake.replace(ANNOTATIONS, numbered(KEY, -1, 50), folder_key=KEY)
    with first, second:
        start(first, second)
        said = [int(line) for one in (first, second) for line in one.communicate(timeout=200)[0].split()]
    assert first.returncode == second.returncode == 0
    assert lake.version(ANNOTATIONS) == before + 16
    assert [entry["operation"] for entry in lake.history(ANNOTATIONS)] == [*["WRITE"] * 17, "CREATE TABLE"]
    assert len(said) == 16
    assert generations(lake) == {KEY: {7.0}}


def test_two_writers_of_different_partitions_both_win(bucket: Url) -> None:
    """They also make the table, both at once."""
    first, second = writer(bucket, 4, "a-0", "a-1"), writer(bucket, 4, "b-0", "b-1")
    with first, second:
        start(first, second)
        for one in (first, second):
            one.communicate(timeout=200)
    assert [entry["operation"] for entry in Lake(bucket).history(ANNOTATIONS)].count("WRITE") == 16
    assert generations(Lake(bucket)) == {key: {3.0} for key in ["a-0", "a-1", "b-0", "b-1"]}


def test_the_last_version_is_readable_whenever_a_writer_is_killed(bucket: Url) -> None:
    lake, acknowledged = Lake(bucket), 0
    for seed in range(4):
        with writer(bucket, 1000, "a-0", "a-1") as doomed:
            start(doomed)
            assert doomed.stdout is not None
            acknowledged = int(doomed.stdout.readline())
            time.sleep(random.Random(seed).uniform(0, 0.6))
            os.kill(doomed.pid, signal.SIGKILL)
        version = lake.version(ANNOTATIONS)
        assert version is not None
        assert version >= acknowledged
        assert all(len(found) == 1 for found in generations(lake).values())
    assert lake.replace(ANNOTATIONS, numbered("a-0", 99, 50), folder_key="a-0") > acknowledged


def test_what_is_wrong_is_said_in_words_and_silence_is_no_empty_table(
    store: ObjectStore, bucket: Url, monkeypatch: pytest.MonkeyPatch
) -> None:
    lake, gone = Lake(bucket), Lake(Url("s3", "gone-bucket", "lake"))
    lake.replace(ANNOTATIONS, numbered(KEY, 1), folder_key=KEY)
    acts = [
        lambda lake: lake.exists(ANNOTATIONS),
        lambda lake: lake.version(ANNOTATIONS),
        lambda lake: lake.read(ANNOTATIONS),
        lambda lake: lake.connect(),
        lambda lake: lake.replace(ANNOTATIONS, numbered(KEY, 1), folder_key=KEY),
    ]
    with socket.create_server(("127.0.0.1", 0)) as closed:
        down = f"http://127.0.0.1:{closed.getsockname()[1]}"
    for act in acts:
        with pytest.raises(LakeError, match="there is no bucket 'gone-bucket'"):
            act(gone)
        with store.closed_to_everybody(), pytest.raises(LakeError, match=r"access denied.*AWS_ACCESS_KEY_ID"):
            act(lake)
        with monkeypatch.context() as patch:
            patch.setenv("AWS_ENDPOINT_URL", down)
            started = time.monotonic()
            with pytest.raises(LakeError, match=f"the store at {down} .AWS_ENDPOINT_URL. cannot be reached"):
                act(lake)
            assert time.monotonic() - started < 20
    assert lake.read(ANNOTATIONS).height == 5


def test_every_table_can_be_made_in_a_bucket(bucket: Url) -> None:
    lake = Lake(bucket / "a.b+c" / "x=1")
    for table in TABLES.values():
        key = {"folder_key": KEY} if table.partitioned else {}
        lake.replace(table, rows_of(table), **key)
        assert lake.read(table).height == 5


def test_a_table_that_was_deleted_from_a_bucket_is_missed_and_made_anew(bucket: Url, tmp_path: Any) -> None:
    from vibe_assets.storage.objects import filesystem

    lake = Lake(bucket / "lake")
    lake.replace(ANNOTATIONS, numbered(KEY, 1, 50), folder_key=KEY)
    filesystem("s3").rm(f"{bucket.bucket}/lake/annotations", recursive=True)
    with pytest.raises(LakeError, match=r"annotations is gone, and it was there before; `vibe repair`"):
        lake.read(ANNOTATIONS)
    with pytest.raises(LakeError, match=r"is gone"):
        lake.replace(ANNOTATIONS, numbered(KEY, 2, 50), folder_key=KEY)
    assert [table.name for table in lake.gone()] == ["annotations"]
    assert lake.read(PREDICTIONS).height == 0
    staged = Lake(bucket / "lake", tmp_path, frozenset({"annotations"}))
    for key in (KEY, OTHER):
        staged.replace(ANNOTATIONS, numbered(key, 3, 50), folder_key=key)
    staged.adopt(ANNOTATIONS)
    assert generations(lake) == {KEY: {3}, OTHER: {3}}


@pytest.mark.parametrize("key", [KEY, "東京-हिन्दी-0"])
def test_files_of_replaced_versions_go_from_a_bucket(bucket: Url, key: str) -> None:
    from vibe_assets.storage.objects import filesystem

    lake = Lake(bucket / "lake", keep_h=0, pinned=lambda: {"annotations": {3}})
    for number in range(20):
        lake.replace(ANNOTATIONS, numbered(key, number, 50), folder_key=key)
    left = [name for name in filesystem("s3").find(f"{bucket.bucket}/lake/annotations") if name.endswith(".parquet")]
    assert len(left) <= 4
    assert generations(lake) == {key: {19}}
    assert set(lake.read(ANNOTATIONS, version=3)["latency_s"]) == {2}
