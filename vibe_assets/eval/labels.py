"""Label files (or the lake's labels) and people's labels become a table of scores, and with --out a report and lists of errors.

`python -m vibe_assets.eval.labels --gt human.json [--auto FILE] [--pred FILE] [--out DIR]`
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.errors import UserError
from vibe_assets.lake import Lake
from vibe_assets.questions import YesNo
from vibe_assets.records import (
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
)
from vibe_assets.records.answers import without_teacher
from vibe_assets.settings import Settings, load_settings
from vibe_assets.storage import below
from vibe_assets.strangers import visible

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.questions import Questions
    from vibe_assets.records import Estimate

LAKE = "lake"  # an option without a file: the labels in the lake


@dataclass(frozen=True)
class Sources:
    """What the command judges and against what; None where a side is not asked for."""

    questions: Questions
    human: pl.DataFrame
    auto: pl.DataFrame | None
    students: pl.DataFrame | None
    groups: pl.DataFrame  # PHOTO_GROUPS rows, empty without a lake
    held_out: bool  # students are judged on photos of the test split alone, which no head has seen


class InputError(UserError, ValueError):
    """The command cannot start; the message says what is missing and how to give it."""


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command; return its exit status: 0, or 1 when an input is missing or wrong."""
    options = _parser().parse_args(argv)
    try:
        settings = load_settings()
        sources = _sources(options, settings)
        evaluations = judge(sources, seed=options.seed, resamples=options.resamples)
        unweighted = judge(sources, seed=options.seed, resamples=1, use_weights=False)
    except (UserError, OSError) as error:
        print(f"Error: {error}", file=sys.stderr)  # noqa: T201 - a command's answer
        return 1
    if options.json:
        told = [
            {**json.loads(evaluation.to_json()), "unweighted": {name: plain.headline[name].value for name in plain.headline}}
            for evaluation, plain in zip(evaluations, unweighted, strict=True)
        ]
        print(json.dumps(told, ensure_ascii=False))  # noqa: T201
    else:
        unknown = int(sources.human["inclusion_probability"].null_count()) if "inclusion_probability" in sources.human.columns else 0
        for evaluation, plain in zip(evaluations, unweighted, strict=True):
            _show(evaluation, plain)
        if unknown and any(evaluation.weighted for evaluation in evaluations):
            told_apart = f"{unknown:,} of {len(sources.human):,} photos of the truth have no inclusion probability and count once each"
            print(f"Note: {told_apart}; the column `unweighted` treats all alike")  # noqa: T201 - a command's answer
    if options.out is not None:
        _write(evaluations, options.out, photos=_photos(settings), seed=options.seed, quiet=options.json)
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="vibe eval", description="Score the teacher's and the students' labels against people's, with intervals and baselines."
    )
    add = parser.add_argument
    add("--gt", type=Path, metavar="FILE", help="people's labels, JSON list or JSONL (default: the audited labels in the lake)")
    add("--auto", nargs="?", const=LAKE, metavar="FILE", help="judge the teacher's labels: a file, or the lake's when none is named")
    add("--pred", nargs="?", const=LAKE, metavar="FILE", help="judge the students' labels: a file, or the lake's when none is named")
    add("--students", dest="pred", action="store_const", const=LAKE, help="same as --pred without a file")
    add("--split", choices=["test", "all"], help="photos that students are judged on (default: test, which no head has seen, where the "
        "library has a split; all for files of other systems)")  # fmt: skip
    add("--out", type=Path, metavar="DIR", help="write report.html, metrics as JSON and lists of errors here")
    add("--json", action="store_true", help="one JSON list of evaluations instead of tables")
    add("--seed", type=_seed, default=0, help="seed of the bootstrap (default 0)")
    add("--resamples", type=_positive, default=2000, help="bootstrap resamples (default 2000)")
    return parser


def _seed(text: str) -> int:
    number = int(text)
    if number < 0:
        raise argparse.ArgumentTypeError(f"expected 0 or more, got {text}")
    return number


def _positive(text: str) -> int:
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"expected at least 1, got {text}")
    return number


# -- inputs ----------------------------------------------------------------------------------------------------------------
def _sources(options: argparse.Namespace, settings: Settings) -> Sources:
    from vibe_assets.labels.files import names_heads
    from vibe_assets.stages.platform import library_questions

    questions = library_questions(settings)
    lake = Lake(settings.lake_dir, questions=questions)
    groups = lake.read(PHOTO_GROUPS)
    auto, pred = options.auto, options.pred
    if auto is None and pred is None:  # nothing chosen: all that there is
        auto = LAKE if lake.exists(AUTO_GROUND_TRUTH) else None
        pred = LAKE if lake.exists(PREDICTIONS) else None
        if auto is None and pred is None:
            raise InputError(f"nothing to judge: give --auto FILE or --pred FILE, or fill {lake.root} with `vibe run`")
    if options.split == "test" and not len(groups):
        raise InputError(f"--split test: no photo groups in {lake.root}, so no photo has a split; leave --split out")
    if options.split == "all" and pred is not None and len(groups) and (pred == LAKE or names_heads(Path(pred))):
        raise InputError("--split all: these students trained on photos of the other splits; leave --split out")
    return Sources(
        questions,
        _human(options.gt, lake, questions),
        _labels(auto, AUTO_GROUND_TRUTH.name, lake, questions),
        _labels(pred, PREDICTIONS.name, lake, questions),
        groups,
        options.split != "all" and bool(len(groups)),
    )


