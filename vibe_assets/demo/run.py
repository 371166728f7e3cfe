"""The demo: a rendered library in, the whole lineage materialised through Dagster out.

The runs are real ones, recorded in the instance. What must run is asked of the automation conditions, tick by tick, exactly
as the daemon asks them, so a second demo runs only what moved.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from vibe_assets.defs.drive import Driver, Tally
from vibe_assets.defs.foreground import try_candidate
from vibe_assets.demo.names import SETTINGS as NAMES_SETTINGS
from vibe_assets.demo.render import DemoLibrary, render_library, simulate_audit
from vibe_assets.demo.studies import StudyOutcome, run_studies
from vibe_assets.lake import write_text
from vibe_assets.operate.instance import open_instance, refuse_daemon, working
from vibe_assets.settings import CONFIG_ENV, Settings, SettingsError, load_settings
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import LABELS_FILE, index_file, write_index
from vibe_assets.stages.truth import accept_audited, sample_file
from vibe_assets.words import some

SEED = 7
PORT = 8788
TEACHER, CANDIDATE = "demo-teacher", "demo-candidate"
MARKER = "# written by `vibe demo`"
SETTINGS = f"""\
{MARKER}: a rendered library, a teacher that replays recorded answers, people simulated from the rendered truth.
[library]
root = "photos"
home = "data"

[teacher]
base_url = "http://127.0.0.1:{PORT}/v1"
model = "{TEACHER}"

# A better teacher on trial: `vibe teacher promote` makes it the teacher, and a running daemon re-annotates the library.
[teacher.candidate]
model = "{CANDIDATE}"

[audit]
sample_size = 160

[gates]
min_readable_share = 0.85

{NAMES_SETTINGS}"""


@contextmanager
def demo_teacher(folder: Path, port: int = 0) -> Iterator[str]:
    """The replay teacher of a rendered library on loopback, under both names; yields its base URL."""
    from vibe_assets.teacher.replay import running_replay

    answers = {TEACHER: folder / "teacher_answers.jsonl", CANDIDATE: folder / "candidate_answers.jsonl"}
    with running_replay(answers, folder / "photos", port=port) as base_url:
        yield base_url


@contextmanager
def teacher_for_demo(settings: Settings) -> Iterator[None]:
    """Keep the demo's teacher answering while the UI serves the demo; do nothing for any other library."""
    config = settings.config_file
    if (
        config is None
        or not config.read_text(encoding="utf-8").startswith(MARKER)
        or not (config.parent / "teacher_answers.jsonl").exists()
    ):
        yield
        return
    with demo_teacher(config.parent) as base_url, _environment(QWEN_BASE_URL=base_url):
        yield


@contextmanager
def _environment(**values: str) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in values}
    os.environ.update(values)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def run_demo(folder: Path, *, photos: int = 400, studies: bool = True) -> bool:
    """Render, teach, audit, train, judge, deploy, label, study; True when every run passed its gates."""
    import logging

    started = time.monotonic()
    folder = folder.resolve()
    logging.getLogger("dagster").setLevel(logging.ERROR)
    library = render_library(folder, seed=SEED, photos=photos, progress=True)
    config = _settings_file(folder)
    with demo_teacher(folder) as base_url, _environment(**{CONFIG_ENV: str(config), "QWEN_BASE_URL": base_url}):
        from vibe_assets.definitions import defs

        settings = load_settings()
        with working(settings, "`vibe demo`"), open_instance(settings) as instance:
            refuse_daemon(instance)
            driver = Driver(instance, defs, log=None if sys.stdout.isatty() else sys.stdout)
            if interrupted := driver.close_interrupted():
                print_line(f"The last demo was interrupted in {some(interrupted, 'run')}; going on from there.")
            platform = Platform.open(run_id="demo", progress=False)
            driver.look(platform)
            driver.drain()
            _simulated_people(platform, library)
            driver.look(platform)
            driver.drain()
            try_candidate(platform, driver)
            studied = run_studies(Platform.open(run_id="demo", progress=False), driver, print_line) if studies else []
            write_index(platform)  # with the outcome of the trial and of the studies
        print_outcome(platform, library, driver.tally, time.monotonic() - started, studied)
    return not driver.tally.failed and not any(study.failed for study in studied)


