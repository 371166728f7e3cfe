"""Commands that name questions take them from the label file."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from tests.stages.rows import table_rows
from tests.support.questions import PACKAGED, styled, with_style
from vibe_assets.cli import main
from vibe_assets.cli.students import _labels_line
from vibe_assets.records import PREDICTIONS

SAID = {
    "rel_path": "a.jpg", "scene": "scene.food", "scene_confidence": 0.75, "has_text": True, "has_text_confidence": 0.5, "has_person": False,
    "has_animal": True, "objects": ["object.food"], "object_confidences": ["object.food=0.91"], "source": "student",
}  # fmt: skip


def test_a_line_of_classify_has_a_cell_for_every_question(tmp_path: Path) -> None:
    row = table_rows(PREDICTIONS, [SAID]).with_columns(reason=None).row(0, named=True)
    assert _labels_line(row, PACKAGED) == ("a.jpg", "food 0.75", "has_animal, has_text 0.50", "food 0.91", "")
    questions = styled(tmp_path)
    row = table_rows(PREDICTIONS.of(questions), [{**SAID, "style": "style.film"}]).with_columns(reason=None).row(0, named=True)
    assert _labels_line(row, questions) == ("a.jpg", "food 0.75", "has_animal, has_text 0.50", "food 0.91", "film", "")


@pytest.mark.parametrize("command", [("train", "stile"), ("heads", "rollback", "stile")])
def test_a_head_that_no_question_has_is_refused_with_those_there_are(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    (tmp_path / "photos").mkdir()
    config = tmp_path / "vibe.toml"
    config.write_text(f'[library]\nroot = "photos"\nhome = "data"\n\n[labels]\ntaxonomy = "{with_style(tmp_path).name}"\n')
    monkeypatch.setenv("VIBE_CONFIG", str(config))
    result = CliRunner().invoke(main, list(command))
    assert result.exit_code == 2
    assert "'stile' is no head: use one of scene, attribute, object, style" in result.output


def test_doctor_counts_the_labels_that_can_be_said(tmp_path: Path) -> None:
    from vibe_assets.operate.setup import _taxonomy
    from vibe_assets.settings import Settings

    library = {"root": tmp_path, "home": tmp_path / "data"}
    assert _taxonomy(Settings.model_validate({"library": library})).detail == "9 scenes, 97 objects"
    settings = Settings.model_validate({"library": library, "labels": {"taxonomy": with_style(tmp_path)}})
    assert _taxonomy(settings).detail == "9 scenes, 97 objects, 3 styles"
