"""Labels as files: JSONL and pretty JSON lists out; checked rows, or an error that names every wrong line, back in.

One photo's labels: `{"image_id": "...", "scene": ["scene.product"], "attributes": {"attr.blurred": true}, "objects": ["object.drink"]}`.
Unknown is an empty list, null, or a yes or no that is null or left out. Every other question has a member of its own: a key or null
(one_of), `{key: true}` (yes_no), a list of keys (many_of).
"""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.errors import UserError
from vibe_assets.labels.positions import Element, FileFault, split_elements
from vibe_assets.lake import write_text
from vibe_assets.questions import ManyOf, Question, Questions, YesNo, normalise
from vibe_assets.records import AUDITED_GROUND_TRUTH, Labels
from vibe_assets.records.answers import unasked_questions

if TYPE_CHECKING:
    import polars as pl

AUDIT_FIELDS = ("rel_path", "stratum", "inclusion_probability", "annotator")
SHOWN_FAULTS = 50
MOST_COMPARED = 2000  # names of fields that a file is searched for slips of; more are another tool's
MAX_FAULTS = 1000  # then the file is refused without reading on: it is another file than it should be


class AuditedFileError(UserError, ValueError):
    """A file of labels is refused as a whole. `faults` holds (line, what is wrong and what to do) for every fault found."""

    def __init__(self, path: Path, faults: Iterable[FileFault]) -> None:
        self.faults = sorted(faults, key=lambda fault: (fault.line, fault.entry, fault.message))
        shown = [f"  {fault.where}: {fault.message}" for fault in self.faults[:SHOWN_FAULTS]]
        if len(self.faults) > SHOWN_FAULTS:
            shown.append(f"  and {len(self.faults) - SHOWN_FAULTS} more")
        count = f"{'at least ' if len(self.faults) >= MAX_FAULTS else ''}{len(self.faults)}"
        super().__init__("\n".join([f"{path}: refused, nothing was taken over; {count} to correct:", *shown]))


# -- writing -----------------------------------------------------------------------------------------------------------
def labels_to_json(labels: Labels, questions: Questions, *, with_unknown: bool = False) -> dict[str, Any]:
    """One photo's labels in the file format. `with_unknown` spells out unknown yes or no as null, for people to fill in."""
    written: dict[str, Any] = {"image_id": labels.image_id}
    for question in questions:
        if isinstance(question, YesNo):
            said = {label.key: labels.values.get(label.word) for label in question.labels}
            written[question.key] = {key: value for key, value in said.items() if with_unknown or value is not None}
        elif isinstance(question, ManyOf):
            written[question.key] = list(labels.values.get(question.key) or ())
        else:
            one = labels.values.get(question.key)
            written[question.key] = one if not getattr(question, "listed", False) else [] if one is None else [one]
    return written


def write_labels(rows: pl.DataFrame, path: Path, questions: Questions) -> Path:
    """Rows with the label columns -> JSONL, one photo a line, written atomically."""
    photos = (Labels.from_row(row, questions.columns) for row in rows.iter_rows(named=True))
    lines = (json.dumps(labels_to_json(labels, questions), ensure_ascii=False) for labels in photos)
    return write_text(path, "".join(f"{line}\n" for line in lines))


def write_audited(rows: pl.DataFrame, path: Path, questions: Questions) -> Path:
    """AUDITED_GROUND_TRUTH rows -> pretty JSON list that `read_audited` reads back without the sample at hand.

    A question that nobody was asked has no member.
    """
    photos = []
    for row in rows.iter_rows(named=True):
        labels = labels_to_json(Labels.from_row(row, questions.columns), questions, with_unknown=True)
        for key in unasked_questions(row, questions):
            del labels[key]
        photos.append({**labels, **{name: row[name] for name in ("inclusion_probability", "annotator")}})
    return write_text(path, json.dumps(photos, ensure_ascii=False, indent=2) + "\n")


# -- reading -----------------------------------------------------------------------------------------------------------
def read_labels(path: Path, questions: Questions) -> pl.DataFrame:
    """A JSON list or JSONL of labels -> rows with image_id and the columns of the questions, in the file's order.

    Raises AuditedFileError naming every wrong line.
    """
    import polars as pl

    check = _Check(path, questions)
    rows = [labels.row() for _, labels in check.photos()]
    check.finish()
    schema = AUDITED_GROUND_TRUTH.of(questions).polars_schema()
    return pl.DataFrame(rows, schema={name: schema[name] for name in ("image_id", *questions.columns)})


