"""A small rendered library with its replay teacher, people and Dagster instance, to change things in and see what follows."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import dagster as dg

from vibe_assets.definitions import defs
from vibe_assets.defs.drive import Driver
from vibe_assets.demo.render import DemoLibrary, render_library, simulate_audit
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.truth import accept_audited, sample_file
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

PHOTOS = 128
LEFT_OUT = 3  # of the rendered folders: every folder costs every test some runs
SETTINGS = """\
[library]
root = "photos"
home = "data"
scan_workers = 1

[teacher]
model = "teacher-1"

[audit]
sample_size = 80

[students]
max_epochs = 60

[gates]
min_teacher_agreement = 0.5
max_deploy_loss = 1.0
min_readable_share = 0.5
max_calibration_error = 1.0
"""
KEYS = {  # every key the product knows of, set while anything runs here; tests/trust looks for them afterwards
    "QWEN_API_KEY": "canary-teacher-Qf7/x+2mZk9=Lw-0001",
    "CANDIDATE_KEY": "canary-candidate-Rb4/w+8nYj3=Xs-0002",
    "OPENAI_API_KEY": "canary-tagger-Tc6/v+1pXh5=Kd-0003",
    "UNSPLASH_ACCESS_KEY": "canary-unsplash-Ud8/u+5qWg7=Mf-0004",
    "LABEL_STUDIO_API_KEY": "canary-labelstudio-Ve2/t+9rVf1=Nh-0005",
    "HF_TOKEN": "canary-hub-Wg0/s+3sUd9=Pj-0006",
}
HEADS = ["attribute_head", "object_head", "scene_head"]


@dataclass
class World:
    """One installation in a folder of its own."""

    folder: Path
    instance: dg.DagsterInstance
    replay: ReplayTeacher

    @property
    def driver(self) -> Driver:
        return Driver(self.instance, defs, progress=False)

    @property
    def platform(self) -> Platform:
        return Platform.open(run_id="test", progress=False)

    @property
    def photos(self) -> Path:
        return self.folder / "photos"

    def settle(self) -> list[dict[str, list[str]]]:
        """Let sensors look and automation work until nothing moves; what each tick ran."""
        driver = self.driver
        driver.look(self.platform)
        return driver.drain()

    def setting(self, old: str, new: str) -> None:
        """Change the settings file as a user would."""
        file = self.folder / "vibe.toml"
        text = file.read_text()
        assert old in text
        file.write_text(text.replace(old, new))

    def audit(self, *, error_rate: float = 0.0) -> None:
        """People check the sample."""
        truth = [json.loads(line) for line in (self.folder / "truth.jsonl").read_text().splitlines()]
        file = self.folder / "people.json"
        file.write_text(json.dumps(simulate_audit(sample_file(self.platform), truth, seed=1, error_rate=error_rate)))
        accept_audited(self.platform, file)

    def folders(self) -> list[str]:
        return sorted(self.instance.get_dynamic_partitions("photo_folders"))


def build(folder: Path) -> DemoLibrary:
    """Render the library and write its settings."""
    library = render_library(folder, seed=3, photos=PHOTOS)
    folders = sorted(
        {path.parent for path in library.root.rglob("*") if path.is_file()}, key=lambda path: (len(list(path.iterdir())), path)
    )
    for small in folders[:LEFT_OUT]:
        shutil.rmtree(small)
    (folder / "vibe.toml").write_text(SETTINGS)
    home = folder / "dagster_home"
    home.mkdir(exist_ok=True)
    shutil.copy(Path(__file__).parents[2] / "dagster_home" / "dagster.yaml", home)
    return library


@contextmanager
def opened(folder: Path) -> Iterator[World]:
    """Open the installation of a folder: environment, instance and teacher, put back at the end."""
    answers = {"teacher-1": folder / "teacher_answers.jsonl", "": folder / "candidate_answers.jsonl"}
    replay = ReplayTeacher(answers, folder / "photos", api_key=KEYS["QWEN_API_KEY"])
    before = dict(os.environ)
    with running_replay(replay) as base_url:
        places = {"VIBE_CONFIG": str(folder / "vibe.toml"), "QWEN_BASE_URL": base_url, "DAGSTER_HOME": str(folder / "dagster_home")}
        os.environ |= places | KEYS
        try:
            with dg.DagsterInstance.get() as instance:
                yield World(folder, instance, replay)
        finally:
            os.environ.clear()
            os.environ |= before


def ran(ticks: list[dict[str, list[str]]]) -> dict[str, int]:
    """Asset -> how often it was run over all ticks, partitions counted each."""
    counts: dict[str, int] = {}
    for tick in ticks:
        for name, partitions in tick.items():
            counts[name] = counts.get(name, 0) + len(partitions)
    return counts
