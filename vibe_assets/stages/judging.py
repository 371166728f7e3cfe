"""Labels and people's verdicts -> how far the teacher and the students are from people, now and in the version before."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import OneOf, Questions
from vibe_assets.records import AUDIT_DRAWS, AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS, Estimate
from vibe_assets.records.answers import NOBODY, source_of, without_teacher
from vibe_assets.stages.agreement import audited_said, teacher_agreement
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.lineage import headline_of, heads_named, last_report, previous_labels, said_by
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed, judge_head, library_vectors, test_rows
from vibe_assets.stages.truth import audited_photos, groups_of

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.compare import Comparison
    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.heads.models import TrainedHead

QUICK = 200  # resamples where only the values are shown, not their intervals
PHONES = (
    *("apple", "iphone", "samsung", "galaxy", "google", "pixel", "huawei", "honor"),
    *("xiaomi", "oneplus", "oppo", "vivo", "motorola", "fairphone"),
)
SCANNERS = ("scan", "epson perfection", "plustek", "reflecta")


@dataclass(frozen=True)
class Before:
    """What the subject was before: its headline on today's truth, and the paired comparison; both empty for the first version."""

    headline: Mapping[str, Estimate] = field(default_factory=dict)
    comparisons: Sequence[Comparison] = ()


# -- judging -------------------------------------------------------------------------------------------------------------
def evaluate_teacher(platform: Platform) -> Evaluation:
    """The teacher's labels against people's, weighted to the photos that the draws could have drawn (`audited_population`).

    First of all against those who answered blind; a photo on which people are divided counts for the accuracy by the teacher's
    part of the first place. Where draws are recorded their chances are those of being checked, so that the library counts as finite.
    """
    from vibe_assets.audit.agreement import MIN_PHOTOS

    found = judge_labels(
        platform,
        platform.lake.read_live(AUTO_GROUND_TRUTH),
        platform.lake.read_live(AUDITED_GROUND_TRUTH),
        "teacher",
        "human",
        finite=platform.lake.exists(AUDIT_DRAWS),
        said=audited_said(platform),
    )
    agreement, headline = teacher_agreement(platform), dict(found.headline)
    main = platform.questions.main
    if agreement.everyone.n and main is not None:
        figure = f"{main.key}_accuracy"
        baseline = headline[figure].baseline if figure in headline else None
        headline[figure] = dataclasses.replace(agreement.everyone.estimate(), baseline=baseline)
        if agreement.blind.n >= MIN_PHOTOS:
            headline = {f"{figure}_blind": dataclasses.replace(agreement.blind.estimate(), baseline=baseline), **headline}
    return dataclasses.replace(found, headline=headline)


def evaluate_students(platform: Platform) -> list[Evaluation]:
    """The deployed students on the test split: against people where people looked, and against the teacher."""
    import polars as pl

    from vibe_assets.evaluate.said import Said

    lake = platform.lake
    questions, heads = platform.questions, deployed(platform)
    said = without_teacher(lake.read_live(PREDICTIONS), questions)
    human, auto = test_rows(platform, lake.read_live(AUDITED_GROUND_TRUTH)), test_rows(platform, lake.read_live(AUTO_GROUND_TRUTH))
    kinds = answered_kinds(said, questions)  # a kind without a head has no figure, rather than one of photos left open
    drawn_from, beside = audited_photos(platform), None  # photos that came later are no part of what people's answers are weighted to
    if drawn_from is not None:
        beside = Said(auto.filter(pl.col("image_id").is_in(drawn_from))["image_id"].to_list(), [said, auto], questions=questions)
    found = [
        judge_labels(platform, said, human, "student", "human", kinds=kinds, said=beside),
        judge_labels(platform, said, auto, "student", "auto", kinds=kinds),
    ]
    return [_with_forced(platform, evaluation, heads) for evaluation in found if evaluation.n] or found[1:]


def answered_kinds(said: pl.DataFrame, questions: Questions) -> tuple[str, ...]:
    """Kinds of the questions that heads or prompts answer at all, photos left open included."""

    def answered(column: str) -> bool:
        return bool(said.select((source_of(column) != NOBODY).any()).item())

    return tuple(question.head for question in questions if any(answered(field.name) for field in question.fields))


