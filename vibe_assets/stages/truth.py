"""Annotations -> automatic ground truth -> audit sample -> what people say of it."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from vibe_assets.audit.settle import truth_rows, truth_version
from vibe_assets.records import (
    ANNOTATIONS,
    AUDIT_DRAWS,
    AUDIT_SAMPLE,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    PHOTO_GROUPS,
    PREDICTIONS,
    fingerprint,
)
from vibe_assets.records.answers import asked_of_people, without_teacher
from vibe_assets.stages.library import accepted_photos
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.verdicts import counted_verdicts, log_file_rows, mark_done, verdict_log

if TYPE_CHECKING:
    import polars as pl

    from vibe_assets.audit.verdicts import Verdict
    from vibe_assets.questions import Questions


def groups_of(platform: Platform) -> dict[str, str]:
    """image_id -> group_id of the library."""
    return dict(platform.lake.scan(PHOTO_GROUPS).select("image_id", "group_id").collect().iter_rows())


def convert_rows(platform: Platform, annotations: pl.DataFrame) -> pl.DataFrame:
    """AUTO_GROUND_TRUTH rows of ANNOTATIONS rows under the label file and thresholds in force."""
    from vibe_assets.labels.convert import convert

    labels = platform.settings.labels
    return convert(
        annotations, platform.questions, min_object_confidence=labels.min_object_confidence, include_non_main=labels.include_non_main
    )


def strange_words(platform: Platform) -> list[tuple[str, str, int, str]]:
    """(question, word, photos, nearest label or "") of words of the teacher that mean no label, most frequent first."""
    from difflib import get_close_matches

    from vibe_assets.labels.convert import strange_words as found

    labels, questions = platform.settings.labels, platform.questions
    counts = found(
        platform.lake.read_live(ANNOTATIONS), questions, min_object_confidence=labels.min_object_confidence,
        include_non_main=labels.include_non_main,
    )  # fmt: skip
    told = []
    for said, count in counts.most_common():
        key, _, word = said.partition(": ")
        near = get_close_matches(word, questions[key].words, 1, 0.6)
        told.append((key, word, count, questions[key].words[near[0]] if near else ""))
    return told


def convert_library(platform: Platform) -> pl.DataFrame:
    """Turn the annotations of every live folder into labels."""
    rows = convert_rows(platform, platform.lake.read_live(ANNOTATIONS))
    platform.lake.replace(AUTO_GROUND_TRUTH, rows, commit=platform.commit)
    return rows


def sample_file(platform: Platform) -> Path:
    """Where the sample lies that people check."""
    return platform.settings.audit_dir / "sample.json"


def draw_audit_sample(platform: Platform, *, now: datetime | None = None) -> pl.DataFrame:
    """Draw the photos that people are asked to check, and write them as a JSON file to edit. Raises LakeError where a sample was lost.

    What people checked of earlier samples still counts: the record of every draw is kept.
    """
    from vibe_assets.labels.sample import draw_record, sample_rows, write_sample

    lake = platform.lake
    lake.exists(AUDIT_SAMPLE)  # a sample that was lost is made anew as people know it, and none is drawn in its place
    truth = lake.read_live(AUTO_GROUND_TRUTH)
    if truth.is_empty():
        raise StageError("nothing to sample: no automatic ground truth yet; `vibe run` makes it")
    students, checked = without_teacher(lake.read_live(PREDICTIONS), platform.questions), _checked(platform, truth)
    settings = platform.settings.audit
    if settings.strategy == "auto" and len(checked) >= DOUBT_AFTER and _on_main(platform, students)["scene"].is_not_null().any():
        settings = settings.model_copy(update={"strategy": "doubt"})
    predictions = _on_main(platform, students) if settings.strategy in ("disagreement", "uncertainty", "doubt") else None
    paths = accepted_photos(platform).select("image_id", "rel_path")
    record = draw_record(
        _on_main(platform, truth), lake.read(PHOTO_GROUPS), paths=paths, settings=settings, predictions=predictions, checked=checked
    )
    rows = sample_rows(record, truth, paths, lake.of(AUDIT_SAMPLE))
    keep_draw(platform, record, now=now)
    lake.replace(AUDIT_SAMPLE, rows, commit=platform.commit)
    # Who hands the file in must not undo what was checked, nor answer what people left open.
    write_sample(_with_people(rows, lake.read_live(AUDITED_GROUND_TRUTH), platform.questions), sample_file(platform), platform.questions)
    return rows


def _with_people(rows: pl.DataFrame, audited: pl.DataFrame, questions: Questions) -> pl.DataFrame:
    """The rows with what people say in place of their labels, unknown as well; what nobody was asked stays."""
    for name in questions.columns:
        said = audited.filter(asked_of_people(name)).select("image_id", name)
        rows = rows.update(said, on="image_id", include_nulls=True)
    return rows


def _on_main(platform: Platform, rows: pl.DataFrame) -> pl.DataFrame:
    """Rows whose `scene` and `scene_confidence`, by which samples are drawn, are those of the main question; null without one."""
    import polars as pl

    main = platform.questions.main
    if main is None:
        return rows.with_columns(scene=pl.lit(None, pl.String), scene_confidence=pl.lit(None, pl.Float64))
    sure = main.fields[0].confidence
    return rows.with_columns(pl.col(main.key).alias("scene"), *([pl.col(sure).alias("scene_confidence")] if sure in rows.columns else []))


DOUBT_AFTER = 50  # checks: with fewer nobody can say whether the students' doubt tells errors


def _checked(platform: Platform, truth: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """image_id -> whether people say another scene than the teacher (0 or 1), and the photo's weight; photos with both."""
    import polars as pl

    people = _on_main(platform, platform.lake.read_live(AUDITED_GROUND_TRUTH)).select("image_id", "inclusion_probability", people="scene")
    both = people.join(_on_main(platform, truth).select("image_id", "scene").unique("image_id"), on="image_id").drop_nulls(
        ["people", "scene"]
    )
    rows = both.select(
        "image_id", (pl.col("people") != pl.col("scene")).cast(pl.Float64), 1 / pl.col("inclusion_probability").fill_null(1.0)
    )
    return {image_id: (wrong, weight) for image_id, wrong, weight in rows.iter_rows()}


