"""Photos and a teacher's settings become one journalled record per photo, and the rows of the table `annotations`."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import Questions, load
from vibe_assets.records import ANNOTATIONS, PhotoRef, fingerprint
from vibe_assets.settings import LibrarySettings, TeacherBase
from vibe_assets.teacher.failures import TeacherError, TeacherFailure
from vibe_assets.teacher.images import ENCODING, EncodedPhoto
from vibe_assets.teacher.interchange import ImportSummary, import_annotations
from vibe_assets.teacher.journal import Journal, Record
from vibe_assets.teacher.kept import FIRST, answered_questions, open_questions
from vibe_assets.teacher.loop import run_to_end
from vibe_assets.teacher.pace import Pace
from vibe_assets.teacher.prompts import load_prompt
from vibe_assets.teacher.schema import SCHEMA_VERSION

if TYPE_CHECKING:
    import polars as pl
    from tqdm import tqdm

    from vibe_assets.teacher.client import Answer, TeacherClient

__all__ = ["ImportSummary", "annotate", "annotation_rows", "import_annotations", "teacher_fingerprint"]

# photos, and the records that answer some of their questions -> a record each, in any order, on disk when it is handed over
Ask = Callable[[Sequence[PhotoRef], Mapping[str, Record]], Iterable[Record]]
ENCODE_THREADS = min(4, os.cpu_count() or 1)  # Pillow lets go of the interpreter lock; more threads than cores only use memory
RECORD_BYTES = 16 * 1024  # of a journalled record, besides its answer: paths, model, detail
TOKEN_BYTES = 8  # of an answer, at most; about 4 are usual
UNKEPT = 2  # times the concurrency: answers that are asked for or not on disk yet, the most that a kill can cost
ENCODED_AHEAD = 2 * ENCODE_THREADS  # photos being encoded or ready beyond those in flight: an answer's place is taken at once


def teacher_fingerprint(settings: TeacherBase) -> str:
    """16 hex digits over all that changes an answer, the questions apart. Where the model is served, with which key and how patiently,
    does not.

    The prompt that is made from a label file stands for the packaged one here: what is asked in it counts by question.
    """
    return fingerprint(
        {
            "model": settings.model,
            "prompt": load_prompt(settings.prompt),
            "temperature": settings.temperature,
            "max_tokens": settings.max_tokens,
            "max_side_px": settings.max_side_px,
            "image_format": settings.image_format,
            "image_quality": settings.image_quality,
            "keep_metadata": settings.keep_metadata,
            "schema": SCHEMA_VERSION,
            "encoding": ENCODING,
        }
    )


def asking_fingerprint(settings: TeacherBase, questions: Questions) -> str:
    """16 hex digits over the teacher and all that it is asked."""
    teacher, asked = teacher_fingerprint(settings), questions.asked_fingerprints
    return teacher if asked == FIRST else fingerprint({"teacher": teacher, "asked": asked})


def annotate(
    photos: Sequence[PhotoRef],
    *,
    settings: TeacherBase,
    journal: Journal,
    limit: int | None = None,
    progress: bool = True,
    on_record: Callable[[Record], None] | None = None,
    library: LibrarySettings | None = None,
    pace: Pace | None = None,
    client: type[TeacherClient] | None = None,
    teacher: str | None = None,
    known: Mapping[str, Record] | None = None,
    ask: Ask | None = None,
    questions: Questions | None = None,
) -> list[Record]:
    """Ask the teacher for every photo that the journal has no answer of; return the records of these photos, in their order.

    Of `questions` (the packaged ones without any) a photo is asked those alone that its record does not answer yet.

    One record per distinct image_id. What the journal holds is not asked again, wherever the file lies now; failures are,
    after the photos that were never asked, so that a few hopeless ones do not eat up every `limit` (the number of photos
    asked in this run). Photos beyond it have no record, or keep their old failure. `on_record` is called in the event
    loop's thread for each new record, once it is on disk. `client` and `teacher`: another question's client and fingerprint.
    `known`: what `journal.known()` returned, where the caller has just read it. `ask` asks instead of this process, each photo once.

    Raises TeacherError when the run cannot go on (no such server, bad key, full disk); what came in before is kept.
    """
    teacher = teacher or teacher_fingerprint(settings)
    held = journal.known() if known is None else known
    found = {key: record for key, record in held.items() if record.get("teacher") == teacher}
    wanted = {photo.image_id: photo for photo in reversed(photos)}  # the first of equal photos counts
    ordered = [wanted[image_id] for image_id in dict.fromkeys(photo.image_id for photo in photos)]
    questions = questions or load()

    def left(photo: PhotoRef) -> tuple[str, ...]:
        """What is open: the questions, by key; another client has one question, which has no key."""
        record = found.get(photo.image_id)
        return open_questions(record, questions, photo.rel_path) if client is None else () if _is_answer(record) else ("",)

    pending = [photo for photo in ordered if left(photo)]
    nothing = {"annotation": {}, "questions": {}, "teacher": teacher}  # of photos that are asked nothing where they lie
    found = {photo.image_id: {"image_id": photo.image_id, **nothing} for photo in ordered if not left(photo)} | found
    pending.sort(key=lambda photo: photo.image_id in found and not _is_answer(found[photo.image_id]))
    done = len(ordered) - len(pending)
    pending = pending[: max(0, limit)] if limit is not None else pending
    if pending and ask is not None:
        partly = {photo.image_id: found[photo.image_id] for photo in pending if _is_answer(found.get(photo.image_id))}
        for record in _asked(ask, pending, partly, progress, done):
            found[record["image_id"]] = record
            if on_record is not None:
                on_record(record)
        return [found[photo.image_id] for photo in ordered if photo.image_id in found]
    alike: dict[tuple[str, ...], list[PhotoRef]] = {}  # photos with the same questions open are asked with one prompt
    for photo in pending:
        alike.setdefault(left(photo), []).append(photo)
    for keys, some in alike.items():
        run = _Run(
            some, settings, journal, teacher, on_record, library or LibrarySettings.model_validate({}), pace, progress, done, client,
            None if client is not None else questions.only(keys), found,
        )  # fmt: skip
        try:
            journal.claim(run.record_bytes)
            run_to_end(run.work())
        finally:
            journal.close()
        found.update(run.records)
        done += len(some)
    return [found[photo.image_id] for photo in ordered if photo.image_id in found]


def _asked(ask: Ask, pending: Sequence[PhotoRef], partly: Mapping[str, Record], progress: bool, done: int) -> Iterator[Record]:
    from tqdm import tqdm

    with tqdm(total=done + len(pending), initial=done, unit="photo", desc="annotate", disable=None if progress else True) as bar:
        for record in ask(pending, partly):
            bar.update()
            yield record


class _NoRoom(Exception):
    """The disk takes no further answer."""


class _Run:
    """One pass over pending photos: workers ask, one keeper writes what came in and shares a sync among answers that arrive together."""

    def __init__(
        self, pending: Sequence[PhotoRef], settings: TeacherBase, journal: Journal, teacher: str,
        on_record: Callable[[Record], None] | None, library: LibrarySettings, pace: Pace | None, progress: bool, done: int,
        client: type[TeacherClient] | None, questions: Questions | None, before: Mapping[str, Record],
    ) -> None:  # fmt: skip
        self.questions, self.before = questions, before
        self.pending, self.settings, self.journal, self.teacher = pending, settings, journal, teacher
        self.on_record, self.library, self.pace = on_record, library, pace
        self.progress, self.done, self.client = progress, done, client
        self.records: dict[str, Record] = {}
        self.record_bytes = RECORD_BYTES + TOKEN_BYTES * settings.max_tokens
        self.owed: set[str] = set()  # photos whose answers were asked for and are not on disk yet
        self.no_room: TeacherError | None = None
        self.seats = asyncio.Semaphore(settings.concurrency)  # of photos that are asked about, their waits between tries included
        self.unkept = asyncio.Semaphore(UNKEPT * settings.concurrency)

    async def work(self) -> None:
        from tqdm import tqdm

        from vibe_assets.teacher.client import TeacherClient

        queue = iter(self.pending)
        arrived: asyncio.Queue[Record] = asyncio.Queue()  # without a bound: a cancelled put would lose an answer
        bar = tqdm(
            total=self.done + len(self.pending), initial=self.done, unit="photo", desc="annotate", disable=None if self.progress else True
        )
        with bar, ThreadPoolExecutor(ENCODE_THREADS, thread_name_prefix="vibe-encode") as pool:
            async with (self.client or TeacherClient)(self.settings, questions=self.questions, pace=self.pace) as client:
                keeper = asyncio.create_task(self._keep(arrived, bar))
                ahead = ENCODED_AHEAD if self.settings.concurrency > 1 else 0  # one at a time is asked in the photos' order
                workers = [
                    asyncio.create_task(self._ask_all(queue, client, pool, arrived))
                    for _ in range(min(self.settings.concurrency + ahead, len(self.pending)))
                ]
                try:
                    await _until_done_or_failed(workers, keeper)
                    await _until_done_or_failed([asyncio.create_task(arrived.join())], keeper)
                    if self.no_room is not None:
                        raise self.no_room
                finally:
                    await _stop([*workers, keeper])
                    self._kept(_drained(arrived), bar)  # paid for, also when the run is over

    async def _ask_all(
        self, queue: Iterable[PhotoRef], client: TeacherClient, pool: ThreadPoolExecutor, arrived: asyncio.Queue[Record]
    ) -> None:
        for photo in queue:  # shared by all workers
            try:
                arrived.put_nowait(await self._ask(photo, client, pool))
            except _NoRoom:
                return  # answers in flight have their room; they are waited for

    async def _ask(self, photo: PhotoRef, client: TeacherClient, pool: ThreadPoolExecutor) -> Record:
        from vibe_assets.teacher.images import encode_for_teacher

        def encode() -> Any:
            return encode_for_teacher(photo.path, self.settings, library=self.library, image_id=photo.image_id)

        try:
            encoded = await asyncio.get_running_loop().run_in_executor(pool, encode)
            answer = await self._answered(photo, client, encoded)
        except TeacherFailure as failure:
            return self._record(photo, annotation=None, reason=failure.reason, detail=failure.detail)
        return self._record(photo, annotation=answer.annotation, latency_s=round(answer.latency_s, 4), usage=answer.usage)

    async def _answered(self, photo: PhotoRef, client: TeacherClient, encoded: EncodedPhoto) -> Answer:
        """Ask from one of the seats. When the run has to end, the seat is not handed on: nobody else is to ask."""
        await self.unkept.acquire()
        await self.seats.acquire()
        try:
            self._claim_room(photo)
            answer = await client.ask(encoded)
        except (TeacherFailure, _NoRoom):
            self.seats.release()
            raise
        self.seats.release()
        return answer

    def _claim_room(self, photo: PhotoRef) -> None:
        """Room on the disk for one answer more. Raises _NoRoom: what is not asked for cannot be lost."""
        self.owed.add(photo.image_id)
        if self.no_room is None:
            try:
                return self.journal.claim(len(self.owed) * self.record_bytes)
            except TeacherError as error:
                self.no_room = error
        self._settle(photo.image_id)
        raise _NoRoom

    def _settle(self, image_id: str) -> None:
        if image_id in self.owed:  # a photo that could not be read was never asked about
            self.owed.remove(image_id)
            self.unkept.release()

    def _record(self, photo: PhotoRef, **answer: Any) -> Record:
        path = photo.path.decode("utf-8", "backslashreplace")
        return {
            "image_id": photo.image_id, "server_path": path, "image_path": path, "rel_path": photo.rel_path, "annotation": None,
            "teacher": self.teacher, "latency_s": None, "usage": None, "model": self.settings.model,
            "at": datetime.now(UTC).isoformat(timespec="microseconds"), **self._with_what_was_known(photo, answer),
        }  # fmt: skip

    def _with_what_was_known(self, photo: PhotoRef, answer: dict[str, Any]) -> dict[str, Any]:
        """The answer with those to other questions, so that each record is whole; a failure takes none of them away."""
        if self.questions is None:
            return answer
        before, asked = self.before.get(photo.image_id), self.questions.asked_fingerprints
        if not _is_answer(before):
            return answer if answer.get("annotation") is None or asked == FIRST else {**answer, "questions": asked}
        assert before is not None
        held = {"annotation": before["annotation"], "questions": dict(answered_questions(before))}
        if answer.get("annotation") is None:
            left = f"{', '.join(asked)} is still to be asked: {answer.get('reason')}, {answer.get('detail')}"
            return {**{name: before.get(name) for name in ("latency_s", "usage")}, **held, "detail": left}
        return {
            **answer, "annotation": {**before["annotation"], **answer["annotation"]}, "questions": {**held["questions"], **asked},
        }  # fmt: skip

    async def _keep(self, arrived: asyncio.Queue[Record], bar: tqdm[Any]) -> None:
        while True:
            batch = [await arrived.get(), *_drained(arrived)]
            write = asyncio.create_task(asyncio.to_thread(self.journal.append_many, batch))
            try:
                await asyncio.shield(write)
            except asyncio.CancelledError:
                await write  # a thread cannot be called back: see it through rather than write the batch twice
                self._tell(batch, bar)
                raise
            self._tell(batch, bar)
            for _ in batch:
                arrived.task_done()

    def _kept(self, batch: list[Record], bar: tqdm[Any]) -> None:
        if batch:
            self.journal.append_many(batch)
            self._tell(batch, bar)

    def _tell(self, batch: list[Record], bar: tqdm[Any]) -> None:
        for record in batch:
            self._settle(record["image_id"])
            self.records[record["image_id"]] = record
            bar.update()
            if self.on_record is not None:
                self.on_record(record)


def annotation_rows(
    photos: Iterable[PhotoRef], records: Iterable[Mapping[str, Any]], *, folder_key: str, teacher: str | None = None
) -> pl.DataFrame:
    """Rows of ANNOTATIONS, one per photo: its record's answer or failure, `not_asked` where there is none.

    `teacher` names the teacher in rows without a record.
    """
    import polars as pl

    by_id = {record["image_id"]: record for record in records}
    missing = {"teacher": teacher, "reason": "not_asked", "detail": "no record yet: beyond the limit, or the run ended before"}
    rows = [_row(photo, by_id.get(photo.image_id, missing), folder_key) for photo in photos]
    return pl.DataFrame(rows, schema=ANNOTATIONS.polars_schema(), orient="row")


def _row(photo: PhotoRef, record: Mapping[str, Any], folder_key: str) -> dict[str, Any]:
    annotation, usage = record.get("annotation"), record.get("usage") or {}
    answered = isinstance(annotation, dict)
    return {
        "folder_key": folder_key, "image_id": photo.image_id, "rel_path": photo.rel_path,
        "annotation": json.dumps(annotation, ensure_ascii=False) if answered else None,
        "teacher": record.get("teacher"), "model": record.get("model"), "latency_s": record.get("latency_s"),
        "prompt_tokens": usage.get("prompt_tokens"), "completion_tokens": usage.get("completion_tokens"),
        "reason": None if answered else record.get("reason") or "invalid_answer", "detail": record.get("detail"),
        "questions": json.dumps(answered_questions(record), sort_keys=True) if answered else None,
    }  # fmt: skip


def _is_answer(record: Mapping[str, Any] | None) -> bool:
    return record is not None and isinstance(record.get("annotation"), dict)


def _drained(arrived: asyncio.Queue[Record]) -> list[Record]:
    batch = []
    while not arrived.empty():
        batch.append(arrived.get_nowait())
    return batch


async def _until_done_or_failed(tasks: list[asyncio.Task[None]], keeper: asyncio.Task[None]) -> None:
    """Return when every task is done; raise the first error of a task or of the keeper."""
    waiting: set[asyncio.Task[None]] = set(tasks)
    while waiting:
        done, _ = await asyncio.wait({*waiting, keeper}, return_when=asyncio.FIRST_COMPLETED)
        for task in done:
            task.result()
        waiting -= done


async def _stop(tasks: list[asyncio.Task[None]]) -> None:
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
