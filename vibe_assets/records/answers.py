"""Who answered each question of a row: of PREDICTIONS (`source`, written, read, and filled from the teacher), and of what people say."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from vibe_assets.questions.rules import settle

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Questions

NOBODY, TEACHER = "none", "teacher"


def asked_of_people(column: str) -> pl.Expr:
    """Whether people were asked for this column of labels, in rows of AUDITED_GROUND_TRUTH: what they left null they could not tell."""
    import polars as pl

    return pl.col("unasked").list.contains(column).fill_null(False).not_()


def unasked_questions(row: Mapping[str, Any], questions: Questions) -> list[str]:
    """Keys of the questions of which people were asked nothing at all, of a row of AUDITED_GROUND_TRUTH."""
    unasked = row["unasked"] or ()
    return [question.key for question in questions if all(field.name in unasked for field in question.fields)]


def source_text(sources: Mapping[str, str], questions: Questions) -> str:
    """The `source` of a row from those of its label columns that anybody answers: one word where all have the same, `none` for no column.

    Otherwise "scene=student food=zero_shot": each that is answered, blanks between.
    """
    answered = {column: sources[column] for column in questions.columns if column in sources}
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
    """What is not the students' own, for people: "" | "teacher" | "scene: zero_shot; objects: teacher"."""
    pairs = [entry.split("=") for entry in source.split() if not entry.endswith("student")]
    return "; ".join(": ".join(pair) for pair in pairs)


def filled_from_teacher(rows: pl.DataFrame, truth: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """Rows with the teacher's labels where nobody else answered. `truth` are label rows with image_id (AUTO_GROUND_TRUTH).

    A question that a head or a prompt left open stays open: they looked, and were not sure. A label that follows from another question
    does so here as everywhere: it is taken over with the teacher's answer to that one only.
    """
    import polars as pl

    columns, follows = questions.columns, questions.follows
    labels = {
        column: pl.col(follows[column].question).is_in(follows[column].keys) if column in follows else pl.col(column) for column in columns
    }
    teacher = truth.select("image_id", **{f"teacher@{column}": label for column, label in labels.items()}).unique("image_id")
    rows = rows.join(teacher, on="image_id", how="left", maintain_order="left")
    taken = {column: (source_of(column) == NOBODY) & pl.col(f"teacher@{column}").is_not_null() for column in columns}
    taken |= {column: taken[rule.question] & taken[column] for column, rule in follows.items()}
    sources = {column: pl.when(taken[column]).then(pl.lit(TEACHER)).otherwise(source_of(column)) for column in columns}
    filled = rows.with_columns(
        _joined(sources),
        *(pl.when(taken[column]).then(f"teacher@{column}").otherwise(column).alias(column) for column in columns),
        pl.concat_list(pl.when(taken[column]).then(pl.lit(column)) for column in columns).list.drop_nulls().alias("taken@"),
    )
    return _ruled(filled, questions).drop("taken@", *(f"teacher@{column}" for column in columns))


def _ruled(filled: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """The rules that may overrule anything over what was taken from the teacher: heads may have said what the teacher's labels go by."""
    import polars as pl

    if not questions.general or not filled["taken@"].list.len().sum():
        return filled
    names, rows = [*questions.columns, "overruled"], []
    for row in filled.select(*names, "taken@").iter_rows(named=True):
        only = frozenset(row.pop("taken@"))
        notes = settle(row, questions.general, {}, only=only)
        rows.append({**row, "overruled": [*(row["overruled"] or []), *notes]})
    return filled.with_columns(pl.DataFrame(rows, schema={name: filled.schema[name] for name in names}))


def without_teacher(rows: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """PREDICTIONS rows with only what heads and prompts said: what was taken over from the teacher is open again, its source `none`."""
    import polars as pl

    sources = {column: source_of(column).replace(TEACHER, NOBODY) for column in questions.columns}
    own = (pl.when(source_of(column) != TEACHER).then(column).alias(column) for column in questions.columns)
    return rows.with_columns(_joined(sources), *own)


def _joined(sources: Mapping[str, pl.Expr]) -> pl.Expr:
    """`source_text`, row by row."""
    import polars as pl

    each = {column: source.replace(NOBODY, None) for column, source in sources.items()}
    named = pl.concat_str(
        [pl.concat_str(pl.lit(f"{column}="), source) for column, source in each.items()], separator=" ", ignore_nulls=True
    )
    first, last = pl.min_horizontal(each.values()), pl.max_horizontal(each.values())
    return pl.when(first == last).then(first).when(first.is_null()).then(pl.lit(NOBODY)).otherwise(named).alias("source")
