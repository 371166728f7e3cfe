"""A library whose label file asks for nothing that the packaged one asks for goes as far as a teacher can bring it."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.processes import VIBE
from tests.photos.library import save
from vibe_assets.questions import load, packs
from vibe_assets.teacher.replay import ReplayTeacher, running_replay

pytestmark = [pytest.mark.e2e, pytest.mark.slow]


@pytest.mark.parametrize("name", sorted(packs()))
def test_one_photo_and_a_starter_file_wait_for_people_with_a_sample_in_its_words(name: str, tmp_path: Path) -> None:
    (tmp_path / "labels.yaml").write_text(packs()[name], encoding="utf-8")
    questions = load(tmp_path / "labels.yaml")
    (tmp_path / "vibe.toml").write_text('[library]\nroot = "photos"\nhome = "data"\n[labels]\ntaxonomy = "labels.yaml"\n', encoding="utf-8")
    (tmp_path / "photos").mkdir()
    save(tmp_path / "photos" / "a.jpg")

    def answers(image: bytes, payload: Mapping[str, Any]) -> str:
        return json.dumps({name: value for question in questions for name, value in question.shape.items()})

    with running_replay(ReplayTeacher(answers)) as url:
        environment = {**os.environ, "QWEN_BASE_URL": url, "VIBE_CONFIG": str(tmp_path / "vibe.toml")}
        said = subprocess.run([*VIBE, "run"], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=500, check=False)
    assert "failed" not in said.stdout + said.stderr, said.stdout + said.stderr
    (photo,) = json.loads((tmp_path / "data" / "audit" / "sample.json").read_text(encoding="utf-8"))
    main = questions.main
    assert main is not None
    said = f"{main.prefix}.{main.shape[main.key]}"
    assert photo[main.key] == ([said] if main.listed else said)
    assert {question.key for question in questions} <= set(photo)
