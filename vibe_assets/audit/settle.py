"""Verdicts -> what each person holds of each photo, and then one label row per photo.

A person's newest verdict holds; an undo takes a verdict back, so that the one before holds again; a skip is no label. Several people:
each column is settled by itself. One answer, and yes or no, is that of most of those who gave one, and a tie is unknown: a coin flip
would be called truth by every later stage. One label of many stands when more than half of the people name it, in order of its mean place.
An accepted file adjudicates, for the columns that it speaks of: what was said of its photos before no longer counts here (it does for
agreement), what is said after it starts anew. That is how ties are broken: `vibe audited --export FILE`, decide, `vibe audited FILE`.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, TypeVar

from vibe_assets.audit.verdicts import Verdict
from vibe_assets.records import AUDITED_GROUND_TRUTH, Labels, fingerprint

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Field, Questions

Answer = TypeVar("Answer", str, bool)
TYPES: dict[str, type] = {"str": str, "bool": bool, "list[str]": tuple}  # of a column's answers


def standing(verdicts: Iterable[Verdict]) -> dict[tuple[str, str], Verdict]:
    """(image_id, annotator) -> the verdict that holds, skips included. The order of the input does not matter."""
    ordered = sorted(verdicts, key=moment)
    taken_back = {(verdict.undoes, verdict.annotator) for verdict in ordered if verdict.act == "undone"}
    return {
        (verdict.image_id, verdict.annotator): verdict
        for verdict in ordered
        if verdict.act != "undone" and (verdict.verdict_id, verdict.annotator) not in taken_back
    }


def moment(verdict: Verdict) -> datetime:
    """When it was kept, with its time zone. Raises ValueError for another kind of text."""
    at = datetime.fromisoformat(verdict.at)
    if at.tzinfo is None:
        raise ValueError(f"expected a time with its zone, got {verdict.at!r}")
    return at


def answer(labels: Labels | None, field: Field) -> Any:
    """What the labels say in a column; None: nothing, or what was said when the question had another type."""
    value = None if labels is None else labels.values.get(field.name)
    return value if isinstance(value, TYPES[field.dtype]) else None


def was_asked(labels: Labels, field: Field) -> bool:
    """Whether the labels speak of a column, if only as unknown. What they say as another type was the answer to another question."""
    return field.name in labels.values and isinstance(labels.values[field.name], TYPES[field.dtype] | None)


def verdict_rows(verdicts: Iterable[Verdict], questions: Questions) -> pl.DataFrame:
    """One row per (image_id, annotator) as it stands, sorted by both; skipped photos have null labels.

    What a person said at the page goes before what a file says in that person's name.
    Columns: image_id, annotator, act, blind, those of the questions, spent_ms, at (UTC), source, reason.
    """
    import polars as pl

    known = AUDITED_GROUND_TRUTH.of(questions).polars_schema()
    labels = {name: known[name] for name in questions.columns}
    schema: dict[str, Any] = {
        "image_id": pl.String, "annotator": pl.String, "act": pl.String, "blind": pl.Boolean, **labels, "spent_ms": pl.Int64,
        "at": pl.Datetime("us", "UTC"), "source": pl.String, "reason": pl.String,
    }  # fmt: skip
    verdicts = list(verdicts)
    held = standing(verdict for verdict in verdicts if verdict.source == "file")
    held |= standing(verdict for verdict in verdicts if verdict.source != "file")
    rows = [_verdict_row(verdict, questions) for verdict in held.values()]
    return pl.DataFrame(rows, schema=schema, orient="row").sort("image_id", "annotator")


def _verdict_row(verdict: Verdict, questions: Questions) -> dict[str, Any]:
    said = Labels(verdict.image_id, {field.name: answer(verdict.labels, field) for field in questions.fields})
    return {
        **said.row(), "image_id": verdict.image_id, "annotator": verdict.annotator, "act": verdict.act, "blind": verdict.blind,
        "spent_ms": verdict.spent_ms, "at": moment(verdict), "source": verdict.source, "reason": verdict.reason,
    }  # fmt: skip


def truth_rows(verdicts: Iterable[Verdict], questions: Questions) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH rows, one per photo that somebody labelled, sorted by image_id.

    The inclusion probability is the one the photo had when it was judged: a later draw has others.
    """
    import polars as pl

    rows = [_settled(image_id, said, questions) for image_id, said in _standing_answers(verdicts).items()]
    return pl.DataFrame(rows, schema=AUDITED_GROUND_TRUTH.of(questions).polars_schema())


