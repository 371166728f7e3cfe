"""One batch and one model become tag_predictions: an endpoint or local weights, the same prompt, the same journal, the same rows."""

from __future__ import annotations

import re
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import Questions
from vibe_assets.records import PhotoRef, fingerprint
from vibe_assets.records.tags import TAG_PREDICTIONS, TAGGED_PHOTOS
from vibe_assets.settings import LibrarySettings, TeacherBase
from vibe_assets.stages.platform import Platform
from vibe_assets.teacher.annotate import annotate
from vibe_assets.teacher.client import TeacherClient
from vibe_assets.teacher.failures import TeacherError
from vibe_assets.teacher.journal import Journal, read_answer
from vibe_assets.teacher.pace import Pace
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.registry import Model, model_named, prompt_of
from vibe_assets.vlm.tags import TAGS_JSON_SCHEMA, NotTags, parse_tags, prompt_file

if TYPE_CHECKING:
    import polars as pl

Record = dict[str, Any]
MAX_SHOWN_CHARS = 500


class TagClient(TeacherClient):
    """Asks for tags. An answer that holds none is kept with what it cost: in a benchmark a second try would hide the failure."""

    schema_name = "photo_tags"

    def __init__(
        self, settings: TeacherBase, *, questions: Questions | None = None, pace: Pace | None = None, seed: int | None = None
    ) -> None:
        super().__init__(settings, questions=questions, pace=pace, seed=seed)
        self.schema = TAGS_JSON_SCHEMA

    def parse(self, text: str) -> dict[str, Any]:
        return read_tags(text)


def read_tags(text: str) -> dict[str, Any]:
    """What the journal keeps of an answer: tags, or why there are none with the answer's beginning."""
    try:
        return {"tags": parse_tags(text), "valid": True}
    except NotTags:
        return {"tags": [], "valid": False, "answer": text[:MAX_SHOWN_CHARS]}


def read_tag_answer(record: Record) -> Record:
    """The record itself where its answer is what `read_tags` makes. Raises ValueError for another shape."""
    said = read_answer(record).get("annotation")
    if said is not None:
        tags, text = said.get("tags"), said.get("answer")
        listed = isinstance(tags, list) and all(isinstance(tag, str) for tag in tags)
        if not (listed and isinstance(said.get("valid"), bool) and isinstance(text, str | None)):
            raise ValueError(f"annotation is {said!r:.80}")
    return record


def cell_key(batch: str, model: str) -> str:
    """Partition of tag_predictions for one batch and one model."""
    return f"{batch}--{model}"


def predict_cell(platform: Platform, batch: str, name: str, *, limit: int | None = None, pace: Pace | None = None) -> pl.DataFrame:
    """Ask one model about the photos of one batch; what its journal holds is not asked again. Raises VlmError."""
    import polars as pl

    photos = platform.lake.scan(TAGGED_PHOTOS).filter((pl.col("batch") == batch) & pl.col("reason").is_null()).collect()
    if photos.is_empty():
        raise VlmError(f"batch {batch!r} holds no photo; `vibe tags ingest` fills one")
    refs = [PhotoRef(image_id, path, shown) for image_id, path, shown in photos.select("image_id", "path_bytes", "name").iter_rows()]
    model = model_named(platform, name)
    records = ask(platform, model, refs, limit=limit, pace=pace)
    rows = _rows(platform, model, batch, refs, records)
    platform.lake.replace(TAG_PREDICTIONS, rows, folder_key=cell_key(batch, name), commit=platform.commit)
    return rows


def ask(
    platform: Platform, model: Model, photos: Sequence[PhotoRef], *, limit: int | None = None, pace: Pace | None = None
) -> dict[str, Record]:
    """image_id -> journalled record, for the photos that were asked about now or before."""
    prompt = prompt_of(platform)
    version = model.fingerprint(prompt)
    journal = Journal(platform.settings.tag_answers_dir / f"{model.name}-{version}", "answers", reads=read_tag_answer)
    if model.local:
        return _ask_local(platform, model, prompt, photos, journal, version, limit)
    try:
        records = annotate(
            photos, settings=teacher_settings(platform, model), journal=journal, limit=limit, progress=platform.progress,
            library=platform.settings.library, pace=pace, client=TagClient, teacher=version,
        )  # fmt: skip
    except TeacherError as error:
        raise VlmError(_in_these_settings(str(error), model)) from error
    return {record["image_id"]: record for record in records}


