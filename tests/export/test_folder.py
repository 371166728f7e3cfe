"""An export is there whole or not at all, and nobody else's folder is ever replaced."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.export.library import build
from vibe_assets.export.folder import replacing
from vibe_assets.records import PREDICTIONS
from vibe_assets.stages.export import ExportError, Selection, export_labels
from vibe_assets.stages.platform import Platform, StageError


def left_beside(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.parent.iterdir() if path != folder)


def test_the_same_again_is_nothing_to_do(awkward: Platform, out: Path) -> None:
    first = export_labels(awkward, "csv", Selection(), into=out)
    before = {path: path.stat().st_mtime_ns for path in out.rglob("*")}
    again = export_labels(awkward, "csv", Selection(), into=out)
    assert (first.written, again.written, again.photos) == (True, False, first.photos)
    assert {path: path.stat().st_mtime_ns for path in out.rglob("*")} == before


def test_other_labels_another_format_or_a_lost_file_write_it_anew(awkward: Platform, out: Path) -> None:
    export_labels(awkward, "jsonl", Selection(), into=out)
    assert export_labels(awkward, "jsonl", Selection("teacher"), into=out).written
    (out / "labels.jsonl").unlink()
    assert export_labels(awkward, "jsonl", Selection("teacher"), into=out).written
    assert export_labels(awkward, "csv", Selection("teacher"), into=out).written
    assert sorted(path.name for path in out.iterdir()) == ["labels.csv", "linked", "manifest.json"]
    assert left_beside(out) == []


def test_the_manifest_says_what_it_was_made_of(awkward: Platform, out: Path) -> None:
    export_labels(awkward, "parquet", Selection("best", scenes=("food",)), into=out)
    manifest = json.loads((out / "manifest.json").read_text(encoding="utf-8"))
    assert manifest["made_by"] == "vibe_assets export"
    assert (manifest["format"], manifest["labels"], manifest["scenes"]) == ("parquet", "best", ["food"])
    assert manifest["counts"]["photos"] == 3
    assert manifest["versions"]["tables"]["predictions"] == awkward.lake.version(PREDICTIONS)
    assert manifest["files"]["labels.parquet"]["bytes"] == (out / "labels.parquet").stat().st_size


def test_a_folder_of_somebody_else_is_refused_and_left_as_it_is(awkward: Platform, out: Path) -> None:
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    with pytest.raises(ExportError, match=r"not an export of ours; nothing was changed\. Give another folder with --into"):
        export_labels(awkward, "csv", Selection(), into=out)
    (out / "manifest.json").write_text('{"made_by": "a web extension"}')
    with pytest.raises(ExportError, match="not an export of ours"):
        export_labels(awkward, "csv", Selection(), into=out)
    assert (out / "thesis.txt").read_text() == "years of work"
    assert left_beside(out) == []


def test_an_export_to_which_somebody_added_files_is_refused(awkward: Platform, out: Path) -> None:
    export_labels(awkward, "imagefolder", Selection(), into=out)
    (out / "images" / "mine.jpg").write_bytes(b"mine")
    with pytest.raises(ExportError, match=r"files that this export did not write \(images\)"):
        export_labels(awkward, "imagefolder", Selection("teacher"), into=out)
    (out / "images" / "mine.jpg").unlink()
    (out / "notes.txt").write_text("mine")
    with pytest.raises(ExportError, match=r"did not write \(notes\.txt\)"):
        export_labels(awkward, "imagefolder", Selection("teacher"), into=out)


def test_a_link_or_a_file_in_its_place_is_refused(awkward: Platform, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "real")
    (tmp_path / "file").write_text("x")
    for name in ("link", "file"):
        with pytest.raises(ExportError, match="is not a folder of its own"):
            export_labels(awkward, "csv", Selection(), into=tmp_path / name)


def test_nothing_is_exported_into_the_photo_root(awkward: Platform) -> None:
    with pytest.raises(ExportError, match="lies in the photo root"):
        export_labels(awkward, "imagefolder", Selection(), into=awkward.settings.root / "export")


def test_nothing_is_exported_into_the_photo_root_through_a_link(awkward: Platform, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").symlink_to(awkward.settings.root_folder("the test writes there"))
    with pytest.raises(ExportError, match="lies in the photo root"):
        export_labels(awkward, "imagefolder", Selection(), into=tmp_path / "elsewhere" / "export")


def test_a_failure_midway_leaves_the_earlier_export_and_no_debris(out: Path) -> None:
    with replacing(out, {"fingerprint": "1"}) as fresh:
        (fresh / "labels.csv").write_text("first")

    def break_off() -> None:
        with replacing(out, {"fingerprint": "2"}) as fresh:
            (fresh / "labels.csv").write_text("half")
            raise RuntimeError("disk")

    with pytest.raises(RuntimeError, match="disk"):
        break_off()
    assert (out / "labels.csv").read_text() == "first"
    assert left_beside(out) == []


def test_what_a_killed_run_left_is_swept_or_put_back(out: Path) -> None:
    dead = subprocess.Popen([sys.executable, "-c", ""])
    dead.wait()
    with replacing(out, {"fingerprint": "1"}) as fresh:
        (fresh / "labels.csv").write_text("first")
    out.rename(out.with_name(f".out.{dead.pid}-00000000.old"))  # killed between the two renames
    out.with_name(f".out.{dead.pid}-00000000.tmp").mkdir()
    alive = out.with_name(f".out.{os.getpid()}-11111111.tmp")
    alive.mkdir()
    with pytest.raises(RuntimeError, match="again"), replacing(out, {"fingerprint": "2"}):
        raise RuntimeError("again")
    assert (out / "labels.csv").read_text() == "first"
    assert left_beside(out) == [alive.name]


def test_selections_name_what_they_do_not_know(awkward: Platform, out: Path) -> None:
    with pytest.raises(StageError, match=r"no scene scene\.breakfast; there are landscape, "):
        export_labels(awkward, "csv", Selection(scenes=("breakfast",)), into=out)
    with pytest.raises(StageError, match="no folder 'nowhere-1'"):
        export_labels(awkward, "csv", Selection(folders=("nowhere-1",)), into=out)


def test_without_labels_of_a_source_it_says_how_to_get_them(tmp_path: Path) -> None:
    platform = build(tmp_path, (b"a.jpg",))
    from vibe_assets.records import AUDITED_GROUND_TRUTH

    platform.lake.replace(AUDITED_GROUND_TRUTH, platform.lake.read(AUDITED_GROUND_TRUTH).clear())
    with pytest.raises(StageError, match=r"no labels of people yet: check the audit sample and hand it in with `vibe audited FILE`"):
        export_labels(platform, "csv", Selection("people"))
