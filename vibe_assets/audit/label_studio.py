"""The audit sample -> tasks and labelling config for Label Studio; its JSON and JSON-MIN exports -> verdicts.

A task's `data` holds what the way back needs: image_id, the chance of being drawn, and the labels that were filled in (none: blind).
Choices are written without the taxonomy's prefix, for people: food, has_person, electronics.display.monitor. An attribute that is not
ticked is false, one ticked under "cannot tell" is unknown. Formats: https://labelstud.io/guide/task_format and guide/predictions.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from xml.etree import ElementTree as ET

from vibe_assets.audit.verdicts import Act, Verdict
from vibe_assets.labels.files import MAX_FAULTS, AuditedFileError
from vibe_assets.labels.positions import Element, FileFault, split_elements
from vibe_assets.records import ATTRIBUTES, Labels

if TYPE_CHECKING:
    from vibe_assets.labels.taxonomy import Taxonomy

LOCAL_FILES = "/data/local-files/?d="  # Label Studio's own address for files of a local storage
SCENE, YES, UNKNOWN, OBJECTS = "scene", "attributes", "cannot_tell", "objects"  # names of the four controls
TITLES = {SCENE: "What kind of photo?", YES: "What is true of it?", UNKNOWN: "What cannot be told?", OBJECTS: "What objects does it show?"}
PREFIX = {SCENE: "scene.", YES: "attr.", UNKNOWN: "attr.", OBJECTS: "object."}
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
def labelling_config(taxonomy: Taxonomy) -> str:
    """XML for Project Settings > Labeling Interface: the photo, one scene, any attributes, any objects."""
    view = ET.Element("View")
    ET.SubElement(view, "Image", name="image", value="$image", zoom="true", zoomControl="true", rotateControl="true")
    keys = {SCENE: taxonomy.scenes, YES: taxonomy.attributes, UNKNOWN: taxonomy.attributes, OBJECTS: taxonomy.objects}
    for control, choices in keys.items():
        ET.SubElement(view, "Header", value=TITLES[control])
        kind = {"choice": "single", "required": "true"} if control == SCENE else {"choice": "multiple"}
        box = ET.SubElement(view, "Choices", {"name": control, "toName": "image", "showInline": "true", **kind})
        for key in choices:
            ET.SubElement(box, "Choice", value=key.removeprefix(PREFIX[control]))
    ET.indent(view)
    return ET.tostring(view, encoding="unicode") + "\n"


def tasks(photos: Sequence[TaskPhoto], *, image_prefix: str = LOCAL_FILES, model_version: str) -> list[dict[str, Any]]:
    """Tasks as Label Studio imports them, in the photos' order; those with labels carry them as a prediction to correct."""
    return [_task(photo, image_prefix, model_version) for photo in photos]


def is_blind(image_id: str, *, seed: int, share: float) -> bool:
    """Whether the photo is handed out with nothing filled in: by hash, the same in every export, whoever gets it."""
    return int.from_bytes(hashlib.sha256(f"{seed}/label-studio/{image_id}".encode()).digest()[:8]) < share * 2**64


def _task(photo: TaskPhoto, image_prefix: str, model_version: str) -> dict[str, Any]:
    data: dict[str, Any] = {
        "image": image_prefix + quote(photo.path), "image_id": photo.image_id, "name": photo.name,
        "inclusion_probability": photo.inclusion_probability,
    }  # fmt: skip
    if photo.labels is None:
        return {"data": data}
    answers = _answers(photo.labels)
    result = [
        {"id": f"{photo.image_id[:8]}-{name}", "from_name": name, "to_name": "image", "type": "choices", "value": {"choices": ticked}}
        for name, ticked in answers.items()
        if ticked
    ]
    prediction: dict[str, Any] = {"model_version": model_version, "result": result}
    if photo.score is not None:
        prediction["score"] = photo.score
    return {"data": {**data, "filled_in": {"teacher": model_version, **answers}}, "predictions": [prediction]}


def _answers(labels: Labels) -> dict[str, list[str]]:
    """Control -> ticked choices."""
    return {
        SCENE: [] if labels.scene is None else [labels.scene.removeprefix(PREFIX[SCENE])],
        YES: [name for name in ATTRIBUTES if labels.attributes.get(name)],
        UNKNOWN: [name for name in ATTRIBUTES if labels.attributes.get(name) is None],
        OBJECTS: [key.removeprefix(PREFIX[OBJECTS]) for key in labels.objects],
    }


