"""Gates of teacher and students: whether students may train, and whether a head is fit to be deployed."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PHOTO_GROUPS, Estimate
from vibe_assets.stages.agreement import teacher_agreement
from vibe_assets.stages.calibration import head_calibration
from vibe_assets.stages.gates import Gate
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import (
    NOTHING,
    Untrained,
    compare_with_deployed,
    deployed,
    deployments,
    embedded_photos,
    judge_head,
    latest_head,
    library_vectors,
    question_of,
    reads_others,
    test_rows,
)
from vibe_assets.stages.truth import groups_of

if TYPE_CHECKING:
    from vibe_assets.heads.models import TrainedHead


def teacher_agrees(platform: Platform) -> Gate:
    """People give the teacher's scene more often than the threshold, by a bound that holds however often it is asked, on enough photos.

    The blind photos decide where there are any. In a library smaller than gates.min_audited, all photos are enough; once every group of
    the library was looked at, no chance is left and the share itself decides.
    """
    from vibe_assets.audit.agreement import MIN_PHOTOS

    gates, found = platform.settings.gates, teacher_agreement(platform)
    audited, threshold = found.everyone, gates.min_teacher_agreement
    checked = platform.lake.read_live(AUDITED_GROUND_TRUTH)["image_id"].to_list()
    if not checked and not gates.require_audit:
        return Gate(True, {"note": "nobody has audited the teacher; gates.require_audit is off"})
    if not audited.n:
        return Gate(False, {"audited": 0}, "no audited photo has a scene: check more of the sample")
    groups = groups_of(platform)
    labelled = platform.lake.read_live(AUTO_GROUND_TRUTH)["image_id"].to_list()
    units, looked_at = ({groups.get(image_id, image_id) for image_id in ids} for ids in (labelled, checked))  # a sample draws one of each
    there, left = len(units), len(units - looked_at)  # a scene that cannot be told is no photo that is left
    wanted = min(gates.min_audited, there)
    judged, everything = found.judged, not left
    if everything and found.blind.n < MIN_PHOTOS:
        judged = audited  # a few blind photos tell less than all that there are
    share, lower = judged.estimate(), judged.lower_bound()
    facts = {
        "agreement": share.value,
        "interval": f"{share.low:.3f} to {share.high:.3f}",
        "lower end": round(lower, 3),  # of all looks together
        "lower end wanted": threshold,
        "audited": audited.n,
        "audited wanted": wanted,
        "answered blind": found.blind.n,
    }
    if judged is not found.blind:
        facts["note"] = "judged on answers given with the teacher's filled in, which flatter it"
    if everything:
        note = f"all {there} photos or bursts were checked: taken by the share itself"
        return Gate(share.value >= threshold, {**facts, "note": note}, "" if share.value >= threshold else IMPROVE)
    if lower >= threshold and audited.n >= wanted:
        return Gate(True, facts)
    more = found.checks_until(threshold)
    if more is not None and more > left:
        told = f"the {left:,} photos or bursts that nobody looked at yet decide: once all are checked, the share itself is taken"
        return Gate(False, {**facts, "more checks": left}, told)
    if more is None:
        return Gate(False, facts, f"no number of checks opens it at this agreement: {IMPROVE}")
    more = max(more, wanted - audited.n, 1)
    told = f"about {more:,} more checks open it if the teacher is as good as it looks ({share.value:.2f}); otherwise {IMPROVE}"
    return Gate(False, {**facts, "more checks": more}, told)


IMPROVE = "look at the worst errors of the teacher's report, then try another teacher or prompt ([teacher.candidate])"


# -- heads ---------------------------------------------------------------------------------------------------------------
ENOUGH = 30  # photos of the test split: with fewer, a head that does not win may still be a good one


def of_use(platform: Platform, head: TrainedHead) -> Gate:
    """On the test split the head is better than answering without looking at the photo; `note` says in words what it is not.

    On fewer than ENOUGH photos being ahead is enough: no interval could exclude chance there.
    """
    if foreign := reads_others(platform, head):
        return Gate(False, {"note": foreign}, "train the head on the current vectors: `vibe train`")
    if len(head.card.open) == len(head.labels):
        photos, note = int(head.card.metrics.get("test", {}).get("n", 0)), "no label was shown to beat a constant answer: all are left open"
        return Gate(False, {"photos": photos, "left open": dict(head.card.open), "note": note}, LEARN)
    facts = _one_of_against_majority(platform, head) if head.qtype == "one_of" else _labels_against_chance(platform, head)
    if facts is None:
        facts = {"photos": 0}
        return Gate(
            False, {**facts, "note": "the test split shows no label beside photos without it, so nothing tells whether it is of use"}, LEARN
        )
    if head.card.open:
        facts["left open"] = dict(head.card.open)
    if head.qtype == "many_of" and facts["photos"] >= ENOUGH and (ranked := _main_objects(platform, head)) is not None:
        facts |= {"main object in the first three": ranked.value, "naming the three most frequent": ranked.baseline}
        if ranked.value < (ranked.baseline or 0.0):
            note = f"worse at naming the main object in three than always the same three ({ranked.value:.1%} for {ranked.baseline:.1%})"
            return Gate(False, {**facts, "note": note}, LEARN)
    if facts["score"] > facts["to beat"]:
        return Gate(True, facts)
    if facts["photos"] < ENOUGH and facts["value"] > facts["without looking"]:
        return Gate(True, {**facts, "note": f"ahead on the test split, whose size ({facts['photos']}) is too small to be sure"})
    note = f"not shown to be better than an answer without looking at the photo (photos of the test split: {facts['photos']})"
    return Gate(False, {**facts, "note": note}, LEARN)


def of_use_or_too_few(platform: Platform, head: TrainedHead) -> Gate:
    """As `of_use`, but a test split too small to tell fails nobody."""
    gate = of_use(platform, head)
    if gate.passed or gate.facts.get("photos", ENOUGH) >= ENOUGH:
        return gate
    return Gate(True, {**gate.facts, "note": f"{gate.facts['note']}; fewer than {ENOUGH} are no failure, nor a reason to deploy it"})


LEARN = "label more photos of what the head confuses, or choose a stronger encoder ([encoder] name)"


def not_worse(platform: Platform, head: TrainedHead) -> Gate:
    """The head loses little on the audited test photos against the deployed one and the best ever deployed (paired, weighted, by group)."""
    rivals, wanted = compare_with_deployed(platform, head), platform.settings.gates.max_deploy_loss
    comparison, decision = rivals.deployed, rivals.decide(wanted)
    if comparison is None:
        return Gate(True, {"note": rivals.note})
    if comparison.n == 0:  # no evidence is no loss; the deployed head stays
        return Gate(True, {"photos": 0, "note": decision.reason})
    facts: dict[str, Any] = {
        "photos": comparison.n,
        "only the new one right": comparison.n_only_b_right,
        "only the deployed one right": comparison.n_only_a_right,
        "difference": str(comparison.delta),
        "may lose": round(max(0.0, -comparison.worst), 4),
        "loss allowed": wanted,
        "verdict": comparison.verdict,
    }
    if rivals.best is not None:
        facts |= {"best ever deployed": rivals.best_version, "difference to the best": str(rivals.best.delta)}
    return Gate(decision.allowed, facts | ({"not compared": rivals.note} if rivals.note else {}), decision.reason)


def _absent(platform: Platform, kind: str, found: Untrained) -> Gate:
    """A head that there is not: nothing to judge, and no failure."""
    return Gate(True, {"note": f"{NOTHING}{found.reason}", "in force": deployments(platform).get(kind, "none")})


def beats_majority(kind: str) -> Callable[[Platform], Gate]:
    """The gate of one kind of head against what needs no photo: the most frequent scene, or chance."""

    def judge(platform: Platform) -> Gate:
        """On the test split the head is better than answering without looking at the photo."""
        head = latest_head(platform, kind)
        if isinstance(head, Untrained):
            return _absent(platform, kind, head)
        return of_use_or_too_few(platform, head)

    return judge


def _one_of_against_majority(platform: Platform, head: TrainedHead) -> dict[str, Any] | None:
    """Lower end of the interval of the accuracy, against the share of the most frequent label."""
    found = judge_head(platform, head, "auto").headline.get(f"{question_of(platform, head.kind).key}_accuracy")
    if found is None:
        return None
    return {
        "figure": f"{head.kind} accuracy, lower end of its interval",
        "score": found.low,
        "to beat": found.baseline or 0.0,
        "accuracy": str(found),
        "value": found.value,
        "without looking": found.baseline or 0.0,
        "photos": found.n,
    }


SHUFFLES = 99  # better than all of them by chance: 1 in 100


def _labels_against_chance(platform: Platform, head: TrainedHead) -> dict[str, Any] | None:
    """Average precision of the labels that the test split shows, against the best of many shufflings of the photos.

    Shuffled photos keep the shares of all labels; a head that has learned nothing is one shuffling among others. Labels count by
    their positives: the average precision of two photos is luck.
    """
    import numpy as np

    from vibe_assets.heads.dataset import training_set

    groups = platform.lake.read(PHOTO_GROUPS)
    truth, vectors = platform.lake.read_live(AUTO_GROUND_TRUTH), library_vectors(platform)
    data = training_set(question_of(platform, head.kind), vectors, truth, groups, labels=head.labels)
    test, kept = data.rows("test"), [at for at, label in enumerate(head.labels) if label not in head.card.open]
    labels = [head.labels[at] for at in kept]
    targets, mask, p = data.targets[test][:, kept], data.mask[test][:, kept], head.probabilities(data.x[test])[:, kept]  # (n, labels) each
    each = _average_precisions(labels, targets, mask, p)
    if not each:
        return None
    weights = {label: int(((targets == 1) & mask)[:, at].sum()) for at, label in enumerate(labels) if label in each}

    def mean(found: Mapping[str, float]) -> float:
        return statistics.fmean(found.values(), weights=[weights[label] for label in found])

    rng = np.random.default_rng(0)
    chance = [mean(_average_precisions(labels, targets, mask, p[rng.permutation(len(test))])) for _ in range(SHUFFLES)]
    name = "average precision, mean over labels by their positives"
    return {
        "figure": name,
        "score": mean(each),
        "to beat": max(chance),
        "value": mean(each),
        "without looking": statistics.median(chance),
        "photos": len(test),
        "labels": each,
    }


def _main_objects(platform: Platform, head: TrainedHead) -> Estimate | None:
    """How often the main object of a test photo is among the head's three likeliest, thresholds aside; baseline: the same three for all."""
    import numpy as np
    import polars as pl

    from vibe_assets.evaluate.labels import evaluate_labels
    from vibe_assets.heads.dataset import vectors as matrix

    truth = test_rows(platform, platform.lake.read_live(AUTO_GROUND_TRUTH))
    rows = library_vectors(platform).join(truth, on="image_id", how="semi")
    if rows.is_empty():
        return None
    kept = [at for at, label in enumerate(head.labels) if label not in head.card.open]
    labels, order = np.array(head.labels)[kept], np.argsort(-head.probabilities(matrix(rows["embedding"]))[:, kept], axis=1)
    column = question_of(platform, head.kind).key
    said = truth.clear().select("image_id", *platform.questions.columns)
    ranked = pl.DataFrame({"image_id": rows["image_id"], column: labels[order].tolist()}, schema_overrides={column: pl.List(pl.String)})
    said = pl.concat([said, ranked], how="diagonal_relaxed")
    found = evaluate_labels(said, truth, questions=platform.questions, kinds=(head.kind,), resamples=50)
    return found.headline.get(f"{column}_top3")


