"""A small installation, what was done to it, and what must be true of it after anything: the model that random operations are held to.

The operations are real stages over real files, a teacher behind real HTTP, journals and Delta tables; only photos are tiny. Every
operation is (name, arguments of plain JSON), so that a process of its own can do it and be killed in the middle.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import shutil
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from PIL import Image

from tests.support.questions import ATTRIBUTES
from vibe_assets.audit.verdicts import Verdict
from vibe_assets.heads.deployments import Deployments
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.store import load_head, saved_heads
from vibe_assets.photos.folders import LibraryVanished
from vibe_assets.records import (
    ANNOTATIONS,
    AUDITED_GROUND_TRUTH,
    AUTO_GROUND_TRUTH,
    IMAGE_EMBEDDINGS,
    PREDICTIONS,
    RAW_PHOTOS,
    TABLES,
    Labels,
    Table,
)
from vibe_assets.settings import load_settings
from vibe_assets.stages import gates, library
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.students import NOTHING, deploy_students, train_student
from vibe_assets.stages.teacher import annotate_folder
from vibe_assets.stages.truth import audit_known_ids, convert_library, draw_audit_sample, settle_audit
from vibe_assets.stages.verdicts import mark_done, verdict_log
from vibe_assets.teacher.annotate import UNKEPT
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

TEACHERS = ("teacher-a", "teacher-b")
FOLDERS = ("one", "two", "two/inner", "three")
SCENES = ("food", "animals", "document", "landscape")
CONCURRENCY = 4
IN_FLIGHT = UNKEPT * CONCURRENCY  # answers that a kill can cost: asked, arrived, not yet written
REFUSALS = (StageError, HeadError, LibraryVanished)  # what a stage may say instead of doing something; nothing is changed then
SETTINGS = """\
[library]
root = "photos"
home = "{home}"
scan_workers = 1
max_missing_share = 1.0

[teacher]
model = "{teacher}"
concurrency = {concurrency}
image_format = "keep"
max_side_px = 0

[audit]
sample_size = 20
settle_after_s = 0

[students]
max_epochs = 20
min_positives = 1

[gates]
min_audited = 1
"""
Operation = tuple[str, dict[str, Any]]


# -- the outside world -------------------------------------------------------------------------------------------------
def photo_bytes(seed: int) -> bytes:
    """A JPEG of noise; every 7th is broken, every 11th no picture at all."""
    if seed % 11 == 10:
        return b"not a picture %d" % seed
    noise = np.random.default_rng(seed).integers(0, 256, (6, 8, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(noise).resize((40, 30)).save(buffer, "JPEG", quality=90)
    data = buffer.getvalue()
    return data[: len(data) // 2] if seed % 7 == 6 else data


def answer_to(model: str, image_id: str) -> dict[str, Any]:
    """What a teacher says of a photo: always the same, and not what the other says."""
    number = int(hashlib.sha256(f"{model} {image_id}".encode()).hexdigest()[:8], 16)
    seen = {"name_free": "thing", "coarse_type": ("dog", "phone", "book")[number % 3], "is_main": True, "confidence": 0.9}
    facts = {name: bool(number >> at & 1) for at, name in enumerate(ATTRIBUTES)}
    return {"scene": SCENES[number % len(SCENES)], **facts, "objects": [seen]}


@dataclass
class Installation:
    """The folder, the teacher's book of paid answers, and what was promised to people."""

    folder: Path
    paid: Counter[tuple[str, str]] = field(default_factory=Counter)  # (model, image_id) -> answers sent
    promised: set[str] = field(default_factory=set)  # verdict ids that were acknowledged
    journalled: dict[tuple[str, str], str] = field(default_factory=dict)  # (teacher, image_id) -> answer, once seen on disk
    kills: int = 0

    @property
    def config(self) -> Path:
        return self.folder / "vibe.toml"

    @property
    def platform(self) -> Platform:
        return Platform(load_settings(self.config), run_id="soak", progress=False)

    def write_settings(self, teacher: str, home: str = "data", file: str = "vibe.toml") -> Path:
        path = self.folder / file
        path.write_text(SETTINGS.format(teacher=teacher, home=home, concurrency=CONCURRENCY))
        return path

    def answer(self, image: bytes, request: Mapping[str, Any]) -> dict[str, Any]:
        image_id = hashlib.sha256(image).hexdigest()[:32]
        self.paid[str(request["model"]), image_id] += 1
        return answer_to(str(request["model"]), image_id)


