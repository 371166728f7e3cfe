"""Records: schemas that polars and Delta take, labels that survive a row, fingerprints that move only with their content."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from tests.support.questions import PACKAGED, styled
from vibe_assets.lake import Lake
from vibe_assets.records import TABLES, Estimate, Labels, Table, fingerprint


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_has_a_schema_and_every_column_a_meaning(table: Table) -> None:
    assert table.polars_schema().names() == list(table.columns)
    assert all(column.description for column in table.columns.values())
    assert table.description
    assert table.partitioned <= (table.key in table.columns)


def test_labels_survive_a_row_with_their_unknowns_and_order() -> None:
    labels = Labels("a" * 32, {"scene": None, "has_person": True, "has_text": False, "objects": ("object.phone", "object.drink")})
    row = labels.row()
    assert Labels.from_row(row, labels.values) == labels
    assert pl.DataFrame([row]).height == 1


def test_tables_of_labels_have_the_columns_of_the_questions_and_others_stay_as_they_are(tmp_path: Path) -> None:
    questions = styled(tmp_path)
    mine, packaged = (TABLES["predictions"].of(one).columns for one in (questions, PACKAGED))
    assert list(packaged) == list(TABLES["predictions"].columns)
    assert set(mine) - set(packaged) == {"style", "style_confidence", "teacher_style"}
    assert TABLES["raw_photos"].of(questions) is TABLES["raw_photos"]


def test_a_table_gets_the_columns_of_a_new_question_and_loses_those_of_one_that_is_gone(tmp_path: Path) -> None:
    table, row = TABLES["auto_ground_truth"], {"image_id": "a" * 32, "scene": "scene.food"}
    packaged, mine = Lake(tmp_path / "lake"), Lake(tmp_path / "lake", questions=styled(tmp_path))

    def rows(lake: Lake, **more: Any) -> pl.DataFrame:
        return pl.DataFrame([{**row, **more}], schema=lake.of(table).polars_schema())

    packaged.replace(table, rows(packaged))
    assert mine.read(table)["style"].to_list() == [None]
    mine.replace(table, rows(mine, style="style.film"))
    assert (mine.read(table)["style"].to_list(), packaged.read(table)["scene"].to_list()) == (["style.film"], ["scene.food"])
    packaged.replace(table, rows(packaged))
    assert mine.read(table)["style"].to_list() == [None]


def test_a_fingerprint_ignores_the_order_of_its_parts_and_sees_every_change() -> None:
    parts = {"model": "é", "prompt": ["a", "b"], "size": 1024}
    assert fingerprint(parts) == fingerprint(dict(reversed(parts.items())))
    changed: list[dict[str, Any]] = [
        {**parts, "size": 1023},
        {**parts, "prompt": ["b", "a"]},
        {**parts, "more": None},
        {"model": "é", "prompt": ["a", "b"]},
    ]
    assert len({fingerprint(parts), *(fingerprint(other) for other in changed)}) == 1 + len(changed)


def test_an_estimate_shows_value_interval_and_sample_size() -> None:
    assert str(Estimate(0.75, 0.7, 0.8, 1000)) == "0.750 [0.700, 0.800] n=1000"
