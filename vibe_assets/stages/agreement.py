"""The audit of an installation -> how often people give the teacher's main answer: all, and those shown nothing first."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.agreement import MIN_PHOTOS
from vibe_assets.records import AUDIT_DRAWS, AUDIT_SAMPLE, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS, Estimate
from vibe_assets.records.answers import NOBODY, source_of, without_teacher
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import audited_photos, groups_of
from vibe_assets.stages.verdicts import counted_verdicts

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from vibe_assets.evaluate.combined import Models
    from vibe_assets.evaluate.said import Said


@dataclass(frozen=True)
class Agreed:
    """Photos that people and teacher gave an answer, with what a bound on their share needs; arrays are (n,)."""

    agreed: NDArray[np.float64]  # 0..1
    weights: NDArray[np.float64]
    groups: NDArray[np.str_]
    largest: float  # weight of a photo, of all that were drawn
    finite: bool = False  # weights are 1 / the chance of being among these, of a library that is known (`weighted_share`)
    models: Models | None = None  # how sure the students are of the teacher's answer

    @property
    def n(self) -> int:
        return len(self.agreed)

    @property
    def n_groups(self) -> int:
        return len(set(self.groups.tolist()))

    def estimate(self) -> Estimate:
        """The weighted share with its interval. Raises ValueError for no photos."""
        from vibe_assets.evaluate.combined import combined_share
        from vibe_assets.evaluate.intervals import weighted_share

        shared: dict[str, Any] = {"weights": self.weights, "groups": self.groups, "finite": self.finite}
        return weighted_share(self.agreed, **shared) if self.models is None else combined_share(self.agreed, self.models, **shared)

    def lower_bound(self) -> float:
        """What the share lies above, with 95 % over all looks together."""
        from vibe_assets.evaluate.sequential import lower_bound

        return lower_bound(self.agreed, weights=self.weights, groups=self.groups, largest=self.largest, models=self.models)

    def checks_until(self, threshold: float) -> int | None:
        """How many more of such photos bring the lower bound to a threshold, if they turn out like these; None: no number does."""
        from vibe_assets.evaluate.sequential import checks_until

        if threshold <= 0:
            return 0
        shared: dict[str, Any] = {"weights": self.weights, "groups": self.groups, "largest": self.largest, "models": self.models}
        return checks_until(self.agreed, threshold, **shared)


@dataclass(frozen=True)
class Agreement:
    """`everyone`: all audited photos with an answer; `blind`: those that somebody answered with nothing filled in."""

    everyone: Agreed
    blind: Agreed
    blind_share: float = 0.0  # of the photos that the page shows with nothing filled in

    @property
    def judged(self) -> Agreed:
        """The blind photos, for filled-in answers flatter the teacher; where a few came about and no more do (files), everybody's."""
        enough = self.blind.n >= MIN_PHOTOS or self.blind.n >= self.blind_share * self.everyone.n / 2 > 0
        return self.blind if enough and self.blind.n else self.everyone

    def checks_until(self, threshold: float) -> int | None:
        """As of `judged`, in checks of any kind: of which the blind are a part."""
        more = self.judged.checks_until(threshold)
        return more if more is None else math.ceil(more * self.everyone.n / self.judged.n)


def teacher_agreement(platform: Platform) -> Agreement:
    """People's answers that count beside the teacher's labels of the library as it is now."""
    import numpy as np
    import polars as pl

    from vibe_assets.audit.blind import scene_agreement

    lake, groups, main = platform.lake, groups_of(platform), platform.questions.main
    rows = scene_agreement(
        counted_verdicts(platform), lake.read_live(AUDITED_GROUND_TRUTH), lake.read_live(AUTO_GROUND_TRUTH), platform.questions
    )
    drawn = lake.read_live(AUDIT_SAMPLE, columns=["image_id", "inclusion_probability"])["inclusion_probability"].min()
    largest = max([*rows["weight"], *([1 / drawn] if isinstance(drawn, float) else [])], default=1.0)

    said = audited_said(platform)

    def part(column: str, *, finite: bool = False) -> Agreed:
        known = rows.filter(pl.col(column).is_not_null())
        ids = known["image_id"].to_list()
        named = np.array([groups.get(image_id, image_id) for image_id in ids], dtype=np.str_)
        models = said.agreement(ids, main.key) if main is not None and said is not None and ids and said.knows(ids) else None
        return Agreed(known[column].to_numpy(), known["weight"].to_numpy(), named, largest, finite, models)

    finite = lake.exists(AUDIT_DRAWS) and rows["known_chance"].all()
    return Agreement(part("agreed", finite=finite), part("agreed_blind"), platform.settings.audit.blind_share)


def audited_said(platform: Platform, *, parents: bool = True) -> Said | None:
    """What the teacher and, where they answer, the students say of the photos that the audit speaks of; None where no draw tells which.

    The teacher is the first source. `parents`: a label brings its parents along. Students that learned from people's answers are none:
    of checked photos they know more than of the others.
    """
    from vibe_assets.evaluate.said import Said

    photos = audited_photos(platform)
    if photos is None:
        return None
    lake = platform.lake
    questions = platform.questions
    students = without_teacher(lake.read_live(PREDICTIONS), questions)
    if questions.main is not None:
        students = students.filter(source_of(questions.main.key) != NOBODY)
    if questions.main is None or platform.settings.students.train_on != "auto":
        students = students.clear()
    sources = [lake.read_live(AUTO_GROUND_TRUTH), *([students] if students.height else [])]
    return Said(photos, sources, questions=questions, parents=parents)
