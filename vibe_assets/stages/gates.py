"""Quality gates: what is in the lake -> passed or not, with the numbers that decided and what to do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import OneOf, Questions
from vibe_assets.questions.rules import settle
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    IMAGE_EMBEDDINGS,
    PHOTO_GROUPS,
    PREDICTIONS,
    RAW_PHOTOS,
)
from vibe_assets.records.answers import TEACHER, source_of, without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import audit_known_ids, audited_version

if TYPE_CHECKING:
    import polars as pl

NOT_PHOTOS = ("unsupported_format", "deleted")  # neither good nor bad photos: they do not count against a folder


@dataclass(frozen=True)
class Gate:
    """Outcome of one gate. `remedy` is shown when it did not pass."""

    passed: bool
    facts: Mapping[str, Any] = field(default_factory=dict)
    remedy: str = ""


def photos_listed_once(platform: Platform, folder_key: str) -> Gate:
    """Each file once, and every accepted photo with its identity."""
    import polars as pl

    rows = platform.lake.read(RAW_PHOTOS, folder_key=folder_key)
    twice = rows.height - rows["path_bytes"].n_unique()
    without_id = rows.filter(pl.col("reason").is_null())["image_id"].null_count()
    return Gate(
        twice == 0 and without_id == 0,
        {"files": rows.height, "paths listed twice": twice, "without id": without_id},
        "scan this folder again: `vibe run raw_photos --folder KEY`",
    )


def photos_readable(platform: Platform, folder_key: str) -> Gate:
    """Enough of the folder's photos readable; a folder that is not warns and holds nothing up."""
    return _readable(
        platform,
        platform.lake.read(RAW_PHOTOS, folder_key=folder_key),
        "look at the rejected files of this folder (metadata `rejects` of raw_photos), repair or remove them; the others go on",
    )


def library_readable(platform: Platform) -> Gate:
    """Enough photos of the whole library readable: a dying disk or a mount that lies is no reason to retrain."""
    return _readable(
        platform,
        platform.lake.read_live(RAW_PHOTOS),
        'look at the rejected files (`vibe sql "select rel_path, reason from raw_photos where reason is not null"`), repair or remove '
        "them, or lower gates.min_readable_share",
    )


def _readable(platform: Platform, rows: pl.DataFrame, remedy: str) -> Gate:
    import polars as pl

    photos = rows.filter(~pl.col("reason").is_in(NOT_PHOTOS).fill_null(False))
    accepted = photos.filter(pl.col("reason").is_null()).height
    share, wanted = accepted / photos.height if photos.height else 1.0, platform.settings.gates.min_readable_share
    facts = {"photos": photos.height, "readable": accepted, "readable share": share, "wanted at least": wanted}
    return Gate(accepted > 0 and share >= wanted if photos.height else True, facts, remedy)


def nothing_rejected(platform: Platform, folder_key: str) -> Gate:
    """Lists what was rejected, so that somebody can look."""
    import polars as pl

    rows = platform.lake.read(RAW_PHOTOS, folder_key=folder_key).filter(
        pl.col("reason").is_not_null() & ~pl.col("reason").is_in(NOT_PHOTOS)
    )
    listed = dict(rows.select("rel_path", "reason").head(50).iter_rows())
    return Gate(
        rows.is_empty(),
        {"rejected": rows.height, "files": listed},
        "repair or remove the files listed; everything else goes on without them",
    )


def groups_sound(platform: Platform) -> Gate:
    """Every photo in one group, every group on one side."""
    import polars as pl

    rows = platform.lake.read(PHOTO_GROUPS)
    across = (
        rows.filter(pl.col("split") != "aside")
        .group_by("group_id")
        .agg(pl.col("split").n_unique().alias("sides"))
        .filter(pl.col("sides") > 1)
    )
    photos = accepted_photos(platform)
    missing, twice = photos.join(rows, on="image_id", how="anti").height, rows.height - rows["image_id"].n_unique()
    live = rows.join(photos, on="image_id", how="semi")
    return Gate(
        across.is_empty() and missing == 0 and twice == 0,
        {
            "groups": live["group_id"].n_unique(),
            "groups across splits": across.height,
            "photos without a group": missing,
            "photos twice": twice,
            "set aside": live.filter(pl.col("split") == "aside").height,
        },
        "`vibe run photo_groups` once every raw_photos partition is up to date",
    )


def folder_annotated(platform: Platform, folder_key: str) -> Gate:
    """Enough of the folder's photos answered, few enough failures; a folder that is not warns and holds nothing up."""
    return _annotated(
        platform,
        accepted_photos(platform, folder_key),
        platform.lake.read(ANNOTATIONS, folder_key=folder_key),
        "every night the teacher is asked again for what it has not answered (answers already paid for are kept); "
        "`vibe doctor` tells whether it answers",
    )


