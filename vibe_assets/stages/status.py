"""How far a library is: what is there, what its teacher and its people have still to say, and what it cost so far."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from vibe_assets.questions import Questions
from vibe_assets.records import ANNOTATIONS, AUDIT_SAMPLE, PREDICTIONS, RAW_PHOTOS
from vibe_assets.records.answers import NOBODY, source_of
from vibe_assets.records.tags import TAG_PREDICTIONS
from vibe_assets.stages.platform import Platform

if TYPE_CHECKING:
    import polars as pl

OTHER_LOGS = ("verdicts", "choices", "tags")  # what lies beside the teachers' answers where library.journal is set

NO_TEACHER = "[teacher] base_url is not set: put the address of a server there, or into QWEN_BASE_URL; `vibe doctor` checks it"


@dataclass(frozen=True)
class Cost:
    """What was asked for and answered so far, by every teacher that ever was in force."""

    answers: int = 0
    tokens: int = 0  # as the servers counted, questions and answers
    teacher_s: float = 0.0  # seconds that teachers took, requests side by side counted each
    usd: float | None = None  # of the tag benchmark, where prices are set; None where none is


@dataclass(frozen=True)
class LibraryStatus:
    """Counts of photos are of the live library, each photo once."""

    folders: int = 0
    files: int = 0
    photos: int = 0
    rejected: dict[str, int] = field(default_factory=dict)  # reason -> files
    answered: int = 0  # by the teacher in force
    unanswered: dict[str, int] = field(default_factory=dict)  # reason -> photos; "not asked yet" where there is no row
    sampled: int = 0  # photos that people are asked to check
    checked: int = 0  # of these
    audited: int = 0  # photos of the live library that people spoke of
    outgrown: int = 0  # photos that came since the draws whose photos people checked
    heads: dict[str, str] = field(default_factory=dict)  # kind -> version in force
    labelled: dict[str, dict[str, int]] = field(default_factory=dict)  # question -> who answers it (student, teacher ...) -> photos
    headless: dict[str, str] = field(default_factory=dict)  # kind -> why there is no head of it, or not the one trained last
    lacks: str = ""  # the setting without which nobody is asked, where photos wait for it
    trial: str = ""  # verdict on [teacher.candidate], where it was tried
    trial_allowed: bool = False
    cost: Cost = field(default_factory=Cost)


def library_status(platform: Platform) -> LibraryStatus:
    """Read lake, logs and journals; nothing is written. Raises LakeError, AuditError, TeacherError for what cannot be read."""
    import polars as pl

    from vibe_assets.stages.students import deployments, headless
    from vibe_assets.stages.teacher import half_answered
    from vibe_assets.stages.truth import audited_population
    from vibe_assets.stages.verdicts import verdict_log
    from vibe_assets.teacher.annotate import teacher_fingerprint

    lake, current = platform.lake, teacher_fingerprint(platform.settings.teacher)
    files = lake.read_live(RAW_PHOTOS, columns=["image_id", "reason"]).filter(pl.col("reason").is_null() | (pl.col("reason") != "deleted"))
    photos = files.filter(pl.col("reason").is_null()).unique("image_id")
    answers = lake.read_live(ANNOTATIONS).filter((pl.col("teacher") == current) & ~half_answered(platform.questions))
    answers = answers.select("image_id", "reason", "teacher")
    answers = photos.select("image_id").join(
        answers.sort("reason", nulls_last=False).unique("image_id", keep="first"), on="image_id", how="left"
    )
    waiting = answers.filter(pl.col("reason").is_not_null() | pl.col("teacher").is_null())
    said = lake.read_live(PREDICTIONS, columns=["image_id", *platform.questions.columns, "abstained", "source"]).unique("image_id")
    sample = set(lake.read_live(AUDIT_SAMPLE, columns=["image_id"])["image_id"])
    spoken = {verdict.image_id for verdict in verdict_log(platform).verdicts()}
    trial, spoken_of = _trial(platform), audited_population(platform)
    return LibraryStatus(
        folders=len(lake.live_folders()),
        files=files.height,
        photos=photos.height,
        rejected=_counts(files["reason"].drop_nulls()),
        answered=photos.height - waiting.height,
        unanswered=_counts(waiting["reason"].fill_null("not asked yet")),
        sampled=len(sample),
        checked=len(sample & spoken),
        audited=len(spoken & set(photos["image_id"])),
        outgrown=spoken_of.new if spoken_of else 0,
        lacks="" if platform.settings.teacher.base_url or waiting.is_empty() else NO_TEACHER,
        heads=dict(deployments(platform)),
        labelled=_labelled(said, platform.questions),
        headless=headless(platform),
        trial=str(trial.get("verdict", "")),
        trial_allowed=bool(trial.get("allowed")),
        cost=cost_so_far(platform),
    )


def cost_so_far(platform: Platform) -> Cost:
    """From the journals: what was paid for under earlier teachers counts too, and what is in no table any more."""
    from vibe_assets.teacher.journal import TOKENS, Journal, journals_in

    folder = platform.settings.journal_dir
    answers, tokens, seconds = 0, 0, 0.0
    for name in journals_in(folder):
        if name in OTHER_LOGS:
            continue
        for record in Journal(folder / name, writer="reader").answers():  # nothing is written
            tokens += sum((record.get("usage") or {}).get(key) or 0 for key in TOKENS)
            seconds += float(record.get("latency_s") or 0.0)
            answers += record.get("annotation") is not None
    prices = platform.lake.scan(TAG_PREDICTIONS).select("cost_usd").collect()["cost_usd"].drop_nulls()
    return Cost(answers, tokens, round(seconds, 1), round(float(prices.sum()), 4) if len(prices) else None)


def _labelled(said: pl.DataFrame, questions: Questions) -> dict[str, dict[str, int]]:
    """Question -> who answers it -> photos; what follows from the scene is no question of its own."""
    found = {}
    for column in (column for column in questions.columns if column not in questions.follows):
        sources = said.select(who=source_of(column))["who"]
        found[column] = _counts(sources.filter(sources != NOBODY))
    return {question: by for question, by in found.items() if by}


def _trial(platform: Platform) -> dict[str, Any]:
    """Outcome of the trial of the candidate in the settings; empty where there is none."""
    import json

    from vibe_assets.stages.sources import candidate_version
    from vibe_assets.stages.teacher import trial_file

    version = candidate_version(platform)
    if version is None:
        return {}
    try:
        found = json.loads(trial_file(platform.settings, version).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _counts(values: pl.Series) -> dict[str, int]:
    return {str(name): int(count) for name, count in sorted(values.value_counts().iter_rows(), key=lambda row: (-row[1], str(row[0])))}
