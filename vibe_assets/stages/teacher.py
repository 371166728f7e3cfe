"""Photos -> annotations, and a candidate teacher's trial on the audited photos."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.lake import write_text
from vibe_assets.records import ANNOTATIONS, AUDITED_GROUND_TRUTH, RAW_PHOTOS
from vibe_assets.settings import Settings, TeacherBase
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.notes import WANTED, leave_note
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.truth import convert_rows, groups_of

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.evaluate.compare import Comparison
    from vibe_assets.evaluate.labels import Evaluation
    from vibe_assets.questions import Questions

# Reasons of a row without an answer that may pass by themselves; the others say something of the photo.
PASSING = ("timeout", "rate_limited", "server_error", "unreachable", "invalid_answer", "not_asked", "teacher_refused")


def annotate_rows(
    platform: Platform, photos: pl.DataFrame, *, settings: TeacherBase, folder_key: str, limit: int | None = None
) -> pl.DataFrame:
    """Ask `settings`' teacher for every photo its journal does not hold; ANNOTATIONS rows, one per photo."""
    from vibe_assets.stages.spread import asker
    from vibe_assets.teacher.annotate import annotate, annotation_rows, teacher_fingerprint
    from vibe_assets.teacher.journal import Journal
    from vibe_assets.teacher.kept import note_asked

    refs = platform.photo_refs(photos)
    note_asked(platform.settings.asked_dir, platform.questions)
    fingerprint = teacher_fingerprint(settings)
    journal = Journal(platform.settings.journal_dir / fingerprint, writer=folder_key)
    library = platform.settings.library
    ask = asker(platform, settings, writer=folder_key, teacher=fingerprint)
    records = annotate(
        refs, settings=settings, journal=journal, limit=limit, progress=platform.progress, library=library, ask=ask,
        questions=platform.questions,
    )  # fmt: skip
    return annotation_rows(refs, records, folder_key=folder_key, teacher=fingerprint)


def annotate_folder(platform: Platform, folder_key: str, *, limit: int | None = None) -> pl.DataFrame:
    """Bring one folder's annotations up to date with the current teacher."""
    photos = accepted_photos(platform, folder_key)
    rows = annotate_rows(platform, photos, settings=platform.settings.teacher, folder_key=folder_key, limit=limit)
    platform.lake.replace(ANNOTATIONS, rows, folder_key=folder_key, commit=platform.commit)
    return rows


def half_answered(questions: Questions) -> pl.Expr:
    """Rows of ANNOTATIONS whose answer leaves one of the questions open; those of before notes of questions answer the first ones."""
    import polars as pl

    from vibe_assets.teacher.kept import FIRST

    answered, missing = pl.col("questions").fill_null(json.dumps(FIRST, sort_keys=True)), []
    for question in questions.asked:
        wanted = [f'{json.dumps(question.key)}: "{mark}"' for mark in sorted(questions.accepted[question.key])]
        lacks = ~pl.any_horizontal(answered.str.contains(each, literal=True) for each in wanted)
        missing.append(lacks & ~pl.col("rel_path").str.contains(question.off) if question.off else lacks)
    return pl.col("annotation").is_not_null() & (pl.any_horizontal(missing) if missing else pl.lit(False))


def unanswered_folders(platform: Platform) -> dict[str, int]:
    """Live folder -> accepted photos without an answer that another request might bring; folders without such photos are left out."""
    import polars as pl

    final = platform.lake.scan(ANNOTATIONS).filter(~pl.col("reason").is_in(PASSING).fill_null(False), ~half_answered(platform.questions))
    open_photos = (
        platform.lake.scan(RAW_PHOTOS)
        .filter(pl.col("reason").is_null() & pl.col("folder_key").is_in(platform.lake.live_folders()))
        .select("folder_key", "image_id")
        .unique()
        .join(final.select("folder_key", "image_id"), on=["folder_key", "image_id"], how="anti")
    )
    return dict(open_photos.group_by("folder_key").len().sort("folder_key").collect().iter_rows())


