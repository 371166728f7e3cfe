"""The sample and the verdict log -> what a person sees next; and what the person says -> a checked verdict in the log. No web in here.

Photos come in the order of a hash, the same for everybody: an audit that stops half-way is still a random part of the sample, and two
people who both stop half-way have judged the same photos. A share of them is blind: drawn by hash of seed, annotator and photo, so that
it never changes; nothing of the teacher's or the student's answer leaves this room for such a photo.
"""

from __future__ import annotations

import hashlib
import re
import threading
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.audit.log import VerdictLog
from vibe_assets.audit.progress import TARGET_HALF_WIDTH, Progress, sample_progress
from vibe_assets.audit.settle import moment, standing
from vibe_assets.audit.verdicts import Act, Verdict, plain
from vibe_assets.questions import ManyOf, YesNo
from vibe_assets.records import Labels, fingerprint

if TYPE_CHECKING:
    from vibe_assets.questions import Question, Questions

UNSURE_BELOW = 0.7  # the student's calibrated probability of its answer to the main question
FEW = 10  # photos below which a forecast says more about chance than about work
VIEWS = ("all", "differ", "unsure", "skipped", "scene")
MAX_NAME, MAX_REASON, MAX_OBJECTS, MAX_SPENT_MS = 40, 200, 50, 24 * 3600 * 1000
VERDICT_ID = re.compile(r"[A-Za-z0-9-]{8,64}")
_IMAGE_ID = re.compile(r"[0-9a-f]{8,64}")


