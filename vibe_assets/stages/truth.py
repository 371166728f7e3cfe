"""Annotations -> automatic ground truth -> audit sample -> what people say of it."""

from __future__ import annotations

import hashlib
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.audit.settle import truth_rows, truth_version
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    PHOTO_GROUPS,
    PREDICTIONS,
    fingerprint,
)
from vibe_assets.records.answers import without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.verdicts import counted_verdicts, log_file_rows, mark_done, verdict_log

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.audit.verdicts import Verdict
    from vibe_assets.labels.taxonomy import Taxonomy


def load_taxonomy(platform: Platform) -> Taxonomy:
    """The taxonomy in force. Raises TaxonomyError naming file, key and remedy."""
    from vibe_assets.labels.taxonomy import Taxonomy

    path = platform.settings.labels.taxonomy
    return Taxonomy.load(None if path is None else platform.settings.base / path)


def groups_of(platform: Platform) -> dict[str, str]:
    """image_id -> group_id of the library."""
    return dict(platform.lake.scan(PHOTO_GROUPS).select("image_id", "group_id").collect().iter_rows())


def convert_rows(platform: Platform, annotations: pl.DataFrame) -> pl.DataFrame:
    """AUTO_GROUND_TRUTH rows of ANNOTATIONS rows under the taxonomy and thresholds in force."""
    from vibe_assets.labels.convert import convert

    labels = platform.settings.labels
    return convert(
        annotations,
        load_taxonomy(platform),
        min_object_confidence=labels.min_object_confidence,
        include_non_main=labels.include_non_main,
    )


def convert_library(platform: Platform) -> pl.DataFrame:
    """Turn the annotations of every live folder into labels."""
    rows = convert_rows(platform, platform.lake.read_live(ANNOTATIONS))
    platform.lake.replace(AUTO_GROUND_TRUTH, rows, commit=platform.commit)
    return rows


def sample_file(platform: Platform) -> Path:
    """Where the sample lies that people check."""
    return platform.settings.audit_dir / "sample.json"


def draw_audit_sample(platform: Platform) -> pl.DataFrame:
    """Draw the photos that people are asked to check, and write them as a JSON file to edit. Raises LakeError where a sample was lost."""
    from vibe_assets.labels.sample import draw_sample, write_sample

    lake = platform.lake
    lake.exists(AUDIT_SAMPLE)  # a sample that was lost is made anew as people know it, and none is drawn in its place
    truth = lake.read_live(AUTO_GROUND_TRUTH)
    if truth.is_empty():
        raise StageError("nothing to sample: no automatic ground truth yet; `vibe run` makes it")
    settings = platform.settings.audit
    predictions = without_teacher(lake.read_live(PREDICTIONS)) if settings.strategy in ("disagreement", "uncertainty") else None
    paths = accepted_photos(platform).select("image_id", "rel_path")
    rows = draw_sample(truth, lake.read(PHOTO_GROUPS), paths=paths, settings=settings, predictions=predictions)
    lake.replace(AUDIT_SAMPLE, rows, commit=platform.commit)
    write_sample(rows, sample_file(platform))
    return rows


def accept_audited(platform: Platform, file: Path, *, part: bool = False) -> pl.DataFrame:
    """Check an audited file and, when every line of it is right, take it over: it settles its photos. Raises AuditedFileError.

    Without `part` the file must hold exactly the photos of the sample. With it, it may hold any that were audited before, as an
    export does; their inclusion probabilities are the file's.
    """
    from vibe_assets.labels.files import write_audited

    rows = _read(platform, file, None if part else platform.lake.read(AUDIT_SAMPLE))
    log_file_rows(platform, rows, file=file.name)
    if not part:
        write_audited(rows, platform.settings.audited_file)  # with the probabilities of the sample it answers: a later draw has others
    mark_done(platform)
    return rows


def export_audited(platform: Platform, file: Path) -> pl.DataFrame:
    """Write what people say up to this moment, settled, as a file that `vibe audited FILE --part` takes back."""
    from vibe_assets.labels.files import write_audited

    rows = _settled(platform, verdict_log(platform).verdicts())
    write_audited(rows, file)
    return rows


def _read(platform: Platform, file: Path, sample: pl.DataFrame | None) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH rows of an audited file, checked against taxonomy, library and, where given, the sample."""
    from vibe_assets.labels.files import read_audited

    return read_audited(
        file,
        taxonomy=load_taxonomy(platform),
        known_ids=audit_known_ids(platform),
        sample_rows=sample if sample is not None and sample.height else None,
    )


def audit_known_ids(platform: Platform) -> set[str]:
    """Photos that an audit may speak of: those of the library, those ever sampled, and those it spoke of before."""
    lake = platform.lake
    known = [accepted_photos(platform), lake.read(AUDIT_SAMPLE), lake.read(AUDITED_GROUND_TRUTH)]
    return {image_id for rows in known for image_id in rows["image_id"]}


def audited_version(platform: Platform, *, now: datetime | None = None) -> str | None:
    """Hash of what people say, settled; None while nobody said anything. It rests while people are at it (see settled_part)."""
    path = platform.settings.audited_file
    verdicts = counted_verdicts(platform, now=now)
    if not verdicts:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None
    parts = {"verdicts": truth_version(truth_rows(verdicts))}
    if _file_alone(platform, verdicts):
        parts["file"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return fingerprint(parts)


def settle_audit(platform: Platform, *, now: datetime | None = None) -> pl.DataFrame:
    """Bring audited_ground_truth up to date with the verdicts that count: those of the page and those of accepted files."""
    verdicts = counted_verdicts(platform, now=now)
    if not verdicts and not platform.settings.audited_file.is_file() and platform.settings.gates.require_audit:
        raise StageError(f"nobody audited anything yet: open `vibe audit`, or correct {sample_file(platform)}, then `vibe audited FILE`")
    rows = _settled(platform, verdicts)
    platform.lake.replace(AUDITED_GROUND_TRUTH, rows, commit=platform.commit)
    return rows


def _settled(platform: Platform, verdicts: list[Verdict]) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH rows of the verdicts, and of an accepted file that no verdict stands for (older installations)."""
    import polars as pl

    rows = truth_rows(verdicts)
    if not _file_alone(platform, verdicts):
        return rows
    older = _read(platform, platform.settings.audited_file, None)
    return pl.concat([rows, older.join(rows, on="image_id", how="anti")]).sort("image_id")


def _file_alone(platform: Platform, verdicts: list[Verdict]) -> bool:
    return platform.settings.audited_file.is_file() and not any(verdict.source == "file" for verdict in verdicts)
