"""The sample goes out to Label Studio, comes back as verdicts once, and counts as audited truth."""

from __future__ import annotations

import json

import polars as pl
import pytest
from click.testing import CliRunner

from vibe_assets.cli import main
from vibe_assets.labels.files import AuditedFileError
from vibe_assets.records import AUDIT_SAMPLE, AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.stages.audit_report import figures_of_audit
from vibe_assets.stages.label_studio import export_tasks, import_verdicts
from vibe_assets.stages.platform import StageError
from vibe_assets.stages.verdicts import verdict_log

PREFIX = "/data/local-files/?d="


def submitted(tasks, *, by=10):
    """The tasks as an export has them: predictions accepted, blind ones called documents."""
    blind = [{"from_name": "scene", "to_name": "image", "type": "choices", "value": {"choices": ["document"]}}]
    return [
        {
            **task, "id": at,
            "annotations": [{
                "id": 1000 + at, "completed_by": by, "lead_time": 3.5, "was_cancelled": at == 0, "updated_at": "2026-01-01T10:00:00Z",
                "result": task["predictions"][0]["result"] if "predictions" in task else blind,
            }],
        }
        for at, task in enumerate(tasks)
    ]  # fmt: skip


def export(platform, tmp_path):
    done = export_tasks(platform, image_prefix=PREFIX, folder=tmp_path / "out")
    return done, json.loads(done.tasks.read_text(encoding="utf-8"))


def test_the_sample_goes_out_with_a_blind_share(platform, tmp_path):
    done, tasks = export(platform, tmp_path)
    sample = platform.lake.read(AUDIT_SAMPLE)
    assert {task["data"]["image_id"] for task in tasks} == set(sample["image_id"])
    assert done.photos == len(tasks)
    assert 0 < done.blind < done.photos / 2
    assert done.config.read_text(encoding="utf-8").startswith("<View>")
    chance = dict(sample.select("image_id", "inclusion_probability").iter_rows())
    teacher = str(platform.lake.read(AUTO_GROUND_TRUTH)["teacher"][0])
    students = dict(platform.lake.read_live(PREDICTIONS).select("image_id", "scene_confidence").iter_rows())
    for task in tasks:
        assert task["data"]["image"].startswith(PREFIX)
        assert task["data"]["inclusion_probability"] == chance[task["data"]["image_id"]]
        for prediction in task.get("predictions", []):
            assert prediction["model_version"] == teacher
            assert 0 <= prediction.get("score", 0) <= 1
            assert "score" in prediction or students.get(task["data"]["image_id"]) is None


def test_an_export_is_taken_over_once(platform, tmp_path):
    done, tasks = export(platform, tmp_path)
    file = tmp_path / "export.json"
    file.write_text(json.dumps(submitted(tasks)), encoding="utf-8")
    first, again = import_verdicts(platform, file), import_verdicts(platform, file)
    assert (first.verdicts, first.new, first.skipped, first.people) == (len(tasks), len(tasks), 1, 1)
    assert (again.verdicts, again.new) == (len(tasks), 0)
    verdicts = verdict_log(platform).verdicts()
    assert {verdict.source for verdict in verdicts} == {"label_studio"}
    assert sum(verdict.blind for verdict in verdicts) == done.blind
    figures = figures_of_audit(platform)
    assert figures.people == {"label-studio-10": len(tasks) - 1}
    assert figures.anchoring[0].prefilled.value == 1.0


def test_a_file_with_one_wrong_line_changes_nothing(platform, tmp_path):
    _, tasks = export(platform, tmp_path)
    tasks[3]["data"]["image_id"] = "f" * 32
    file = tmp_path / "export.json"
    file.write_text(json.dumps(submitted(tasks), indent=1), encoding="utf-8")
    with pytest.raises(AuditedFileError, match="no photo of this library"):
        import_verdicts(platform, file)
    assert verdict_log(platform).verdicts() == []


def test_without_a_sample_the_remedy_is_named(platform):
    platform.lake.replace(AUDIT_SAMPLE, pl.DataFrame(schema=AUDIT_SAMPLE.polars_schema()))
    with pytest.raises(StageError, match="vibe sample"):
        export_tasks(platform, image_prefix=PREFIX)


def test_the_commands_say_what_was_done(home, monkeypatch, tmp_path):
    config = tmp_path / "vibe.toml"
    config.write_text(f"[library]\nroot = {str(home / 'photos')!r}\nhome = {str(home / 'data')!r}\n")
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    out = CliRunner().invoke(
        main, ["label-studio", "export", "--out", str(tmp_path / "ls"), "--image-prefix", "https://photos.example.org/"]
    )
    assert out.exit_code == 0, out.output
    tasks = json.loads((tmp_path / "ls" / "tasks.json").read_text(encoding="utf-8"))
    assert f"{len(tasks)} tasks" in out.output
    assert tasks[0]["data"]["image"].startswith("https://photos.example.org/")
    file = tmp_path / "export.json"
    file.write_text(json.dumps(submitted(tasks)), encoding="utf-8")
    back = CliRunner().invoke(main, ["label-studio", "import", str(file)])
    assert f"{len(tasks)} annotations, people: 1, {len(tasks)} new, 1 of these skipped" in back.output
    file.write_text("[{}]", encoding="utf-8")
    refused = CliRunner().invoke(main, ["label-studio", "import", str(file)])
    assert refused.exit_code == 1
    assert "refused, nothing was taken over" in refused.output