def names_heads(path: Path) -> bool:
    """Whether a file of labels is of students, as the platform writes their predictions: its lines name heads."""
    elements, _ = split_elements(path.read_text(encoding="utf-8-sig", errors="replace"))
    return any(isinstance(element.value, dict) and element.value.get("heads") for element in elements)


def read_audited(
    path: Path, *, questions: Questions, known_ids: Collection[str], sample_rows: pl.DataFrame | None = None, annotator: str | None = None
) -> pl.DataFrame:
    """A sample as people edited it (JSON list or JSONL) -> AUDITED_GROUND_TRUTH rows, sorted by image_id.

    `known_ids` are the library's photos. With `sample_rows` (AUDIT_SAMPLE) the file must hold exactly the sample's photos, and
    inclusion probabilities come from the sample, whatever the file says. Without it they are read from the file, which suits
    only a file that `write_audited` wrote. `annotator` names who did it where the file does not. A question without a member was not
    asked (a file of before there was the question); one with null was, and nobody could tell.
    Raises AuditedFileError naming every wrong line; then nothing was accepted.
    """
    import polars as pl

    check = _Check(path, questions, extra=AUDIT_FIELDS)
    known = frozenset(known_ids)
    drawn = None if sample_rows is None else dict(sample_rows.select("image_id", "inclusion_probability").iter_rows())
    rows = []
    for element, labels in check.photos():
        if labels.image_id not in known:
            check.fault(element, ("image_id",), f"{labels.image_id!r} is no photo of this library; ids must stay as the sample has them")
        elif drawn is not None and labels.image_id not in drawn:
            check.fault(element, ("image_id",), f"{labels.image_id!r} is not in the sample; remove it, or audit the current sample")
        probability = drawn.get(labels.image_id) if drawn is not None else check.probability(element)
        unasked = [field.name for question in questions if question.key not in element.value for field in question.fields]
        row = {**labels.row(), **dict.fromkeys(unasked), "unasked": unasked or None}
        rows.append({**row, "inclusion_probability": probability, "annotator": check.annotator(element) or annotator})
    if drawn is not None and not check.unread:
        for image_id in sorted(drawn.keys() - check.seen.keys()):
            check.fault_at_end(f"photo {image_id!r} of the sample is missing; put it back (labels may be left unknown)")
    check.finish()
    return pl.DataFrame(rows, schema=AUDITED_GROUND_TRUTH.of(questions).polars_schema()).sort("image_id")