def checked_already(platform: Platform, rows: pl.DataFrame) -> int:
    """How many photos of a sample people have settled before."""
    return len(set(rows["image_id"]) & set(platform.lake.read_live(AUDITED_GROUND_TRUTH)["image_id"]))


def keep_draw(platform: Platform, record: pl.DataFrame | None, *, now: datetime | None = None) -> None:
    """Add a draw to the record of all draws; one that says what the last one said adds nothing. None: only what came before records."""
    import polars as pl

    lake, seed = platform.lake, platform.settings.audit.seed
    draws = lake.read(AUDIT_DRAWS)
    if draws.is_empty() and (older := older_record(platform)) is not None:
        draws = _numbered(older, 0, None, seed)
        lake.append(AUDIT_DRAWS, draws, commit=platform.commit)
    if record is None:
        return
    number = int(draws["draw"].max() or 0) if draws.height else 0  # type: ignore[arg-type]
    last = draws.filter((pl.col("draw") == number) & (pl.col("seed") == seed))
    if not number or not last.select(record.columns).sort("image_id").equals(record.sort("image_id")):
        lake.append(AUDIT_DRAWS, _numbered(record, number + 1, now or datetime.now(UTC), seed), commit=platform.commit)


def _numbered(record: pl.DataFrame, number: int, at: datetime | None, seed: int) -> pl.DataFrame:
    import polars as pl

    rows = record.with_columns(draw=pl.lit(number), at=pl.lit(at), seed=pl.lit(seed))
    return rows.select([pl.col(name).cast(dtype) for name, dtype in AUDIT_DRAWS.polars_schema().items()])


