"""A JSONL of annotations from another machine goes into the journals, each teacher's apart; what is wrong is set aside with its reason."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from vibe_assets.lake import write_text
from vibe_assets.questions import Questions
from vibe_assets.storage import Place, Url
from vibe_assets.strangers import json_value
from vibe_assets.teacher.failures import REASONS, TeacherError
from vibe_assets.teacher.journal import Journal, Record
from vibe_assets.teacher.kept import FIRST
from vibe_assets.teacher.schema import InvalidAnswer, normalise

IMPORT_WRITER = "imported"
MAX_LINE_BYTES = 1024 * 1024
CLOCKS_DIFFER = timedelta(days=1)  # between two machines; a time further ahead is none
_FINGERPRINT = re.compile(r"[0-9a-f]{16}")
_IMAGE_ID = re.compile(r"[0-9a-f]{32}")


@dataclass(frozen=True)
class RejectedLine:
    """A line that could not be taken over: its number (from 1), why, and its text."""

    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class ImportSummary:
    """What became of a file's lines: kept + duplicates + rejected = lines that are not blank."""

    kept: int
    by_teacher: Mapping[str, int] = field(default_factory=dict)  # fingerprint -> records kept
    duplicates: int = 0  # older or equal to another line, or to what the journal holds
    failures: int = 0  # among the kept: records without an answer
    unknown_photos: int = 0  # among the kept: photos that `known_ids` does not name (kept: they may come later)
    rejected: tuple[RejectedLine, ...] = ()
    rejected_file: Path | None = None

    def __str__(self) -> str:
        teachers = ", ".join(f"{count} of teacher {teacher}" for teacher, count in self.by_teacher.items())
        lines = [f"{self.kept} records kept" + (f" ({teachers})" if teachers else "") + f", {self.duplicates} known already"]
        if self.failures or self.unknown_photos:
            lines.append(f"among them {self.failures} failures, {self.unknown_photos} of photos that are not in the library")
        if self.rejected:
            first = self.rejected[0]
            lines.append(f"{len(self.rejected)} lines rejected, see {self.rejected_file}; line {first.line}: {first.reason}")
        return "\n".join(lines)