class Refused(ValueError):
    """What was handed in cannot be taken; `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 422) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class DeskPhoto:
    """A photo of the sample, and what teacher and student say of it."""

    image_id: str
    path: bytes  # absolute
    name: str  # path below the photo root, for people
    width: int
    height: int
    inclusion_probability: float | None
    teacher: Labels | None = None
    student: Labels | None = None
    confidence: Mapping[str, float] = field(default_factory=dict)  # column with one answer -> the student's probability, 0..1

    @property
    def seen(self) -> str:
        """Moves with everything that the page shows of the answers."""
        answers = [None if labels is None else labels.row() for labels in (self.teacher, self.student)]
        return fingerprint({"answers": answers, "confidence": dict(self.confidence)})


class Desk:
    """One audit: photos, questions and log. Threads may share it."""

    def __init__(
        self,
        photos: Iterable[DeskPhoto],
        questions: Questions,
        log: VerdictLog,
        *,
        blind_share: float,
        seed: int,
        versions: Mapping[str, str] | None = None,
        drawable: int | None = None,
    ) -> None:
        """`versions` of teacher, heads and the like are kept with every verdict that saw their answers.

        `drawable`: the photos that the largest sample would hold, one of each burst.
        """
        self.photos = {photo.image_id: photo for photo in sorted(photos, key=lambda photo: _rank(seed, "order", photo.image_id))}
        self.questions, self.log = questions, log
        self.blind_share, self.seed, self.versions = blind_share, seed, dict(versions or {})
        self.drawable = drawable
        self._lock = threading.Lock()
        self._verdicts: dict[str, Verdict] = {}
        self._of: dict[str, list[Verdict]] = defaultdict(list)  # annotator -> theirs, oldest first
        for verdict in log.verdicts():
            self._remember(verdict)

    # -- what is shown -------------------------------------------------------------------------------------------------
    def blind(self, annotator: str, image_id: str) -> bool:
        """Whether this person judges this photo without any answer to lean on."""
        return int.from_bytes(_rank(self.seed, f"blind/{annotator}", image_id)[:8]) < self.blind_share * 2**64

    def queue(
        self, annotator: str, *, view: str = "all", scene: str | None = None, most: int = 24, without: Collection[str] = ()
    ) -> tuple[list[dict[str, Any]], int]:
        """The next photos of a view as JSON values, and how many are left in it. `without`: photos already at hand.

        Views by answer (differ, unsure, scene) hold no blind photo: being in the view would tell the answer.
        """
        if view not in VIEWS:
            raise Refused(f"view: expected one of {', '.join(VIEWS)}, got {view!r}")
        held = self.held(annotator)
        left = [photo for photo in self.photos.values() if self._in_view(photo, annotator, view, scene, held.get(photo.image_id))]
        return [self.item(photo, annotator) for photo in left if photo.image_id not in without][:most], len(left)

    def item(self, photo: DeskPhoto, annotator: str) -> dict[str, Any]:
        """One photo as the browser may know it."""
        blind = self.blind(annotator, photo.image_id)
        known: dict[str, Any] = {
            "image_id": photo.image_id, "name": photo.name.rpartition("/")[2] if blind else photo.name,
            "width": photo.width, "height": photo.height, "blind": blind,
        }  # fmt: skip
        if off := [question.key for question in self.questions if question.is_off(photo.name)]:
            known["off"] = off
        if blind:
            return known
        return {**known, **self._answers(photo), "seen": photo.seen}

    def held(self, annotator: str) -> dict[str, Verdict]:
        """image_id -> what this person said here and still holds, skips included."""
        with self._lock:
            mine = [verdict for verdict in self._of.get(annotator, ()) if verdict.source != "file"]
        return {image_id: verdict for (image_id, _), verdict in standing(mine).items()}

    def last(self, annotator: str) -> dict[str, Any] | None:
        """This person's newest verdict that holds, as an undo needs it; None when there is none."""
        held = [verdict for verdict in self.held(annotator).values() if verdict.image_id in self.photos]
        if not held:
            return None
        verdict = max(held, key=moment)
        item = self.item(self.photos[verdict.image_id], annotator)
        return {"verdict_id": verdict.verdict_id, "item": item, "labels": self._plain(verdict.labels)}

    def progress(self, annotator: str) -> dict[str, Any]:
        """How far this person is, and how precisely the teacher's accuracy is known from everybody's verdicts: of the main question."""
        held = [verdict for image_id, verdict in self.held(annotator).items() if image_id in self.photos]
        skipped = sum(verdict.act == "skipped" for verdict in held)
        known, main = self._precision(), self.questions.main
        about = "" if main is None else self.questions.name(main.key, main.key.replace("_", " "))
        told = known.n >= FEW or known.n == known.population
        return {
            "photos": len(self.photos), "judged": len(held) - skipped, "skipped": skipped,
            "half_width": None if known.share is None else known.half_width, "target": known.target,
            "sentence": known.sentence(f"{about} accuracy") if about and told else "",
        }  # fmt: skip

    # -- what is said --------------------------------------------------------------------------------------------------
    def take(self, said: object, *, now: datetime | None = None) -> Verdict:
        """Check what a page handed in and keep it; returns once it is on disk. The same verdict_id again changes nothing.

        Raises Refused (what is wrong, and where) and AuditError (it could not be written).
        """
        if not isinstance(said, dict):
            raise Refused("expected a JSON object", 400)
        verdict_id = _text(said, "verdict_id", VERDICT_ID, "8 to 64 letters, digits and '-'")
        image_id = _text(said, "image_id", _IMAGE_ID, "hexadecimal digits")
        annotator = checked_name(said.get("annotator"))
        if (photo := self.photos.get(image_id)) is None:
            raise Refused(f"image_id: {image_id} is not in the sample", 404)
        with self._lock:
            if (kept := self._verdicts.get(verdict_id)) is not None:
                if (kept.image_id, kept.annotator) != (image_id, annotator):
                    raise Refused("verdict_id: in use for another verdict", 409)
                return kept
            at = self.log.next_moment(now or datetime.now(UTC)).isoformat(timespec="microseconds")
            verdict = self._read(said, verdict_id, at, photo, annotator)
            self.log.append(verdict)
            self._remember(verdict)
        return verdict

    def _read(self, said: Mapping[str, Any], verdict_id: str, at: str, photo: DeskPhoto, annotator: str) -> Verdict:
        _refuse_odd(said)
        blind = self.blind(annotator, photo.image_id)
        common: dict[str, Any] = {"blind": blind, "spent_ms": _spent(said.get("spent_ms")), "shown": self._shown(said, photo, blind)}
        kind = said.get("act")
        if kind == "label":
            labels = self._labels(photo.image_id, said.get("labels"))
            return Verdict(verdict_id, at, photo.image_id, annotator, self._act(said, photo, labels, blind), labels, **common)
        if kind == "skip":
            reason = said.get("reason")
            if not isinstance(reason, str) or not reason.strip() or len(reason) > MAX_REASON:
                raise Refused(f"reason: expected why it is skipped, 1 to {MAX_REASON} characters")
            return Verdict(verdict_id, at, photo.image_id, annotator, "skipped", None, reason=reason.strip(), **common)
        if kind == "undo":
            undone = self._verdicts.get(str(said.get("undoes")))
            if undone is None or (undone.image_id, undone.annotator) != (photo.image_id, annotator) or undone.act == "undone":
                raise Refused("undoes: expected the id of a verdict of the same person on the same photo", 409)
            return Verdict(verdict_id, at, photo.image_id, annotator, "undone", None, undoes=undone.verdict_id, **common)
        raise Refused("act: expected label, skip or undo")

    def _labels(self, image_id: str, said: object) -> Labels:
        if not isinstance(said, dict):
            raise Refused(f"labels: expected an object with {', '.join(question.key for question in self.questions)}")
        asked = [question for question in self.questions if question.key in said]  # a page of before knows no question that came since
        return Labels(image_id, {column: value for question in asked for column, value in _told(question, said).items()})

    def _shown(self, said: Mapping[str, Any], photo: DeskPhoto, blind: bool) -> dict[str, Any]:
        """What stood on the page. A page from before a restart may have shown other answers than the ones at hand now."""
        shown: dict[str, Any] = {"inclusion_probability": photo.inclusion_probability, "view": said.get("view", "all")[:MAX_NAME]}
        if blind:
            return shown
        if said.get("seen") != photo.seen:
            return {**shown, "seen": (said.get("seen") or "")[:MAX_NAME]}
        return {**shown, **self._answers(photo), "versions": self.versions}

    def _in_view(self, photo: DeskPhoto, annotator: str, view: str, scene: str | None, held: Verdict | None) -> bool:
        if view == "skipped":
            return held is not None and held.act == "skipped"
        if held is not None:
            return False
        if view == "all":
            return True
        if self.blind(annotator, photo.image_id):
            return False
        teacher, student = self._main(photo.teacher), self._main(photo.student)
        if view == "differ":
            return teacher is not None and student is not None and teacher != student
        if view == "unsure":
            main = self.questions.main
            return main is not None and photo.confidence.get(main.key, 1.0) < UNSURE_BELOW
        return teacher == scene

    def _main(self, labels: Labels | None) -> str | None:
        """The answer to the main question."""
        main = self.questions.main
        return None if labels is None or main is None else labels.values.get(main.key)

    def _plain(self, labels: Labels | None) -> dict[str, Any] | None:
        return None if labels is None else plain(labels, self.questions)

    def _answers(self, photo: DeskPhoto) -> dict[str, Any]:
        """What teacher and student say."""
        return {"teacher": self._plain(photo.teacher), "student": self._plain(photo.student), "confidence": dict(photo.confidence)}

    def _act(self, said: Mapping[str, Any], photo: DeskPhoto, labels: Labels, blind: bool) -> Act:
        if blind or photo.teacher is None:
            return "labelled"
        same = self._plain(labels) == self._plain(photo.teacher) if said.get("seen") == photo.seen else said.get("changed") is False
        return "accepted" if same else "corrected"

    def _precision(self) -> Progress:
        with self._lock:
            verdicts = list(self._verdicts.values())
        newest = {verdict.image_id: verdict for verdict in sorted(standing(verdicts).values(), key=moment) if verdict.labels is not None}
        right, weights = [], []
        for image_id, photo in self.photos.items():
            human, teacher = self._main(newest[image_id].labels if image_id in newest else None), self._main(photo.teacher)
            if human is not None and teacher is not None:
                right.append(float(human == teacher))
                weights.append(1 / (photo.inclusion_probability or 1.0))
        left = len(self.photos.keys() - newest.keys())
        supply = None if self.drawable is None else max(0, self.drawable - len(self.photos))
        return sample_progress(right, TARGET_HALF_WIDTH, weights=weights or None, left=left, population=self._population(), supply=supply)

    def _population(self) -> float | None:
        """Photos that the sample stands for; None where the chance of one is not known."""
        chances = [photo.inclusion_probability for photo in self.photos.values()]
        return None if None in chances else max(float(len(chances)), sum(1 / chance for chance in chances if chance))

    def _remember(self, verdict: Verdict) -> None:
        self._verdicts[verdict.verdict_id] = verdict
        self._of[verdict.annotator].append(verdict)