def older_record(platform: Platform) -> pl.DataFrame | None:
    """What can be told of a sample that was drawn before draws were recorded; None without one."""
    from vibe_assets.labels.draws import record_of_older, strategy_of
    from vibe_assets.labels.sample import draw_record

    lake = platform.lake
    if (sample := lake.read(AUDIT_SAMPLE)).is_empty():
        return None
    strategy = strategy_of(sample["stratum"].drop_nulls())
    settings = platform.settings.audit.model_copy(update={"strategy": strategy})
    students = _on_main(platform, without_teacher(lake.read_live(PREDICTIONS), platform.questions))
    predictions = students if strategy in ("disagreement", "uncertainty") else None
    paths = accepted_photos(platform).select("image_id", "rel_path")
    truth = _on_main(platform, lake.read_live(AUTO_GROUND_TRUTH))
    now = draw_record(truth, lake.read(PHOTO_GROUPS), paths=paths, settings=settings, predictions=predictions)
    return record_of_older(sample, now)


@dataclass(frozen=True)
class AuditedPopulation:
    """The photos that audited figures speak of."""

    photos: int
    since: datetime | None  # the moment of the draw; None for one of before draws were recorded
    new: int  # photos of the library as it is now that no draw which counts could have drawn

    def words(self) -> str:
        """For people: which photos, from when; and what to do where the library has outgrown them."""
        of = f"the {self.photos:,} photos that the library had" + (f" on {self.since:%Y-%m-%d}" if self.since else " at the draw")
        if not self.new:
            return of
        came = f"{self.new:,} photo{'s' if self.new > 1 else ''} came since and {'are' if self.new > 1 else 'is'} not spoken of"
        return f"{of}; {came}: `vibe sample` adds photos of theirs to the sample, and what was checked still counts"


def audited_photos(platform: Platform) -> list[str] | None:
    """image_id of the photos of the library as it is now that a draw which counts could have drawn; None where there is no such draw."""
    draws = _counted_draws(platform)
    return None if draws.is_empty() else draws["image_id"].unique(maintain_order=True).to_list()


def audited_population(platform: Platform) -> AuditedPopulation | None:
    """Which photos the audit speaks of; None where no draw was recorded or nobody checked any of one."""
    draws = _counted_draws(platform)
    if draws.is_empty():
        return None
    known = draws.select("image_id").unique()
    library = platform.lake.read_live(AUTO_GROUND_TRUTH).select("image_id").unique()
    return AuditedPopulation(known.height, draws["at"].max(), library.join(known, on="image_id", how="anti").height)  # type: ignore[arg-type]


def _counted_draws(platform: Platform) -> pl.DataFrame:
    """The rows of the draws that count, of photos of the library as it is now."""
    import polars as pl

    from vibe_assets.labels.draws import counted_draws

    draws = platform.lake.read_live(AUDIT_DRAWS)
    counted = counted_draws(draws, platform.lake.read_live(AUDITED_GROUND_TRUTH)["image_id"].to_list())
    return draws.filter(pl.col("draw").is_in(list(counted)))


def accept_audited(platform: Platform, file: Path, *, part: bool = False) -> pl.DataFrame:
    """Check an audited file and, when every line of it is right, take it over: it settles its photos. Raises AuditedFileError.

    Without `part` the file must hold exactly the photos of the sample. With it, it may hold any that were audited before, as an
    export does; their inclusion probabilities are the file's.
    """
    from vibe_assets.labels.files import write_audited

    rows = _read(platform, file, None if part else platform.lake.read(AUDIT_SAMPLE))
    log_file_rows(platform, rows, file=file.name)
    if not part:
        write_audited(
            rows, platform.settings.audited_file, platform.questions
        )  # with the probabilities of the sample it answers: a later draw has others
    mark_done(platform)
    return rows


