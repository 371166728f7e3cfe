"""An evaluation becomes Markdown with inline pictures: what Dagster shows of a report beside the asset."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from vibe_assets.evaluate import charts
from vibe_assets.evaluate.compare import Comparison
from vibe_assets.evaluate.figures import headline_titles, kind_title, main_words, question_of
from vibe_assets.evaluate.labels import Evaluation
from vibe_assets.evaluate.metrics import LabelScore
from vibe_assets.evaluate.page import TRUTHS, percent, worth
from vibe_assets.evaluate.report_parts import Calibration, Shares, seen_only, share_rows, slice_tables
from vibe_assets.questions import ManyOf, Questions
from vibe_assets.records import Estimate
from vibe_assets.strangers import markdown_cell


def headline_markdown(evaluation: Evaluation) -> str:
    """Markdown table of the headline figures, for asset metadata."""
    lines = ["| figure | value | 95 % interval | baseline | n | worth |", "|---|---:|---:|---:|---:|---:|"]
    titles = headline_titles(evaluation.questions)
    for figure, estimate in evaluation.headline.items():
        name, baseline = markdown_cell(titles[figure]), "" if estimate.baseline is None else percent(estimate.baseline)
        interval = f"{percent(estimate.low)} to {percent(estimate.high)}"
        lines.append(f"| {name} | **{percent(estimate.value)}** | {interval} | {baseline} | {estimate.n:,} | {worth(estimate)} |")
    for kind, found in evaluation.ordinals.items():
        what = markdown_cell(kind_title(kind, evaluation.questions))
        for title, value, interval, base, n in found.words():
            lines.append(f"| {what} {title} | **{value}** | {interval.replace('–', 'to')} | {base} | {n:,} | |")
    missing = f"; {evaluation.n_missing} without a prediction" if evaluation.n_missing else ""
    lines += ["", f"Against {TRUTHS.get(evaluation.truth_kind, evaluation.truth_kind)}, {evaluation.n:,} photos{missing}."]
    return "\n".join(lines)


def changes_markdown(comparisons: Sequence[Comparison], questions: Questions) -> str:
    """Markdown table of the paired comparison with the last version; empty for none."""
    if not comparisons:
        return ""
    lines = ["| what | photos | better before | better now | difference | p | |", "|---|---:|---:|---:|---:|---:|---|"]
    for c in comparisons:
        delta = "" if c.delta is None else f"{100 * c.delta.value:+.1f} [{100 * c.delta.low:+.1f}, {100 * c.delta.high:+.1f}]"
        what = markdown_cell(questions.name(question_of(c.what, questions).key, c.what))
        lines.append(f"| {what} | {c.n:,} | {c.n_only_a_right} | {c.n_only_b_right} | {delta} | {c.p_two_sided:.3g} | {c.test} |")
    return "\n".join(lines)


def labels_markdown(evaluation: Evaluation, *, most: int = 12) -> str:
    """Markdown table of precision, recall and F1 of every label with its photos; where many may be named, of the most frequent."""
    shown: list[LabelScore] = []
    for question in evaluation.questions:
        scores = list(evaluation.table(question.head))
        if isinstance(question, ManyOf):
            scores = sorted(scores, key=lambda score: (-score.support, -score.predicted, score.label))[:most]
        shown += [score for score in scores if score.support or score.predicted]
    lines = ["| label | true | said | precision | recall | F1 |", "|---|---:|---:|---:|---:|---:|"]
    for score in shown:
        figures = " | ".join(_with_interval(figure) for figure in (score.precision, score.recall, score.f1))
        lines.append(f"| {markdown_cell(evaluation.questions.name(score.label))} | {score.support:,} | {score.predicted:,} | {figures} |")
    return "\n".join(lines) if shown else ""


def slices_markdown(evaluation: Evaluation, *, most: int = 8) -> str:
    """Markdown table of the weakest parts of the library, by every cut; empty where there is one part only."""
    lines = [f"| by | part | photos | {markdown_cell(main_words(evaluation.questions)[0])} accuracy |", "|---|---|---:|---:|"]
    for table in slice_tables(evaluation):
        weakest = table["rows"][:most]
        by = table["by"]
        lines += [f"| {by} | {markdown_cell(row.value)} | {row.accuracy.n:,} | {_with_interval(row.accuracy)} |" for row in weakest]
    return "\n".join(lines) if len(lines) > 2 else ""


def shares_markdown(shares: Shares, questions: Questions, *, most: int = 10) -> str:
    """Markdown table of the shares estimated for the whole library beside what the labels in use claim; empty for none."""
    lines = ["| label | estimated share | by the checks alone | worth | claimed |", "|---|---:|---:|---:|---:|"]
    for _, rows in share_rows(shares, questions):
        for label, share, alone in rows[:most]:
            cells = (
                markdown_cell(questions.name(label)),
                _with_interval(share),
                _with_interval(alone),
                worth(share),
                percent(share.baseline),
            )
            lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) if len(lines) > 2 else ""


def confusion_markdown(evaluation: Evaluation) -> str:
    """Markdown of the confusion matrices as inline PNGs; empty where no answer is known."""
    drawn = [charts.confusion_png(seen_only(table), evaluation.questions.short) for table in evaluation.confusions.values()]
    return "\n\n".join(f"![confusion matrix]({picture})" for picture in drawn)


def curves_markdown(evaluation: Evaluation) -> str:
    """Markdown of the yes-or-no questions' precision over recall as one inline PNG; empty without confidences."""
    if not evaluation.curves:
        return ""
    chosen = {score.label: score for score in evaluation.labels}
    curves = [(curve, chosen.get(label)) for label, curve in evaluation.curves.items()]
    return f"![precision over recall]({charts.curves_png(curves, evaluation.questions.short)})"


def coverage_markdown(curves: Mapping[str, charts.Coverage]) -> str:
    """Markdown of the share right over the share answered as one inline PNG; empty for none."""
    return f"![risk and coverage]({charts.risk_coverage_png(curves)})" if curves else ""


def calibration_markdown(pairs: Calibration, questions: Questions) -> str:
    """Markdown of the calibration before and after as one inline PNG; empty for none."""
    return f"![calibration]({charts.calibration_png(pairs, questions.short)})" if pairs else ""


def _with_interval(estimate: Estimate | None) -> str:
    return "–" if estimate is None else f"{percent(estimate.value)} ({percent(estimate.low, 0)} – {percent(estimate.high, 0)})"
