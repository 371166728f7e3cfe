"""What every change costs in runs, exactly: the table of docs/architecture.md, row by row, on the real graph with real assets."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path

import dagster as dg
import pytest

from tests.defs.world import HEADS, World, ran

F = "F"  # as many as there are folders
FOLDER = ("raw_photos", "annotations", "image_embeddings")
AFTER_HEADS = ("deployed_heads", "student_report", "published_warehouse", "drift_report")
REPORTS = ("student_report", "published_warehouse", "drift_report")
Costs = Mapping[str, int | str]


def once(*names: str) -> dict[str, int | str]:
    return dict.fromkeys(names, 1)


def nothing(world: World) -> None:
    pass


def touch(world: World) -> None:
    for photo in world.photos.rglob("*.*"):
        photo.touch()


def a_folder(world: World) -> Path:
    return next(path for path in sorted(world.photos.rglob("*")) if path.is_dir() and any(path.glob("*.jpg")))


def add_photo(world: World) -> None:
    photo = next(iter(sorted(a_folder(world).glob("*.jpg"))))
    (photo.parent / "another.jpg").write_bytes(photo.read_bytes() + b"\0")


def change_photo(world: World) -> None:
    photo = next(iter(sorted(a_folder(world).glob("*.jpg"))))
    photo.write_bytes(photo.read_bytes() + b"\0")


def delete_photo(world: World) -> None:
    next(iter(sorted(a_folder(world).glob("*.jpg")))).unlink()


def move_folder(world: World) -> None:
    folder = a_folder(world)
    folder.rename(folder.with_name("moved away"))


def delete_folder(world: World) -> None:
    shutil.rmtree(a_folder(world))


def new_teacher(world: World) -> None:
    world.setting("teacher-1", "teacher-2")


def new_mapping(world: World) -> None:
    world.setting("[audit]", "[labels]\nmin_object_confidence = 0.2\n[audit]")


def new_encoder(world: World) -> None:
    world.setting("[audit]", '[encoder]\nname = "handcrafted"\ndecode_mode = "full"\n[audit]')


def new_audit(world: World) -> None:
    world.audit(error_rate=0.2)


def setting_that_does_not_matter(world: World) -> None:
    world.setting("[teacher]", "[teacher]\nconcurrency = 3\ntimeout_s = 77")


def by_hand(world: World) -> None:
    for key in world.folders():
        assert world.driver.run([dg.AssetKey(name) for name in FOLDER], key)


EVENTS: dict[str, tuple[Callable[[World], None], Costs]] = {
    "nothing": (nothing, {}),
    "every photo touched, bytes as before": (touch, {"raw_photos": F}),
    "a photo added": (
        add_photo,
        {**once(*FOLDER, "photo_groups", "auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS), "predictions": F},
    ),
    "a photo changed": (
        change_photo,
        {**once(*FOLDER, "photo_groups", "auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS), "predictions": F},
    ),
    "a photo deleted": (
        delete_photo,
        {**once(*FOLDER, "photo_groups", "auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS), "predictions": F},
    ),
    "a folder moved": (move_folder, once(*FOLDER, "photo_groups", "auto_ground_truth", "predictions", *REPORTS)),
    "a folder deleted": (
        delete_folder,
        {**once("photo_groups", "auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS), "predictions": F},
    ),
    "another teacher": (
        new_teacher,
        {"annotations": F, "predictions": F, **once("auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS)},
    ),
    "another mapping of answers to labels": (
        new_mapping,
        {"predictions": F, **once("prompt_embeddings", "auto_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS)},
    ),
    "another encoder": (
        new_encoder,
        {"image_embeddings": F, "predictions": F, **once("prompt_embeddings", *HEADS, *AFTER_HEADS)},
    ),
    "people judged more photos": (
        new_audit,
        {"predictions": F, **once("audited_ground_truth", "teacher_report", *HEADS, *AFTER_HEADS)},
    ),
    "a setting that decides no result": (setting_that_does_not_matter, {}),
    "scan, answers and vectors of every folder run by hand": (by_hand, {}),
}


@pytest.mark.parametrize("event", EVENTS)
def test_an_event_costs_these_runs_and_no_others(world: World, event: str) -> None:
    happen, costs = EVENTS[event]
    happen(world)
    counts = ran(world.settle())
    assert counts == {name: len(world.folders()) if count == F else count for name, count in costs.items()}
    assert world.settle() == []


def test_the_page_says_what_the_tests_say() -> None:
    page = (Path(__file__).parents[2] / "docs" / "architecture.md").read_text(encoding="utf-8")
    lines = [f"| {event} | {_worded(costs)} |" for event, (_, costs) in EVENTS.items()]
    table = "\n".join(["| event | runs |", "|---|---|", *lines])
    if os.environ.get("VIBE_WRITE_PAGES"):  # a changed table is written, and looked at, by whoever changed it
        start = page.index("| event | runs |")
        end = page.index("\n\n", start)
        (Path(__file__).parents[2] / "docs" / "architecture.md").write_text(page[:start] + table + page[end:], encoding="utf-8")
    else:
        assert table in page


def _worded(costs: Costs) -> str:
    by_folder = [f"F x `{name}`" for name, count in costs.items() if count == F]
    single = [f"`{name}`" for name, count in costs.items() if count == 1]
    return ", ".join([*by_folder, *single]) or "none"
