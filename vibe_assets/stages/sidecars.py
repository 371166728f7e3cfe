"""Labels that people's checks vouch for -> XMP sidecars beside the photos, or in a folder of their own."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.export.sidecar_files import Outcome
from vibe_assets.questions import Question, Questions, YesNo
from vibe_assets.records import AUDITED_GROUND_TRUTH, RAW_PHOTOS, Estimate
from vibe_assets.stages.export import Selection, known_scenes, select_rows, voices
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.students import test_rows
from vibe_assets.stages.truth import groups_of
from vibe_assets.stages.verdicts import verdict_log

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.metrics import LabelScore
    from vibe_assets.export.sidecar import Entry

PEOPLE = "people"
MACHINES = {"students": "students", "zero_shot": "students", "teacher": "teacher"}  # source of a label -> voice


@dataclass(frozen=True)
class Qualification:
    """Whether a label of one source may be written, and why not."""

    label: str
    source: str
    precision: Estimate | None
    photos: int  # of the library that carry it
    qualifies: bool
    why: str


def qualify(platform: Platform, selection: Selection) -> list[Qualification]:
    """Every label of the selection with its precision against people, for the source that it would be written from.

    Students are judged on the test split, which no head has seen. Where sources take turns (`best`), each is judged on the photos where its
    turn is: the teacher fills in where the students hesitate, and is not judged where they do not. People's own labels are the measure.
    """
    settings = platform.settings.export
    photos = _carried(select_rows(platform, selection), platform.questions)
    judged = _judged(platform, selection)
    found = []
    for (source, label), count in sorted(photos.items()):
        if source == PEOPLE:
            found.append(Qualification(label, source, None, count, True, "people say so"))
            continue
        score = judged.get((source, label))
        why = _why_not(score, settings.min_precision, settings.min_audited)
        found.append(Qualification(label, source, score.precision if score else None, count, not why, why or "precise enough"))
    return found


def _why_not(score: LabelScore | None, min_precision: float, min_audited: int) -> str:
    """'' for a label that may be written."""
    if score is None or score.precision is None:
        return "none audited"
    if score.precision.n < min_audited:
        return f"too few audited, {min_audited} needed"
    if score.precision.low <= min_precision:
        return f"lower end not above {min_precision:g}"
    return ""


def _carried(rows: pl.DataFrame, questions: Questions) -> dict[tuple[str, str], int]:
    """(source, label) -> photos that carry it."""
    import polars as pl

    parts = []
    for field in questions.fields:
        said = rows.select(source=f"{field.name}_source", label=field.name)
        if field.dtype == "bool":
            said = said.filter("label").with_columns(label=pl.lit(f"{questions.owner[field.name].prefix}.{field.name}"))
        parts.append(said.explode("label") if field.dtype == "list[str]" else said)
    counted = pl.concat(parts).drop_nulls().group_by("source", "label").len()
    return {(source, label): count for source, label, count in counted.iter_rows()}


def _judged(platform: Platform, selection: Selection) -> dict[tuple[str, str], LabelScore]:
    """(source, label) -> its figures against people."""
    from vibe_assets.evaluate.labels import evaluate_labels
    from vibe_assets.export.choice import choose

    if selection.labels == PEOPLE:
        return {}
    machines = {name: rows for name, rows in voices(platform).items() if name != PEOPLE}
    said = choose(selection.labels, machines, platform.questions, min_confidence=selection.min_confidence)
    audited = platform.lake.read_live(AUDITED_GROUND_TRUTH)
    groups = groups_of(platform)
    found = {}
    for source, voice in MACHINES.items():
        truth = test_rows(platform, audited) if voice == "students" else audited
        mine = _only(said, source, platform.questions)
        if truth.is_empty() or mine.is_empty():
            continue
        evaluation = evaluate_labels(
            mine, truth, groups=groups, questions=platform.questions, resamples=50
        )  # the precision's interval is not bootstrapped
        found.update({(source, score.label): score for score in evaluation.labels})
    return found


def _only(said: pl.DataFrame, source: str, questions: Questions) -> pl.DataFrame:
    """The label columns with everything of other sources left open."""
    import polars as pl

    spoken = {column: pl.col(f"{column}_source") == source for column in questions.columns}
    columns = [pl.when(spoke).then(pl.col(column)).alias(column) for column, spoke in spoken.items()]
    return said.filter(pl.any_horizontal(spoken.values())).select("image_id", *columns)


def sidecar_root(platform: Platform) -> Path:
    """The photo root, where sidecars lie beside their photos. Raises SettingsError for a bucket: nothing is ever written to one."""
    return platform.settings.root_folder("sidecars are not written to a bucket; give a folder of their own with --into FOLDER")


# -- writing -----------------------------------------------------------------------------------------------------------
def write_sidecars(
    platform: Platform, selection: Selection, qualified: list[Qualification], *, into: Path | None = None, dry_run: bool = False,
    now: datetime | None = None,
) -> Iterator[Outcome]:  # fmt: skip
    """Bring the sidecar of every file of the selection up to date, copies of a photo included; yields what became of each."""
    from vibe_assets.export.sidecar_files import sidecar_path, write_sidecar
    from vibe_assets.progress import stepped

    allowed = {(one.source, one.label): one for one in qualified if one.qualifies}
    chosen = select_rows(platform, selection).drop("rel_path", "path_bytes", "folder_key")
    rows = _files(platform, selection).join(chosen, on="image_id", how="left" if not selection.scenes else "inner", maintain_order="left")
    today = (now or datetime.now(UTC)).date().isoformat()
    folder = into or sidecar_root(platform)
    steps = stepped(range(rows.height), "sidecars", unit="photo", shown=platform.progress)
    for _, row in zip(steps, rows.iter_rows(named=True), strict=True):
        place = sidecar_path(folder, bytes(row["path_bytes"]))
        yield write_sidecar(
            place,
            _entries(row, allowed, platform.questions),
            root=folder,
            min_precision=platform.settings.export.min_precision,
            today=today,
            dry_run=dry_run,
        )


def _entries(row: Mapping[str, object], allowed: Mapping[tuple[str, str], Qualification], questions: Questions) -> list[Entry]:
    from vibe_assets.export.choice import provenance
    from vibe_assets.export.sidecar import Entry

    found = []
    for said in provenance(row, questions):
        evidence = allowed.get((said.source, said.label))
        if said.value and evidence is not None:
            score, question = evidence.precision, questions.owner[said.column]
            numbers: tuple[float | None, float | None, int | None] = (score.value, score.low, score.n) if score else (None, None, None)
            how = (question.head, isinstance(question, YesNo), _names(said.label, question, questions))
            found.append(Entry(said.label, said.source, said.version, said.confidence, *numbers, *how))
    return found


def _names(label: str, question: Question, questions: Questions) -> tuple[str, ...]:
    """What people call the question, the label's parents and the label; nothing where the label file names none of them."""
    parts = [*(reversed(questions.parents(label)) if questions.known(label) else ()), label]
    if questions.names.keys().isdisjoint((question.key, *parts)):
        return ()
    return (questions.name(question.key, question.head.replace("_", " ")), *map(questions.short, parts))


