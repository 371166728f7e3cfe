"""The audit sample as a Label Studio project, and Label Studio's exports as verdicts in the log."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from vibe_assets.lake import write_text
from vibe_assets.records import AUDIT_SAMPLE, AUTO_GROUND_TRUTH, PREDICTIONS, Labels
from vibe_assets.records.answers import without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.truth import audit_known_ids
from vibe_assets.stages.verdicts import mark_done, verdict_log

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.audit.label_studio import TaskPhoto
    from vibe_assets.questions import Questions


@dataclass(frozen=True)
class Exported:
    """What was written for Label Studio."""

    tasks: Path
    config: Path
    photos: int
    blind: int


@dataclass(frozen=True)
class Imported:
    """What a Label Studio export held; the same export twice is new only once."""

    verdicts: int
    new: int
    skipped: int
    people: int


def export_tasks(platform: Platform, *, image_prefix: str, folder: Path | None = None) -> Exported:
    """Write tasks.json and config.xml of the sample in force. Raises StageError when there is no sample."""
    from vibe_assets.audit.label_studio import labelling_config, tasks

    photos, version = _sampled(platform)
    folder = folder or platform.settings.audit_dir / "label_studio"
    made = tasks(photos, platform.questions, image_prefix=image_prefix, model_version=version)
    return Exported(
        write_text(folder / "tasks.json", json.dumps(made, ensure_ascii=False, indent=1) + "\n"),
        write_text(folder / "config.xml", labelling_config(platform.questions)),
        len(made),
        sum("predictions" not in task for task in made),
    )


def import_verdicts(platform: Platform, file: Path) -> Imported:
    """Check a JSON or JSON-MIN export and keep its annotations as verdicts. Raises AuditedFileError; then nothing was kept."""
    from vibe_assets.audit.label_studio import read_export

    verdicts = read_export(file, questions=platform.questions, known_ids=audit_known_ids(platform))
    log = verdict_log(platform)
    kept = {verdict.verdict_id for verdict in log.verdicts()}
    new = list({verdict.verdict_id: verdict for verdict in verdicts if verdict.verdict_id not in kept}.values())
    log.append_many(new)
    log.close()
    if new:
        mark_done(platform)
    return Imported(
        len(verdicts), len(new), sum(verdict.act == "skipped" for verdict in new), len({verdict.annotator for verdict in verdicts})
    )


def _sampled(platform: Platform) -> tuple[list[TaskPhoto], str]:
    """The photos of the sample that are in the library, with the teacher's labels except where they are handed out blind."""
    from vibe_assets.audit.label_studio import TaskPhoto, is_blind

    sample = platform.lake.read(AUDIT_SAMPLE)
    if sample.is_empty():
        raise StageError("no audit sample yet: run `vibe sample`, or let `vibe run` or the daemon draw it")
    photos = accepted_photos(platform).select("image_id", "path_bytes", "rel_path").sort("rel_path").unique("image_id", keep="first")
    truth = platform.lake.read_live(AUTO_GROUND_TRUTH)
    teacher = {row["image_id"]: Labels.from_row(row, platform.questions.columns) for row in truth.iter_rows(named=True)}
    students, audit = _students(platform), platform.settings.audit
    rows = sample.select("image_id", "inclusion_probability").join(photos, on="image_id").sort("rel_path")
    found = []
    for image_id, probability, path, name in rows.select("image_id", "inclusion_probability", "path_bytes", "rel_path").iter_rows():
        blind = is_blind(image_id, seed=audit.seed, share=audit.blind_share)
        labels = None if blind else teacher.get(image_id)
        found.append(TaskPhoto(image_id, path, name, probability, labels, _score(labels, students.get(image_id), platform.questions)))
    return found, str(truth["teacher"][0]) if truth.height else "none"


def _students(platform: Platform) -> dict[str, Any]:
    """image_id -> the students' answer to the main question, and how sure they are of it."""
    questions = platform.questions
    if questions.main is None:
        return {}
    (field,) = questions.main.fields
    said: pl.DataFrame = without_teacher(platform.lake.read_live(PREDICTIONS), questions)
    return {image_id: (answer, sure) for image_id, answer, sure in said.select("image_id", field.name, field.confidence).iter_rows()}


def _score(labels: Labels | None, student: tuple[str | None, float | None] | None, questions: Questions) -> float | None:
    """How likely the students find the teacher's answer: their confidence where they agree, at most the rest where they do not."""
    told = None if labels is None or questions.main is None else labels.values.get(questions.main.key)
    if told is None or student is None or student[1] is None:
        return None
    return round(student[1] if student[0] == told else 1 - student[1], 4)
