"""The verdict log becomes one row per person and photo with what stood on the page, for figures about people.

Rows of accepted files stay out: a file may settle what others said before, and nobody knows how its photos were looked at.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime
from typing import TYPE_CHECKING

from vibe_assets.audit.settle import moment, standing, verdict_rows
from vibe_assets.audit.verdicts import Verdict

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.questions import Questions

CHOSEN_VIEWS = frozenset({"differ", "unsure", "scene"})  # views of the page that pick photos by the answers they got


def judgement_rows(verdicts: Iterable[Verdict], questions: Questions) -> pl.DataFrame:
    """`settle.verdict_rows` without files, and with three columns more.

    view: where on the page the photo was met (null elsewhere). in_order: the person had not yet used a view that picks photos by
    their answers; from then on, the photos left for them are no random part of the sample. shown_teacher: version of the teacher
    whose labels were filled in (null: blind, or not known).
    """
    import polars as pl

    own = [verdict for verdict in verdicts if verdict.source != "file"]
    chose: dict[str, datetime] = {}  # annotator -> when they first met a photo in such a view
    for verdict in own:
        if verdict.shown.get("view") in CHOSEN_VIEWS:
            chose[verdict.annotator] = min(moment(verdict), chose.get(verdict.annotator, moment(verdict)))
    extra = [
        (image_id, annotator, verdict.shown.get("view"), annotator not in chose or moment(verdict) < chose[annotator], _teacher(verdict))
        for (image_id, annotator), verdict in standing(own).items()
    ]
    schema = {
        "image_id": pl.String, "annotator": pl.String, "view": pl.String, "in_order": pl.Boolean, "shown_teacher": pl.String,
    }  # fmt: skip
    known = pl.DataFrame(extra, schema=schema, orient="row")
    return verdict_rows(own, questions).join(known, on=["image_id", "annotator"], how="left")


def _teacher(verdict: Verdict) -> str | None:
    versions = verdict.shown.get("versions")
    version = versions.get("teacher") if isinstance(versions, dict) and not verdict.blind else None
    return None if version is None else str(version)
