"""One thing that one person said about one photo, as a frozen record and as a line of the verdict log."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from vibe_assets.records import ATTRIBUTES, Labels

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

    def line(self) -> dict[str, Any]:
        """The record as it stands in the log: plain JSON values."""
        labels = None if self.labels is None else {
            "scene": self.labels.scene,
            "attributes": {name: self.labels.attributes.get(name) for name in ATTRIBUTES},
            "objects": list(self.labels.objects),
        }  # fmt: skip
        return {
            "verdict_id": self.verdict_id, "at": self.at, "image_id": self.image_id, "annotator": self.annotator, "act": self.act,
            "labels": labels, "blind": self.blind, "spent_ms": self.spent_ms, "shown": dict(self.shown), "reason": self.reason,
            "undoes": self.undoes, "source": self.source,
        }  # fmt: skip

    @classmethod
    def from_line(cls, line: Mapping[str, Any]) -> Verdict:
        """The record of a line. Raises ValueError naming the field that is wrong."""
        try:
            said = line["labels"]
            labels = None
            if said is not None:
                attributes = {name: said["attributes"].get(name) for name in ATTRIBUTES}
                labels = Labels(line["image_id"], said["scene"], attributes, tuple(said["objects"]))
            verdict = cls(
                verdict_id=str(line["verdict_id"]), at=str(line["at"]), image_id=str(line["image_id"]), annotator=str(line["annotator"]),
                act=line["act"], labels=labels, blind=bool(line["blind"]), spent_ms=int(line["spent_ms"]),
                shown=dict(line.get("shown") or {}),
                reason=line.get("reason"), undoes=line.get("undoes"), source=str(line.get("source", "page")),
            )  # fmt: skip
        except (KeyError, TypeError, AttributeError, ValueError, OverflowError) as error:
            raise ValueError(f"not a verdict: {type(error).__name__} {error}") from error
        labels, sure = verdict.labels, verdict.shown.get("inclusion_probability")
        texts = [verdict.reason, verdict.undoes, *((labels.scene, *labels.objects) if labels else ())]
        if not all(isinstance(text, str | None) for text in texts):
            raise ValueError("not a verdict: a text is none")
        if labels and not all(isinstance(value, bool | None) for value in labels.attributes.values()):
            raise ValueError("not a verdict: an attribute is neither true, false nor null")
        if sure is not None and not (isinstance(sure, int | float) and 0 < sure <= 1):
            raise ValueError(f"not a verdict: inclusion_probability is {sure!r}")
        if verdict.act not in ACTS:
            raise ValueError(f"not a verdict: act is {verdict.act!r}, expected one of {', '.join(ACTS)}")
        return verdict
