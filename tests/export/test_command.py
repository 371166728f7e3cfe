"""`vibe export` and `vibe search` as people type them, and the asset that the job launches."""

from __future__ import annotations

import json
from pathlib import Path

import dagster as dg
import pytest
from click.testing import CliRunner, Result

from tests.export.library import FOLDER, NAMES, build
from vibe_assets.cli import main
from vibe_assets.cli.export import ABOUT
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.export import formats


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    embed_folder(build(tmp_path), FOLDER)
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(tmp_path / "vibe.toml"))
    monkeypatch.setenv("COLUMNS", "200")
    return tmp_path


def vibe(*arguments: str) -> Result:
    return CliRunner().invoke(main, list(arguments))


def done(*arguments: str) -> str:
    result = vibe(*arguments)
    assert result.exit_code == 0, f"{result.output} {result.exception!r}"
    return result.stdout


def test_the_help_shows_every_format_and_examples(home: Path) -> None:
    from vibe_assets.stages.platform import Platform

    text = done("export", "--help")
    assert set(ABOUT) == set(formats(Platform.open(progress=False)))
    assert all(name in text for name in ABOUT)
    assert "vibe export xmp --remove" in text


def test_an_export_is_written_once_and_then_there_is_nothing_to_do(home: Path) -> None:
    text = done("export", "jsonl", "--labels", "best")
    assert text.startswith(f"12 photos in {home / 'data' / 'exports' / 'jsonl'}; labels: ")
    assert "from people" in text
    assert done("export", "jsonl", "--labels", "best").startswith("nothing to do: ")
    filtered = done("export", "csv", "--scene", "food", "--folder", FOLDER, "--min-confidence", "0.9", "--into", str(home / "mine"))
    assert filtered.startswith(f"3 photos in {home / 'mine'}")


def test_an_export_that_holds_photos_is_not_replaced_by_nothing(home: Path) -> None:
    from vibe_assets.records import RAW_PHOTOS
    from vibe_assets.stages.platform import Platform

    assert done("export", "csv").startswith("12 photos")
    file, lake = home / "data" / "exports" / "csv" / "labels.csv", Platform.open(progress=False).lake
    before = file.read_bytes()
    result = vibe("export", "csv", "--scene", "scene.screenshot")
    assert (result.exit_code, file.read_bytes()) == (1, before)
    assert "csv holds 12 photos, and this export would have none; nothing was changed. Choose other labels or photos" in result.output
    lake.replace(RAW_PHOTOS, lake.read(RAW_PHOTOS, folder_key=FOLDER).clear(), folder_key=FOLDER)
    assert (vibe("export", "csv").exit_code, file.read_bytes()) == (1, before)


def test_csv_begins_with_a_byte_order_mark_where_that_is_wished(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    mark, file = b"\xef\xbb\xbf", home / "data" / "exports" / "csv" / "labels.csv"
    done("export", "csv")
    plain = file.read_bytes()
    assert not plain.startswith(mark)
    assert done("export", "csv", "--bom").startswith("12 photos")
    assert file.read_bytes() == mark + plain
    assert done("export", "csv", "--bom").startswith("nothing to do")
    monkeypatch.setenv("VIBE_EXPORT__CSV_BOM", "true")
    assert done("export", "csv").startswith("nothing to do")
    from vibe_assets.stages.index import write_labels
    from vibe_assets.stages.platform import Platform

    write_labels(Platform.open(progress=False))
    assert (home / "data" / "reports" / "predictions.csv").read_bytes().startswith(mark + b"rel_path,")
    done("export", "csv", "--no-bom")
    assert file.read_bytes() == plain
    assert "--bom" not in done("export", "jsonl", "--help")


def test_mistakes_are_one_line(home: Path) -> None:
    for arguments, message in (
        (("export", "csv", "--folder", "x-1"), "no folder 'x-1'"),
        (("export", "csv", "--into", str(home / "photos" / "out")), "lies in the photo root"),
        (("export", "webdataset", "--photos", "link"), "webdataset cannot be written with --photos link: use --photos copy"),
        (("search", "a dog"), "has no text tower"),
        (("search",), "give either words"),
    ):
        result = vibe(*arguments)
        assert result.exit_code != 0
        assert message in result.stderr
        assert "Traceback" not in result.output


def test_sidecars_show_which_labels_qualify_and_why_not(home: Path) -> None:
    text = done("export", "xmp", "--dry-run")
    assert "of people themselves" in text
    assert "too few audited, 20 needed" in text
    assert "dry run, nothing was written" in text
    assert not list((home / "photos").rglob("*.xmp"))
    assert "4 written" in done("export", "xmp")
    assert "4 deleted" in done("export", "xmp", "--remove")
    assert "nothing of ours was found" in done("export", "xmp", "--remove")


def test_search_prints_a_table_and_where_the_sheet_is(home: Path) -> None:
    text = done("search", "--like", "album/plain.jpg", "--top", "3")
    assert Path(text.strip().splitlines()[-1]).is_file()
    assert "(+1 alike)" in text


def test_the_asset_writes_every_format_that_its_launch_names(home: Path) -> None:
    from vibe_assets.defs.export import ExportConfig, label_export
    from vibe_assets.defs.resources import Installation

    config = ExportConfig(formats=["csv", "coco"], folder=str(home / "asset"), source="students")
    result = dg.materialize(
        [label_export], resources={"installation": Installation()}, run_config={"ops": {"label_export": {"config": config.model_dump()}}}
    )
    assert result.success
    event = result.asset_materializations_for_node("label_export")[0]
    assert "| csv | 12 | 0 |" in str(event.metadata["exports"].value)
    assert json.loads((home / "asset" / "coco" / "manifest.json").read_text())["labels"] == "students"
    assert (home / "asset" / "csv" / "labels.csv").read_text(encoding="utf-8").count(FOLDER.removesuffix("-1")) >= len(NAMES)
