"""A year of weekly heads: how much is lost where each is a little worse than the last, how often is one refused that is no worse?"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from truths.result import Result
from vibe_assets.evaluate.combined import Models
from vibe_assets.evaluate.intervals import LEVEL, mcnemar_exact
from vibe_assets.evaluate.paired import WORST_LEVEL, best_of, loses_too_much, weighted_difference
from vibe_assets.sections import GateSettings

TITLE = "A year of deployments"
CLAIM = "over 52 weeks a library loses at most gates.max_deploy_loss, and at most 5 % of the heads that are no worse are refused"
PHOTOS, WEEKS, START = 500, 52, 0.9  # audited photos of the test split: half of the default sample
ALL, TEACHER, IMITATED = 2000, 0.9, 0.5  # photos of the test split; the teacher's accuracy; how often a wrong head errs as the teacher does
SCENES = np.array([0.4, 0.25, 0.15, 0.1, 0.07, 0.03])  # shares of the library
CHANCES = np.sqrt(SCENES) / np.sqrt(SCENES).sum()  # of the sample: `stratified`, a scene's places grow with the root of its size
TILT = np.array([0.015, 0.0, 0.0, -0.03, -0.03, -0.03])  # another head's accuracy by scene; the library's stays the same
FRESH = 0.15  # share of the photos on which two heads are right or wrong for reasons of their own: some 5 in 100 are won or lost
MARGIN = GateSettings().max_deploy_loss
Refused = Callable[[list["Judged"], "Judged", np.ndarray], bool]


@dataclass(frozen=True)
class Judged:
    """Where a head is right by people, of the audited photos, and by the teacher, of these and of the mean of all."""

    people: np.ndarray
    teacher: np.ndarray
    everywhere: float


def simulate(libraries: int, seed: int) -> Iterator[Result]:
    lost = np.array([_year(seed + at, 0.005) for at in range(libraries)])
    before = np.array([_year(seed + at, 0.005, _mcnemar) for at in range(min(libraries, 200))])
    beyond = lambda years: float((years[:, 0] < START - MARGIN - 1e-9).mean())  # noqa: E731
    yield Result("heads half a point worse every week: loss beyond the margin", beyond(lost), 0.0, 0.05, libraries, beyond(before))
    found, were = lost[:, 0].mean(), before[:, 0].mean()
    yield Result(
        "the same: accuracy after 52 weeks, from .90", found, START - MARGIN, START, libraries, were, lost[:, 0].std() / libraries**0.5
    )
    for setting, tilt in (("equal heads: refused", False), ("equal heads, better at frequent and worse at rare scenes: refused", True)):
        same = np.array([_year(seed + at, 0.0, tilt=tilt) for at in range(libraries)])
        old = np.array([_year(seed + at, 0.0, _mcnemar, tilt=tilt) for at in range(min(libraries, 200))])
        yield Result(setting, same[:, 1].mean(), 0.0, 0.05, libraries, old[:, 1].mean(), same[:, 1].std() / libraries**0.5)


def _refused(deployed: list[Judged], new: Judged, weights: np.ndarray) -> bool:
    """As the gate does it: against the head in force, and against the best of all that were, with the teacher's answers beside people's."""
    record = deployed[best_of([head.people for head in deployed], weights=weights)]
    return any(_loses(old, new, weights) for old in {id(head): head for head in (deployed[-1], record)}.values())


def _loses(old: Judged, new: Judged, weights: np.ndarray) -> bool:
    models = Models((new.teacher - old.teacher)[:, None], np.array([new.everywhere - old.everywhere]), ALL)
    delta, worst = (weighted_difference(new.people - old.people, weights=weights, models=models, level=at) for at in (LEVEL, WORST_LEVEL))
    return loses_too_much(delta, worst.low, MARGIN)


def _mcnemar(deployed: list[Judged], new: Judged, weights: np.ndarray) -> bool:
    """As it was: unweighted, against the head in force alone."""
    change = new.people - deployed[-1].people
    return mcnemar_exact(int((change < 0).sum()), int((change > 0).sum())).p_second_worse < 0.05


def _year(seed: int, step: float, refused: Refused = _refused, *, tilt: bool = False) -> tuple[float, float]:
    """True accuracy in force after the weeks, and the share of heads that were refused; each is `step` worse than the one in force.

    Heads share what is hard (a photo is right below the head's accuracy) but for FRESH of the photos, which are drawn anew.
    """
    rng = np.random.default_rng(seed)
    stratum, hard, teacher_right = rng.choice(len(SCENES), ALL, p=SCENES), rng.random(ALL), rng.random(ALL) < TEACHER
    often = (CHANCES / SCENES)[stratum]
    audited = rng.choice(ALL, PHOTOS, replace=False, p=often / often.sum())

    def head(accuracy: float, sign: float) -> Judged:
        right = np.where(rng.random(ALL) < FRESH, rng.random(ALL), hard) < accuracy + sign * TILT[stratum]
        agreed = np.where(teacher_right, right, ~right & (rng.random(ALL) < IMITATED)).astype(float)
        return Judged(right[audited].astype(float), agreed[audited], float(agreed.mean()))

    weights, accuracy, stopped = (SCENES / CHANCES)[stratum[audited]], START, 0
    deployed = [head(accuracy, 0.0)]
    for week in range(WEEKS):
        new = head(accuracy - step, (1.0, -1.0)[week % 2] if tilt else 0.0)
        if refused(deployed, new, weights):
            stopped += 1
        else:
            deployed.append(new)
            accuracy -= step
    return accuracy, stopped / WEEKS