# -- back --------------------------------------------------------------------------------------------------------------
def read_export(path: Path, *, taxonomy: Taxonomy, known_ids: Collection[str]) -> list[Verdict]:
    """A JSON or JSON-MIN export -> verdicts, source label_studio, in the file's order. The same annotation always has the same verdict_id.

    Controls that the config of `labelling_config` does not have are passed over. Raises AuditedFileError naming every wrong line.
    """
    try:
        elements, faults = split_elements(path.read_bytes().decode("utf-8-sig"))
    except OSError as error:
        raise AuditedFileError(path, [FileFault(1, f"cannot be read: {error.strerror}")]) from error
    except UnicodeDecodeError as error:
        raise AuditedFileError(path, [FileFault(1, "not UTF-8; export it again as JSON or JSON-MIN")]) from error
    reader = _Reader(path, taxonomy, frozenset(known_ids), list(faults))
    verdicts = [verdict for element in elements for verdict in reader.verdicts(element)]
    if reader.faults:
        raise AuditedFileError(path, reader.faults)
    return verdicts


@dataclass(frozen=True)
class _Reader:
    """Reads tasks one by one and collects their faults; a value that is wrong is noted and read as unknown."""

    path: Path
    taxonomy: Taxonomy
    known_ids: frozenset[str]
    faults: list[FileFault]

    def verdicts(self, element: Element) -> Iterator[Verdict]:
        task = element.value
        if not isinstance(task, dict):
            return self.fault(element, (), "expected a task, an object with data and annotations; export as JSON or JSON-MIN")
        if "annotations" not in task and "annotation_id" in task:  # JSON-MIN: one object per annotation, data and answers side by side
            answers = {control: _listed(task.get(control)) for control in TITLES}
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
            elif (verdict := self.verdict(element, place, data, annotation, _ticked(annotation.get("result", [])))) is not None:
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
        labels = _in_filled_order(self.labels(element, place, image_id, answers), filled)
        if filled is not None and not isinstance(filled.get("teacher"), str | None):
            where = ("filled_in",) if data is element.value else ("data", "filled_in")
            self.fault(element, where, f"filled_in: expected the teacher's version as text, got {filled['teacher']!r:.80}")
        act: Act = "labelled" if filled is None else "accepted" if _same(filled, labels) else "corrected"
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

    def labels(self, element: Element, place: tuple[str | int, ...], image_id: str, answers: Mapping[str, list[Any]]) -> Labels:
        keys = {control: self.keys(element, place, control, ticked) for control, ticked in answers.items()}
        if len(keys[SCENE]) > 1:
            self.fault(element, (*place, SCENE), f"scene: expected one, got {', '.join(keys[SCENE])}")
        yes, unknown = ({key.removeprefix("attr.") for key in keys[control]} for control in (YES, UNKNOWN))
        if both := sorted(yes & unknown):
            self.fault(element, (*place, YES), f"attributes: {', '.join(both)} ticked as true and as cannot tell")
        attributes = {name: None if name in unknown else name in yes for name in ATTRIBUTES}
        return Labels(image_id, keys[SCENE][0] if keys[SCENE] else None, attributes, tuple(dict.fromkeys(keys[OBJECTS])))

    def keys(self, element: Element, place: tuple[str | int, ...], control: str, ticked: Sequence[Any]) -> list[str]:
        known = {SCENE: self.taxonomy.scenes, OBJECTS: self.taxonomy.objects}.get(control, self.taxonomy.attributes)
        found = []
        for choice in ticked:
            key = PREFIX[control] + choice.removeprefix(PREFIX[control]) if isinstance(choice, str) else choice
            if key in known:
                found.append(key)
            else:
                self.fault(element, (*place, control), f"{control}: {choice!r} is no label of the taxonomy")
        return found

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


def _ticked(result: Sequence[Any]) -> dict[str, list[Any]]:
    """Control -> choices of an annotation's result; what other controls gave is passed over."""
    answers: dict[str, list[Any]] = {control: [] for control in TITLES}
    for region in result:
        control = region.get("from_name") if isinstance(region, dict) and region.get("type") == "choices" else None
        if isinstance(control, str) and control in answers:
            value = region.get("value")
            answers[control] += _listed(value if isinstance(value, dict) else None)
    return answers


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


def _same(filled: Mapping[str, Any], labels: Labels) -> bool:
    """Whether the labels are those that were filled in, in whatever order: Label Studio keeps none."""
    return all(set(map(str, _listed(filled.get(control)))) == set(ticked) for control, ticked in _answers(labels).items())


def _in_filled_order(labels: Labels, filled: Mapping[str, Any] | None) -> Labels:
    """Objects that were filled in come first and in that order, the main one first; those that somebody added follow."""
    place = {f"object.{name}": at for at, name in enumerate(_listed((filled or {}).get(OBJECTS)))}
    return replace(labels, objects=tuple(sorted(labels.objects, key=lambda key: place.get(key, len(place)))))
