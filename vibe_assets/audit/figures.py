"""Verdict rows and the teacher's labels become all figures about the audit itself: agreement, anchoring, pace."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.agreement import Concord, cohen_kappa, krippendorff_alpha
from vibe_assets.audit.anchoring import Anchoring, Pace, anchoring, pace
from vibe_assets.evaluate.intervals import RESAMPLES

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Questions

MOST_PAIRS = 10  # pairs of people, the busiest first: a crowd has too many to read


@dataclass(frozen=True)
class AuditFigures:
    """What the verdicts say of the audit."""

    people: Mapping[str, int]  # annotator -> photos labelled, most first
    photos: int  # labelled by at least one person
    alpha: tuple[Concord, ...]  # one per column that has one answer
    kappa: tuple[Concord, ...]  # pairs of people, every such column
    anchoring: tuple[Anchoring, ...]  # one per such column
    pace: Pace
    chosen: int = 0  # photos that nobody met in the order of the sample, only in views that pick by the answers
    left: int | None = None  # photos of the sample without a label; None: not known
    main: str | None = None  # the column that the summary speaks of


def audit_figures(
    judgements: pl.DataFrame,
    teacher: pl.DataFrame,
    questions: Questions,
    *,
    groups: Mapping[str, str] | None = None,
    sample: Collection[str] | None = None,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> AuditFigures:
    """Judge the audit. `judgements`: `judgement_rows`; `teacher`: AUTO_GROUND_TRUTH rows; `groups`: image_id -> group.

    `sample`: the photos that were drawn. Anchoring compares verdicts met in the order of the sample, and pre-filled ones only where
    this teacher's labels were filled in.
    """
    import polars as pl

    labelled = judgements.filter(pl.col("act").is_in(["accepted", "corrected", "labelled"]))
    people = dict(labelled.group_by("annotator").len().sort(["len", "annotator"], descending=[True, False]).iter_rows())
    pairs = list(combinations(people, 2))[:MOST_PAIRS]
    options: dict[str, Any] = {"groups": groups, "resamples": resamples, "seed": seed}
    version = str(teacher["teacher"][0]) if "teacher" in teacher.columns and teacher.height else None
    other = pl.col("shown_teacher").is_not_null() & (pl.col("shown_teacher") != (version or ""))
    alike = labelled.filter("in_order") if version is None else labelled.filter(pl.col("in_order") & ~other)
    columns = [field.name for field in questions.fields if field.dtype != "list[str]"]
    met = labelled.group_by("image_id").agg(pl.col("in_order").any())
    return AuditFigures(
        people=people,
        photos=met.height,
        alpha=tuple(krippendorff_alpha(labelled, question, **options) for question in columns),
        kappa=tuple(cohen_kappa(labelled, pair, question, **options) for pair in pairs for question in columns),
        anchoring=tuple(anchoring(alike, teacher, question, groups=groups) for question in columns),
        pace=pace(judgements, groups=groups),
        chosen=met.filter(~pl.col("in_order")).height,
        left=None if sample is None else len(set(sample) - set(met["image_id"])),
        main=None if questions.main is None else questions.main.key,
    )
