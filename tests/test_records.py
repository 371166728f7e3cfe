"""Records: schemas that polars and Delta take, labels that survive a row, fingerprints that move only with their content."""

from __future__ import annotations

from typing import Any

import polars as pl
import pytest

from vibe_assets.records import ATTRIBUTES, TABLES, Estimate, Labels, Table, fingerprint


@pytest.mark.parametrize("table", TABLES.values(), ids=lambda table: table.name)
def test_every_table_has_a_schema_and_every_column_a_meaning(table: Table) -> None:
    assert table.polars_schema().names() == list(table.columns)
    assert all(column.description for column in table.columns.values())
    assert table.description
    assert table.partitioned <= (table.key in table.columns)


def test_labels_survive_a_row_with_their_unknowns_and_order() -> None:
    labels = Labels("a" * 32, None, {"has_person": True, "has_text": False}, ("object.phone", "object.drink"))
    row = labels.row()
    back = Labels.from_row(row)
    assert back.objects == labels.objects
    assert back.scene is None
    assert back.attributes == {**dict.fromkeys(ATTRIBUTES), "has_person": True, "has_text": False}
    assert pl.DataFrame([row]).height == 1


def test_rows_without_objects_are_labels_without_objects() -> None:
    row = {"image_id": "a", "scene": "scene.food", **dict.fromkeys(ATTRIBUTES), "objects": None}
    assert Labels.from_row(row).objects == ()


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