def _with_forced(platform: Platform, evaluation: Evaluation, heads: Mapping[str, TrainedHead]) -> Evaluation:
    """The evaluation with the accuracy that each head has when it may not abstain, comparable with systems that never do."""
    added: dict[str, Estimate] = {}
    for question in platform.questions.of_type(OneOf):
        head = heads.get(question.head)
        if head is None or head.card.encoder != library_vectors(platform)["encoder"][0]:
            continue
        forced = judge_head(platform, head, evaluation.truth_kind).headline.get(f"{question.key}_accuracy")
        if forced is not None:
            added[f"{question.key}_accuracy_forced"] = forced
    return dataclasses.replace(evaluation, headline={**evaluation.headline, **added})


def judge_labels(
    platform: Platform, labels: pl.DataFrame, truth: pl.DataFrame, subject: str, truth_kind: str, **options: Any
) -> Evaluation:
    from vibe_assets.evaluate.labels import evaluate_labels

    return evaluate_labels(
        labels,
        truth,
        groups=groups_of(platform),
        questions=platform.questions,
        slices=_slices(platform),
        subject=subject,
        truth_kind=truth_kind,
        **options,
    )


def _slices(platform: Platform) -> pl.DataFrame:
    """image_id with folder, first folder, what took it, camera and year, to see where labels are worse."""
    import polars as pl

    photos = accepted_photos(platform)
    folder = pl.col("rel_path").str.extract(r"^(.*)/[^/]*$", 1).fill_null("(root)")
    model = pl.col("camera").str.to_lowercase()
    device = (
        pl.when(model.str.contains_any(list(SCANNERS))).then(pl.lit("scanner"))
        .when(model.str.contains_any(list(PHONES))).then(pl.lit("phone"))
        .when(model.is_not_null()).then(pl.lit("camera"))
        .otherwise(pl.lit("unknown (no EXIF)"))
    )  # fmt: skip
    year = pl.col("taken_at").dt.year().cast(pl.String)
    return photos.select("image_id", "camera", folder=folder, source=folder.str.extract(r"^([^/]+)", 1), device=device, year=year)


# -- what changed since the last version ---------------------------------------------------------------------------------
def before_teacher(platform: Platform, now: Evaluation, version: str) -> Before:
    """The labels of the teacher or mapping before, judged on the same audited photos."""
    labels, truth = previous_labels(platform), platform.lake.read_live(AUDITED_GROUND_TRUTH)
    if labels is None or truth.is_empty():
        return Before(headline_of(last_report(platform, "teacher", now.truth_kind, version)))
    old = judge_labels(platform, labels, truth, "teacher", "human", resamples=QUICK)
    return Before(old.headline, paired(platform, labels, platform.lake.read_live(AUTO_GROUND_TRUTH), truth))


def before_students(platform: Platform, now: Evaluation, version: str) -> Before:
    """The heads of the last report with other heads, on the same test photos; from the cached vectors, so nothing is embedded again."""
    last = last_report(platform, "student", now.truth_kind, version)
    heads = heads_named(platform, last["version"][0]) if last.height else {}
    truth = test_rows(platform, platform.lake.read_live(AUDITED_GROUND_TRUTH if now.truth_kind == "human" else AUTO_GROUND_TRUTH))
    if not heads or truth.is_empty():
        return Before(headline_of(last))
    said = said_by(platform, heads)
    old = _with_forced(platform, judge_labels(platform, said, truth, "student", now.truth_kind, resamples=QUICK), heads)
    return Before(old.headline, paired(platform, said, without_teacher(platform.lake.read_live(PREDICTIONS), platform.questions), truth))


def paired(platform: Platform, old: pl.DataFrame, new: pl.DataFrame, truth: pl.DataFrame) -> list[Comparison]:
    from vibe_assets.evaluate.compare import compare_paired

    groups, questions = groups_of(platform), platform.questions
    found = [compare_paired(old, new, truth, questions=questions, groups=groups, what=question.head) for question in questions]
    return [comparison for comparison in found if comparison.n]