def _settings_file(folder: Path) -> Path:
    config = folder / "vibe.toml"
    if not config.exists():
        write_text(config, SETTINGS)
    elif "[names]" not in (text := config.read_text(encoding="utf-8")):
        write_text(config, f"{text.rstrip()}\n\n{NAMES_SETTINGS}")  # a demo from before the study
    settings = load_settings(config)
    if settings.root != folder / "photos":
        raise SettingsError(
            f"{config}: library.root is {settings.root}, the demo renders {folder / 'photos'}; remove the file to have it written anew"
        )
    return config


def _simulated_people(platform: Platform, library: DemoLibrary) -> None:
    """The demo's people correct the sample from the rendered truth; an audit that exists stays."""
    sample = sample_file(platform)
    if not sample.exists() or platform.settings.audited_file.exists():
        return
    corrected = simulate_audit(sample, library.truth, seed=SEED)
    filled = write_text(sample.with_name("simulated_people.json"), json.dumps(corrected, indent=2, ensure_ascii=False))
    accept_audited(platform, filled)


# -- what came of it ---------------------------------------------------------------------------------------------------
def print_outcome(platform: Platform, library: DemoLibrary, tally: Tally, seconds: float, studied: Sequence[StudyOutcome] = ()) -> None:
    """The table at the end of the demo, what the gates said, and where everything lies."""
    from rich.console import Console
    from rich.table import Table

    console = Console(highlight=False, width=None if sys.stdout.isatty() else 110)  # a log is no narrower than its widest table
    console.print()
    if not tally.runs and not any(study.ran for study in studied):
        console.print(f"[bold]Nothing moved since the last demo.[/] Every answer, vector and head is cached: no run ({seconds:.0f} s).\n")
    for title, columns, rows in (
        ("The library", ("", "photos"), count_rows(platform)),
        ("How good the labels are", SCORES, score_rows(platform)),
    ):
        table = Table(title=title, title_justify="left", title_style="bold", header_style="dim", box=None, padding=(0, 2, 0, 0))
        for at, name in enumerate(columns):
            table.add_column(name, justify="left" if at == 0 or name == INTERVAL else "right", no_wrap=True)
        for row in rows:
            table.add_row(*row)
        console.print(table, "")
    _print_gates(platform, tally, seconds)
    _print_studies(studied)
    _print_places(platform, library)
    print_line("\nThe people of this demo are simulated from the rendered truth. `vibe ui` (make ui) opens the graph with this history.")


def print_line(text: str) -> None:
    """One line for people, as it is: no markup, no wrapping of paths."""
    from rich.console import Console

    Console(highlight=False).print(text, markup=False, soft_wrap=True)


def _print_gates(platform: Platform, tally: Tally, seconds: float) -> None:
    """What ran, which gates did not pass, and the verdict on the candidate teacher."""
    if tally.runs:
        passed, not_passed = tally.checks[True], len(tally.not_passed)
        print_line(f"{some(tally.runs, 'Dagster run')} in {seconds:.0f} s. Gates: {passed} passed, {not_passed} not passed.")
    for line in tally.not_passed:
        print_line(f"  {line}")
    if tally.not_passed and not tally.failed:
        print_line("  Warnings stop nothing; in the UI each gate shows its numbers and says what to do.")
    for line in tally.failed:
        print_line(f"  run failed: {line}")
    for outcome in trials(platform.settings):
        print_line(f"Teacher on trial: {outcome['candidate']} against {platform.settings.teacher.model}. {outcome['verdict']}")
        verdict = "may be promoted (`vibe teacher promote`)" if outcome["allowed"] else "may not be promoted"
        print_line(f"  It {verdict}.")