def _files(platform: Platform, selection: Selection) -> pl.DataFrame:
    """Every readable file of the selection's folders: image_id and path."""
    import polars as pl

    rows = platform.lake.read_live(RAW_PHOTOS, columns=["image_id", "folder_key", "path_bytes", "rel_path", "reason"])
    rows = rows.filter(pl.col("reason").is_null()).sort("rel_path")
    if selection.folders:
        rows = rows.filter(pl.col("folder_key").is_in(selection.folders))
    return rows.select("image_id", "path_bytes")


def remove_sidecars(
    platform: Platform, *, folders: tuple[str, ...] = (), into: Path | None = None, dry_run: bool = False
) -> Iterator[Outcome]:
    """Take everything of ours out of the sidecars below the photo root, or below `into`; files without anything of ours are not named."""
    from vibe_assets.export.sidecar_files import find_sidecars, remove_sidecar

    below = [platform.folder_path(key) for key in folders] or None
    folder = into or sidecar_root(platform)
    for place in find_sidecars(folder, below):
        if (outcome := remove_sidecar(place, root=folder, dry_run=dry_run)) is not None:
            yield outcome


def check_selection(platform: Platform, selection: Selection) -> None:
    """Raises StageError for sidecars of labels that nobody has checked."""
    known_scenes(platform, selection.scenes)
    if selection.labels != PEOPLE and platform.lake.read_live(AUDITED_GROUND_TRUTH).is_empty():
        if verdict_log(platform).verdicts():
            raise StageError("what people said is not settled yet, so that no label can qualify for sidecars: `vibe run` settles it")
        raise StageError(
            "no label can qualify for sidecars before people have checked the audit sample: `vibe sample`, then `vibe audited FILE`"
        )
