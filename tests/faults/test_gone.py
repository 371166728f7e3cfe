"""Tables that were deleted: every reader says so, no part is written over the whole, and what is made anew is whole or not there."""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.faults import writers
from tests.stages.rows import open_platform, table_rows
from vibe_assets.lake import Lake, LakeError
from vibe_assets.records import ANNOTATIONS, AUDIT_SAMPLE, AUTO_GROUND_TRUTH, FOLDER_SET, METRICS
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.repair import repair_lake
from vibe_assets.stages.truth import draw_audit_sample, sample_file

SAID = r"table annotations: .*annotations is gone, and it was there before; `vibe repair` makes it anew without asking the teacher"
READERS: dict[str, Callable[[Lake], Any]] = {
    "scan": lambda lake: lake.scan(ANNOTATIONS),
    "read": lambda lake: lake.read(ANNOTATIONS, folder_key=writers.KEY),
    "an old version": lambda lake: lake.read(ANNOTATIONS, version=0),
    "live": lambda lake: lake.read_live(ANNOTATIONS),
    "batches": lambda lake: list(lake.batches(ANNOTATIONS, ["image_id"], folder_keys=[writers.KEY])),
    "version": lambda lake: lake.version(ANNOTATIONS),
    "edition": lambda lake: lake.edition(ANNOTATIONS),
    "history": lambda lake: lake.history(ANNOTATIONS),
    "exists": lambda lake: lake.exists(ANNOTATIONS),
    "SQL": lambda lake: lake.connect(),
    "a part": lambda lake: lake.replace(ANNOTATIONS, writers.rows(9), folder_key=writers.KEY),
}

METRIC, TRUTH = table_rows(METRICS, [{"at": writers.AT}]), table_rows(AUTO_GROUND_TRUTH, [{}])


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / "home").mkdir()
    writers.replace_a_folder(tmp_path / "home", print)
    return tmp_path / "home"


def table(home: Path) -> Path:
    return home / "lake" / ANNOTATIONS.name


HARM: dict[str, Callable[[Path], object]] = {
    "the table": lambda home: shutil.rmtree(table(home)),
    "its log": lambda home: shutil.rmtree(table(home) / "_delta_log"),
    "the lake": lambda home: shutil.rmtree(home / "lake"),
    "a rename": lambda home: table(home).rename(home / "elsewhere"),
}


@pytest.mark.parametrize("reader", READERS)
@pytest.mark.parametrize("harm", HARM)
def test_every_reader_says_that_a_table_is_gone(home: Path, harm: str, reader: str) -> None:
    HARM[harm](home)
    with pytest.raises(LakeError, match=SAID):
        READERS[reader](Lake(home / "lake"))
    (found,) = Lake(home / "lake").torn()
    assert (found[0], found[1].what) == ("annotations", "the table is gone, and it was there before")


def test_a_query_is_refused_for_the_lost_tables_that_it_names_and_for_no_others(home: Path) -> None:
    lake = Lake(home / "lake")
    lake.append(METRICS, METRIC)
    lake.replace(AUTO_GROUND_TRUTH, TRUTH)
    for name in (ANNOTATIONS.name, AUTO_GROUND_TRUTH.name):
        shutil.rmtree(home / "lake" / name)
    query = "select count(*) from metrics where metric is distinct from 'annotations'"
    assert lake.connect(query=query).sql(query).fetchall() == [(1,)]
    for query in ('from "Annotations"', "from annotations_with_gone", "select image_id from metrics join annotations using (image_id)"):
        with pytest.raises(LakeError, match=SAID) as refused:
            lake.connect(query=query)
        assert "auto_ground_truth" not in str(refused.value)
    with pytest.raises(LakeError, match=SAID) as refused:
        lake.connect(query="from annotations natural join auto_ground_truth")
    assert "auto_ground_truth is gone" in str(refused.value)


def sampled(home: Path, text: str) -> Platform:
    """An installation whose sample was lost as a table, beside a file that says `text`."""
    platform = open_platform(home)
    lake = platform.lake
    lake.replace(FOLDER_SET, table_rows(FOLDER_SET, [{"folder_key": "a-0", "rel_path": "a", "path_bytes": b"a"}]))
    lake.replace(AUTO_GROUND_TRUTH, table_rows(AUTO_GROUND_TRUTH, [{"image_id": "i1", "scene": "scene.food"}]))
    lake.replace(AUDIT_SAMPLE, table_rows(AUDIT_SAMPLE, [{"image_id": "i1"}]))
    lake.append(METRICS, METRIC)
    sample_file(platform).parent.mkdir(parents=True, exist_ok=True)
    sample_file(platform).write_text(text)
    shutil.rmtree(str(lake.path(AUDIT_SAMPLE)))
    return platform