def _human(file: Path | None, lake: Lake, questions: Questions) -> pl.DataFrame:
    """People's labels with inclusion probabilities: the file's own, else those of the audit in the lake, else weight 1."""
    from vibe_assets.labels.files import read_audited, read_labels

    if file is None:
        rows = lake.read_live(AUDITED_GROUND_TRUTH)
        if rows.is_empty():
            raise InputError(f"no audited labels in {lake.root}: give --gt FILE, or accept an audited file with `vibe audited FILE`")
        return rows
    ids = read_labels(file, questions)["image_id"].to_list()
    rows = read_audited(file, questions=questions, known_ids=ids)
    if rows.is_empty():
        raise InputError(f"{file}: no labels in it")
    if rows["inclusion_probability"].null_count() == len(rows):
        settled = lake.read_live(AUDITED_GROUND_TRUTH)  # over all draws together; before anything is settled, of the last one
        drawn = (settled if settled.height else lake.read(AUDIT_SAMPLE)).select("image_id", "inclusion_probability").unique("image_id")
        rows = rows.drop("inclusion_probability").join(drawn, on="image_id", how="left", maintain_order="left")
    return rows


def _labels(source: str | None, table: str, lake: Lake, questions: Questions) -> pl.DataFrame | None:
    from vibe_assets.labels.files import read_labels

    if source is None:
        return None
    if source != LAKE:
        return read_labels(Path(source), questions)
    rows = without_teacher(lake.read_live(PREDICTIONS), questions) if table == PREDICTIONS.name else lake.read_live(AUTO_GROUND_TRUTH)
    if rows.is_empty():
        raise InputError(f"table {table} in {lake.root} is empty: give a file, or fill it: `vibe run`")
    return rows


# -- judging and showing ---------------------------------------------------------------------------------------------------
def judge(sources: Sources, *, seed: int = 0, resamples: int = 2000, use_weights: bool = True) -> list[Evaluation]:
    """Teacher against people, students against people, students against the teacher: those whose labels are given.

    Weighted by 1 / inclusion probability where the truth has any, unless `use_weights` is false.
    """
    from vibe_assets.evaluate.labels import evaluate_labels
    from vibe_assets.stages.students import untrained_photos

    human, auto = sources.human, sources.auto
    student_human, student_auto = human, auto
    if sources.held_out:
        test = untrained_photos(sources.groups)
        student_human = human.join(test, on="image_id", how="semi")
        student_auto = None if auto is None else auto.join(test, on="image_id", how="semi")
    pairs = [
        ("student", "human", sources.students, student_human),
        ("student", "auto", sources.students, student_auto),
        ("teacher", "human", auto, human),
    ]
    evaluations = [
        evaluate_labels(
            predicted, truth, questions=sources.questions, groups=sources.groups, seed=seed, resamples=resamples, subject=subject,
            truth_kind=kind, use_weights=use_weights,
        )
        for subject, kind, predicted, truth in pairs
        if predicted is not None and truth is not None and len(truth)
    ]  # fmt: skip
    if not evaluations:
        raise InputError("no audited photo is in the test split, the one that no head has seen: audit some of it")
    unseen = [evaluation for evaluation in evaluations if evaluation.n_missing == evaluation.n]
    if unseen:
        raise InputError(f"the {unseen[0].subject}'s labels and the truth have no photo in common: are the files of the same library?")
    return evaluations


def _show(evaluation: Evaluation, plain: Evaluation) -> None:
    """Headline figures with those of the same photos unweighted beside them, then every label, then the confusion matrix."""
    from rich.table import Table
    from rich.text import Text

    from vibe_assets.evaluate.figures import headline_titles, kind_title
    from vibe_assets.evaluate.report import TRUTHS, percent
    from vibe_assets.progress import print_table

    missing = f", {evaluation.n_missing} without a prediction" if evaluation.n_missing else ""
    weighted = "; weighted by 1 / inclusion probability" if evaluation.weighted else ""
    title = f"{evaluation.subject} against {TRUTHS[evaluation.truth_kind]}: {evaluation.n:,} photos{missing}{weighted}"
    table = Table(title=title, title_justify="left")
    for name in ("figure", "value", "95 % interval", *(["unweighted"] if evaluation.weighted else []), "baseline", "n"):
        table.add_column(name, justify="left" if name == "figure" else "right")
    questions, unweighted = evaluation.questions, _figures(plain)
    titles = headline_titles(questions)
    titles |= {f"{score.label} F1": f"{questions.name(score.label)} F1" for score in evaluation.labels}
    titles |= {f"{column} left open": f"{questions.name(column)} left open" for column in evaluation.abstained}
    for name, e in _figures(evaluation).items():
        baseline = "" if e.baseline is None else percent(e.baseline)
        beside = [percent(unweighted[name].value) if name in unweighted else ""] if evaluation.weighted else []
        table.add_row(
            Text(visible(titles.get(name, name))), percent(e.value), f"{percent(e.low)} – {percent(e.high)}", *beside, baseline, f"{e.n:,}"
        )
    for kind, found in evaluation.ordinals.items():
        for title, value, interval, base, n in found.words():
            beside = [{name: said for name, said, *_ in plain.ordinals[kind].words()}.get(title, "")] if evaluation.weighted else []
            table.add_row(Text(visible(f"{kind_title(kind, evaluation.questions)} {title}")), value, interval, *beside, base, f"{n:,}")
    print_table(table)
    _show_labels(evaluation)
    _show_confusion(evaluation)