def checked_name(name: object) -> str:
    """An annotator's name. Raises Refused for what could not be told apart from others on a line."""
    text = " ".join(name.split()) if isinstance(name, str) else ""
    if not text or len(text) > MAX_NAME or not text.isprintable():
        raise Refused(f"annotator: expected a name of 1 to {MAX_NAME} printable characters")
    return text


def _told(question: Question, said: Mapping[str, Any]) -> dict[str, Any]:
    """What was said of one question, by column. Raises Refused."""
    key = question.key
    if isinstance(question, YesNo):
        values, words = said.get(key, {}), [label.word for label in question.labels]
        if not isinstance(values, dict) or any(word not in words for word in values):
            raise Refused(f"labels.{key}: expected an object with some of {', '.join(words)}")
        if any(value is not None and not isinstance(value, bool) for value in values.values()):
            raise Refused(f"labels.{key}: expected true, false or null")
        return {word: values.get(word) for word in words}
    if isinstance(question, ManyOf):
        keys = said.get(key, [])
        if not isinstance(keys, list) or len(keys) > MAX_OBJECTS:
            raise Refused(f"labels.{key}: expected a list of at most {MAX_OBJECTS} {question.prefix} keys")
        if any(one not in question.keys for one in keys):
            raise Refused(f"labels.{key}: no such {question.head} in the taxonomy")
        return {key: tuple(dict.fromkeys(keys))}
    value = said.get(key)
    if value is not None and value not in question.keys:
        raise Refused(f"labels.{key}: no such {question.head} in the taxonomy")
    return {key: value}


def _refuse_odd(said: Mapping[str, Any]) -> None:
    """What a page tells of itself has the type that the document gives it, or is left out; false is no empty text."""
    for name, kind, shape in (("view", str, "a text"), ("seen", str | None, "a text or null"), ("changed", bool, "true or false")):
        if name in said and not isinstance(said[name], kind):
            raise Refused(f"{name}: expected {shape}")


def _text(said: Mapping[str, Any], name: str, pattern: re.Pattern[str], shape: str) -> str:
    value = said.get(name)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise Refused(f"{name}: expected {shape}")
    return value


def _spent(value: object) -> int:
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value < float("inf"):
        raise Refused("spent_ms: expected milliseconds")
    return int(min(value, MAX_SPENT_MS))


def _rank(seed: int, purpose: str, identity: str) -> bytes:
    return hashlib.sha256(f"{seed}/audit-desk/{purpose}/{identity}".encode()).digest()
