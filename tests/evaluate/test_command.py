"""`python -m vibe_assets.eval.labels`: files or the lake in, a table, a report and lists of errors out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import polars as pl
import pytest

from tests.evaluate.rows import PACKAGED, library
from vibe_assets.eval.labels import main
from vibe_assets.labels.files import write_audited, write_labels
from vibe_assets.lake import Lake
from vibe_assets.questions import packs
from vibe_assets.records import AUDITED_GROUND_TRUTH, AUTO_GROUND_TRUTH, FOLDER_SET, PHOTO_GROUPS, PREDICTIONS, Table
from vibe_assets.settings import CONFIG_ENV


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty installation, the working directory beside it, wide enough a terminal."""
    monkeypatch.delenv(CONFIG_ENV, raising=False)
    monkeypatch.setenv("VIBE_LIBRARY__HOME", str(tmp_path / "home"))
    monkeypatch.setenv("COLUMNS", "120")
    monkeypatch.chdir(tmp_path)
    return tmp_path / "home"


def filled(rows: pl.DataFrame, table: Table, **values: object) -> pl.DataFrame:
    """The rows with every column of the table, the absent ones null."""
    schema = table.polars_schema()
    rows = rows.with_columns(**{name: pl.lit(values.get(name)) for name in schema if name not in rows.columns})
    return rows.select(list(schema)).cast(schema)


def write_files(folder: Path) -> None:
    truth, said, _ = library(80)
    write_audited(filled(truth, AUDITED_GROUND_TRUTH), folder / "human.json", PACKAGED)
    write_labels(said, folder / "teacher.jsonl", PACKAGED)


def test_files_are_judged_and_written(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    assert main(["--gt", "human.json", "--auto", "teacher.jsonl", "--pred", "teacher.jsonl", "--out", "out", "--resamples", "50"]) == 0
    shown = capsys.readouterr().out
    assert "teacher against people's labels: 80 photos" in shown
    assert "Scene accuracy" in shown
    assert "weighted by 1 / inclusion probability" in shown
    assert "unweighted" in shown
    assert all(word in shown for word in ("precision", "recall", "truth in rows, prediction in columns"))
    parts = {path.parent.name for path in (tmp_path / "out").rglob("metrics.json")}
    assert parts == {"teacher_against_human", "student_against_human", "student_against_auto"}
    same = json.loads((tmp_path / "out/student_against_auto/metrics.json").read_text(encoding="utf-8"))
    assert same["headline"]["scene_accuracy"]["value"] == 1.0, "the same file judged against itself"
    weighted = json.loads((tmp_path / "out/teacher_against_human/metrics.json").read_text(encoding="utf-8"))
    assert weighted["weighted"], "the audited file brings its inclusion probabilities"
    assert (tmp_path / "out/report.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_without_files_the_lake_is_judged_and_students_only_on_their_test_split(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    truth, said, groups = library(80)
    lake = Lake(home / "lake")
    splits = ["test" if at < 30 else "train" for at in range(80)]
    rows = pl.DataFrame({"image_id": list(groups), "group_id": list(groups.values()), "split": splits})
    lake.replace(PHOTO_GROUPS, filled(rows, PHOTO_GROUPS))
    lake.replace(AUDITED_GROUND_TRUTH, filled(truth, AUDITED_GROUND_TRUTH))
    lake.replace(AUTO_GROUND_TRUTH, filled(said.drop("scene_confidence"), AUTO_GROUND_TRUTH))
    folder = pl.DataFrame({"folder_key": ["all-00000000"], "files": [80]})
    lake.replace(FOLDER_SET, filled(folder, FOLDER_SET))
    lake.replace(PREDICTIONS, filled(said, PREDICTIONS, folder_key="all-00000000"), folder_key="all-00000000")
    assert main(["--resamples", "50"]) == 0
    shown = capsys.readouterr().out
    assert "teacher against people's labels: 80 photos" in shown
    assert "student against people's labels: 30 photos" in shown
    assert main(["--students", "--split", "all"]) == 1, "no figure about students on photos that trained them"
    assert "trained on photos of the other splits" in capsys.readouterr().err
    exported = write_labels(said, home.parent / "exported.jsonl", PACKAGED)
    assert main(["--pred", str(exported), "--resamples", "50"]) == 0
    assert "student against people's labels: 30 photos" in capsys.readouterr().out
    lake.replace(
        PHOTO_GROUPS,
        filled(
            rows.with_columns(
                group_id=pl.when(pl.col("image_id") == rows["image_id"][0]).then(pl.lit(rows["group_id"][79])).otherwise("group_id")
            ),
            PHOTO_GROUPS,
        ),
    )
    assert main(["--students", "--resamples", "50"]) == 0
    assert "student against people's labels: 29 photos" in capsys.readouterr().out, "one has a burst mate that trained"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        (["--gt", "human.json"], "nothing to judge"),
        (["--gt", "absent.json", "--auto", "teacher.jsonl"], "absent.json"),
        (["--auto", "teacher.jsonl"], "give --gt FILE"),
        (["--gt", "human.json", "--auto"], "auto_ground_truth"),
        (["--gt", "human.json", "--pred", "teacher.jsonl", "--split", "test"], "no photo groups"),
        (["--gt", "human.json", "--auto", "foreign.jsonl"], "no photo in common"),
        (["--gt", "wrong.json", "--auto", "teacher.jsonl"], "line 1"),
    ],
)
def test_a_wrong_input_is_named_with_its_remedy(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], says: str
) -> None:
    write_files(tmp_path)
    (tmp_path / "foreign.jsonl").write_text('{"image_id": "x", "scene": ["scene.food"]}\n', encoding="utf-8")
    (tmp_path / "wrong.json").write_text('{"image_id": "x", "scene": ["scene.nonsense"]}\n', encoding="utf-8")
    assert main(arguments) == 1
    assert says in capsys.readouterr().err


