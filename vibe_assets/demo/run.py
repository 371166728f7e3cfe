"""The demo: a rendered library in, the whole lineage materialised through Dagster out.

The runs are real ones, recorded in the instance. What must run is asked of the automation conditions, tick by tick, exactly
as the daemon asks them, so a second demo runs only what moved.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dagster as dg

from vibe_assets.defs.drive import Driver, Tally, report_outside_world
from vibe_assets.demo.render import DemoLibrary, render_library, simulate_audit
from vibe_assets.lake import write_text
from vibe_assets.operate.ui import dagster_home
from vibe_assets.settings import CONFIG_ENV, Settings, SettingsError, load_settings
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import accept_audited, sample_file

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
"""


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


def run_demo(folder: Path, *, photos: int = 280) -> bool:
    """Render, teach, audit, train, judge, deploy, label; True when every run passed its gates."""
    import logging

    started = time.monotonic()
    folder = folder.resolve()
    os.environ.setdefault("DAGSTER_HOME", str(Path("dagster_home").resolve()))
    dagster_home()
    logging.getLogger("dagster").setLevel(logging.ERROR)
    library = render_library(folder, seed=SEED, photos=photos, progress=True)
    config = _settings_file(folder)
    with demo_teacher(folder) as base_url, _environment(**{CONFIG_ENV: str(config), "QWEN_BASE_URL": base_url}):
        from vibe_assets.definitions import defs

        with dg.DagsterInstance.get() as instance:
            driver = Driver(instance, defs, folder / "automation.cursor")
            driver.close_interrupted()
            platform = Platform.open(run_id="demo", progress=False)
            report_outside_world(platform, instance)
            driver.drain()
            _simulated_people(platform, library)
            report_outside_world(platform, instance)
            driver.drain()
            _trial(platform, driver)
        print_outcome(platform, library, driver.tally, time.monotonic() - started)
    return not driver.tally.failed


def _settings_file(folder: Path) -> Path:
    config = folder / "vibe.toml"
    if not config.exists():
        write_text(config, SETTINGS)
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


def _trial(platform: Platform, driver: Driver) -> None:
    """Try the candidate teacher once, as the source sensor would."""
    from vibe_assets.stages.sources import candidate_version
    from vibe_assets.stages.teacher import trial_file

    version = candidate_version(platform)
    if version and platform.settings.audited_file.exists() and not trial_file(platform.settings, version).exists():
        driver.run([dg.AssetKey("teacher_trial")])


# -- what came of it ---------------------------------------------------------------------------------------------------
def print_outcome(platform: Platform, library: DemoLibrary, tally: Tally, seconds: float) -> None:
    """The table at the end of the demo, and where everything lies."""
    from rich.console import Console
    from rich.table import Table

    console = Console()
    if not tally.runs:
        console.print(
            f"[bold]Nothing moved since the last demo:[/] every answer, vector and head is cached, no run was needed ({seconds:.0f} s)."
        )
    table = Table(title="vibe_assets demo", title_justify="left", header_style="bold")
    table.add_column("")
    table.add_column("value", justify="right")
    table.add_column("95 % interval")
    table.add_column("n", justify="right")
    table.add_column("baseline", justify="right")
    for row in outcome_rows(platform):
        table.add_row(*row)
    console.print(table)
    passed, failed = tally.checks[True], tally.checks[False]
    if tally.runs:
        console.print(f"{tally.runs} Dagster runs in {seconds:.0f} s; gates: {passed} passed, {failed} not passed")
    for line in tally.not_passed:
        console.print(f"  gate not passed: {line}", markup=False, highlight=False)
    for line in tally.failed:
        console.print(f"  run failed: {line}", markup=False, highlight=False)
    settings = platform.settings
    for what, path in (
        ("teacher report", settings.reports_dir / "teacher_report.html"),
        ("student report", settings.reports_dir / "student_report.html"),
        ("labels of every photo", settings.warehouse_file),
        ("heads", settings.heads_dir),
        ("photos", library.root),
    ):
        if path.exists():
            console.print(f"{what:<22} {os.path.relpath(path)}", markup=False, highlight=False, soft_wrap=True)
    console.print("The people of this demo are simulated from the rendered truth. `make ui` opens the graph with this history.")


def outcome_rows(platform: Platform) -> list[tuple[str, str, str, str, str]]:
    """Counts and headline scores, from the lake."""
    import polars as pl

    from vibe_assets.records import ANNOTATIONS, AUDITED_GROUND_TRUTH, METRICS, RAW_PHOTOS

    lake = platform.lake
    photos, answers = lake.read_live(RAW_PHOTOS), lake.read_live(ANNOTATIONS)
    counts = {
        "files": photos.height,
        "photos (readable, each once)": photos.filter(pl.col("reason").is_null())["image_id"].n_unique(),
        "annotated by the teacher": answers.filter(pl.col("reason").is_null())["image_id"].n_unique(),
        "audited": lake.read(AUDITED_GROUND_TRUTH).height,
    }
    rows: list[tuple[str, str, str, str, str]] = [(name, f"{count:,}", "", "", "") for name, count in counts.items()]
    history = (
        lake.read(METRICS).filter(pl.col("label") == "").sort("at").unique(["subject", "truth", "metric"], keep="last", maintain_order=True)
    )
    wanted = {
        "scene_accuracy_answered": "scene accuracy (answered)",
        "scene_accuracy_forced": "scene accuracy (never abstaining)",
        "attributes_macro_f1": "attributes macro-F1",
        "objects_top1": "main object (top-1)",
    }
    against = {"human": "people", "auto": "teacher"}
    for subject, truth in (("teacher", "human"), ("student", "human"), ("student", "auto")):
        for metric, name in wanted.items():
            found: list[dict[str, Any]] = history.filter(subject=subject, truth=truth, metric=metric).to_dicts()
            for one in found:
                baseline = "" if one["baseline"] is None else f"{one['baseline']:.3f}"
                rows.append(
                    (
                        f"{subject} vs {against[truth]}: {name}",
                        f"{one['value']:.3f}",
                        f"{one['low']:.3f} to {one['high']:.3f}",
                        str(one["n"]),
                        baseline,
                    )
                )
    return rows
