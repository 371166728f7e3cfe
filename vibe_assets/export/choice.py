"""Label rows of people, students and teacher go in; one row per photo comes out, every label with where it came from."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibe_assets.records import ATTRIBUTES
from vibe_assets.records.answers import DERIVED, source_of, without_teacher

if TYPE_CHECKING:
    import polars as pl

SOURCES: dict[str, tuple[str, ...]] = {  # what `--labels` may say -> voices, the one that wins first
    "people": ("people",),
    "students": ("students",),
    "teacher": ("teacher",),
    "best": ("people", "students", "teacher"),
}
FIELDS = ("scene", *ATTRIBUTES, "objects")


@dataclass(frozen=True)
class Provenance:
    """Where one label came from. `confidence` is that of the value as stated, 0..1; people and teacher state none."""

    label: str  # scene.* | attr.* | object.*
    value: bool  # False: an attribute that is known to be absent
    source: str  # people | students | zero_shot | teacher
    version: str  # annotator, head version, encoder fingerprint, teacher fingerprint
    confidence: float | None


def choose(source: str, voices: Mapping[str, pl.DataFrame], *, min_confidence: float | None = None) -> pl.DataFrame:
    """The labels of `source` (a key of SOURCES): image_id, scene, ATTRIBUTES, objects, and a *_source and *_confidence for each.

    `voices` maps people, students and teacher to AUDITED_GROUND_TRUTH, PREDICTIONS and AUTO_GROUND_TRUTH rows; absent ones say nothing.
    People's labels of a photo are taken whole: what they left unknown stays unknown. A student answers a field that it did not leave
    open (and names at least one object); what it is less sure of than `min_confidence` counts as left open. The teacher fills the rest.
    `object_confidence` is a list beside `objects`. Photos of which nothing at all is known are not among the rows.
    """
    import polars as pl

    prepared = [_voice(name, voices[name], min_confidence) for name in SOURCES[source] if name in voices]
    if not prepared:
        return pl.DataFrame(schema=_schema())
    ids = pl.concat([rows.select("image_id") for rows in prepared]).unique().sort("image_id")
    wide = ids
    for at, rows in enumerate(prepared):
        wide = wide.join(rows.rename({name: f"{name}@{at}" for name in rows.columns if name != "image_id"}), on="image_id", how="left")
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in FIELDS:
        columns += [_first_that_speaks(field, name, len(prepared)) for name in _columns_of(field)]
    known = pl.any_horizontal(pl.col(_columns_of(field)[1]).is_not_null() for field in FIELDS)
    return wide.select(columns).filter(known).select(list(_schema()))


def _first_that_speaks(field: str, column: str, voices: int) -> pl.Expr:
    """A column of the first voice that has something to say of the field, even if it says that it is unknown."""
    import polars as pl

    found: pl.Expr = pl.lit(None, dtype=_schema()[column])
    for at in reversed(range(voices)):
        found = pl.when(pl.col(f"{field}_says@{at}").fill_null(False)).then(pl.col(f"{column}@{at}")).otherwise(found)
    return found.alias(column)


def _columns_of(field: str) -> tuple[str, str, str, str]:
    """Value, source, version and confidence column of a field."""
    return field, f"{field}_source", f"{field}_version", "object_confidence" if field == "objects" else f"{field}_confidence"


def _schema() -> dict[str, Any]:
    import polars as pl

    schema: dict[str, Any] = {"image_id": pl.String}
    for field in FIELDS:
        value, source, version, confidence = _columns_of(field)
        many = field == "objects"
        schema[value] = pl.List(pl.String) if many else pl.String if field == "scene" else pl.Boolean
        schema |= {source: pl.String, version: pl.String, confidence: pl.List(pl.Float64) if many else pl.Float64}
    return schema


def _voice(name: str, rows: pl.DataFrame, min_confidence: float | None) -> pl.DataFrame:
    """One voice with the columns of `choose` and, per field, whether it speaks (`*_says`)."""
    import polars as pl

    rows = rows.unique("image_id", keep="first", maintain_order=True)
    if name == "students":
        return _students(rows, min_confidence)
    whole = name == "people"
    version = pl.col("annotator").fill_null("") if whole else pl.col("teacher")
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in FIELDS:
        value, source, versions, confidence = _columns_of(field)
        known = pl.col(field).is_not_null()
        columns += [
            pl.col(field),
            pl.when(known).then(pl.lit(name)).alias(source),
            pl.when(known).then(version).alias(versions),
            pl.lit(None, dtype=_schema()[confidence]).alias(confidence),
            (pl.lit(True) if whole else known).alias(f"{value}_says"),
        ]
    return rows.select(columns)


def _students(rows: pl.DataFrame, min_confidence: float | None) -> pl.DataFrame:
    import polars as pl

    least = 0.0 if min_confidence is None else min_confidence
    rows = _with_sure_objects(without_teacher(rows), least)
    columns: list[pl.Expr] = [pl.col("image_id")]
    for field in FIELDS:
        value, source, version, confidence = _columns_of(field)
        if field == "objects":
            sure, says = pl.col("object_confidence"), pl.col("objects").list.len() > 0
        else:
            p = pl.col(f"{field}_confidence")
            sure = p if field == "scene" else pl.when(pl.col(field)).then(p).otherwise(1 - p)
            says = pl.col(field).is_not_null() & (sure.fill_null(1.0) >= least)
        columns += [
            pl.col(field),
            pl.when(source_of(field) == "zero_shot").then(pl.lit("zero_shot")).otherwise(pl.lit("students")).alias(source),
            _head_of(field).alias(version),
            sure.alias(confidence),
            says.alias(f"{value}_says"),
        ]
    return rows.select(columns)


def _head_of(field: str) -> pl.Expr:
    """Version of the head that spoke, or the encoder where prompts did. is_document and is_screenshot follow from the scene."""
    import polars as pl

    kind = "object" if field == "objects" else "scene" if field == "scene" else "attribute"
    own = pl.col("heads").str.extract(rf"(?:^| )({kind}-\S+)", 1)
    if field in DERIVED:
        own = pl.coalesce(pl.col("heads").str.extract(r"(?:^| )(scene-\S+)", 1), own)
    return pl.when(source_of(field) == "zero_shot").then(pl.col("encoder")).otherwise(pl.coalesce(own, pl.col("heads")))


def _with_sure_objects(rows: pl.DataFrame, least: float) -> pl.DataFrame:
    """`objects` that are sure enough, and `object_confidence` beside them as numbers."""
    import polars as pl

    named = rows.select("image_id", "objects", "object_confidences").filter(pl.col("objects").list.len() > 0)
    count = pl.col("objects").list.len()
    beside = pl.when(pl.col("object_confidences").list.len() == count).then(pl.col("object_confidences"))
    unknown = pl.lit(None, dtype=pl.String).repeat_by(count)
    told = named.with_columns(object_confidences=beside.otherwise(unknown)).explode("objects", "object_confidences")
    told = told.with_columns(object_confidence=pl.col("object_confidences").str.split("=").list.last().cast(pl.Float64, strict=False))
    kept = told.filter(pl.col("object_confidence").fill_null(1.0) >= least)
    grouped = kept.group_by("image_id", maintain_order=True).agg("objects", "object_confidence")
    return rows.drop("objects").join(grouped, on="image_id", how="left", maintain_order="left")


def provenance(row: Mapping[str, Any]) -> Iterator[Provenance]:
    """Every label of a chosen row, scene first, then attributes, then objects in their order."""
    for field in FIELDS:
        value, source, version, confidence = (row[name] for name in _columns_of(field))
        if source is None or value is None:
            continue
        if field == "objects":
            sure: Sequence[float | None] = confidence or [None] * len(value)
            for label, one in zip(value, sure, strict=True):
                yield Provenance(label, True, source, version or "", _rounded(one))
        elif field == "scene":
            yield Provenance(value, True, source, version or "", _rounded(confidence))
        else:
            yield Provenance(f"attr.{field}", value, source, version or "", _rounded(confidence))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, 4)