def import_annotations(
    file: Path, journal_root: Place, *, questions: Questions, known_ids: Collection[str] | None = None, as_teacher: str | None = None
) -> ImportSummary:
    """Bring the records of `file` into `journal_root/<teacher fingerprint>/`; the same file twice changes nothing.

    A line whose `teacher` is a model's name, or absent, belongs to nobody until `as_teacher` (a fingerprint) says whose it
    is. Lines without a time, or with one that is yet to come, count as old as the file. Rejected lines are written beside the journals, or
    beside `file` where those lie in a store, as `<name>-<hash>.rejected.jsonl`. Raises TeacherError when the file cannot be read,
    ValueError on a bad `as_teacher`.
    """
    if as_teacher is not None and not _FINGERPRINT.fullmatch(as_teacher):
        raise ValueError(f"as_teacher: expected 16 hex digits, as `vibe teacher show` prints them, got {as_teacher!r}")
    try:
        data = Path(file).read_bytes()
        now = datetime.now(UTC)
        modified = datetime.fromtimestamp(min(Path(file).stat().st_mtime, now.timestamp()), UTC).isoformat(timespec="microseconds")
    except OSError as error:
        raise TeacherError(f"{file}: {error.strerror}; expected the JSONL that `vibe annotate` wrote") from error
    newest: dict[tuple[str, str], Record] = {}
    rejected: list[RejectedLine] = []
    duplicates = 0
    for number, line in enumerate(data.removeprefix(b"\xef\xbb\xbf").split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            record = _checked(line, questions, as_teacher=as_teacher, default_at=modified, now=now)
        except ValueError as error:
            rejected.append(RejectedLine(number, str(error), line.decode("utf-8", "backslashreplace")))
            continue
        key = record["teacher"], record["image_id"]
        duplicates += key in newest
        if key not in newest or _rank(record) >= _rank(newest[key]):
            newest[key] = record
    kept = _journalled(list(newest.values()), journal_root)
    aside = Path(file).parent if isinstance(journal_root, Url) else journal_root
    return ImportSummary(
        kept=len(kept),
        by_teacher=dict(Counter(record["teacher"] for record in kept)),
        duplicates=duplicates + len(newest) - len(kept),
        failures=sum(record["annotation"] is None for record in kept),
        unknown_photos=sum(record["image_id"] not in known_ids for record in kept) if known_ids is not None else 0,
        rejected=tuple(rejected),
        rejected_file=_set_aside(rejected, aside, f"{Path(file).stem}-{hashlib.sha256(data).hexdigest()[:8]}"),
    )


def _checked(line: bytes, questions: Questions, *, as_teacher: str | None, default_at: str, now: datetime) -> Record:
    """The record of one line in the journal's form. Raises ValueError saying what is wrong with it."""
    if len(line) > MAX_LINE_BYTES:
        raise ValueError(f"longer than {MAX_LINE_BYTES} bytes")
    try:
        given = json_value(line)
    except ValueError as error:
        raise ValueError(f"not JSON: {error}") from None
    if not isinstance(given, dict):
        raise ValueError(f"expected a JSON object, got {type(given).__name__}")
    image_id = given.get("image_id")
    if not isinstance(image_id, str) or not _IMAGE_ID.fullmatch(image_id):
        raise ValueError(f"image_id: expected 32 hex digits (the start of the file's SHA-256), got {image_id!r:.80}")
    named = given.get("teacher")
    teacher = named if isinstance(named, str) and _FINGERPRINT.fullmatch(named) else as_teacher
    if teacher is None:
        raise ValueError(f"teacher {named!r:.80} is no fingerprint: say whose answer it is with as_teacher")
    model = given.get("model") or (named if named != teacher else None)
    return {
        "image_id": image_id, **{name: _text(given.get(name)) for name in ("server_path", "image_path", "rel_path")},
        "annotation": None, "teacher": teacher, "latency_s": _seconds(given.get("latency_s")), "usage": _counts(given.get("usage")),
        "model": _text(model), "at": _moment(given.get("at"), now) or default_at, **_outcome(given, questions),
    }  # fmt: skip


def _outcome(given: Mapping[str, Any], questions: Questions) -> dict[str, Any]:
    annotation = given.get("annotation")
    if isinstance(annotation, dict):
        try:
            kept = normalise(annotation, questions)
        except InvalidAnswer as error:
            raise ValueError(f"annotation: {error}") from None
        asked, noted = questions.asked_fingerprints, given.get("questions")
        if isinstance(noted, dict) and all(isinstance(value, str) for value in noted.values()):
            return {"annotation": kept, "questions": noted}
        if asked == FIRST:
            return {"annotation": kept}
        there = {question.key: asked[question.key] for question in questions.asked if question.schema.keys() & annotation.keys()}
        return {"annotation": kept, "questions": there}
    reason = given.get("reason")
    if annotation is None and reason in REASONS:
        return {"reason": reason, "detail": _text(given.get("detail"))}
    raise ValueError(f"annotation: expected an object, got {type(annotation).__name__}")


def _journalled(records: list[Record], journal_root: Place) -> list[Record]:
    """Append what is news to each teacher's journal; return it."""
    kept = []
    for teacher in sorted({record["teacher"] for record in records}):
        with Journal(journal_root / teacher, IMPORT_WRITER) as journal:
            known = journal.known()
            news = [
                record
                for record in records
                if record["teacher"] == teacher and (record["image_id"] not in known or _is_news(record, known[record["image_id"]]))
            ]
            if news:
                journal.append_many(news)
            kept += news
    return kept


def _is_news(record: Record, held: Record) -> bool:
    return record["annotation"] != held.get("annotation") and _rank(record) > _rank(held)


def _rank(record: Record) -> tuple[bool, str]:
    return isinstance(record.get("annotation"), dict), str(record.get("at") or "")


def _set_aside(rejected: list[RejectedLine], folder: Path, name: str) -> Path | None:
    if not rejected:
        return None
    lines = [json.dumps({"line": item.line, "reason": item.reason, "text": item.text}, ensure_ascii=False) for item in rejected]
    return write_text(folder / f"{name}.rejected.jsonl", "\n".join(lines) + "\n")


def _text(value: Any) -> str | None:
    return value[:4096].encode("utf-8", "replace").decode() if isinstance(value, str) else None


def _seconds(value: Any) -> float | None:
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value < 1e9 else None


def _counts(value: Any) -> dict[str, int] | None:
    if not isinstance(value, dict):
        return None
    return {str(name)[:64]: count for name, count in value.items() if isinstance(count, int) and 0 <= count < 2**53}


def _moment(value: Any, now: datetime) -> str | None:
    """An ISO time in UTC, as the journal writes it, so that times compare as text; None for anything else, and for one that is yet to
    come: such an answer could never be replaced by a newer one."""
    try:
        moment = datetime.fromisoformat(value)
        moment = (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).astimezone(UTC)
    except (TypeError, ValueError, OverflowError):
        return None
    return None if moment > now + CLOCKS_DIFFER else moment.isoformat(timespec="microseconds")
