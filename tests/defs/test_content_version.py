"""A data version is made of what rows say, not of how memory or files hold it."""

from __future__ import annotations

from datetime import UTC, datetime

import polars as pl

from vibe_assets.defs.metadata import content_version
from vibe_assets.records import ANNOTATIONS, PREDICTIONS

ROWS = pl.DataFrame(
    {
        "image_id": ["a", "b", "c"],
        "folder_key": ["x", "x", "x"],
        "scene": ["scene.food", None, ""],
        "objects": [["o", "p"], [], None],
        "embedding": [[0.5, 1.0], None, []],
        "is_document": [True, None, False],
        "path_bytes": [b"a", b"", None],
        "at_photo": [datetime(2026, 1, 1, tzinfo=UTC), None, None],
        "latency_s": [0.1, 0.2, 0.3],
    },
    schema_overrides={"embedding": pl.List(pl.Float32)},
)


def version(rows: pl.DataFrame) -> str:
    return content_version(PREDICTIONS, rows).value


def test_layout_order_and_chunks_do_not_matter() -> None:
    known = version(ROWS)
    assert version(ROWS.reverse()) == known
    assert version(pl.concat([ROWS.head(1), ROWS.tail(2)], rechunk=False)) == known
    assert version(pl.from_arrow(ROWS.to_arrow()).select(ROWS.columns)) == known  # type: ignore[union-attr]
    assert version(pl.concat([ROWS, ROWS.clear()]).filter(pl.col("image_id") != "none")) == known
    assert version(ROWS.with_columns(latency_s=9.0)) == known  # differs from run to run


def test_every_value_matters() -> None:
    known = version(ROWS)
    others = [
        ROWS.with_columns(scene=pl.col("scene").fill_null("")),
        ROWS.with_columns(objects=pl.lit(["o", "p"])),
        ROWS.with_columns(is_document=pl.col("is_document").fill_null(False)),
        ROWS.with_columns(path_bytes=pl.lit(b"ab")),
        ROWS.with_columns(folder_key=pl.lit("y")),
        ROWS.head(2),
        ROWS.drop("scene"),
        ROWS.with_columns(image_id=pl.Series(["a", "bc", ""])),
    ]
    assert len({known, *(version(rows) for rows in others)}) == len(others) + 1


def test_where_a_photo_lies_does_not_matter_to_what_was_said_of_it() -> None:
    moved = ROWS.with_columns(folder_key=pl.lit("y"))
    assert content_version(ANNOTATIONS, ROWS).value == content_version(ANNOTATIONS, moved).value