def order_known_answers(platform: Platform) -> list[str]:
    """Keys of the folders with photos that the current teacher's journal answers and whose row says otherwise: the graph fills them in."""
    import polars as pl

    from vibe_assets.teacher.annotate import teacher_fingerprint
    from vibe_assets.teacher.journal import Journal
    from vibe_assets.teacher.kept import open_questions

    current = teacher_fingerprint(platform.settings.teacher)
    known = Journal(platform.settings.journal_dir / current, writer="reader").known()  # nothing is written
    names = ["folder_key", "image_id", "rel_path", "reason"]
    photos = platform.lake.read_live(RAW_PHOTOS, columns=names).filter(pl.col("reason").is_null())
    answered = platform.lake.read_live(ANNOTATIONS, columns=[*names, "teacher", "annotation", "questions"])
    answered = answered.filter(pl.col("reason").is_null() & (pl.col("teacher") == current) & ~half_answered(platform.questions))
    lacking = photos.filter(pl.col("image_id").is_in(list(known))).join(answered, on=["folder_key", "image_id"], how="anti")
    lying = lacking.select("image_id", "rel_path").iter_rows()
    whole = [not open_questions(known[image_id], platform.questions, path) for image_id, path in lying]
    waiting = lacking.filter(pl.Series(whole, dtype=pl.Boolean))
    keys = sorted(set(waiting["folder_key"]))
    for key in keys:
        leave_note(platform, ANNOTATIONS.name, key, what=WANTED)
    return keys


@dataclass(frozen=True)
class Trial:
    """A candidate teacher against the current one, on the audited photos."""

    candidate: str  # fingerprint
    current: str
    comparison: Comparison
    evaluation: Evaluation  # of the candidate
    failed: int  # photos the candidate gave no answer for
    max_loss: float  # gates.max_deploy_loss

    @property
    def version(self) -> str:
        """Who was tried against whom."""
        return f"{self.candidate}-vs-{self.current}"

    @property
    def allowed(self) -> bool:
        """Whether `vibe teacher promote` may make the candidate the teacher."""
        from vibe_assets.evaluate.compare import may_deploy

        return may_deploy(self.comparison, self.max_loss).allowed


def try_candidate(platform: Platform) -> Trial:
    """Annotate the audited photos with [teacher.candidate] and compare it with the current teacher, pairwise."""
    import polars as pl

    from vibe_assets.evaluate.compare import compare_paired
    from vibe_assets.evaluate.labels import evaluate_labels
    from vibe_assets.teacher.annotate import teacher_fingerprint

    settings = platform.settings
    if settings.teacher.candidate is None:
        raise StageError("no [teacher.candidate] in the settings file: name the model to try there, then run again")
    audited = platform.lake.read_live(AUDITED_GROUND_TRUTH)
    if audited.is_empty():
        raise StageError("no audited photos to try the candidate on: check a sample (`vibe sample`, then `vibe audited FILE`) first")
    photos = accepted_photos(platform).filter(pl.col("image_id").is_in(audited["image_id"].to_list()))
    rows = {
        name: annotate_rows(platform, photos, settings=teacher, folder_key=f"trial-{name}")
        for name, teacher in (("current", settings.teacher), ("candidate", settings.teacher.candidate))
    }
    labels = {name: convert_rows(platform, answers) for name, answers in rows.items()}
    groups = groups_of(platform)
    comparison = compare_paired(
        labels["current"], labels["candidate"], audited, groups=groups, what=platform.questions.judged.head, questions=platform.questions
    )
    evaluation = evaluate_labels(
        labels["candidate"], audited, groups=groups, questions=platform.questions, parents=False, subject="trial", truth_kind="human"
    )
    failed = rows["candidate"].filter(pl.col("reason").is_not_null()).height
    versions = (teacher_fingerprint(settings.teacher.candidate), teacher_fingerprint(settings.teacher))
    trial = Trial(*versions, comparison, evaluation, failed, settings.gates.max_deploy_loss)
    outcome = {
        "candidate": settings.teacher.candidate.model,
        "allowed": trial.allowed,
        "verdict": comparison.verdict,
        "photos": comparison.n,
    }
    write_text(trial_file(settings, trial.version), json.dumps(outcome, indent=2))
    return trial


def trial_file(settings: Settings, version: str) -> Path:
    """Where the outcome of a trial lies, for `vibe teacher promote`."""
    return settings.home / "trials" / f"{version}.json"