@pytest.mark.parametrize("text", ["[{}]", "{}", '{"a": 1}', '[{"image_id": "i1"}]', "[1]", "3", "torn", '[{"image_id": [1]}]'])
def test_a_sample_file_that_is_none_is_named_and_the_next_table_is_still_mended(home: Path, text: str) -> None:
    platform = sampled(home, text)
    shutil.rmtree(str(platform.lake.path(METRICS)))
    found = {mended.table: mended.detail for mended in repair_lake(platform)}
    assert set(found) == {"audit_sample", "metrics"}
    assert re.search(r"sample\.json is not the sample .*move it away .*`vibe repair`", found["audit_sample"]), found


def test_an_error_of_any_library_is_words_about_one_table(home: Path) -> None:
    def broken(_: Platform) -> None:
        raise pl.exceptions.ColumnNotFoundError("no column")

    platform = sampled(home, "[]")
    (mended,) = repair_lake(platform, more={"audit_sample": broken})
    assert (mended.rows, mended.detail) == (None, "ColumnNotFoundError: no column")


def test_no_new_sample_is_drawn_over_one_that_was_lost(home: Path) -> None:
    platform = sampled(home, "what people were given")
    with pytest.raises(LakeError, match="audit_sample is gone, and it was there before; `vibe repair`"):
        draw_audit_sample(platform)
    assert sample_file(platform).read_text() == "what people were given"


def test_a_table_that_was_never_made_is_empty(home: Path) -> None:
    lake = Lake(home / "lake")
    assert (lake.read(METRICS).height, lake.version(METRICS), lake.exists(METRICS), lake.torn()) == (0, None, False, [])


def test_an_append_to_a_history_that_is_gone_is_refused_and_a_whole_table_may_be_written(home: Path) -> None:
    lake = Lake(home / "lake")
    lake.append(METRICS, METRIC)
    lake.replace(AUTO_GROUND_TRUTH, TRUTH)
    for name in (METRICS.name, AUTO_GROUND_TRUTH.name):
        shutil.rmtree(home / "lake" / name)
    with pytest.raises(LakeError, match=r"table metrics: .* is gone"):
        lake.append(METRICS, METRIC)
    lake.replace(AUTO_GROUND_TRUTH, TRUTH)
    assert lake.read(AUTO_GROUND_TRUTH).height == 1


def test_a_lake_of_an_older_version_is_known_from_its_next_write_on(home: Path) -> None:
    (home / "lake.tables").unlink()
    Lake(home / "lake").replace(FOLDER_SET, pl.DataFrame(schema=FOLDER_SET.polars_schema()))
    shutil.rmtree(table(home))
    with pytest.raises(LakeError, match=SAID):
        writers.generation_of(home)


@pytest.mark.parametrize("left", [b"annot", b"\x00\x00\x00", b""])
def test_a_register_that_a_power_cut_tore_misses_nothing_and_is_mended_by_the_next_write(home: Path, left: bytes) -> None:
    register = home / "lake.tables"
    register.write_bytes(left)
    assert writers.generation_of(home) == 1
    writers.replace_a_folder(home, print)
    shutil.rmtree(table(home))
    with pytest.raises(LakeError, match=SAID):
        writers.generation_of(home)


def test_what_is_made_anew_is_adopted_whole_in_one_commit(home: Path, tmp_path: Path) -> None:
    lake = Lake(home / "lake")
    shutil.rmtree(table(home))
    staged = Lake(home / "lake", tmp_path / "staging", frozenset({ANNOTATIONS.name}))
    assert staged.read(ANNOTATIONS).height == 0, "while it is made anew it seems empty to those who make it"
    for key in ("a-0", "b-1"):
        staged.replace(ANNOTATIONS, writers.rows(3).with_columns(folder_key=pl.lit(key)), folder_key=key)
        with pytest.raises(LakeError, match=SAID):
            lake.read(ANNOTATIONS)
    staged.adopt(ANNOTATIONS)
    assert (lake.read(ANNOTATIONS).height, lake.version(ANNOTATIONS), lake.torn()) == (10, 0, [])
    lake.replace(ANNOTATIONS, writers.rows(4), folder_key="a-0")
    assert sorted(lake.read(ANNOTATIONS)["latency_s"].unique()) == [3, 4]
