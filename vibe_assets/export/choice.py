"""Label rows of people, students and teacher go in; one row per photo comes out, every label with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import Field, ManyOf, OneOf, Questions
from vibe_assets.records.answers import asked_of_people, source_of, without_teacher

if TYPE_CHECKING:
    import polars as pl

SOURCES: dict[str, tuple[str, ...]] = {  # what `--labels` may say -> voices, the one that wins first
    "people": ("people",),
    "students": ("students",),
    "teacher": ("teacher",),
    "best": ("people", "students", "teacher"),
}


@dataclass(frozen=True)
class Provenance:
    """Where one label came from. `confidence` is that of the value as stated, 0..1; people and teacher state none."""

    label: str  # label key
    value: bool  # False: the label of a yes_no question that is known not to hold
    source: str  # people | students | zero_shot | teacher
    version: str  # annotator, head version, encoder fingerprint, teacher fingerprint
    confidence: float | None
    column: str  # of the tables of labels

    def to_json(self) -> dict[str, Any]:
        """As files have it: the label says of which question it is."""
        return {name: value for name, value in vars(self).items() if name != "column"}


def choose(source: str, voices: Mapping[str, pl.DataFrame], questions: Questions, *, min_confidence: float | None = None) -> pl.DataFrame:
    """The labels of `source` (a key of SOURCES): image_id, the columns of the questions, and a source, version and confidence for each.

    `voices` maps people, students and teacher to AUDITED_GROUND_TRUTH, PREDICTIONS and AUTO_GROUND_TRUTH rows; absent ones say nothing.
    People's labels of a photo are taken whole: what they left unknown stays unknown, unless they were never asked. A student answers a
    field that it did not leave open (and names at least one of many); what it is less sure of than `min_confidence` counts as left open.
    The teacher fills the rest.
    The confidence of a list is a list beside it. Photos of which nothing at all is known are not among the rows.
    """
    import polars as pl

    prepared = [_voice(name, voices[name], questions, min_confidence) for name in SOURCES[source] if name in voices]
    if not prepared:
        return pl.DataFrame(schema=_schema(questions))
    ids = pl.concat([rows.select("image_id") for rows in prepared]).unique().sort("image_id")
    wide = ids
    for at, rows in enumerate(prepared):
        wide = wide.join(rows.rename({name: f"{name}@{at}" for name in rows.columns if name != "image_id"}), on="image_id", how="left")
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in questions.fields:
        columns += [_first_that_speaks(field, name, dtype, len(prepared)) for name, dtype in _types_of(field).items()]
    known = pl.any_horizontal(pl.col(_columns_of(field)[1]).is_not_null() for field in questions.fields)
    return wide.select(columns).filter(known).select(list(_schema(questions)))


def _first_that_speaks(field: Field, column: str, dtype: Any, voices: int) -> pl.Expr:
    """A column of the first voice that has something to say of the field, even if it says that it is unknown."""
    import polars as pl

    found: pl.Expr = pl.lit(None, dtype=dtype)
    for at in reversed(range(voices)):
        found = pl.when(pl.col(f"{field.name}_says@{at}").fill_null(False)).then(pl.col(f"{column}@{at}")).otherwise(found)
    return found.alias(column)


def _columns_of(field: Field) -> tuple[str, str, str, str]:
    """Value, source, version and confidence column of a field; a list has numbers here where the tables have KEY=PROBABILITY."""
    return field.name, f"{field.name}_source", f"{field.name}_version", field.confidence.removesuffix("s" * _many(field))


def _many(field: Field) -> bool:
    return field.dtype == "list[str]"


def _types_of(field: Field) -> dict[str, Any]:
    import polars as pl

    value = {"str": pl.String, "bool": pl.Boolean, "list[str]": pl.List(pl.String)}[field.dtype]
    confidence = pl.List(pl.Float64) if _many(field) else pl.Float64
    return dict(zip(_columns_of(field), (value, pl.String, pl.String, confidence), strict=True))


def _schema(questions: Questions) -> dict[str, Any]:
    import polars as pl

    return {"image_id": pl.String} | {name: dtype for field in questions.fields for name, dtype in _types_of(field).items()}


def _voice(name: str, rows: pl.DataFrame, questions: Questions, min_confidence: float | None) -> pl.DataFrame:
    """One voice with the columns of `choose` and, per field, whether it speaks (`*_says`)."""
    import polars as pl

    rows = rows.unique("image_id", keep="first", maintain_order=True)
    if name == "students":
        return _students(rows, questions, min_confidence)
    whole = name == "people"
    version = pl.col("annotator").fill_null("") if whole else pl.col("teacher")
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in questions.fields:
        value, source, versions, confidence = _columns_of(field)
        known = pl.col(value).is_not_null()
        columns += [
            pl.col(value),
            pl.when(known).then(pl.lit(name)).alias(source),
            pl.when(known).then(version).alias(versions),
            pl.lit(None, dtype=_types_of(field)[confidence]).alias(confidence),
            (known | asked_of_people(value) if whole else known).alias(f"{value}_says"),
        ]
    return rows.select(columns)


def _students(rows: pl.DataFrame, questions: Questions, min_confidence: float | None) -> pl.DataFrame:
    import polars as pl

    least = 0.0 if min_confidence is None else min_confidence
    rows = without_teacher(rows, questions)
    for field in filter(_many, questions.fields):
        rows = _with_sure_ones(rows, field, least)
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in questions.fields:
        value, source, version, confidence = _columns_of(field)
        sure = pl.col(confidence)
        if _many(field):
            says = pl.col(value).list.len() > 0
        else:
            sure = pl.when(pl.col(value)).then(sure).otherwise(1 - sure) if field.dtype == "bool" else sure
            says = pl.col(value).is_not_null() & (sure.fill_null(1.0) >= least)
        columns += [
            pl.col(value),
            pl.when(source_of(value) == "zero_shot").then(pl.lit("zero_shot")).otherwise(pl.lit("students")).alias(source),
            _head_of(value, questions).alias(version),
            sure.alias(confidence),
            says.alias(f"{value}_says"),
        ]
    return rows.select(columns)


def _head_of(column: str, questions: Questions) -> pl.Expr:
    """Version of the head that spoke, or the encoder where prompts did. A label that follows from another question has the head of that."""
    import polars as pl

    rule = questions.follows.get(column)
    heads = [*([questions[rule.question].head] if rule else []), questions.owner[column].head]
    own = [pl.col("heads").str.extract(rf"(?:^| )({head}-\S+)", 1) for head in heads]
    return pl.when(source_of(column) == "zero_shot").then(pl.col("encoder")).otherwise(pl.coalesce(*own, pl.col("heads")))


def _with_sure_ones(rows: pl.DataFrame, field: Field, least: float) -> pl.DataFrame:
    """The labels of a list that are sure enough, and their confidence beside them as numbers."""
    import polars as pl

    value, _, _, confidence = _columns_of(field)
    pairs = field.confidence
    named = rows.select("image_id", value, pairs).filter(pl.col(value).list.len() > 0)
    count = pl.col(value).list.len()
    beside = pl.when(pl.col(pairs).list.len() == count).then(pl.col(pairs))
    unknown = pl.lit(None, dtype=pl.String).repeat_by(count)
    told = named.with_columns(beside.otherwise(unknown).alias(pairs)).explode(value, pairs)
    told = told.with_columns(pl.col(pairs).str.split("=").list.last().cast(pl.Float64, strict=False).alias(confidence))
    kept = told.filter(pl.col(confidence).fill_null(1.0) >= least)
    grouped = kept.group_by("image_id", maintain_order=True).agg(value, confidence)
    return rows.drop(value).join(grouped, on="image_id", how="left", maintain_order="left")


def provenance(row: Mapping[str, Any], questions: Questions) -> Iterator[Provenance]:
    """Every label of a chosen row, in the order of the questions and of the lists."""
    for field in questions.fields:
        value, source, version, confidence = (row[name] for name in _columns_of(field))
        if source is None or value is None:
            continue
        said: list[tuple[str, bool, float | None]]
        match question := questions.owner[field.name]:
            case ManyOf():
                said = [(label, True, sure) for label, sure in zip(value, confidence or [None] * len(value), strict=True)]
            case OneOf():
                said = [(value, True, confidence)]
            case _:
                said = [(f"{question.prefix}.{field.name}", value, confidence)]
        for label, holds, sure in said:
            yield Provenance(label, holds, source, version or "", None if sure is None else round(sure, 4), field.name)
