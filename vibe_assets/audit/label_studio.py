"""The audit sample -> tasks and labelling config for Label Studio; its JSON and JSON-MIN exports -> verdicts.

A task's `data` holds what the way back needs: image_id, the chance of being drawn, and the labels that were filled in (none: blind).
Choices are written without the prefix of their keys, for people: food, has_smile, electronics.display.monitor. Where the label file gives a
label a name, people see that, and the key is the choice's alias, which stands in predictions and exports. A yes or no that is not ticked is
false, one ticked under "cannot tell" is unknown. Formats: https://labelstud.io/guide/task_format, guide/predictions and tags/choice.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from vibe_assets.audit.verdicts import Act, Verdict
from vibe_assets.labels.files import MAX_FAULTS, AuditedFileError
from vibe_assets.labels.positions import Element, FileFault, split_elements
from vibe_assets.questions import Label, ManyOf, OneOf, Question, YesNo
from vibe_assets.records import Labels
from vibe_assets.strangers import xml_text

if TYPE_CHECKING:
    from vibe_assets.questions import Questions

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own address for files of a local storage
TITLES = {  # of the controls that every config had; others are titled by what is asked
    "scene": "What kind of photo?", "attributes": "What is true of it?", "cannot_tell": "What cannot be told?",
    "objects": "What objects does it show?",
}  # fmt: skip
UNKNOWN = {"attributes": "cannot_tell"}  # the second control of a question of yes and no, where its name is older than the rule
TAKEN = frozenset({  # names that a task has beside its controls
    "image", "image_id", "name", "inclusion_probability", "filled_in", "teacher", "id", "annotator", "annotation_id", "created_at",
    "updated_at", "lead_time", "data", "annotations", "predictions", "cannot_tell",
})  # fmt: skip
EMPTY = "submitted without an answer"
SKIPPED = "skipped in Label Studio"
CLOCKS_DIFFER = timedelta(days=1)  # between two machines; a time further ahead is none
MAX_LEAD_S = 1e9


@dataclass(frozen=True)
class TaskPhoto:
    """A photo to hand out. Without `labels` it is blind: nothing of any answer is written to its task."""

    image_id: str
    path: bytes  # below the photo root, as the file system spells it
    name: str  # the same for people
    inclusion_probability: float | None
    labels: Labels | None = None
    score: float | None = None  # 0..1, for sorting by certainty


# -- out ---------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Control:
    """A box of choices: a question has one, a question of yes and no a second one for what cannot be told."""

    name: str
    question: Question
    unknown: bool = False

    def key(self, choice: str) -> str:
        """The label of a choice, whether written with the prefix or without."""
        prefix = f"{self.question.prefix}."
        return prefix + choice.removeprefix(prefix)

    def ticked(self, labels: Labels) -> list[str]:
        """Its choices that say what the labels say."""
        if isinstance(self.question, YesNo):
            wanted = None if self.unknown else True
            return [label.word for label in self.question.labels if labels.values.get(label.word) is wanted]
        said = labels.values.get(self.question.key) or ()
        return [key.partition(".")[2] for key in ((said,) if isinstance(said, str) else said)]


def controls(questions: Questions) -> list[Control]:
    """The controls of a config, in order."""
    found = []
    for question in questions:
        name = f"{question.key}_question" if question.key in TAKEN else question.key
        found.append(Control(name, question))
        if isinstance(question, YesNo):
            found.append(Control(UNKNOWN.get(name, f"{name}_cannot_tell"), question, unknown=True))
    return found


def labelling_config(questions: Questions) -> str:
    """XML for Project Settings > Labeling Interface: the photo, and a control for every question; only the main one has to be answered."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true", rotateControl="true")
    for control in controls(questions):
        ET.SubElement(view, "Header", value=_title(control, questions))
        kind = {"choice": "single" if isinstance(control.question, OneOf) else "multiple"}
        kind |= {"required": "true"} if control.question is questions.main else {}
        box = ET.SubElement(view, "Choices", {"name": control.name, "toName": "image", "showInline": "true", **kind})
        names = questions.distinct(control.question.keys)
        for label in control.question.labels:
            ET.SubElement(box, "Choice", _choice(label, names.get(label.key)))
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def _title(control: Control, questions: Questions) -> str:
    given = questions.name(control.question.key, "")
    asked = given or control.question.text(questions.language)
    text = f"{asked}: what cannot be told?" if control.unknown else asked
    return _shown(text) if given else TITLES.get(control.name, text)