def _average_precisions(labels: Sequence[str], targets: Any, mask: Any, p: Any) -> dict[str, float]:
    """Label -> average precision, for labels that some but not all known photos have; targets, mask and p are (n, labels)."""
    from vibe_assets.evaluate.metrics import average_precision

    found = {}
    for at, label in enumerate(labels):
        known = mask[:, at]
        positive = targets[known, at] == 1
        if positive.any() and not positive.all():
            found[label] = round(float(average_precision(positive, p[known, at])), 4)
    return found


def not_worse_than_deployed(kind: str) -> Callable[[Platform], Gate]:
    """The gate of one kind of head against the one in force."""

    def judge(platform: Platform) -> Gate:
        """The head loses little on the audited test photos against the deployed one and the best ever deployed (paired test)."""
        head = latest_head(platform, kind)
        return _absent(platform, kind, head) if isinstance(head, Untrained) else not_worse(platform, head)

    return judge


def calibrated(kind: str) -> Callable[[Platform], Gate]:
    """The gate on one kind of head's calibration."""

    def judge(platform: Platform) -> Gate:
        """Stated confidence and share of right answers agree on the test split: no error above the threshold is shown (95 %)."""
        head = latest_head(platform, kind)
        if isinstance(head, Untrained):
            return _absent(platform, kind, head)
        if foreign := reads_others(platform, head):
            return Gate(True, {"note": foreign})
        found, wanted = head_calibration(platform, head), platform.settings.gates.max_calibration_error
        if found is None:
            return Gate(True, {"note": "no photo of the test split has a known label"})
        return Gate(
            found.low <= wanted,
            {
                "calibration error": found.value,
                "interval": f"{found.low:.3f} to {found.high:.3f}",  # of a few photos it reaches far: they fail nobody
                "allowed at most": wanted,
                "photos": found.n,
            },
            "more photos in the validation split make calibration better; treat confidences of this head with care",
        )

    return judge


def heads_fit(platform: Platform) -> Gate:
    """The heads in force can be loaded and read the library's vectors; where none is, others answer."""
    encoders = sorted(set(embedded_photos(platform)["encoder"]))
    heads = deployed(platform)
    foreign = sorted(kind for kind, head in heads.items() if encoders and head.card.encoder not in encoders)
    facts: dict[str, Any] = {
        "in force": {kind: head.version for kind, head in heads.items()},
        "encoder of the library": ", ".join(encoders) or "none",
        "heads of another encoder": foreign,
    }
    if absent := [kind for kind in platform.questions.heads if kind not in heads]:
        facts["none in force"] = absent
        facts["note"] = "prompts answer in their place where the encoder reads text, otherwise the teacher; predictions name the source"
    asked = " ".join(f"{kind}_head" for kind in platform.questions.heads)
    return Gate(not foreign, facts, f"train heads on the current vectors: `vibe run {asked}`")