@contextmanager
def installation(folder: Path, latency_s: float = 0.0) -> Iterator[Installation]:
    """An empty one with its teacher running."""
    from vibe_assets.teacher.replay import ReplayFaults

    made = Installation(folder)
    (folder / "photos").mkdir(parents=True)
    made.write_settings(TEACHERS[0])
    before = dict(os.environ)
    with running_replay(ReplayTeacher(made.answer, faults=ReplayFaults(latency_s=latency_s))) as base_url:
        os.environ |= {"QWEN_BASE_URL": base_url}
        for name in ("QWEN_MODEL", "QWEN_API_KEY", "VIBE_CONFIG"):
            os.environ.pop(name, None)
        try:
            yield made
        finally:
            os.environ.clear()
            os.environ |= before


# -- operations --------------------------------------------------------------------------------------------------------
def do(config: Path, operation: str, /, **arguments: Any) -> str:
    """One operation; what it promises (a verdict's id), else ''. Raises one of REFUSALS where a stage declines."""
    said = OPERATIONS[operation](config, **arguments)
    return said if isinstance(said, str) else ""


def _home(config: Path) -> Platform:
    return Platform(load_settings(config), run_id="soak", progress=False)


def put(config: Path, folder: str, name: str, seed: int) -> None:
    path = config.parent / "photos" / folder / f"{name}.jpg"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(photo_bytes(seed))


def remove(config: Path, folder: str, name: str) -> None:
    (config.parent / "photos" / folder / f"{name}.jpg").unlink(missing_ok=True)


def remove_folder(config: Path, folder: str) -> None:
    shutil.rmtree(config.parent / "photos" / folder, ignore_errors=True)


def copy(config: Path, folder: str, into: str) -> None:
    """Photos under other names in another folder: the same photos, nothing to pay for."""
    source = config.parent / "photos" / folder
    target = config.parent / "photos" / into
    for path in sorted(source.glob("*.jpg")):
        target.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, target / f"copy-{path.name}")


def swap(config: Path, teacher: str) -> None:
    text = config.read_text()
    for known in TEACHERS:
        text = text.replace(f'model = "{known}"', f'model = "{teacher}"')
    config.write_text(text)


def look(config: Path) -> None:
    library.look_at_folders(_home(config), accept_missing=True)


def by_folder(stage: Callable[..., Any], **options: Any) -> Callable[..., None]:
    def run(config: Path, at: int | None = None) -> None:
        """The stage for one live folder, or for all."""
        home = _home(config)
        keys = home.lake.live_folders()
        for key in keys if at is None else keys[at % len(keys) : at % len(keys) + 1] if keys else []:
            stage(home, key, **options)

    return run


def whole(stage: Callable[[Platform], Any]) -> Callable[[Path], None]:
    return lambda config: stage(_home(config))


def judge(config: Path, at: int, scene: int, done: bool = True) -> str:
    """A person says what one photo shows; the id of the verdict, which is a promise."""
    home = _home(config)
    known = sorted(audit_known_ids(home))
    if not known:
        raise StageError("no photo to judge")
    labels = Labels(
        known[at % len(known)], {"scene": f"scene.{SCENES[scene % len(SCENES)]}", **dict.fromkeys(ATTRIBUTES, False), "objects": ()}
    )
    now = datetime.now(UTC).isoformat()
    said = Verdict(uuid.uuid4().hex, now, labels.image_id, "anna", "labelled", labels, blind=True, spent_ms=1)
    log = verdict_log(home)
    log.append(said)
    log.close()
    if done:
        mark_done(home)
    return said.verdict_id


def train(config: Path, kind: str) -> None:
    train_student(_home(config), kind)


def refresh(config: Path) -> None:
    """Everything that the graph would rebuild, in its order."""
    look(config)
    for name in ("scan", "annotate", "embed"):
        OPERATIONS[name](config)
    home = _home(config)
    library.group_library(home)
    convert_library(home)


OPERATIONS: dict[str, Callable[..., Any]] = {
    "put": put, "remove": remove, "remove_folder": remove_folder, "copy": copy, "swap": swap, "look": look, "judge": judge,
    "scan": by_folder(library.scan_folder, accept_missing=True), "annotate": by_folder(annotate_folder), "embed": by_folder(embed_folder),
    "predict": by_folder(predict_folder), "group": whole(library.group_library), "convert": whole(convert_library),
    "sample": whole(draw_audit_sample), "settle": whole(settle_audit), "train": train, "deploy": whole(deploy_students),
    "refresh": refresh,
}  # fmt: skip


# -- what must be true -------------------------------------------------------------------------------------------------
def check(made: Installation) -> None:
    """The invariants that hold after every operation, whole or killed."""
    home = made.platform
    _nothing_paid_is_lost(made, home)
    kept = {verdict.verdict_id for verdict in verdict_log(home).verdicts()}
    assert made.promised <= kept, f"{len(made.promised - kept)} verdicts are lost"
    _heads_are_whole(home)
    for table in TABLES.values():  # every table reads, in the newest version, and says nothing of folders it cannot name
        home.lake.read(table)
    assert gates.groups_sound(home).passed or home.lake.version(TABLES["photo_groups"]) is None, gates.groups_sound(home)


