"""Deployed heads and vectors -> predictions for a folder of the library, or for any photos."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.questions import Questions
from vibe_assets.records import AUTO_GROUND_TRUTH, IMAGE_EMBEDDINGS, PREDICTIONS, PROMPT_EMBEDDINGS, PhotoRef
from vibe_assets.records.answers import filled_from_teacher
from vibe_assets.settings import LibrarySettings
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.students import deployed

if TYPE_CHECKING:
    import polars as pl


def predict_folder(platform: Platform, folder_key: str) -> pl.DataFrame:
    """Label one folder with the deployed heads; what was predicted before is replaced.

    A question without a head is answered by prompts where the encoder reads text, otherwise by the teacher; `source` says by whom.
    """
    import polars as pl

    from vibe_assets.stages.spread import classify_rows

    lake = platform.lake
    said = classify_rows(platform, lake.read(IMAGE_EMBEDDINGS, folder_key=folder_key), deployed(platform), lake.read(PROMPT_EMBEDDINGS))
    truth = _labels_of(platform, said["image_id"])
    beside = [field.name for field in platform.questions.fields if field.dtype != "bool"]
    teacher = truth.select("image_id", *(pl.col(name).alias(f"teacher_{name}") for name in beside))
    paths = accepted_photos(platform, folder_key).select("image_id", "rel_path")
    rows = (
        paths.join(
            filled_from_teacher(said.unique("image_id"), truth, platform.questions), on="image_id", how="inner", maintain_order="left"
        )
        .join(teacher, on="image_id", how="left", maintain_order="left")
        .pipe(_asked_here, platform.questions)
        .with_columns(folder_key=pl.lit(folder_key))
        .select(list(lake.of(PREDICTIONS).columns))
    )
    lake.replace(PREDICTIONS, rows, folder_key=folder_key, commit=platform.commit)
    return rows


def _asked_here(rows: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """Rows without labels of questions that are switched off where the photo lies."""
    import polars as pl

    for question in questions:
        if not question.off:
            continue
        off = pl.col("rel_path").str.contains(question.off)
        names = [name for field in question.fields for name in (field.name, field.confidence, f"teacher_{field.name}")]
        left = pl.col("abstained").list.set_difference([field.name for field in question.fields])
        rows = rows.with_columns(
            *(pl.when(~off).then(name).alias(name) for name in names if name in rows.columns),
            abstained=pl.when(off).then(left).otherwise("abstained"),
        )
    return rows


def _labels_of(platform: Platform, image_ids: pl.Series) -> pl.DataFrame:
    """The teacher's labels of some photos; no rows before the first were made."""
    import polars as pl

    return platform.lake.scan(AUTO_GROUND_TRUTH).filter(pl.col("image_id").is_in(image_ids.to_list())).collect()


def classify_paths(platform: Platform, paths: Sequence[Path]) -> pl.DataFrame:
    """Label photos anywhere on disk (folders are walked) with the deployed heads; unreadable ones keep their reason.

    What no head and no prompt answers is the teacher's where the library has labels of the photo.

    PREDICTIONS columns without folder and teacher, plus `reason` and `detail`.
    """
    import polars as pl

    from vibe_assets.heads.classifier import classify
    from vibe_assets.stages.embeddings import embed

    settings = platform.settings
    refs = _photo_refs(paths, settings.library)
    vectors = embed(platform, refs)
    photos, prompts = vectors.unique("image_id", maintain_order=True), platform.lake.read(PROMPT_EMBEDDINGS)
    said = classify(photos, deployed(platform), questions=platform.questions, prompts_rows=prompts)
    named = pl.DataFrame(
        {"image_id": [ref.image_id for ref in refs], "rel_path": [ref.rel_path for ref in refs]}, schema_overrides={"image_id": pl.String}
    )
    said = filled_from_teacher(said, _labels_of(platform, said["image_id"]), platform.questions)
    reasons = vectors.select("image_id", "reason", "detail").unique("image_id", maintain_order=True)
    return named.join(said, on="image_id", how="left", maintain_order="left").join(
        reasons, on="image_id", how="left", maintain_order="left"
    )


def _photo_refs(paths: Sequence[Path], limits: LibrarySettings) -> Sequence[PhotoRef]:
    import hashlib
    import os

    from vibe_assets.photos.decode import PhotoRejected, read_photo

    found: list[PhotoRef] = []
    for path in paths:
        if not path.exists():
            raise FileNotFoundError(f"{path}: no such photo or folder")
        files = sorted(file for file in path.rglob("*") if file.is_file() and not file.name.startswith(".")) if path.is_dir() else [path]
        for file in files:
            place = os.fsencode(file)
            shown = place.decode("utf-8", "backslashreplace")
            try:
                image_id = hashlib.sha256(read_photo(place, max_bytes=limits.max_bytes)).hexdigest()[:32]
            except PhotoRejected:
                image_id = f"unreadable {shown}"  # the encoder's own look at it says why
            found.append(PhotoRef(image_id, place, shown))
    return found
