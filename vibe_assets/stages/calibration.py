"""Deployed heads on the test split -> how well their confidence is meant, before and after calibration, and their thresholds."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from vibe_assets.questions import OneOf, Questions, YesNo
from vibe_assets.records import AUTO_GROUND_TRUTH, PHOTO_GROUPS, Estimate
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed, library_vectors, test_rows

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.charts import Coverage
    from vibe_assets.evaluate.metrics import Reliability
    from vibe_assets.heads.models import TrainedHead

Pairs = dict[str, "tuple[Reliability | None, Reliability | None]"]


def calibration_pairs(platform: Platform) -> Pairs:
    """Label -> reliability (before, after) of the deployed heads of one label, and of yes or no, against the teacher's labels."""
    heads = deployed(platform)
    truth = test_rows(platform, platform.lake.read_live(AUTO_GROUND_TRUTH))
    rows = library_vectors(platform).join(truth, on="image_id", how="inner") if heads else truth.head(0)
    if rows.is_empty():
        return {}
    fitting = {kind: head for kind, head in heads.items() if rows["encoder"][0] == head.card.encoder}
    pairs: Pairs = {}
    for question in platform.questions:
        if (head := fitting.get(question.head)) is None:
            continue
        if isinstance(question, OneOf):
            pairs |= _one_of_pair(question, head, rows)
        elif isinstance(question, YesNo):
            pairs |= _yes_no_pairs(question, head, rows, platform.questions)
    return pairs


def _one_of_pair(question: OneOf, head: TrainedHead, rows: pl.DataFrame) -> Pairs:
    import numpy as np
    import polars as pl

    from vibe_assets.evaluate.metrics import reliability
    from vibe_assets.heads.dataset import vectors
    from vibe_assets.heads.models import softmax

    known = rows.filter(pl.col(question.key).is_not_null())
    if known.is_empty():
        return {}
    x = vectors(known["embedding"])  # (n, d)
    truth, labels = np.array(known[question.key].to_list()), np.array(head.labels)
    before, after = (
        reliability(p.max(axis=1), labels[p.argmax(axis=1)] == truth)
        for p in (softmax(head.logits(x).astype(np.float64)), head.probabilities(x))  # (n, labels)
    )
    return {question.head: (before, after)}


def _yes_no_pairs(question: YesNo, head: TrainedHead, rows: pl.DataFrame, questions: Questions) -> Pairs:
    """How often "yes" was right over how likely it was said to be; labels that follow from another question are left out."""
    import numpy as np
    from scipy.special import expit

    from vibe_assets.evaluate.metrics import reliability
    from vibe_assets.heads.dataset import vectors

    x = vectors(rows["embedding"])  # (n, d)
    before, after = expit(head.logits(x).astype(np.float64)), head.probabilities(x)  # (n, labels)
    pairs: Pairs = {}
    for at, name in enumerate(head.labels):
        known = rows[name].is_not_null().to_numpy()
        if name not in questions.follows and known.any():
            true = rows[name].fill_null(False).to_numpy()[known]
            pairs[f"{question.prefix}.{name}"] = (reliability(before[known, at], true), reliability(after[known, at], true))
    return pairs


def head_calibration(platform: Platform, head: TrainedHead) -> Estimate | None:
    """The calibration error of a head on the test split, against the teacher's labels; of several labels the mean. None for no photo."""
    import numpy as np

    from vibe_assets.evaluate.metrics import calibration_error
    from vibe_assets.heads.dataset import training_set

    truth, groups = platform.lake.read_live(AUTO_GROUND_TRUTH), platform.lake.read(PHOTO_GROUPS)
    vectors = library_vectors(platform)
    question = platform.questions.of_head(head.kind)
    if question is None:
        return None
    data = training_set(question, vectors, truth, groups, labels=head.labels)
    test = data.rows("test")
    p, targets, mask = head.probabilities(data.x[test]), data.targets[test], data.mask[test]
    if isinstance(question, OneOf):
        return calibration_error(p.max(axis=1, initial=0.0), p.argmax(axis=1) == targets, groups=data.groups[test])
    photo, label = np.nonzero(mask)
    weights = 1 / mask.sum(axis=0)[label]
    found = calibration_error(p[mask], targets[mask] == 1, groups=data.groups[test][photo], weights=weights, parts=label)
    return None if found is None else replace(found, n=len(test))


def main_coverage(platform: Platform) -> dict[str, Coverage]:
    """What the main head in force buys by leaving photos open, as its card has it: the test split, and folders that did not train.

    Against the teacher's labels; {} without a head, and for a head of before these figures were kept.
    """
    from vibe_assets.evaluate.charts import Coverage

    main = platform.questions.main
    head = None if main is None else deployed(platform).get(main.head)
    found = {}
    for name, split in (("photos of the test split", "test"), ("photos of folders that did not train", "new_folders")):
        figures = {} if head is None else head.card.metrics.get(split, {})
        if points := figures.get("risk_coverage"):
            right = figures.get("accuracy_kept")
            found[name] = Coverage(points, None if right is None else (float(figures["kept"]), float(right)))
    return found


def yes_thresholds(platform: Platform) -> dict[str, float]:
    """Label of a yes or no -> the probability from which on the deployed head says yes."""
    questions, heads = platform.questions, deployed(platform)
    return {
        f"{question.prefix}.{name}": float(at)
        for question in questions.of_type(YesNo)
        if (head := heads.get(question.head)) is not None
        for name, at in zip(head.labels, head.thresholds("upper"), strict=True)
        if name not in questions.follows
    }
