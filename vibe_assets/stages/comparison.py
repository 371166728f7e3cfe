"""The names of two versions of labels -> a page that says what is different between them, and which is nearer to people."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import Questions, YesNo
from vibe_assets.records import AUDITED_GROUND_TRUTH
from vibe_assets.stages.gallery import photo_names, spoken_of, thumbnails
from vibe_assets.stages.index import index_card, write_page
from vibe_assets.stages.lineage import lineage
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import test_rows
from vibe_assets.stages.truth import groups_of
from vibe_assets.stages.versions import Version, label_version

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.compare import Comparison
    from vibe_assets.evaluate.flow import Flow
    from vibe_assets.evaluate.labels import Evaluation

LOOKED_AT = 60  # photos whose pictures are tried for a gallery of 24
FOLDER = "compare"


@dataclass(frozen=True)
class Written:
    """A comparison that was written."""

    path: Path
    flow: Flow
    comparisons: tuple[Comparison, ...]  # against people; none without an audit of these photos
    verdict: str


def compare_versions(platform: Platform, name_a: str, name_b: str, *, what: str | None = None, now: datetime | None = None) -> Written:
    """Write reports/compare/A-vs-B.html. `what`: key of a question, None for all that both speak of.

    Raises StageError for a name or question that does not exist, naming those that do, and for versions that share nothing.
    """
    from vibe_assets.evaluate.flow import label_flow
    from vibe_assets.evaluate.versus import Judged, render_comparison, verdict

    now = now or datetime.now(UTC)
    a, b = label_version(platform, name_a), label_version(platform, name_b)
    questions = platform.questions
    kinds = _shared_kinds(a, b, what, questions)
    if learned := a.learned or b.learned:  # students are judged, and agree, on photos that no head has seen
        a, b = (replace(side, rows=test_rows(platform, side.rows)) for side in (a, b))
    flow = label_flow(a.rows, b.rows, questions=questions, kinds=kinds, groups=groups_of(platform))
    if flow.n == 0:
        raise StageError(f"{a.name} and {b.name} have no photo{' of the test split' if learned else ''} in common")
    truth, note = _truth(platform, a, b)
    judged = [None if side.people or truth.is_empty() else _judge(platform, side, truth, kinds) for side in (a, b)]
    comparisons = () if None in judged else _paired(platform, a, b, truth, kinds)
    shown = flow.differing[:LOOKED_AT]
    people = platform.lake.read_live(AUDITED_GROUND_TRUTH)
    page = render_comparison(
        Judged(a.name, a.about, judged[0]),
        Judged(b.name, b.about, judged[1]),
        questions=questions,
        flow=flow,
        comparisons=comparisons,
        scope=f"{', '.join(questions.name(question.key) for question in questions if question.head in kinds)} of {flow.n:,} photos"
        + (" of the test split" if learned else ""),
        truth_note=note,
        thumbnails=thumbnails(platform, shown),
        names=photo_names(platform, shown),
        beside=spoken_of({"people": people, "a": a.rows, "b": b.rows}, shown),
        footer={"A": f"{a.name}, {a.rows.height:,} rows", "B": f"{b.name}, {b.rows.height:,} rows", **lineage(platform)},
        generated_at=now,
    )
    text = verdict(flow, comparisons, questions)
    card = index_card(f"{a.name} or {b.name}?", now, summary=text, figures=_card_figures(flow, questions))
    path = write_page(platform, f"{FOLDER}/{page_name(a.name, b.name, what)}", page, card)
    return Written(path, flow, comparisons, text)


def page_name(a: str, b: str, what: str | None = None) -> str:
    """A file's name for the two: what a file system or an address could misread becomes '_' and is told apart by a hash."""
    whole = f"{a}-vs-{b}" + (f"-{what}" if what else "")
    safe = re.sub(r"[^A-Za-z0-9._@-]+", "_", whole).lstrip(".")[:140]
    return safe if safe == whole else f"{safe}-{hashlib.sha256(whole.encode('utf-8', 'surrogateescape')).hexdigest()[:8]}"


def _shared_kinds(a: Version, b: Version, what: str | None, questions: Questions) -> tuple[str, ...]:
    """What both speak of; of that the one kind that was asked for."""
    shared = tuple(kind for kind in a.kinds if kind in b.kinds)
    if what is not None and questions.get(what) is None:
        raise StageError(f"{what!r} is no question; there are {', '.join(question.key for question in questions)}")
    wanted = shared if what is None else tuple(kind for kind in shared if kind == questions[what].head)
    if wanted:
        return wanted
    said = "; ".join(f"{side.name} speaks of {', '.join(side.kinds) or 'nothing'}" for side in (a, b))
    raise StageError(f"nothing to compare{'' if what is None else f' in {what}'}: {said}")


def _truth(platform: Platform, a: Version, b: Version) -> tuple[pl.DataFrame, str]:
    """People's labels that both may be held against, and a sentence on which photos these are."""
    truth = platform.lake.read_live(AUDITED_GROUND_TRUTH)
    scope = "All audited photos."
    if a.learned or b.learned:
        truth, scope = test_rows(platform, truth), "Audited photos of the test split only, which no head has seen."
    return truth, f"One side is people's labels themselves. {scope}" if a.people or b.people else scope


def _judge(platform: Platform, side: Version, truth: pl.DataFrame, kinds: Sequence[str]) -> Evaluation:
    from vibe_assets.evaluate.labels import evaluate_labels

    return evaluate_labels(
        side.rows,
        truth,
        groups=groups_of(platform),
        questions=platform.questions,
        subject="trial",
        truth_kind="human",
        kinds=kinds,
    )


def _paired(platform: Platform, a: Version, b: Version, truth: pl.DataFrame, kinds: Sequence[str]) -> tuple[Comparison, ...]:
    """Paired tests against people; a yes or no that one side is never asked is left out, it would count against it."""
    import polars as pl

    from vibe_assets.evaluate.compare import compare_paired

    questions = platform.questions
    names = [field.name for question in questions.of_type(YesNo) for field in question.fields]
    unasked = [name for name in names if a.rows[name].is_null().all() or b.rows[name].is_null().all()]
    truth = truth.with_columns(pl.lit(None, dtype=pl.Boolean).alias(name) for name in unasked)
    groups = groups_of(platform)
    found = [compare_paired(a.rows, b.rows, truth, questions=questions, groups=groups, what=kind) for kind in kinds]
    return tuple(comparison for comparison in found if comparison.n)


def _card_figures(flow: Flow, questions: Questions) -> dict[str, Any]:
    from vibe_assets.evaluate.versus import agreement_words

    return {agreement_words(kind, questions)[0]: share for kind, share in flow.agreement.items()}