def _figures(evaluation: Evaluation) -> dict[str, Estimate]:
    found = dict(evaluation.headline)
    for question in evaluation.questions.of_type(YesNo):
        found |= {f"{score.label} F1": score.f1 for score in evaluation.table(question.head) if score.f1 is not None}
    return found | {f"{label} left open": share for label, share in evaluation.abstained.items() if share.value > 0}


def _show_labels(evaluation: Evaluation) -> None:
    """Precision, recall and F1 of every label that truth or prediction has."""
    from rich.table import Table
    from rich.text import Text

    from vibe_assets.evaluate.report import percent
    from vibe_assets.progress import print_table

    table = Table(title="by label", title_justify="left")
    for name in ("label", "true", "predicted", "precision", "recall", "F1"):
        table.add_column(name, justify="left" if name == "label" else "right")
    for score in evaluation.labels:
        if score.support or score.predicted:
            figures = ["" if e is None else percent(e.value) for e in (score.precision, score.recall, score.f1)]
            table.add_row(Text(visible(evaluation.questions.name(score.label))), f"{score.support:,}", f"{score.predicted:,}", *figures)
    if table.row_count:
        print_table(table)


def _show_confusion(evaluation: Evaluation) -> None:
    """Photos by true and predicted label of each question with one answer, counted, not weighted."""
    from rich.markup import escape
    from rich.table import Table
    from rich.text import Text

    from vibe_assets.evaluate.figures import plural
    from vibe_assets.evaluate.report_parts import seen_only
    from vibe_assets.progress import print_table

    for question in evaluation.questions:
        if (confusion := evaluation.confusions.get(question.head)) is None:
            continue
        shown, questions = seen_only(confusion), evaluation.questions
        title = escape(visible(plural(question, questions)))
        table = Table(title=f"{title}, photos: truth in rows, prediction in columns", title_justify="left")
        columns, rows = (
            [Text(visible(questions.name(label, label.removeprefix(f"{question.prefix}.")))) for label in labels]
            for labels in (shown.columns, shown.rows)
        )
        table.add_column("truth")
        for name in columns:
            table.add_column(name, justify="right")
        for name, photos in zip(rows, shown.photos, strict=True):
            table.add_row(name, *(f"{n:,}" if n else "" for n in photos))
        print_table(table)


def _photos(settings: Settings) -> dict[str, tuple[bytes, str]]:
    """image_id -> path on disk and path to show, of the library's photos; none without a library."""
    if settings.library.root is None:
        return {}
    rows = Lake(settings.lake_dir).read_live(RAW_PHOTOS, columns=("image_id", "path_bytes", "rel_path", "reason"))
    root = settings.root
    return {image_id: (below(root, path), name) for image_id, path, name, reason in rows.iter_rows() if reason is None}


def _write(evaluations: Sequence[Evaluation], folder: Path, *, photos: Mapping[str, tuple[bytes, str]], seed: int, quiet: bool) -> None:
    """report.html, and for each evaluation metrics and error lists in a folder of its own."""
    from rich.console import Console

    from vibe_assets.evaluate.gallery import thumbnails
    from vibe_assets.evaluate.report import error_lists, render_report, worst_photos
    from vibe_assets.lake import write_text

    worst = {image_id for evaluation in evaluations for image_id in worst_photos(evaluation)}
    named = {image_id: path for image_id, path in photos.items() if image_id in worst}
    page = render_report(
        evaluations,
        title="Label evaluation",
        subtitle="Teacher and students against people",
        footer={"bootstrap seed": seed},
        thumbnails=thumbnails({image_id: path for image_id, (path, _) in named.items()}),
        names={image_id: name for image_id, (_, name) in named.items()},
        generated_at=datetime.now(UTC),
    )
    written = [write_text(folder / "report.html", page)]
    for evaluation in evaluations:
        part = folder / f"{evaluation.subject}_against_{evaluation.truth_kind}"
        written += [write_text(part / "metrics.json", evaluation.to_json() + "\n"), *error_lists(evaluation, part)]
    Console(quiet=quiet).print("\n".join(f"wrote {path}" for path in written), highlight=False, soft_wrap=True)


if __name__ == "__main__":
    sys.exit(main())
