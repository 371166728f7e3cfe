"""Photos of the library -> what a report's gallery shows of them: a small picture, the path, and what each source says."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.records.answers import without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    import polars as pl


def thumbnails(platform: Platform, image_ids: Sequence[str]) -> dict[str, str]:
    """image_id -> JPEG data URL; photos that cannot be read any more are left out."""
    import polars as pl

    from vibe_assets.evaluate.gallery import thumbnails as small_pictures

    wanted = accepted_photos(platform).filter(pl.col("image_id").is_in(sorted(set(image_ids))))
    return small_pictures({ref.image_id: ref.path for ref in platform.photo_refs(wanted)}, library=platform.settings.library)


def photo_names(platform: Platform, image_ids: Sequence[str]) -> dict[str, str]:
    """image_id -> path to show."""
    import polars as pl

    wanted = accepted_photos(platform).filter(pl.col("image_id").is_in(sorted(set(image_ids))))
    return dict(wanted.select("image_id", "rel_path").iter_rows())


def spoken_of(voices: Mapping[str, pl.DataFrame], image_ids: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """Who -> label rows becomes image_id -> who -> label row, for the photos that a gallery shows."""
    import polars as pl

    found: dict[str, dict[str, dict[str, Any]]] = {}
    for who, rows in voices.items():
        for row in rows.filter(pl.col("image_id").is_in(sorted(set(image_ids)))).iter_rows(named=True):
            found.setdefault(row["image_id"], {})[who] = row
    return found


def people_teacher_students(platform: Platform, image_ids: Sequence[str]) -> dict[str, dict[str, dict[str, Any]]]:
    """image_id -> people | teacher | students -> label row."""
    lake = platform.lake
    voices = {
        "people": lake.read_live(AUDITED_GROUND_TRUTH),
        "teacher": lake.read_live(AUTO_GROUND_TRUTH),
        "students": without_teacher(lake.read_live(PREDICTIONS), platform.questions),
    }
    return spoken_of(voices, image_ids)