def export_audited(platform: Platform, file: Path) -> pl.DataFrame:
    """Write what people say up to this moment, settled, as a file that `vibe audited FILE --part` takes back."""
    from vibe_assets.labels.files import write_audited

    rows = _with_chances(platform, _settled(platform, verdict_log(platform).verdicts()))
    write_audited(rows, file, platform.questions)
    return rows


def _read(platform: Platform, file: Path, sample: pl.DataFrame | None) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH rows of an audited file, checked against taxonomy, library and, where given, the sample."""
    from vibe_assets.labels.files import read_audited

    return read_audited(
        file,
        questions=platform.questions,
        known_ids=audit_known_ids(platform),
        sample_rows=sample if sample is not None and sample.height else None,
    )


def audit_known_ids(platform: Platform) -> set[str]:
    """Photos that an audit may speak of: those of the library, those ever sampled, and those it spoke of before."""
    lake = platform.lake
    known = [accepted_photos(platform), lake.read(AUDIT_SAMPLE), lake.read(AUDITED_GROUND_TRUTH)]
    return {image_id for rows in known for image_id in rows["image_id"]}


def audited_version(platform: Platform, *, now: datetime | None = None) -> str | None:
    """Hash of what people say, settled; None while nobody said anything. It rests while people are at it (see settled_part)."""
    path = platform.settings.audited_file
    verdicts = counted_verdicts(platform, now=now)
    if not verdicts:
        return hashlib.sha256(path.read_bytes()).hexdigest()[:16] if path.is_file() else None
    parts = {"verdicts": truth_version(truth_rows(verdicts, platform.questions))}
    if _file_alone(platform, verdicts):
        parts["file"] = hashlib.sha256(path.read_bytes()).hexdigest()
    return fingerprint(parts)


def settle_audit(platform: Platform, *, now: datetime | None = None) -> pl.DataFrame:
    """Bring audited_ground_truth up to date with the verdicts that count: those of the page and those of accepted files."""
    verdicts = counted_verdicts(platform, now=now)
    if not verdicts and not platform.settings.audited_file.is_file() and platform.settings.gates.require_audit:
        raise StageError(f"nobody audited anything yet: open `vibe audit`, or correct {sample_file(platform)}, then `vibe audited FILE`")
    rows = _with_chances(platform, _settled(platform, verdicts))
    platform.lake.replace(AUDITED_GROUND_TRUTH, rows, commit=platform.commit)
    return rows


def _settled(platform: Platform, verdicts: list[Verdict]) -> pl.DataFrame:
    """AUDITED_GROUND_TRUTH rows of the verdicts, and of an accepted file that no verdict stands for (older installations)."""
    import polars as pl

    rows = truth_rows(verdicts, platform.questions)
    if not _file_alone(platform, verdicts):
        return rows
    older = _read(platform, platform.settings.audited_file, None)
    return pl.concat([rows, older.join(rows, on="image_id", how="anti")]).sort("image_id")


def _with_chances(platform: Platform, rows: pl.DataFrame) -> pl.DataFrame:
    """The rows with the chance that all draws together gave to each photo; photos outside of every draw keep what they came with."""
    import polars as pl

    from vibe_assets.labels.draws import audited_chances

    draws = platform.lake.read_live(AUDIT_DRAWS)
    if draws.is_empty() or rows.is_empty():
        return rows
    there = platform.lake.live(AUDITED_GROUND_TRUTH, rows.lazy()).collect()["image_id"].to_list()
    chances = audited_chances(draws, there)
    found = pl.col("image_id").replace_strict(chances, default=None, return_dtype=pl.Float64) if chances else pl.lit(None, pl.Float64)
    return rows.with_columns(inclusion_probability=pl.coalesce(found, "inclusion_probability"))


def _file_alone(platform: Platform, verdicts: list[Verdict]) -> bool:
    return platform.settings.audited_file.is_file() and not any(verdict.source == "file" for verdict in verdicts)
