"""What every `vibe` command writes, and how the graph hears of it: by a note, by a source that a sensor reads, or not at all."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import click
import pytest

from vibe_assets.cli import main
from vibe_assets.cli.app import platform as command_platform
from vibe_assets.definitions import defs
from vibe_assets.records import AUDIT_SAMPLE, FOLDER_SET, METRICS, TABLES
from vibe_assets.stages.notes import WANTED, WROTE, leave_note, noted, read_notes
from vibe_assets.stages.platform import Platform

NOTHING = ""  # nothing that an asset holds: it reads, serves, or writes pages and files of its own
SOURCE = "a source"  # the sensors compare it with what the instance knows, whoever wrote it
WRITES: dict[str, str | tuple[str, ...]] = {
    # the graph follows these: the assets are taken over as they are, or made anew, in runs with their gates
    "sample": ("audit_sample",),
    "train": ("scene_head", "attribute_head", "object_head", "deployed_heads"),
    "heads deploy": ("deployed_heads",),
    "heads rollback": ("deployed_heads",),
    "folders": ("raw_photos",),  # with --accept-missing, and folder_set, which is a source
    "import-annotations": ("annotations",),
    "warehouse rebuild": ("published_warehouse",),
    "repair": "tables that went back",  # told by their versions, which are older than the instance knows
    # a sensor sees what these change
    "audit": SOURCE,
    "audited": SOURCE,
    "label-studio import": SOURCE,
    "teacher promote": SOURCE,
    "init": SOURCE,
    # studies: nothing follows by itself, the UI shows an event
    "teacher trial": ("teacher_trial",),
    "tags ingest": ("tagged_photos",),
    "tags diagnose": ("tag_diagnostics",),
    "tags benchmark": ("tag_predictions", "leaderboard"),
    "tags leaderboard": ("leaderboard",),
    "vlm dataset": ("instruction_dataset",),
    "vlm finetune": ("lora_adapter",),
    "triage series": ("photo_series", "image_quality"),
    "triage train": ("photo_series", "image_quality", "series_preferences", "series_heads"),
    "triage report": ("triage_report",),
    "triage best": ("best_of_series",),
    "names index": ("name_shards", "name_index", "face_chips", "name_embeddings", "name_splits"),
    "names probe": ("name_probes",),
    "names ask": ("name_vlm",),
    "names report": ("names_report",),
    **dict.fromkeys(
        [
            "export csv", "export jsonl", "export parquet", "export imagefolder", "export webdataset", "export coco", "export fiftyone",
            "export messages", "export label-studio",
        ],
        ("label_export",),
    ),
    # runs of the graph, which Dagster records itself
    **dict.fromkeys(["run", "ui", "demo"], "runs"),
    # answers and comparisons of people that a study reads when it is run; an annotations file of its own
    **dict.fromkeys(["annotate", "triage review", "triage import-pairs", "heads import", "heads export", "adopt"], NOTHING),
    **dict.fromkeys(
        [
            "bench embed", "classify", "compare", "doctor", "duplicates", "eval", "export xmp", "heads list", "label-studio export",
            "names compare", "replay-teacher", "report", "search", "sql", "status", "tags models", "teacher show",
            "labels show", "labels prompt", "labels diff",
            "triage folder", "vlm merge",
        ],
        NOTHING,
    ),
}  # fmt: skip
TAKEN_FROM_TABLES = set(TABLES)  # a write into a table leaves its note by itself


def leaves(group: click.Group, path: tuple[str, ...] = ()) -> Iterator[tuple[str, click.Command]]:
    for name, command in group.commands.items():
        if isinstance(command, click.Group):
            yield from leaves(command, (*path, name))
        else:
            yield " ".join((*path, name)), command


COMMANDS = dict(leaves(main))


def test_it_is_known_of_every_command_what_it_writes() -> None:
    assert sorted(WRITES) == sorted(COMMANDS)


@pytest.mark.parametrize("name", sorted(name for name, assets in WRITES.items() if isinstance(assets, tuple)))
def test_a_command_that_writes_an_asset_tells_the_graph(name: str) -> None:
    """Tables tell by themselves; an asset whose state lies elsewhere is named in a note of the command, or of the stage that it calls."""
    known = {key.to_user_string() for key in defs.resolve_asset_graph().materializable_asset_keys}
    assets = WRITES[name]
    assert set(assets) <= known
    callback = COMMANDS[name].callback
    assert callback is not None
    source = inspect.getsource(inspect.unwrap(callback))
    for asset in set(assets) - TAKEN_FROM_TABLES:
        kinds = {f"{kind}_head": 'f"{kind}_head"' for kind in ("scene", "attribute", "object")}
        assert kinds.get(asset, f'"{asset}"') in source, f"vibe {name} writes {asset} and leaves no note"


@pytest.fixture
def library(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Platform:
    (tmp_path / "photos").mkdir()
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    return Platform.open(progress=False)


def test_whatever_a_command_writes_into_a_table_leaves_a_note_that_names_it(library: Platform) -> None:
    with click.Context(main, info_name="vibe") as outer, click.Context(main.commands["sample"], parent=outer, info_name="sample"):
        home = command_platform()
    for table in (AUDIT_SAMPLE, METRICS):
        home.lake.append(table, table_rows(table))
    home.lake.replace(FOLDER_SET, table_rows(FOLDER_SET))
    assert [(note.asset, note.what, note.by) for _, note in read_notes(library)] == [
        ("audit_sample", WROTE, "vibe sample"), ("metrics", WROTE, "vibe sample"), ("folder_set", WROTE, "vibe sample"),
    ]  # fmt: skip


def table_rows(table: object) -> object:
    import polars as pl

    return pl.DataFrame(schema=table.polars_schema())  # type: ignore[attr-defined]


def test_a_run_of_the_graph_leaves_no_note(library: Platform) -> None:
    library.lake.replace(AUDIT_SAMPLE, table_rows(AUDIT_SAMPLE))  # type: ignore[arg-type]
    assert read_notes(library) == []


def test_a_command_that_is_killed_while_it_writes_has_left_its_note(library: Platform) -> None:
    home = replace(library, by="vibe heads rollback")
    with pytest.raises(KeyboardInterrupt), noted(home, "deployed_heads"):
        raise KeyboardInterrupt
    assert [note.asset for _, note in read_notes(library)] == ["deployed_heads"]


def test_notes_are_read_from_a_place_on_and_from_the_start_of_a_new_file(library: Platform) -> None:
    leave_note(library, "annotations", "a-1", what=WANTED)
    ((end, first),) = read_notes(library)
    leave_note(library, "annotations", "b-2", what=WANTED)
    assert [note.partition for _, note in read_notes(library, after=end)] == ["b-2"]
    assert next(note.id for _, note in read_notes(library)) == first.id
    assert [note.partition for _, note in read_notes(library, after=10**6)] == ["a-1", "b-2"]


def test_every_stage_that_writes_a_table_writes_through_the_platform() -> None:
    """A lake that is opened beside the platform would write without a note."""
    own = []
    for file in sorted((Path(__file__).parents[1] / "vibe_assets").rglob("*.py")):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "Lake":
                own.append(str(file.relative_to(Path(__file__).parents[1] / "vibe_assets")))
    assert sorted(set(own)) == [
        "eval/labels.py",
        "lake.py",
        "operate/setup.py",
        "stages/platform.py",
        "stages/repair.py",
    ]  # others read, or stage