class _Check:
    """Reads one file, collects its faults, and raises them all at the end."""

    def __init__(self, path: Path, questions: Questions, *, extra: tuple[str, ...] = ()) -> None:
        self.path, self.questions = path, questions
        self.label_fields = ("image_id", *(question.key for question in questions))
        self.fields = (*self.label_fields, *extra)
        self.faults: list[FileFault] = []
        self.close: dict[str, list[str]] = {}  # field that is none of ours -> ours that it looks like
        self.seen: dict[str, str] = {}  # image_id -> where
        try:
            text = path.read_bytes().decode("utf-8-sig")
        except OSError as error:
            raise AuditedFileError(path, [FileFault(1, f"cannot be read: {error.strerror}")]) from error
        except UnicodeDecodeError as error:
            line = error.object[: error.start].count(b"\n") + 1
            raise AuditedFileError(path, [FileFault(line, "not UTF-8; save the file as UTF-8")]) from error
        self.elements, faults = split_elements(text)
        self.faults += faults
        self.unread = bool(faults)  # then an absent photo may only be one that could not be read
        self.end = text.rstrip().count("\n") + 1

    def photos(self) -> Iterator[tuple[Element, Labels]]:
        """Every element that has an id of its own, with its labels; faults are noted on the way."""
        for element in self.elements:
            photo = element.value
            if not isinstance(photo, dict):
                self.fault(element, (), f"expected an object with {', '.join(self.label_fields)}, got {_shown(photo)}")
                continue
            self.misspelt(element, photo)
            image_id = photo.get("image_id")
            if not isinstance(image_id, str) or not image_id:
                self.fault(element, ("image_id",), f"expected the photo's image_id, got {_shown(image_id)}")
            elif image_id in self.seen:
                self.fault(element, ("image_id",), f"{image_id!r} stands in {self.seen[image_id]} already; keep one of the two")
            else:
                self.seen[image_id] = element.fault(("image_id",), "").where
                yield (
                    element,
                    Labels(image_id, {name: value for one in self.questions for name, value in self.said(element, photo, one).items()}),
                )

    def said(self, element: Element, photo: Mapping[str, Any], question: Question) -> dict[str, Any]:
        """What the photo says of a question, by column."""
        value = photo.get(question.key)
        if isinstance(question, YesNo):
            return self.yes_no(element, question, value)
        if isinstance(question, ManyOf):
            return {question.key: self.many_of(element, question, value)}
        return {question.key: self.one_of(element, question, value)}

    def one_of(self, element: Element, question: Question, value: Any) -> str | None:
        value = value[0] if isinstance(value, list) and len(value) == 1 else value
        if value in (None, "unknown", []):
            return None
        if not isinstance(value, str):
            form = f"one {question.prefix} key in a list, or [] for unknown" if getattr(question, "listed", False) else "one key, or null"
            self.fault(element, (question.key,), f"{question.key}: expected {form}, got {_shown(value)}")
            return None
        return self.known(element, (question.key, 0), value, question)

    def yes_no(self, element: Element, question: Question, values: Any) -> dict[str, bool | None]:
        if values is None:
            return {}
        if not isinstance(values, dict):
            self.fault(element, (question.key,), f"{question.key}: expected an object, got {_shown(values)}")
            return {}
        read: dict[str, bool | None] = {}
        for key, value in values.items():
            if self.known(element, (question.key, key), key, question) is None:
                continue
            if value in (None, "unknown"):
                value = None
            elif not isinstance(value, bool):
                self.fault(element, (question.key, key), f"{key}: expected true, false or null, got {_shown(value)}")
            read[key.removeprefix(f"{question.prefix}.")] = value
        return read

    def many_of(self, element: Element, question: Question, values: Any) -> tuple[str, ...]:
        if values is None:
            return ()
        if not isinstance(values, list):
            self.fault(element, (question.key,), f"{question.key}: expected a list of {question.prefix} keys, got {_shown(values)}")
            return ()
        keys = [self.known(element, (question.key, index), value, question) for index, value in enumerate(values)]
        return tuple(dict.fromkeys(key for key in keys if key is not None))

    def known(self, element: Element, place: tuple[str | int, ...], value: Any, question: Question) -> str | None:
        if isinstance(value, str) and value in question.keys:
            return value
        hint = self.suggestion(str(value), question) if len(self.faults) < SHOWN_FAULTS else ""
        self.fault(element, place, f"{place[0]}: {_shown(value)} is no label of the taxonomy{hint}")
        return None

    def suggestion(self, text: str, question: Question) -> str:
        from difflib import get_close_matches

        keys = question.keys
        meant = question.words.get(normalise(text)) if isinstance(question, ManyOf) else None
        close = [meant] if meant else get_close_matches(text, [*keys, *(key.partition(".")[2] for key in keys)], 1, 0.6)
        full = next((key for key in keys if close and (key == close[0] or key.partition(".")[2] == close[0])), None)
        return f"; did you mean {full!r}?" if full else f"; labels look like {keys[0]!r}"

    def misspelt(self, element: Element, photo: Mapping[str, Any]) -> None:
        """A field of another tool is left alone; one that looks like a slip for ours would lose its content silently."""
        from difflib import get_close_matches

        for field in photo:
            if field in self.fields or (field not in self.close and len(self.close) >= MOST_COMPARED):
                continue
            if field not in self.close:
                self.close[field] = get_close_matches(field, self.fields, len(self.fields), 0.75)
            if meant := next((name for name in self.close[field] if name not in photo), None):
                self.fault(element, (field,), f"no field {field!r}; did you mean {meant!r}?")

    def probability(self, element: Element) -> float | None:
        value = element.value.get("inclusion_probability")
        if value is None:
            return None
        if isinstance(value, bool) or not isinstance(value, int | float) or not (math.isfinite(value) and 0 < value <= 1):
            self.fault(
                element, ("inclusion_probability",), f"inclusion_probability: expected a number above 0, up to 1, got {_shown(value)}"
            )
            return None
        return float(value)

    def annotator(self, element: Element) -> str | None:
        value = element.value.get("annotator")
        if value is not None and not isinstance(value, str):
            self.fault(element, ("annotator",), f"annotator: expected a name, got {_shown(value)}")
        return value if isinstance(value, str) else None

    def fault(self, element: Element, place: tuple[str | int, ...], message: str) -> None:
        self.faults.append(element.fault(place, message))
        if len(self.faults) >= MAX_FAULTS:
            self.finish()

    def fault_at_end(self, message: str) -> None:
        self.faults.append(FileFault(self.end, message))

    def finish(self) -> None:
        if self.faults:
            raise AuditedFileError(self.path, self.faults)


def _shown(value: Any) -> str:
    return "nothing" if value is None else f"{json.dumps(value, ensure_ascii=False):.60}"
