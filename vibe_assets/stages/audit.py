"""Sample, photos, answers and verdict log of an installation -> the desk that people sit at, served until it is interrupted."""

from __future__ import annotations

import secrets
from dataclasses import replace
from typing import TYPE_CHECKING

from vibe_assets.audit.desk import Desk, DeskPhoto
from vibe_assets.audit.pictures import Pictures
from vibe_assets.records import AUDIT_SAMPLE, AUTO_GROUND_TRUTH, PREDICTIONS, Labels
from vibe_assets.records.answers import without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.truth import groups_of
from vibe_assets.stages.verdicts import mark_done, verdict_log
from vibe_assets.storage import below

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from vibe_assets.audit.page import App
    from vibe_assets.questions import Questions


def open_desk(platform: Platform) -> Desk:
    """The desk of the sample in force. Raises StageError when there is no sample, or none of its photos is left."""
    import polars as pl

    sample = platform.lake.read(AUDIT_SAMPLE)
    if sample.is_empty():
        raise StageError("no audit sample yet: run `vibe sample`, or let `vibe run` or the daemon draw it")
    photos = sample.select("image_id", "inclusion_probability").join(accepted_photos(platform), on="image_id")
    if photos.is_empty():
        raise StageError("no photo of the sample is in the library any more: run `vibe sample` for a new one")
    truth, questions = platform.lake.read_live(AUTO_GROUND_TRUTH), platform.questions
    said = (
        without_teacher(platform.lake.read_live(PREDICTIONS), questions).filter(pl.col("source") != "none").unique("image_id", keep="first")
    )
    labelled = truth if truth.height else sample
    teacher = {row["image_id"]: Labels.from_row(row, questions.columns) for row in labelled.iter_rows(named=True)}
    student = {row["image_id"]: row for row in said.iter_rows(named=True)}
    root = platform.settings.root
    desk_photos = [
        DeskPhoto(
            row["image_id"], below(root, bytes(row["path_bytes"])), row["rel_path"],
            row["width"] or 0, row["height"] or 0, row["inclusion_probability"], teacher.get(row["image_id"]),
        )
        for row in photos.iter_rows(named=True)
    ]  # fmt: skip
    versions = {name: str(rows[name][0]) for name, rows in (("teacher", truth), ("heads", said)) if rows.height}
    settings, groups = platform.settings.audit, groups_of(platform)
    return Desk(
        [_with_student(photo, student.get(photo.image_id), questions) for photo in desk_photos],
        questions,
        verdict_log(platform),
        blind_share=settings.blind_share,
        seed=settings.seed,
        versions=versions,
        drawable=len({groups.get(image_id, image_id) for image_id in truth["image_id"]}) if truth.height else None,
    )


def _with_student(photo: DeskPhoto, row: dict[str, object] | None, questions: Questions) -> DeskPhoto:
    if row is None:
        return photo
    sure = {field.name: row[field.confidence] for field in questions.fields}
    confidence = {name: round(value, 3) for name, value in sure.items() if isinstance(value, float)}
    return replace(photo, student=Labels.from_row(row, questions.columns), confidence=confidence)


def desk_app(platform: Platform, *, host: str, port: int, served_as: Sequence[str] = (), token: str | None = None) -> App:
    """The application of the audit page for one address, and for the names that people reach it by through a proxy."""
    from vibe_assets.audit.page import audit_app
    from vibe_assets.web.serve import answered_hosts

    library, hosts = platform.settings.library, answered_hosts(host, port, served_as)
    pictures = Pictures(platform.settings.cache_dir / "audit", max_pixels=library.max_pixels, max_bytes=library.max_bytes)
    return audit_app(open_desk(platform), pictures, hosts=hosts, done=lambda: mark_done(platform), token=token)


def serve_audit(
    platform: Platform, *, host: str, port: int, served_as: Sequence[str] = (), announce: Callable[[Sequence[str]], None]
) -> None:
    """Serve the page until interrupted; `announce` is given its addresses. Raises ServeError when it cannot be served there.

    A token is wanted wherever more than this machine gets in: on any other address than loopback, and under any other name.
    """
    import uvicorn

    from vibe_assets.web.serve import LOOPBACK, answered_hosts, ensure_free, served_addresses

    answered_hosts(host, port, served_as)
    port = ensure_free(host, port)
    token = None if host in LOOPBACK and not served_as else secrets.token_urlsafe(24)
    app = desk_app(platform, host=host, port=port, served_as=served_as, token=token)
    announce(served_addresses(host, port, served_as, token=token))
    uvicorn.run(app, host=host, port=port, log_level="warning", server_header=False, timeout_graceful_shutdown=3)
