"""Every starter file goes all the way: answers, labels, a checked sample, heads in force, predictions, reports, exports and sidecars."""

from __future__ import annotations

import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from vibe_assets.questions import ManyOf, OneOf, Questions, YesNo, load, packs
from vibe_assets.records import AUTO_GROUND_TRUTH, PREDICTIONS
from vibe_assets.settings import Settings
from vibe_assets.stages.comparison import compare_versions
from vibe_assets.stages.embeddings import embed_folder
from vibe_assets.stages.export import Selection, export_labels, formats
from vibe_assets.stages.gates import predictions_sound
from vibe_assets.stages.library import group_library, look_at_folders, scan_folder
from vibe_assets.stages.platform import Platform
from vibe_assets.stages.reports import report_students, report_teacher
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.sidecars import qualify, write_sidecars
from vibe_assets.stages.students import Trained, deploy_students, train_student
from vibe_assets.stages.teacher import annotate_folder
from vibe_assets.stages.truth import accept_audited, convert_library, draw_audit_sample, sample_file, settle_audit
from vibe_assets.stages.warehouse import rebuild_warehouse
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

COLOURS = np.array([(200, 40, 40), (40, 190, 60), (40, 60, 200), (220, 210, 60)])
PHOTOS = 120


def draw(root: Path) -> None:
    """Photos of four colours with noise, in six folders."""
    for at in range(PHOTOS):
        file = root / f"f{at // 20}" / f"{at:03d}.jpg"
        file.parent.mkdir(parents=True, exist_ok=True)
        noise = np.random.default_rng(at).integers(-35, 35, (36, 48, 3))
        Image.fromarray(np.clip(COLOURS[at % 4] + noise, 0, 255).astype(np.uint8)).save(file, quality=90)


def answers(questions: Questions) -> ReplayTeacher:
    """A teacher that goes by the colour."""

    def answer(image: bytes, request: Mapping[str, Any]) -> Any:
        mean = np.asarray(Image.open(io.BytesIO(image)).convert("RGB")).reshape(-1, 3).mean(axis=0)
        kind, said = int(np.abs(COLOURS - mean).sum(axis=1).argmin()), dict[str, Any]()
        for question in questions.asked:
            if isinstance(question, ManyOf):
                word = question.words_offered[kind]
                said[question.key] = [{"name_free": word, "coarse_type": word, "is_main": True, "confidence": 0.9}]
            elif isinstance(question, YesNo):
                said |= {label.word: bool((kind + at) % 2) for at, label in enumerate(question.labels)}
            else:
                said[question.key] = question.labels[kind % len(question.labels)].word
        return said

    return ReplayTeacher(answer)


@pytest.mark.parametrize("name", sorted(packs()))
def test_a_starter_file_goes_all_the_way(name: str, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(packs()[name], encoding="utf-8")
    questions = load(tmp_path / "labels.yaml")
    draw(tmp_path / "photos")
    with running_replay(answers(questions)) as url:
        sections: dict[str, Any] = {
            "library": {"root": tmp_path / "photos", "home": tmp_path / "data"}, "labels": {"taxonomy": tmp_path / "labels.yaml"},
            "teacher": {"base_url": url, "timeout_s": 20.0}, "audit": {"sample_size": 60}, "gates": {"min_audited": 20},
            "students": {"max_epochs": 40, "min_positives": 4},
        }  # fmt: skip
        platform = Platform(Settings.model_validate(sections), progress=False)
        look_at_folders(platform)
        folders = platform.lake.live_folders()
        for key in folders:
            scan_folder(platform, key)
            annotate_folder(platform, key)
            embed_folder(platform, key)
    group_library(platform)
    assert convert_library(platform).height == PHOTOS
    draw_audit_sample(platform)
    accept_audited(platform, sample_file(platform))  # people agree
    settle_audit(platform)
    trained = {head: train_student(platform, head) for head in questions.heads}
    assert {head for head, one in trained.items() if isinstance(one, Trained)} == set(questions.heads)
    deployed = {head: decision for head, decision in deploy_students(platform).items() if decision.deployed}
    ones = {question.head for question in questions.of_type(OneOf)} | {question.head for question in questions.of_type(YesNo)}
    assert ones <= deployed.keys(), "four colours are easily learnt"
    for key in folders:
        predict_folder(platform, key)
        assert predictions_sound(platform, key).passed
    said, truth = (platform.lake.read_live(table).sort("image_id") for table in (PREDICTIONS, AUTO_GROUND_TRUTH))
    for question in questions.of_type(OneOf):
        assert (said[question.key] == truth[question.key]).mean() > 0.9
    teacher, students = report_teacher(platform), report_students(platform)
    assert f"{questions.judged.key}_accuracy" in teacher.evaluation.headline
    pages = [platform.settings.reports_dir / f"{page}_report.html" for page in ("teacher", "student")]
    assert students.evaluation.n > 0
    assert all(questions.name(questions.judged.key, questions.judged.key) in page.read_text(encoding="utf-8") for page in pages)
    compare_versions(platform, "auto_ground_truth", "predictions")
    selection = Selection()
    for kind in formats(platform):
        assert export_labels(platform, kind, selection).photos == PHOTOS, kind
    assert any(one.qualifies for one in qualify(platform, selection))
    assert len(list(write_sidecars(platform, selection, qualify(platform, selection)))) == PHOTOS
    assert rebuild_warehouse(platform)["predictions"] == PHOTOS
    assert len(json.loads(sample_file(platform).read_text(encoding="utf-8"))) == 60