def test_it_runs_as_a_module_without_loading_a_model_library(home: Path, tmp_path: Path) -> None:
    code = (
        "import sys, vibe_assets.eval.labels; print([m for m in ('torch', 'polars', 'matplotlib', 'sklearn', 'scipy') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"
    write_files(tmp_path)
    command = [sys.executable, "-m", "vibe_assets.eval.labels", "--gt", "human.json", "--auto", "teacher.jsonl", "--resamples", "20"]
    assert "Scene accuracy" in subprocess.run(command, capture_output=True, text=True, check=True, cwd=tmp_path).stdout


def test_photos_without_a_chance_are_counted_and_named(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    rows = json.loads((tmp_path / "human.json").read_text(encoding="utf-8"))
    for row in rows[:7]:
        row["inclusion_probability"] = None
    (tmp_path / "human.json").write_text(json.dumps(rows), encoding="utf-8")
    assert main(["--gt", "human.json", "--auto", "teacher.jsonl", "--resamples", "20"]) == 0
    assert "7 of 80 photos of the truth have no inclusion probability" in capsys.readouterr().out


def test_the_students_own_file_is_not_judged_on_what_trained_them(home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_files(tmp_path)
    groups = library(80)[2]
    rows = pl.DataFrame({"image_id": list(groups), "group_id": list(groups.values()), "split": ["test"] * 80})
    Lake(home / "lake").replace(PHOTO_GROUPS, filled(rows, PHOTO_GROUPS))
    lines = [json.loads(line) | {"heads": "scene-1"} for line in (tmp_path / "teacher.jsonl").read_text(encoding="utf-8").splitlines()]
    (tmp_path / "own.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    assert main(["--gt", "human.json", "--pred", "own.jsonl", "--split", "all", "--resamples", "20"]) == 1
    assert "trained on photos of the other splits" in capsys.readouterr().err
    assert main(["--gt", "human.json", "--pred", "teacher.jsonl", "--split", "all", "--resamples", "20"]) == 0


def test_files_of_the_first_version_are_judged_with_its_starter_file(
    home: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its keys, and none of the packaged file's alone; a wrong key is still named."""
    keys = [
        "electronics.console", "electronics.console.controller", "electronics.disk", "electronics.circuit_board", "electronics.charger",
        "electronics.mini_pc", "electronics.mini_pc.mac_mini", "electronics.peripheral.hub", "electronics.storage.usb_drive",
        "electronics.phone.iphone", "food.cake", "food.hotpot", "drink.milk_tea", "document.paper", "dailystuff.backpack",
        "dailystuff.packaging",
    ]  # fmt: skip
    attributes = {"attr.has_person": False, "attr.has_text": True, "attr.is_document": False, "attr.is_screenshot": False}
    photos = [
        {"image_id": f"{at:032x}", "scene": ["scene.product"], "attributes": attributes, "objects": [f"object.{key}"]}
        for at, key in enumerate(keys)
    ]
    (tmp_path / "first.yaml").write_text(packs()["first_version"], encoding="utf-8")
    (tmp_path / "human.json").write_text(json.dumps(photos), encoding="utf-8")
    said = [photo | {"objects": ["object.electronics"]} if at == 0 else photo for at, photo in enumerate(photos)]
    (tmp_path / "auto.jsonl").write_text("".join(f"{json.dumps(photo)}\n" for photo in said), encoding="utf-8")
    command = ["--gt", "human.json", "--auto", "auto.jsonl", "--resamples", "20", "--json"]
    assert main(command) == 1, "the packaged file has other keys"
    assert "did you mean" in capsys.readouterr().err
    monkeypatch.setenv("VIBE_LABELS__TAXONOMY", str(tmp_path / "first.yaml"))
    assert main(command) == 0
    told = json.loads(capsys.readouterr().out)[0]
    by_label = {score["label"]: score for score in told["labels"]}
    assert {f"object.{key}" for key in keys} <= by_label.keys()
    assert by_label["object.electronics.console"]["support"] == 2, "the controller's parent too"
    assert by_label["object.electronics.console"]["predicted"] == 1
    assert by_label["object.dailystuff.packaging"]["f1"]["value"] == 1.0