def library_annotated(platform: Platform) -> Gate:
    """Enough photos of the whole library answered, few enough failures."""
    return _annotated(
        platform,
        accepted_photos(platform),
        platform.lake.read_live(ANNOTATIONS),
        "`vibe doctor` tells whether the teacher answers; it is asked again every night, answers already paid for are kept. Or lower "
        "gates.min_annotated_share, or raise gates.max_failure_share",
    )


def _annotated(platform: Platform, photos: pl.DataFrame, rows: pl.DataFrame, remedy: str) -> Gate:
    import polars as pl

    known, gates = set(photos["image_id"]), platform.settings.gates
    answered = set(rows.filter(pl.col("reason").is_null())["image_id"]) & known
    failed = (set(rows.filter(pl.col("reason").is_not_null() & (pl.col("reason") != "not_asked"))["image_id"]) & known) - answered
    coverage, failure = (len(answered) / len(known), len(failed) / len(known)) if known else (1.0, 0.0)
    return Gate(
        coverage >= gates.min_annotated_share and failure <= gates.max_failure_share,
        {
            "photos": len(known),
            "answered": len(answered),
            "coverage": coverage,
            "wanted at least": gates.min_annotated_share,
            "failure share": failure,
            "allowed at most": gates.max_failure_share,
            "reasons": dict(rows["reason"].drop_nulls().value_counts(sort=True).iter_rows()),
        },
        remedy,
    )


def from_current_teacher(platform: Platform, folder_key: str) -> Gate:
    """The folder's answers come from the teacher that is in force now."""
    from vibe_assets.teacher.annotate import teacher_fingerprint

    current = teacher_fingerprint(platform.settings.teacher)
    teachers = sorted(platform.lake.read(ANNOTATIONS, folder_key=folder_key)["teacher"].drop_nulls().unique())
    return Gate(
        set(teachers) <= {current},
        {"teachers": teachers, "current": current},
        "run annotations for this folder again with the current teacher",
    )


def one_teacher_only(platform: Platform) -> Gate:
    """All labels come from one teacher, the current one."""
    from vibe_assets.teacher.annotate import teacher_fingerprint

    current = teacher_fingerprint(platform.settings.teacher)
    counts = dict(platform.lake.read_live(AUTO_GROUND_TRUTH)["teacher"].value_counts(sort=True).iter_rows())
    return Gate(
        set(counts) <= {current},
        {"photos by teacher": counts, "current": current},
        "annotate the remaining folders with the current teacher; students never train on a mixture",
    )


def known_labels_only(platform: Platform) -> Gate:
    """Labels of the taxonomy in force and no others."""
    rows = platform.lake.read(AUTO_GROUND_TRUTH)
    used = _labels_of(platform, rows)
    unknown = [label for label in used if not platform.questions.known(label)]
    return Gate(not unknown, {"labels in use": len(used), "unknown": unknown}, "the taxonomy has changed: `vibe run auto_ground_truth`")


def labels_not_drifted(platform: Platform) -> Gate:
    """The shares of the scenes are near those of the last version of the labels."""
    import polars as pl

    from vibe_assets.evaluate.compare import label_drift, label_shares

    version = platform.lake.version(AUTO_GROUND_TRUTH) or 0
    rows = platform.lake.read_live(AUTO_GROUND_TRUTH)
    earlier = platform.lake.scan(AUTO_GROUND_TRUTH, version=max(0, version - 1))
    before = platform.lake.live(AUTO_GROUND_TRUTH, earlier).collect() if version > 0 else rows.head(0)  # a deleted folder is no drift
    if before.select(pl.any_horizontal(pl.col(platform.questions.columns).is_not_null())).to_series().sum() == 0:
        return Gate(True, {"note": "first version, nothing to compare with"})
    questions = platform.questions
    drift = label_drift(label_shares(before, questions), label_shares(rows, questions), questions)
    wanted = platform.settings.gates.max_label_drift
    return Gate(
        drift.distance <= wanted,
        {"total variation distance": drift.distance, "allowed at most": wanted, "largest moves": dict(list(drift.deltas.items())[:8])},
        "look at the photos behind the labels that moved; a new teacher or mapping may be the cause",
    )


def sample_sound(platform: Platform) -> Gate:
    """Every photo once, with a probability, from the library."""
    import polars as pl

    rows = platform.lake.read(AUDIT_SAMPLE)
    twice = rows.height - rows["image_id"].n_unique()
    odd = rows.filter(~pl.col("inclusion_probability").is_between(0, 1, closed="right").fill_null(False)).height
    groups_twice = rows.height - rows["group_id"].n_unique()
    return Gate(
        rows.height > 0 and twice == 0 and odd == 0 and groups_twice == 0,
        {"photos": rows.height, "photos twice": twice, "groups drawn twice": groups_twice, "probabilities outside (0, 1]": odd},
        "draw it again: `vibe run audit_sample`",
    )


