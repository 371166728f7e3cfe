"""Verdicts beside the teacher's scenes become, photo by photo, whether people give the teacher's answer, and whether blind people do.

A person who sees the teacher's answer filled in tends to leave it; what people say of a photo with nothing filled in does not have that
pull. Where the first place is shared among people, the teacher gets its part of it (half, of two): to leave such photos out would judge
the teacher on the easy ones.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.settle import counted_answers, standing
from vibe_assets.audit.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl


def scene_agreement(verdicts: Iterable[Verdict], audited: pl.DataFrame, teacher: pl.DataFrame) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH and AUTO_GROUND_TRUTH rows -> a row for each photo with a scene: how far people agree, and what it stands for.

    Columns: image_id, agreed and agreed_blind (0..1), weight, known_chance (whether the weight is known). agreed_blind is null where nobody
    answered blind. A file that settled a photo answers for the blind people too.
    """
    import polars as pl

    verdicts = list(verdicts)
    said = counted_answers(verdicts)
    seen_blind = {one.image_id for one in standing(v for v in verdicts if v.source != "file").values() if one.blind and one.labels}
    scene_of = dict(teacher.select("image_id", "scene").iter_rows())
    rows: list[tuple[Any, ...]] = []
    for image_id, scene, chance in audited.select("image_id", "scene", "inclusion_probability").iter_rows():
        answers = said.get(image_id, [])
        theirs = [one for one in answers if one.blind] or (answers if all(one.source == "file" for one in answers) else [])
        agreed = float(scene == scene_of.get(image_id)) if scene is not None else _share(answers, scene_of.get(image_id))
        if agreed is not None:
            blind = _share(theirs, scene_of.get(image_id)) if image_id in seen_blind else None
            rows.append((image_id, agreed, blind, 1 / (chance or 1.0), chance is not None))
    named = dict.fromkeys(("agreed", "agreed_blind", "weight"), pl.Float64)
    schema = {"image_id": pl.String, **named, "known_chance": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def _share(answers: Sequence[Verdict], scene: str | None) -> float | None:
    """1 where most people name the scene, its part of a shared first place, 0 otherwise; None where nobody names any."""
    given = Counter(one.labels.scene for one in answers if one.labels is not None and one.labels.scene is not None)
    if not given:
        return None
    first = [name for name, people in given.items() if people == max(given.values())]
    return (scene in first) / len(first)
