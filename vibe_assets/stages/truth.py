"""Annotations -> automatic ground truth -> audit sample -> what people say of it."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    PHOTO_GROUPS,
    PREDICTIONS,
)
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError

if TYPE_CHECKING:
    import polars as pl

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
    """Draw the photos that people are asked to check, and write them as a JSON file to edit."""
    from vibe_assets.labels.sample import draw_sample, write_sample

    lake = platform.lake
    truth = lake.read(AUTO_GROUND_TRUTH)
    if truth.is_empty():
        raise StageError("nothing to sample: no automatic ground truth yet; materialise auto_ground_truth first")
    settings = platform.settings.audit
    predictions = lake.read_live(PREDICTIONS) if settings.strategy == "disagreement" else None
    paths = accepted_photos(platform).select("image_id", "rel_path")
    rows = draw_sample(truth, lake.read(PHOTO_GROUPS), paths=paths, settings=settings, predictions=predictions)
    lake.replace(AUDIT_SAMPLE, rows, commit=platform.commit)
    write_sample(rows, sample_file(platform))
    return rows


def accept_audited(platform: Platform, file: Path) -> pl.DataFrame:
    """Check an audited file and, when every line of it is right, make it the one in force. Raises AuditedFileError."""
    from vibe_assets.labels.files import write_audited

    rows = _read(platform, file, platform.lake.read(AUDIT_SAMPLE))
    write_audited(rows, platform.settings.audited_file)  # with the probabilities of the sample it answers: a later draw has others
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


def audited_version(platform: Platform) -> str | None:
    """Hash of the audited file in force; None while there is none."""
    path = platform.settings.audited_file
    return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None


def settle_audit(platform: Platform) -> pl.DataFrame:
    """Bring audited_ground_truth up to date with the audited file in force."""
    path = platform.settings.audited_file
    if not path.is_file():
        if platform.settings.gates.require_audit:
            raise StageError(f"no audited file yet: check {sample_file(platform)}, then `vibe audited FILE`")
        rows = platform.lake.read(AUDITED_GROUND_TRUTH).clear()
        platform.lake.replace(AUDITED_GROUND_TRUTH, rows, commit=platform.commit)
        return rows
    rows = _read(platform, path, None)
    platform.lake.replace(AUDITED_GROUND_TRUTH, rows, commit=platform.commit)
    return rows
