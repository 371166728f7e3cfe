"""Verdicts beside the teacher's answers become, photo by photo, whether people answer the main question alike, and whether blind people do.

A person who sees the teacher's answer filled in tends to leave it; what people say of a photo with nothing filled in does not have that
pull. Where the first place is shared among people, the teacher gets its part of it (half, of two): to leave such photos out would judge
the teacher on the easy ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.settle import answer, counted_answers, standing
from vibe_assets.audit.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Field, Questions


def scene_agreement(verdicts: Iterable[Verdict], audited: pl.DataFrame, teacher: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH and AUTO_GROUND_TRUTH rows -> a row for each photo with an answer: how far people agree, what it stands for.

    Columns: image_id, agreed and agreed_blind (0..1), weight, known_chance (whether the weight is known). agreed_blind is null where nobody
    answered blind. A file that settled a photo answers for the blind people too. No row where there is no main question.
    """
    import polars as pl

    named = dict.fromkeys(("agreed", "agreed_blind", "weight"), pl.Float64)
    schema = {"image_id": pl.String, **named, "known_chance": pl.Boolean}
    if questions.main is None:
        return pl.DataFrame(schema=schema)
    (field,) = questions.main.fields
    verdicts = list(verdicts)
    said = counted_answers(verdicts, field.name)
    seen_blind = {one.image_id for one in standing(v for v in verdicts if v.source != "file").values() if one.blind and one.labels}
    teachers = dict(teacher.select("image_id", field.name).iter_rows())
    rows: list[tuple[Any, ...]] = []
    for image_id, settled, chance in audited.select("image_id", field.name, "inclusion_probability").iter_rows():
        answers, told = said.get(image_id, []), teachers.get(image_id)
        theirs = [one for one in answers if one.blind] or (answers if all(one.source == "file" for one in answers) else [])
        agreed = float(settled == told) if settled is not None else _share(answers, told, field)
        if agreed is not None:
            blind = _share(theirs, told, field) if image_id in seen_blind else None
            rows.append((image_id, agreed, blind, 1 / (chance or 1.0), chance is not None))
    return pl.DataFrame(rows, schema=schema, orient="row")


def _share(answers: Sequence[Verdict], told: str | None, field: Field) -> float | None:
    """1 where most people give the teacher's answer, its part of a shared first place, 0 otherwise; None where nobody gives any."""
    given = Counter(value for one in answers if (value := answer(one.labels, field)) is not None)
    if not given:
        return None
    first = [name for name, people in given.items() if people == max(given.values())]
    return (told in first) / len(first)
