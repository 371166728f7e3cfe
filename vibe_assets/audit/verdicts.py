"""One thing that one person said about one photo, as a frozen record and as a line of the verdict log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal

from vibe_assets.questions import ManyOf, YesNo
from vibe_assets.records import Labels

if TYPE_CHECKING:
    from vibe_assets.questions import Questions

Act = Literal["accepted", "corrected", "labelled", "skipped", "undone"]
ACTS: tuple[Act, ...] = ("accepted", "corrected", "labelled", "skipped", "undone")


@dataclass(frozen=True)
class Verdict:
    """A row of the log. Rows are never changed: `undone` takes back the row that `undoes` names.

    accepted: the pre-filled labels as they were; corrected: pre-filled, then changed; labelled: blind, nothing was pre-filled;
    skipped: no labels, with a reason.
    """

    verdict_id: str  # unique over all writers
    at: str  # ISO 8601, UTC
    image_id: str
    annotator: str
    act: Act
    labels: Labels | None  # what holds in this person's eyes; None for skipped and undone
    blind: bool  # nothing was pre-filled
    spent_ms: int  # from the photo being visible to the key that ended it
    shown: Mapping[str, Any] = field(default_factory=dict)  # what stood on the page: teacher and student labels, versions, filter
    reason: str | None = None  # why it was skipped
    undoes: str | None = None  # verdict_id of the row taken back
    source: str = "page"  # page | file | label_studio

    def line(self, questions: Questions) -> dict[str, Any]:
        """The record as it stands in the log: plain JSON values."""
        labels = None if self.labels is None else _mentioned(self.labels, questions)
        return {
            "verdict_id": self.verdict_id, "at": self.at, "image_id": self.image_id, "annotator": self.annotator, "act": self.act,
            "labels": labels, "blind": self.blind, "spent_ms": self.spent_ms, "shown": dict(self.shown), "reason": self.reason,
            "undoes": self.undoes, "source": self.source,
        }  # fmt: skip

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Verdict:
        """The record of a line, whatever was asked when it was written. Raises ValueError naming the field that is wrong."""
        try:
            said = line["labels"]
            verdict = cls(
                verdict_id=str(line["verdict_id"]), at=str(line["at"]), image_id=str(line["image_id"]), annotator=str(line["annotator"]),
                act=line["act"], labels=None if said is None else _labels(line["image_id"], said), blind=bool(line["blind"]),
                spent_ms=int(line["spent_ms"]), shown=dict(line.get("shown") or {}),
                reason=line.get("reason"), undoes=line.get("undoes"), source=str(line.get("source", "page")),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a verdict: {type(error).__name__} {error}") from error
        sure = verdict.shown.get("inclusion_probability")
        if not all(isinstance(text, str | None) for text in (verdict.reason, verdict.undoes)):
            raise ValueError("not a verdict: a text is none")
        if sure is not None and not (isinstance(sure, int | float) and 0 < sure <= 1):
            raise ValueError(f"not a verdict: inclusion_probability is {sure!r}")
        if verdict.act not in ACTS:
            raise ValueError(f"not a verdict: act is {verdict.act!r}, expected one of {', '.join(ACTS)}")
        return verdict


def plain(labels: Labels, questions: Questions) -> dict[str, Any]:
    """Labels as the log and the page spell them: question -> a key or null, {label: true, false or null}, a list of keys."""
    said: dict[str, Any] = {}
    for question in questions:
        if isinstance(question, YesNo):
            said[question.key] = {label.word: labels.values.get(label.word) for label in question.labels}
        elif isinstance(question, ManyOf):
            said[question.key] = list(labels.values.get(question.key) or ())
        else:
            said[question.key] = labels.values.get(question.key)
    return said


def _mentioned(labels: Labels, questions: Questions) -> dict[str, Any]:
    """`plain` of the questions that the labels hold: one that nobody was asked is not kept as one that nobody could answer."""
    held = {questions.owner[name].key for name in labels.values if name in questions.owner}
    return {key: said for key, said in plain(labels, questions).items() if key in held}


def _labels(image_id: str, said: Mapping[str, Any]) -> Labels:
    """What `plain` spelt. The values tell the types: of questions that are asked no more, too."""
    values: dict[str, Any] = {}
    for key, value in said.items():
        if isinstance(value, Mapping):
            if not all(isinstance(one, bool | None) for one in value.values()):
                raise ValueError(f"{key} has what is neither true, false nor null")
            values |= value
        elif not all(isinstance(text, str | None) for text in (value if isinstance(value, list) else [value])):
            raise ValueError(f"{key} has a text that is none")
        else:
            values[key] = tuple(value) if isinstance(value, list) else value
    return Labels(image_id, values)