def _choice(label: Label, name: str | None) -> dict[str, str]:
    return {"value": label.word} if name is None else {"value": _shown(name), "alias": label.word}


def _shown(text: str) -> str:
    """Text of an attribute: with `$` Label Studio would look for a member of the task."""
    return xml_text(text).replace("$", "\N{FULLWIDTH DOLLAR SIGN}")


def tasks(
    photos: Sequence[TaskPhoto], questions: Questions, *, image_prefix: str = LOCAL_FILES, model_version: str
) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them, in the photos' order; those with labels carry them as a prediction to correct."""
    return [_task(photo, controls(questions), image_prefix, model_version) for photo in photos]


def is_blind(image_id: str, *, seed: int, share: float) -> bool:
    """Whether the photo is handed out with nothing filled in: by hash, the same in every export, whoever gets it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/label-studio/{image_id}".encode()).digest()[:8]) < share * 2**64


def _task(photo: TaskPhoto, boxes: Sequence[Control], image_prefix: str, model_version: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": image_prefix + quote(photo.path), "image_id": photo.image_id, "name": photo.name,
        "inclusion_probability": photo.inclusion_probability,
    }  # fmt: skip
    if photo.labels is None:
        return {"data": data}
    answers = {control.name: control.ticked(photo.labels) for control in boxes}
    result = [
        {"id": f"{photo.image_id[:8]}-{name}", "from_name": name, "to_name": "image", "type": "choices", "value": {"choices": ticked}}
        for name, ticked in answers.items()
        if ticked
    ]
    prediction: dict[str, Any] = {"model_version": model_version, "result": result}
    if photo.score is not None:
        prediction["score"] = photo.score
    return {"data": {**data, "filled_in": {"teacher": model_version, **answers}}, "predictions": [prediction]}


# -- back --------------------------------------------------------------------------------------------------------------
def read_export(path: Path, *, questions: Questions, known_ids: Collection[str]) -> list[Verdict]:
    """A JSON or JSON-MIN export -> verdicts, source label_studio, in the file's order. The same annotation always has the same verdict_id.

    Controls that the config of `labelling_config` does not have are passed over. Raises AuditedFileError naming every wrong line.
    """
    try:
        elements, faults = split_elements(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise AuditedFileError(path, [FileFault(1, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise AuditedFileError(path, [FileFault(1, "not UTF-8; export it again as JSON or JSON-MIN")]) from error
    reader = _Reader(path, {control.name: control for control in controls(questions)}, frozenset(known_ids), list(faults))
    verdicts = [verdict for element in elements for verdict in reader.verdicts(element)]
    if reader.faults:
        raise AuditedFileError(path, reader.faults)
    return verdicts


@dataclass(frozen=True)
class _Reader:
    """Reads tasks one by one and collects their faults; a value that is wrong is noted and read as unknown."""

    path: Path
    controls: Mapping[str, Control]
    known_ids: frozenset[str]
    faults: list[FileFault]

    def verdicts(self, element: Element) -> Iterator[Verdict]:
        task = element.value
        if not isinstance(task, dict):
            return self.fault(element, (), "expected a task, an object with data and annotations; export as JSON or JSON-MIN")
        if "annotations" not in task and "annotation_id" in task:  # JSON-MIN: one object per annotation, data and answers side by side
            answers = {control: _listed(task.get(control)) for control in self.controls}
            if (verdict := self.verdict(element, (), task, task, answers)) is not None:
                yield verdict
            return None
        data, annotations = task.get("data"), task.get("annotations")
        if not isinstance(data, dict) or not isinstance(annotations, list):
            return self.fault(element, (), "expected a task with data and annotations; export as JSON or JSON-MIN")
        for at, annotation in enumerate(annotations):
            place = ("annotations", at)
            if not isinstance(annotation, dict) or not isinstance(annotation.get("result", []), list):
                self.fault(element, place, "expected an annotation, an object with a list result")
            elif (verdict := self.verdict(element, place, data, annotation, self.ticked(annotation.get("result", [])))) is not None:
                yield verdict
        return None

    def verdict(
        self, element: Element, place: tuple[str | int, ...], data: Mapping[str, Any], annotation: Mapping[str, Any],
        answers: Mapping[str, list[Any]],
    ) -> Verdict | None:  # fmt: skip
        before = len(self.faults)
        image_id = data.get("image_id")
        if not isinstance(image_id, str) or image_id not in self.known_ids:
            where = ("image_id",) if data is element.value else ("data", "image_id")
            self.fault(element, where, f"image_id: {image_id!r} is no photo of this library; tasks come from `vibe label-studio export`")
            image_id = ""
        at = self.moment(element, place, annotation)
        spent_ms = self.spent(element, place, annotation)
        probability = self.probability(element, data)
        filled = data.get("filled_in") if isinstance(data.get("filled_in"), dict) else None
        labels = self.labels(element, place, image_id, answers, filled)
        if filled is not None and not isinstance(filled.get("teacher"), str | None):
            where = ("filled_in",) if data is element.value else ("data", "filled_in")
            self.fault(element, where, f"filled_in: expected the teacher's version as text, got {filled['teacher']!r:.80}")
        act: Act = "labelled" if filled is None else "accepted" if self.same(filled, labels) else "corrected"
        reason = SKIPPED if annotation.get("was_cancelled") else EMPTY if not any(answers.values()) else None
        if len(self.faults) > before:
            return None
        number = annotation.get("annotation_id") if data is annotation else annotation.get("id")
        identity = hashlib.sha256(f"{image_id}/{number}/{at}".encode()).hexdigest()[:32]
        shown: dict[str, Any] = {"inclusion_probability": probability}
        if filled is not None:
            shown["versions"] = {"teacher": str(filled.get("teacher"))}
        return Verdict(
            f"label-studio-{identity}", at, image_id, _annotator(annotation), "skipped" if reason else act, None if reason else labels,
            filled is None, spent_ms, shown, reason, source="label_studio",
        )  # fmt: skip

    def labels(
        self,
        element: Element,
        place: tuple[str | int, ...],
        image_id: str,
        answers: Mapping[str, list[Any]],
        filled: Mapping[str, Any] | None,
    ) -> Labels:
        keys = {name: self.keys(element, place, name, answers[name]) for name in self.controls}
        unknown = {control.question.key: keys[name] for name, control in self.controls.items() if control.unknown}
        values: dict[str, Any] = {}
        for name, control in self.controls.items():
            question, said = control.question, keys[name]
            if control.unknown or (filled is not None and name not in filled and not said):
                continue  # a task of before the question was asked
            if isinstance(question, YesNo):
                left = unknown[question.key]
                if both := sorted({key.partition(".")[2] for key in said} & {key.partition(".")[2] for key in left}):
                    self.fault(element, (*place, name), f"{question.key}: {', '.join(both)} ticked as true and as cannot tell")
                values |= {label.word: None if label.key in left else label.key in said for label in question.labels}
            elif isinstance(question, ManyOf):
                values[question.key] = _in_filled_order(control, said, filled)
            else:
                if len(said) > 1:
                    self.fault(element, (*place, name), f"{question.key}: expected one, got {', '.join(said)}")
                values[question.key] = said[0] if said else None
        return Labels(image_id, values)

    def keys(self, element: Element, place: tuple[str | int, ...], name: str, ticked: Sequence[Any]) -> list[str]:
        control = self.controls[name]
        found = []
        for choice in ticked:
            key = control.key(choice) if isinstance(choice, str) else choice
            if key in control.question.keys:
                found.append(key)
            else:
                self.fault(element, (*place, name), f"{name}: {choice!r} is no label of the taxonomy")
        return found

    def ticked(self, result: Sequence[Any]) -> dict[str, list[Any]]:
        """Control -> choices of an annotation's result; what other controls gave is passed over."""
        answers: dict[str, list[Any]] = {name: [] for name in self.controls}
        for region in result:
            name = region.get("from_name") if isinstance(region, dict) and region.get("type") == "choices" else None
            if isinstance(name, str) and name in answers:
                value = region.get("value")
                answers[name] += _listed(value if isinstance(value, dict) else None)
        return answers

    def same(self, filled: Mapping[str, Any], labels: Labels) -> bool:
        """Whether the labels are those that were filled in, in whatever order: Label Studio keeps none."""
        asked = [control for name, control in self.controls.items() if name in filled or (control.ticked(labels) and not control.unknown)]
        return all(set(map(str, _listed(filled.get(control.name)))) == set(control.ticked(labels)) for control in asked)

    def moment(self, element: Element, place: tuple[str | int, ...], annotation: Mapping[str, Any]) -> str:
        said = annotation.get("updated_at") or annotation.get("created_at")
        try:
            at = datetime.fromisoformat(str(said))
            at.astimezone(UTC)
        except (ValueError, OverflowError):  # OverflowError: before year 1 or after 9999 where the zone is taken off
            at = None
        if at is None or at.tzinfo is None:
            self.fault(element, (*place, "updated_at"), f"updated_at: expected a time with its zone, got {said!r:.80}")
            return ""
        if at > datetime.now(UTC) + CLOCKS_DIFFER:  # it would go before whatever this person says from now on
            self.fault(element, (*place, "updated_at"), f"updated_at: {said} is yet to come; set that machine's clock, save the task again")
        return at.isoformat()

    def spent(self, element: Element, place: tuple[str | int, ...], annotation: Mapping[str, Any]) -> int:
        seconds = annotation.get("lead_time")
        if seconds is None:
            return 0  # not timed
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds < MAX_LEAD_S:
            self.fault(element, (*place, "lead_time"), f"lead_time: expected seconds, got {seconds!r:.80}")
            return 0
        return round(1000 * seconds)

    def probability(self, element: Element, data: Mapping[str, Any]) -> float | None:
        chance = data.get("inclusion_probability")
        if chance is None:
            return None
        if isinstance(chance, bool) or not isinstance(chance, int | float) or not 0 < chance <= 1:
            where = ("inclusion_probability",) if data is element.value else ("data", "inclusion_probability")
            self.fault(element, where, f"inclusion_probability: expected a number above 0, up to 1, got {chance!r}")
            return None
        return float(chance)

    def fault(self, element: Element, place: tuple[str | int, ...], message: str) -> None:
        self.faults.append(element.fault(place, message))
        if len(self.faults) >= MAX_FAULTS:
            raise AuditedFileError(self.path, self.faults)


def _listed(value: Any) -> list[Any]:
    """JSON-MIN gives one choice as text, several as {"choices": [...]}, and nothing where nothing is ticked."""
    if isinstance(value, dict) and "choices" in value:
        value = value["choices"]
    if value is None or value == "":
        return []
    return [part for item in value for part in _listed(item)] if isinstance(value, list) else [value]


def _annotator(annotation: Mapping[str, Any]) -> str:
    """Who it was: an e-mail address where the export has one, otherwise the number of the account."""
    who = annotation.get("completed_by", annotation.get("annotator"))
    if isinstance(who, dict):
        who = who.get("email") or who.get("id")
    return who if isinstance(who, str) and who else f"label-studio-{'unknown' if who is None else who}"


def _in_filled_order(control: Control, keys: Sequence[str], filled: Mapping[str, Any] | None) -> tuple[str, ...]:
    """Labels that were filled in come first and in that order, the main one first; those that somebody added follow."""
    place = {f"{control.question.prefix}.{name}": at for at, name in enumerate(_listed((filled or {}).get(control.name)))}
    return tuple(sorted(dict.fromkeys(keys), key=lambda key: place.get(key, len(place))))