def counted_answers(verdicts: Iterable[Verdict], column: str) -> dict[str, list[Verdict]]:
    """image_id -> the standing verdicts that count for a column, one per person, sorted by image_id: see the module."""
    return {image_id: _since_the_file(said, column) for image_id, said in _standing_answers(verdicts).items()}


def _standing_answers(verdicts: Iterable[Verdict]) -> dict[str, list[Verdict]]:
    """image_id -> the standing verdicts with labels, files' first, sorted by image_id."""
    photos: dict[str, list[Verdict]] = defaultdict(list)
    verdicts = list(verdicts)
    files = [verdict for verdict in verdicts if verdict.source == "file"]
    people = [verdict for verdict in verdicts if verdict.source != "file"]
    for verdict in (*standing(files).values(), *standing(people).values()):
        if verdict.labels is not None:
            photos[verdict.image_id].append(verdict)
    return dict(sorted(photos.items()))


def truth_version(rows: pl.DataFrame) -> str:
    """16 hex digits over the settled rows: who asked again or undid a slip moves nothing. Nothing unasked is no part of it, as ever."""
    told = [[value for name, value in row.items() if name != "unasked" or value] for row in rows.iter_rows(named=True)]
    return fingerprint({"rows": told})


def settled_part(verdicts: Sequence[Verdict], *, now: datetime, quiet_s: float, done_at: datetime | None = None) -> list[Verdict]:
    """The verdicts, oldest first, up to the last pause of at least `quiet_s` seconds or up to `done_at`, whichever is later.

    Nothing is rebuilt while somebody is at it; the part depends on the log and the clock alone, no state is kept. A newest verdict that
    lies further ahead of `now` than a pause was said before the clock went back: nobody can tell when, and waiting for it could take years.
    """
    times = [moment(verdict) for verdict in verdicts]
    pause = timedelta(seconds=quiet_s)
    for end in range(len(verdicts), 0, -1):
        following = times[end] if end < len(times) else now
        if abs(following - times[end - 1]) >= pause or (done_at is not None and times[end - 1] <= done_at):
            return list(verdicts[:end])
    return []


def _since_the_file(said: Sequence[Verdict], column: str) -> list[Verdict]:
    """One photo's standing verdicts that speak of a column and count for it: those after the last file, else the file alone, else all."""
    speak = [verdict for verdict in said if verdict.labels is not None and column in verdict.labels.values]
    files = sorted((verdict for verdict in speak if verdict.source == "file"), key=moment)
    if not files:
        return speak
    return [verdict for verdict in speak if verdict.source != "file" and moment(verdict) > moment(files[-1])] or files[-1:]


def _settled(image_id: str, said: Sequence[Verdict], questions: Questions) -> dict[str, Any]:
    """One photo's row; `said` are the standing verdicts with labels, one per person."""
    values, unasked, heard = dict[str, Any](), list[str](), set[str]()
    for field in questions.fields:
        counted = _since_the_file(said, field.name)
        heard |= {verdict.verdict_id for verdict in counted}
        answers = [one for verdict in counted if (one := answer(verdict.labels, field)) is not None]
        values[field.name] = _named_by_most(answers) if field.dtype == "list[str]" else _majority(answers)
        if not any(verdict.labels is not None and was_asked(verdict.labels, field) for verdict in counted):
            unasked.append(field.name)
    said = [verdict for verdict in said if verdict.verdict_id in heard] or said
    newest = sorted(said, key=moment, reverse=True)
    probabilities = [verdict.shown["inclusion_probability"] for verdict in newest if verdict.shown.get("inclusion_probability") is not None]
    return {
        **Labels(image_id, values).row(),
        "inclusion_probability": probabilities[0] if probabilities else None,
        "annotator": " + ".join(sorted(verdict.annotator for verdict in said)),
        "unasked": unasked or None,
    }


def _majority(answers: Sequence[Answer]) -> Answer | None:
    """The most frequent answer; None when there is none or the first place is shared."""
    ranked = Counter(answers).most_common(2)
    if not ranked or (len(ranked) == 2 and ranked[0][1] == ranked[1][1]):
        return None
    return ranked[0][0]


def _named_by_most(lists: Sequence[Sequence[str]]) -> tuple[str, ...] | None:
    """What more than half of the lists name; None where there is no list: nobody was asked."""
    if not lists:
        return None
    places: dict[str, list[int]] = defaultdict(list)
    for names in lists:
        for place, name in enumerate(names):
            places[name].append(place)
    most = [name for name, found in places.items() if len(found) * 2 > len(lists)]
    return tuple(sorted(most, key=lambda name: sum(places[name]) / len(places[name])))