def audited_file_intact(platform: Platform) -> Gate:
    """The settled audit holds known photos and labels, and no photo twice."""
    rows = platform.lake.read(AUDITED_GROUND_TRUTH)
    known = audit_known_ids(platform)
    unknown_ids = sorted(set(rows["image_id"]) - known)
    unknown_labels = _unknown_labels(platform, rows)
    twice = rows.height - rows["image_id"].n_unique()
    return Gate(
        not unknown_ids and not unknown_labels and twice == 0 and (rows.height > 0 or not platform.settings.gates.require_audit),
        {
            "photos": rows.height,
            "unknown photos": unknown_ids[:20],
            "unknown labels": unknown_labels,
            "photos twice": twice,
            "version": audited_version(platform),
        },
        "judge those photos again in `vibe audit`, or export with `vibe audited --export FILE`, correct, and `vibe audited FILE --part`",
    )


def vectors_sound(platform: Platform, folder_key: str) -> Gate:
    """A finite unit vector of one encoder for every accepted photo."""
    import numpy as np
    import polars as pl

    from vibe_assets.heads.dataset import vectors as matrix

    rows = platform.lake.read(IMAGE_EMBEDDINGS, folder_key=folder_key)
    good = rows.filter(pl.col("reason").is_null() & pl.col("embedding").is_not_null())
    lengths = good["embedding"].list.len().unique()
    encoders = sorted(rows["encoder"].unique())
    missing = accepted_photos(platform, folder_key).join(rows, on="image_id", how="anti").height
    vectors = matrix(good["embedding"]) if good.height and len(lengths) == 1 else np.zeros((0, 1), np.float32)  # (n, d)
    norms = np.linalg.norm(vectors, axis=1)
    off = int(np.sum(~np.isfinite(norms) | (np.abs(norms - 1) > 1e-3)))
    failed = rows.height - good.height  # rows with a reason: photos that the others go on without
    return Gate(
        off == 0 and missing == 0 and len(encoders) <= 1 and len(lengths) <= 1,
        {"photos": rows.height, "not finite or not unit": off, "missing": missing, "failed": failed, "encoders": encoders},
        'embed this folder again (`vibe run image_embeddings --folder KEY`); when vectors are not finite, try encoder.precision = "fp32"',
    )


def predictions_sound(platform: Platform, folder_key: str) -> Gate:
    """A row for every accepted photo, labels of the taxonomy, and the rules hold."""
    import polars as pl

    rows = platform.lake.read(PREDICTIONS, folder_key=folder_key)
    missing = accepted_photos(platform, folder_key).join(rows, on="image_id", how="anti").height
    twice = rows.height - rows["image_id"].n_unique()
    broken, unknown = _rule_breaks(rows, platform.questions), _unknown_labels(platform, rows)
    confidences = [rows[field.confidence] for field in platform.questions.fields if field.confidence_dtype == "f64"]
    outside = sum(int((~values.drop_nulls().is_between(0, 1)).sum()) for values in confidences)
    return Gate(
        missing == 0 and twice == 0 and not broken and not unknown and outside == 0,
        {
            "photos": rows.height,
            "missing": missing,
            "photos twice": twice,
            "rule breaks": broken,
            "unknown labels": unknown,
            "confidences outside 0..1": outside,
            "without any prediction": rows.filter(pl.col("source") == "none").height,
        },
        "`vibe run predictions --folder KEY` once deployed_heads is up to date",
    )


def _labels_of(platform: Platform, rows: pl.DataFrame) -> list[str]:
    """The labels that label rows use, sorted; those of yes or no are columns."""
    used: set[str] = set()
    for one in platform.questions.fields:
        if one.dtype != "bool":
            used |= set((rows[one.name].explode() if one.dtype == "list[str]" else rows[one.name]).drop_nulls())
    return sorted(used)


def _unknown_labels(platform: Platform, rows: pl.DataFrame) -> list[str]:
    return [label for label in _labels_of(platform, rows) if not platform.questions.known(label)]


def _rule_breaks(rows: pl.DataFrame, questions: Questions) -> dict[str, int]:
    import polars as pl

    rules = {
        f"{rule.column} without {' or '.join(rule.keys)}": pl.col(rule.column).fill_null(False)
        & ~pl.col(rule.question).is_in(rule.keys).fill_null(False)
        for rule in questions.follows.values()
    }
    unsettled = _unsettled(rows, questions)
    for question in questions.of_type(OneOf):
        unsure = pl.col(question.key).is_not_null() & pl.col(question.fields[0].confidence).is_null()
        rules[f"{question.key} without confidence"] = unsure & (source_of(question.key) != TEACHER)
    counts = {name: rows.filter(rule).height for name, rule in rules.items()}
    return {name: count for name, count in (counts | unsettled).items() if count}


def _unsettled(rows: pl.DataFrame, questions: Questions) -> dict[str, int]:
    """Photos whose labels the rules that may overrule anything would change, as far as heads and prompts gave them."""
    if not questions.general:
        return {}
    own = without_teacher(rows, questions).select(*questions.columns, *questions.confidences.values())
    changed = 0
    for row in own.iter_rows(named=True):
        before = {column: row[column] for column in questions.columns}
        settle(row, questions.general, questions.confidences)
        changed += any(row[column] != value for column, value in before.items())
    return {"a rule of the label file": changed}
