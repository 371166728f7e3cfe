"""Which source answered each question of a row of PREDICTIONS: the column `source`, written, read, and filled from the teacher."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from vibe_assets.records.table import ATTRIBUTES

if TYPE_CHECKING:
    import polars as pl

QUESTIONS = ("scene", *ATTRIBUTES, "objects")
NOBODY, TEACHER = "none", "teacher"
DERIVED = {"is_document": "scene.document", "is_screenshot": "scene.screenshot"}  # attributes that follow from the scene


def source_text(sources: Mapping[str, str]) -> str:
    """The `source` of a row from those of the QUESTIONS that anybody answers: one word where all have the same, `none` for no question.

    Otherwise "scene=student has_person=zero_shot": each that is answered, blanks between.
    """
    answered = {question: sources[question] for question in QUESTIONS if question in sources}
    if len(set(answered.values())) > 1:
        return " ".join(f"{question}={source}" for question, source in answered.items())
    return next(iter(answered.values()), NOBODY)


def source_of(question: str) -> pl.Expr:
    """The source of one question in rows of PREDICTIONS; `none` where it has no value and nobody left it open."""
    import polars as pl

    named = pl.col("source").str.extract(rf"(?:^| ){question}=(\S+)", 1)
    source = pl.when(pl.col("source").str.contains("=", literal=True)).then(named).otherwise(pl.col("source"))
    asked = pl.col(question).is_not_null() | pl.col("abstained").list.contains(question)
    return pl.when(asked.fill_null(False)).then(source).fill_null(NOBODY)


def source_in_words(source: str) -> str:
    """What is not the students' own, for people: "" | "teacher" | "has_person: zero_shot; objects: teacher"."""
    pairs = [entry.split("=") for entry in source.split() if not entry.endswith("student")]
    return "; ".join(": ".join(pair) for pair in pairs)


def filled_from_teacher(rows: pl.DataFrame, truth: pl.DataFrame) -> pl.DataFrame:
    """Rows with the teacher's labels where nobody else answered. `truth` are label rows with image_id (AUTO_GROUND_TRUTH).

    A question that a head or a prompt left open stays open: they looked, and were not sure. is_document and is_screenshot follow from
    the scene here as everywhere, so that they are taken over with the teacher's scene only.
    """
    import polars as pl

    labels = {question: pl.col("scene") == DERIVED[question] if question in DERIVED else pl.col(question) for question in QUESTIONS}
    teacher = truth.select("image_id", **{f"teacher@{question}": label for question, label in labels.items()}).unique("image_id")
    rows = rows.join(teacher, on="image_id", how="left", maintain_order="left")
    taken = {question: (source_of(question) == NOBODY) & pl.col(f"teacher@{question}").is_not_null() for question in QUESTIONS}
    taken |= {question: taken["scene"] & taken[question] for question in DERIVED}
    sources = {question: pl.when(taken[question]).then(pl.lit(TEACHER)).otherwise(source_of(question)) for question in QUESTIONS}
    filled = rows.with_columns(
        _joined(sources),
        *(pl.when(taken[question]).then(f"teacher@{question}").otherwise(question).alias(question) for question in QUESTIONS),
    )
    return filled.drop([f"teacher@{question}" for question in QUESTIONS])


def without_teacher(rows: pl.DataFrame) -> pl.DataFrame:
    """PREDICTIONS rows with only what heads and prompts said: what was taken over from the teacher is open again, its source `none`."""
    import polars as pl

    sources = {question: source_of(question).replace(TEACHER, NOBODY) for question in QUESTIONS}
    own = (pl.when(source_of(question) != TEACHER).then(question).alias(question) for question in QUESTIONS)
    return rows.with_columns(_joined(sources), *own)


def _joined(sources: Mapping[str, pl.Expr]) -> pl.Expr:
    """`source_text`, row by row."""
    import polars as pl

    each = {question: source.replace(NOBODY, None) for question, source in sources.items()}
    named = pl.concat_str(
        [pl.concat_str(pl.lit(f"{question}="), source) for question, source in each.items()], separator=" ", ignore_nulls=True
    )
    first, last = pl.min_horizontal(each.values()), pl.max_horizontal(each.values())
    return pl.when(first == last).then(first).when(first.is_null()).then(pl.lit(NOBODY)).otherwise(named).alias("source")