def teacher_settings(platform: Platform, model: Model) -> TeacherBase:
    """The model's settings as the teacher's client reads them."""
    chosen = model.settings
    names = ("base_url", "model", "api_key_env", "temperature", "max_tokens", "max_side_px", "timeout_s", "retries", "concurrency")
    prompt = str(prompt_file(platform.settings.vlm.prompt, platform.settings.base))
    return TeacherBase.model_validate({**{name: getattr(chosen, name) for name in names}, "prompt": prompt})


def _in_these_settings(text: str, model: Model) -> str:
    """The client's message in the words of this section: it knows the teacher's settings only."""
    text = re.sub(r"\bteacher\.(?=[a-z_]+)", f"vlm.models.{model.name}.", text)
    text = re.sub(r" \(QWEN_\w+\)|, and check with `vibe doctor`", "", text)
    return f"[vlm.models.{model.name}] " + text.replace("[teacher] base_url or QWEN_BASE_URL", "its base_url").replace(
        "the teacher", "the model"
    )


def _ask_local(
    platform: Platform, model: Model, prompt: str, photos: Sequence[PhotoRef], journal: Journal, version: str, limit: int | None
) -> dict[str, Record]:
    """Answers of weights on this machine, one photo after the other; the model is loaded only where one is missing."""
    from tqdm import tqdm

    from vibe_assets.vlm.local import load_local

    known = journal.known()
    wanted = {photo.image_id: photo for photo in photos}
    pending = [photo for image_id, photo in wanted.items() if not isinstance(known.get(image_id, {}).get("annotation"), dict)][:limit]
    if pending:
        local = load_local(model.source, adapter=model.adapter, device=platform.settings.vlm.device)
        with journal:
            for photo in tqdm(pending, desc=model.name, unit="photo", disable=None if platform.progress else True):
                record = _answered(local, model, prompt, photo, version, platform.settings.library)
                journal.append(record)
                known[photo.image_id] = record
    return {image_id: known[image_id] for image_id in wanted if image_id in known}


def _answered(local: Any, model: Model, prompt: str, photo: PhotoRef, version: str, library: LibrarySettings) -> Record:
    from vibe_assets.photos.decode import PhotoRejected
    from vibe_assets.vlm.lora import read_picture

    record: Record = {"image_id": photo.image_id, "rel_path": photo.rel_path, "teacher": version, "model": model.model_id}
    record |= {"at": datetime.now(UTC).isoformat(timespec="microseconds"), "annotation": None, "latency_s": None, "usage": None}
    try:
        picture = read_picture(photo.path, model.settings.max_side_px or 10_000, library)
    except PhotoRejected as rejected:
        return record | {"reason": "unreadable_photo", "detail": f"{rejected.reason}: {rejected.detail}"}
    began = time.perf_counter()
    text, asked, said = local.answer(prompt, picture, max_tokens=model.settings.max_tokens)
    usage = {"prompt_tokens": asked, "completion_tokens": said}
    return record | {"annotation": read_tags(text), "latency_s": round(time.perf_counter() - began, 4), "usage": usage}


def _rows(platform: Platform, model: Model, batch: str, refs: Iterable[PhotoRef], records: Mapping[str, Record]) -> pl.DataFrame:
    """TAG_PREDICTIONS rows, one per photo; `not_asked` where there is no record."""
    import polars as pl

    prompt = prompt_of(platform)
    about = {
        "cell": cell_key(batch, model.name), "batch": batch, "model": model.name, "identity": model.identity, "provider": model.provider,
        "model_id": model.model_id, "adapter": model.adapter_version, "prompt": fingerprint({"prompt": prompt}),
        "fingerprint": model.fingerprint(prompt),
    }  # fmt: skip
    missing = {"reason": "not_asked", "detail": "beyond the limit, or the run ended before"}
    rows = [about | _row(model, ref, records.get(ref.image_id, missing)) for ref in refs]
    return pl.DataFrame(rows, schema=TAG_PREDICTIONS.polars_schema(), orient="row")


def _row(model: Model, ref: PhotoRef, record: Mapping[str, Any]) -> dict[str, Any]:
    said, usage = record.get("annotation"), record.get("usage") or {}
    tokens = (usage.get("prompt_tokens"), usage.get("completion_tokens"))
    answered = isinstance(said, dict)
    said = said if isinstance(said, dict) else {"tags": [], "valid": None}
    reason = record.get("reason") or "invalid_answer"
    return {
        "image_id": ref.image_id, "tags": said["tags"], "answer": said.get("answer"),
        "valid": said["valid"] if answered else (False if reason == "invalid_answer" else None), "latency_s": record.get("latency_s"),
        "prompt_tokens": tokens[0], "completion_tokens": tokens[1], "cost_usd": model.cost_usd(*tokens) if answered else None,
        "reason": None if answered else reason, "detail": None if answered else record.get("detail"),
    }  # fmt: skip