def _nothing_paid_is_lost(made: Installation, home: Platform) -> None:
    """Answers seen in a journal stay there word for word, and no more answers were paid for twice than kills explain."""
    from vibe_assets.teacher.journal import Journal

    now: dict[tuple[str, str], str] = {}
    models: dict[tuple[str, str], str] = {}
    for folder in home.settings.journal_dir.glob("*"):
        for image_id, record in Journal(folder, "reader").known().items():
            if isinstance(record.get("annotation"), dict):
                now[folder.name, image_id] = json.dumps(record["annotation"], sort_keys=True)
                models[str(record["model"]), image_id] = folder.name
                assert record["annotation"] == answer_to(record["model"], image_id), "an answer stands under the wrong photo or teacher"
    lost = [key for key, text in made.journalled.items() if now.get(key) != text]
    assert not lost, f"{len(lost)} paid answers are gone or changed: {lost[:3]}"
    made.journalled = now
    twice = sum(count - 1 for count in made.paid.values()) + len(made.paid.keys() - models.keys())
    assert twice <= made.kills * IN_FLIGHT, f"{twice} answers were paid for in vain, {made.kills} kills explain {made.kills * IN_FLIGHT}"


def _heads_are_whole(home: Platform) -> None:
    """Every saved head loads, was trained on one teacher's labels, and the versions it was trained on are still there."""
    heads_dir, lake = home.settings.heads_dir, home.lake
    saved = saved_heads(heads_dir)
    for version in saved:
        card = load_head(heads_dir / version).card
        for name, number in card.data_versions.items():
            rows = lake.read(TABLES[name], version=number) if number is not None else None
            if name == "auto_ground_truth":
                assert rows is not None
                assert set(rows["teacher"]) == {card.teacher}, f"{version} learnt from {sorted(set(rows['teacher']))}"
    assert set(Deployments(heads_dir).current().values()) <= set(saved), "a deployed head is not there"
    for pointer in heads_dir.glob("*.latest"):
        named_head = pointer.read_text().strip()
        assert named_head in saved or named_head.startswith(NOTHING), f"{pointer.name} names no head"
    named = {part for heads in lake.read(PREDICTIONS)["heads"].drop_nulls().unique() for part in str(heads).split()}
    assert named <= set(saved), f"predictions of {sorted(named - set(saved))}, which are gone"


def check_against_rebuild(made: Installation, number: int = 0) -> None:
    """After a refresh, the lake is what an empty one becomes from photos, journals and verdicts alone, with no question asked again."""
    do(made.config, "refresh")
    home = made.platform
    if verdict_log(home).verdicts():
        mark_done(home)
        settle_audit(home)
    fresh = f"rebuilt-{number}"
    config = made.write_settings(home.settings.teacher.model, home=fresh, file=f"{fresh}.toml")
    for part in ("journal", "audit"):
        if (made.folder / "data" / part).is_dir():
            shutil.copytree(made.folder / "data" / part, made.folder / fresh / part)
    paid = made.paid.total()
    do(config, "refresh")
    assert made.paid.total() == paid, "the journals did not hold every answer"
    other = _home(config)
    if verdict_log(other).verdicts():
        settle_audit(other)
    live = set(home.lake.live_folders())
    assert live == set(other.lake.live_folders())
    for table in (RAW_PHOTOS, ANNOTATIONS, IMAGE_EMBEDDINGS, AUTO_GROUND_TRUTH, AUDITED_GROUND_TRUTH):
        mine, theirs = (_comparable(platform, table, live) for platform in (home, other))
        assert mine.equals(theirs), f"{table.name} differs from a rebuild:\n{mine}\n{theirs}"
    shutil.rmtree(made.folder / fresh)
    config.unlink()


def _comparable(platform: Platform, table: Table, live: set[str]) -> pl.DataFrame:
    """Rows of live folders without what may differ: when something was measured, and what is left of deleted files."""
    rows = platform.lake.read(table)
    if "folder_key" in rows.columns:
        rows = rows.filter(pl.col("folder_key").is_in(sorted(live)))
    if "reason" in rows.columns:
        rows = rows.filter(pl.col("reason").fill_null("") != "deleted")
    rows = rows.drop(
        [name for name in ("latency_s", "mtime_ns", "prompt_tokens", "completion_tokens", "tries", "tried_at") if name in rows.columns]
    )
    return rows.sort([name for name in ("folder_key", "image_id", "rel_path", "annotator") if name in rows.columns], nulls_last=True)
