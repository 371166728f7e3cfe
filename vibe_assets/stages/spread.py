"""The expensive stages as tasks for an engine: settings go in, what a worker does with a chunk of photos comes out.

Every factory is picklable and small, calls the function that the stage calls without an engine, and loads nothing before its first use.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from vibe_assets.engine import Engine, LocalEngine, Lost, Task, Work, in_order
from vibe_assets.questions import Questions
from vibe_assets.records import PhotoRef
from vibe_assets.settings import EncoderSettings, LibrarySettings, TeacherBase

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.encoders.engine import Chunk, Compute, Outcome
    from vibe_assets.heads.models import TrainedHead
    from vibe_assets.photos.scan import Measure
    from vibe_assets.stages.platform import Platform
    from vibe_assets.storage import Place
    from vibe_assets.teacher.annotate import Ask
    from vibe_assets.teacher.journal import Record

WORKER_DIED = "worker_died"
ROWS_AT_A_TIME = 4096  # vectors that are classified together, on every engine alike: a matrix product's last bit hangs on its shape
ROUNDS = 8  # of a worker's share of requests in one chunk: its end, when places fall empty, is a small part of it


# -- scan --------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class MeasurePhotos:
    """Paths -> records, in worker processes under the same caps as everywhere: a hostile file costs one photo, not the actor."""

    library: LibrarySettings

    def __call__(self) -> Task:
        from vibe_assets.photos.workers import measure_photos

        return lambda paths, tries: measure_photos(paths, settings=self.library)


def measurer(platform: Platform) -> Measure:
    """What `scan_folder` measures files with."""
    library, engine = platform.settings.library, platform.engine
    if not isinstance(engine, LocalEngine):  # the cores that an actor has, not those of this machine
        library = library.model_copy(update={"scan_workers": max(1, int(platform.settings.engine.cpus))})

    def measure(paths: Sequence[bytes]) -> Iterator[dict[str, Any]]:
        for record in in_order(engine.arrivals(Work(MeasurePhotos(library), paths))):
            yield {"reason": "decoder_crashed", "detail": record.detail} if isinstance(record, Lost) else record

    return measure


# -- annotate ----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class AskTeacher:
    """Photos -> journalled records. Each worker writes a file of its own into the teacher's journal, which all of them share."""

    settings: TeacherBase
    library: LibrarySettings
    journal_dir: Place
    writer: str
    teacher: str
    questions: Questions
    known: Mapping[str, Record]  # what answers some of the questions already

    def __call__(self) -> Task:
        from vibe_assets.teacher.annotate import annotate
        from vibe_assets.teacher.journal import Journal

        journal = Journal(self.journal_dir, writer=f"{self.writer[:80]}-{uuid.uuid4().hex[:12]}")

        def ask(photos: Sequence[PhotoRef], tries: int) -> list[Record]:
            known = self.known if tries == 1 else None  # a worker that died may have left answers in the journal
            return annotate(
                photos, settings=self.settings, journal=journal, library=self.library, teacher=self.teacher, progress=False, known=known,
                questions=self.questions,
            )  # fmt: skip

        return ask


def asker(platform: Platform, settings: TeacherBase, *, writer: str, teacher: str) -> Ask | None:
    """What `annotate` asks with; None: this process does, with one loop for all photos."""
    engine = platform.engine
    if isinstance(engine, LocalEngine):
        return None
    workers = min(engine.workers, settings.concurrency)
    share = settings.concurrency // workers
    own = settings.model_copy(update={"concurrency": share})
    chunk = max(platform.settings.engine.chunk, ROUNDS * share)

    def ask(photos: Sequence[PhotoRef], known: Mapping[str, Record]) -> Iterator[Record]:
        journal_dir = platform.settings.journal_dir / teacher
        task = AskTeacher(own, platform.settings.library, journal_dir, writer, teacher, platform.questions, known)
        for place, record in engine.arrivals(Work(task, photos, chunk=chunk, workers=workers, variables=[settings.api_key_env])):
            photo = photos[place]
            lost = {"image_id": photo.image_id, "teacher": teacher, "model": settings.model, "annotation": None, "reason": WORKER_DIED}
            yield {**lost, "detail": record.detail} if isinstance(record, Lost) else record

    return ask


# -- embed -------------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class EmbedBatches:
    """Batches of photos -> their vectors or failures; the model is loaded with the first."""

    settings: EncoderSettings
    library: LibrarySettings
    fingerprint: str

    def __call__(self) -> Task:
        from vibe_assets.encoders.engine import PhotoEncoder

        encoder = PhotoEncoder(self.settings, self.library, fingerprint=self.fingerprint)
        return lambda batches, tries: encoder.stream(batches)


def embedder(platform: Platform, fingerprint: str) -> Compute | None:
    """What `embed_photos` computes with; None: this process does, with the model it has."""
    engine, settings = platform.engine, platform.settings
    if isinstance(engine, LocalEngine):
        return None
    task = EmbedBatches(settings.encoder, settings.library, fingerprint)

    def compute(chunks: Iterable[Chunk]) -> Iterator[Sequence[Outcome]]:
        batches = list(chunks)
        at_a_time = max(1, settings.engine.chunk // settings.encoder.batch_size)
        for batch, outcomes in zip(batches, in_order(engine.arrivals(Work(task, batches, chunk=at_a_time))), strict=True):
            yield _one_by_one(engine, task, batch) if isinstance(outcomes, Lost) else outcomes

    return compute


def _one_by_one(engine: Engine, task: EmbedBatches, batch: Chunk) -> list[Outcome]:
    """A batch that killed its workers: all photos but the one to blame have a vector."""
    from vibe_assets.encoders.engine import Failure

    alone = in_order(engine.arrivals(Work(task, [[photo] for photo in batch], chunk=1)))
    return [Failure(WORKER_DIED, outcome.detail) if isinstance(outcome, Lost) else outcome[0] for outcome in alone]


# -- predict -----------------------------------------------------------------------------------------------------------
@dataclass(frozen=True)
class Classify:
    """Frames of IMAGE_EMBEDDINGS rows -> frames of labels."""

    heads: Mapping[str, TrainedHead]
    questions: Questions
    prompts_rows: pl.DataFrame

    def __call__(self) -> Task:
        from vibe_assets.heads.classifier import classify

        return lambda frames, tries: [
            classify(frame, self.heads, questions=self.questions, prompts_rows=self.prompts_rows) for frame in frames
        ]


def classify_rows(platform: Platform, rows: pl.DataFrame, heads: Mapping[str, TrainedHead], prompts_rows: pl.DataFrame) -> pl.DataFrame:
    """As `classify`, in frames of ROWS_AT_A_TIME; what fits into one stays in this process, where it takes less time than sending it."""
    import polars as pl

    from vibe_assets.stages.platform import StageError

    frames = list(rows.iter_slices(ROWS_AT_A_TIME)) or [rows]
    engine: Engine = platform.engine if len(frames) > 1 else LocalEngine()
    said = list(in_order(engine.arrivals(Work(Classify(heads, platform.questions, prompts_rows), frames, chunk=1))))
    if lost := [frame for frame in said if isinstance(frame, Lost)]:
        raise StageError(f"{len(lost)} of {len(said)} parts of the folder were not classified: {lost[0].detail}; give [engine] more memory")
    return pl.concat(said)