def _print_studies(studied: Sequence[StudyOutcome]) -> None:
    """One line for each study, and what its gates refused."""
    for study in studied:
        print_line(f"Study {study.name}: {study.said}" + (f" ({study.seconds:.0f} s)" if study.ran else " (nothing moved, not run again)"))
        for line in (*study.not_passed, *study.failed):
            print_line(f"  not passed: {line}")


def _print_places(platform: Platform, library: DemoLibrary) -> None:
    settings = platform.settings
    places = {
        "all reports": index_file(platform),
        "teacher report": settings.reports_dir / "teacher_report.html",
        "student report": settings.reports_dir / "student_report.html",
        "triage report": settings.reports_dir / "triage_report.html",
        "names report": settings.reports_dir / "names_report.html",
        "tag leaderboard": settings.reports_dir / "leaderboard_report.html",
        "labelled predictions": settings.reports_dir / f"{LABELS_FILE}.csv",
        "the same, JSON lines": settings.reports_dir / f"{LABELS_FILE}.jsonl",
        "warehouse (DuckDB)": settings.warehouse_file,
        "heads": settings.heads_dir,
        "photos": library.root,
    }
    print_line("")
    for what, path in places.items():
        if path.exists():
            print_line(f"  {what:<22}{_short_path(path)}")


def _short_path(path: Path) -> str:
    """Below the working directory relative, elsewhere absolute."""
    return str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)


INTERVAL = "95 % interval"
SCORES = ("", "value", INTERVAL, "n", "baseline")
WANTED = {
    "scene_accuracy": "scene",
    "scene_accuracy_forced": "scene, every photo answered",
    "scene_accuracy_answered": "scene, where it answers",
    "attributes_macro_f1": "attributes, macro-F1",
    "objects_top1": "main object",
}


def count_rows(platform: Platform) -> list[tuple[str, str]]:
    """How many photos got how far, from the lake."""
    import polars as pl

    from vibe_assets.records import ANNOTATIONS, AUDITED_GROUND_TRUTH, PREDICTIONS, RAW_PHOTOS

    lake = platform.lake
    photos, answers, said = lake.read_live(RAW_PHOTOS), lake.read_live(ANNOTATIONS), lake.read_live(PREDICTIONS)
    counts = {
        "files found": photos.height,
        "photos: readable, each once": photos.filter(pl.col("reason").is_null())["image_id"].n_unique(),
        "annotated by the teacher": answers.filter(pl.col("reason").is_null())["image_id"].n_unique(),
        "audited by people": lake.read(AUDITED_GROUND_TRUTH).height,
        "labelled by the students": said.filter(pl.col("source").str.contains("student"))["image_id"].n_unique(),
    }
    return [(name, f"{count:,}") for name, count in counts.items()]


def score_rows(platform: Platform) -> list[tuple[str, ...]]:
    """The headline scores of teacher and students, newest first in the history of metrics."""
    from vibe_assets.records import METRICS

    lake = platform.lake
    history = lake.read(METRICS).filter(label="").sort("at").unique(["subject", "truth", "metric"], keep="last", maintain_order=True)
    rows: list[tuple[str, ...]] = []
    for subject, truth, name in (
        ("teacher", "human", "teacher against people"),
        ("student", "human", "students against people"),
        ("student", "auto", "students against teacher"),
    ):
        known = history.filter(subject=subject, truth=truth)
        forced = "scene_accuracy_forced" in known["metric"]
        for metric, about in WANTED.items():
            if metric == ("scene_accuracy" if forced else "scene_accuracy_answered"):
                continue  # with abstention the two others say more; without it they say the same
            for one in known.filter(metric=metric).iter_rows(named=True):
                baseline = "" if one["baseline"] is None else f"{one['baseline']:.3f}"
                rows.append(
                    (f"{name}: {about}", f"{one['value']:.3f}", f"{one['low']:.3f} to {one['high']:.3f}", f"{one['n']:,}", baseline)
                )
    return rows


def trials(settings: Settings) -> list[dict[str, Any]]:
    """Outcomes of the trials of candidate teachers."""
    return [json.loads(file.read_text(encoding="utf-8")) for file in sorted((settings.home / "trials").glob("*.json"))]
