"""Figures about the audit become a section of the teacher's report, and the same as Markdown for asset metadata."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.agreement import MIN_PHOTOS, Concord
from vibe_assets.audit.figures import MOST_PAIRS, AuditFigures
from vibe_assets.evaluate.page import percent, signed
from vibe_assets.evaluate.report import Section
from vibe_assets.strangers import markdown_cell

if TYPE_CHECKING:
    from jinja2 import Environment

    from vibe_assets.questions import Questions
    from vibe_assets.records import Estimate

ANCHOR = "audit"
TITLE = "The audit itself"
RELIABLE = 0.8  # alpha from which data may be relied on, Krippendorff (2004), Content Analysis, section 11.4.2


def audit_section(figures: AuditFigures, questions: Questions | None = None) -> Section:
    """An HTML part without JavaScript, in the classes of the report's style sheet, with the names that `questions` give columns."""
    from markupsafe import Markup

    people = len(figures.people)
    html = (
        _environment(questions)
        .get_template("section.html")
        .render(
            figures=figures, summary=audit_summary(figures, questions), warning=audit_warning(figures), min_photos=MIN_PHOTOS,
            shown_pairs=MOST_PAIRS, hidden_pairs=people * (people - 1) // 2 > MOST_PAIRS,
        )
    )  # fmt: skip
    return Section(ANCHOR, TITLE, Markup(html))  # noqa: S704 - rendered with autoescape


def audit_summary(figures: AuditFigures, questions: Questions | None = None) -> str:
    """What the figures say, in two or three sentences; what is not known is left out."""
    return _summary(figures, partial(words, questions=questions))


def _summary(figures: AuditFigures, name: Callable[[str], str]) -> str:
    people = len(figures.people)
    who = "One person" if people == 1 else f"{people} people"
    parts = [f"{who} labelled {figures.photos:,} photo{'s' if figures.photos != 1 else ''}"]
    main = next((concord for concord in figures.alpha if concord.question == figures.main), None)
    if main is not None and main.estimate is not None:
        found = main.estimate
        worth = "cannot be relied on" if found.high < RELIABLE else "can be relied on" if found.low >= RELIABLE else "may be good enough"
        interval = f"95 % interval {found.low:.2f} to {found.high:.2f}"
        parts.append(f"on the {name(main.question)} they agree to alpha {found.value:.2f} ({interval}), so their labels {worth}")
    pull = next((item for item in figures.anchoring if item.question == figures.main), None)
    if pull is not None and pull.difference is not None:
        verb = "raises" if pull.difference.value >= 0 else "lowers"
        clear = "" if pull.difference.low > 0 or pull.difference.high < 0 else ", which may be chance"
        parts.append(
            f"filling in the teacher's {name(pull.question)} {verb} agreement with it by {100 * abs(pull.difference.value):.1f} points "
            f"({signed(pull.difference.low)} to {signed(pull.difference.high)}){clear}"
        )
    return "; ".join(parts) + "."


def audit_warning(figures: AuditFigures) -> str:
    """Said while the photos judged are no random part of the sample; empty otherwise."""
    if not figures.chosen or not figures.left:
        return ""
    picked = f"{figures.chosen:,} of the {figures.photos:,} photos were met in a view that picks photos by their answers"
    until = f"until the {figures.left:,} that are left of the sample are judged too"
    return f"{picked}; {until}, figures about the library lean towards the picked ones."


def audit_markdown(figures: AuditFigures, questions: Questions | None = None) -> str:
    """The section as Markdown tables, for places that show no HTML."""

    def name(column: str) -> str:
        return markdown_cell(words(column, questions))

    lines = [" ".join(filter(None, (_summary(figures, name), audit_warning(figures)))), ""]
    lines += ["| question | alpha | 95 % interval | same answer | photos |", "|---|---:|---:|---:|---:|"]
    lines += [f"| {name(c.question)} | {_corrected(c)} | {percent(c.observed, 0)} | {c.n:,} |" for c in figures.alpha]
    lines += ["", "| question | blind | filled in | pull, points |", "|---|---:|---:|---:|"]
    lines += [
        f"| {name(item.question)} | {_share(item.blind)} | {_share(item.prefilled)} | {_points(item.difference) or item.reason} |"
        for item in figures.anchoring
    ]
    times = {"blind": figures.pace.blind, "filled in": figures.pace.prefilled}
    told = [f"{name} {t.value:.1f} s [{t.low:.1f}, {t.high:.1f}] n {t.n:,}" for name, t in times.items() if t is not None]
    told += [] if figures.pace.skipped is None else [f"skipped {_share(figures.pace.skipped)}"]
    return "\n".join([*lines, *(["", f"Median time per photo: {'; '.join(told)}."] if told else [])])


def words(question: str, questions: Questions | None = None) -> str:
    """The name of a column, where it has one, else has_smile -> has smile."""
    plain = question.replace("_", " ")
    return plain if questions is None else questions.name(question, plain)


def _corrected(concord: Concord) -> str:
    if concord.estimate is None:
        return f"– | {concord.reason}"
    return f"**{concord.estimate.value:.2f}** | {concord.estimate.low:.2f} to {concord.estimate.high:.2f}"


def _share(estimate: Estimate | None) -> str:
    if estimate is None:
        return "–"
    return f"{percent(estimate.value, 0)} [{percent(estimate.low, 0)}, {percent(estimate.high, 0)}] n {estimate.n:,}"


def _points(estimate: Estimate | None) -> str:
    return "" if estimate is None else f"**{signed(estimate.value)}** [{signed(estimate.low)}, {signed(estimate.high)}]"


def _environment(questions: Questions | None) -> Environment:
    from jinja2 import Environment, PackageLoader, StrictUndefined

    def at(value: float, low: float, high: float) -> float:
        """Percent of the track's width."""
        return round(100 * min(1.0, max(0.0, (value - low) / (high - low))), 2)

    environment = Environment(
        loader=PackageLoader("vibe_assets.audit"), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )  # fmt: skip
    filters: dict[str, Any] = {"pct": percent, "signed": signed, "words": partial(words, questions=questions)}
    environment.filters.update(filters)
    environment.globals["at"] = at
    return environment
