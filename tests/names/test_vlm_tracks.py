"""The three ways to ask a vision-language model, on a real but tiny one whose names can be told from the colour of the chip."""

from __future__ import annotations

import random
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

pytest.importorskip("peft")

from vibe_assets.defs import name_tools
from vibe_assets.defs.name_tools import vlm_tools
from vibe_assets.names.questions import CHOICE_PROMPT, OPEN_PROMPT, FaceFile, choice_questions, read_choice, read_open
from vibe_assets.names.vlm_tracks import HeadKnobs, Tools, run_mode
from vibe_assets.vlm.tiny import save_tiny_model

NAMES = ["anna", "bela", "cora"]
COLOURS = [(210, 40, 40), (40, 180, 60), (40, 70, 220)]


@pytest.fixture(scope="module")
def faces(tmp_path_factory: pytest.TempPathFactory) -> list[FaceFile]:
    folder, rng, made = tmp_path_factory.mktemp("chips"), random.Random(0), []
    for at in range(36):
        name, split = at % 3, ("train", "train", "val", "test")[at // 3 % 4]
        path = folder / f"{at}.png"
        Image.new("RGB", (56, 56), tuple(part + rng.randint(-15, 15) for part in COLOURS[name])).save(path)
        made.append(FaceFile(f"{at:032x}", str(path), name, at, split))
    return made


@pytest.fixture(scope="module")
def tools(tmp_path_factory: pytest.TempPathFactory) -> Tools:
    texts = [OPEN_PROMPT, CHOICE_PROMPT, "user", "assistant", *(name.capitalize() for name in NAMES), "A. B. C."]
    base = save_tiny_model(tmp_path_factory.mktemp("base") / "tiny-vl", texts * 4, seed=1)
    return vlm_tools(str(base), device="cpu", rank=16, epochs=3, learning_rate=2e-2, side_px=56)


def test_a_classification_head_learns_what_the_picture_shows(faces: list[FaceFile], tools: Tools, tmp_path: Path) -> None:
    knobs = HeadKnobs(rank=64, alpha=128, learning_rate=2e-3, epochs=5, dropout=0.0)
    track = run_mode("head", faces, NAMES, tools, tmp_path, knobs=knobs)
    assert track.kind == "vlm"
    assert (track.predictions == track.truth).mean() > 0.8
    assert track.config["rank"] == 64
    assert track.log[-1]["train_loss"] < track.log[0]["train_loss"]
    assert track.ranks is not None
    assert ((track.ranks == 1) == (track.predictions == track.truth)).all()


def test_open_questions_are_learnt_and_other_answers_count_as_wrong(faces: list[FaceFile], tools: Tools, tmp_path: Path) -> None:
    track = run_mode("open", faces, NAMES, tools, tmp_path)
    assert (track.predictions == track.truth).mean() > 0.6
    untaught = run_mode("open", faces, NAMES, tools, tmp_path, tune=False)
    assert (untaught.predictions == 3).all()
    assert untaught.config["unreadable_answers"] == len(untaught.truth)
    assert untaught.scores.headline["accuracy"].value == 0


def test_an_adapter_of_another_base_is_never_taken_for_this_one(faces: list[FaceFile], tools: Tools, tmp_path: Path) -> None:
    """Checkpoints of one training lie where the next one works; the next must not go on with them."""

    def adapter(base: str) -> Path:
        few = vlm_tools(base, device="cpu", rank=4, epochs=3, learning_rate=2e-2, side_px=56)
        return Path(run_mode("open", faces[:12], NAMES, few, tmp_path / "adapters").config["adapter"])

    other = save_tiny_model(tmp_path / "other-vl", ["anna bela cora"] * 4, seed=2)
    first, second = adapter(tools.base), adapter(str(other))
    assert first != second
    assert (first / "adapter_model.safetensors").read_bytes() != (second / "adapter_model.safetensors").read_bytes()


def test_other_options_faces_or_ranks_are_other_trainings(faces: list[FaceFile], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(name_tools, "finetune", lambda base, train, val, folder, **_: SimpleNamespace(adapter=folder))

    def folder(part: list[FaceFile], *, options: int = 2, rank: int = 4) -> Path:
        questions = {
            split: choice_questions([f for f in part if f.split == split], NAMES, options=options, seed=0) for split in ("train", "val")
        }
        return vlm_tools(str(tmp_path), rank=rank).finetune(questions["train"], questions["val"], tmp_path / "choice")

    made = [folder(faces), folder(faces, options=3), folder(faces, rank=8), folder(faces[:-6]), folder([*faces[6:], *faces[:6]])]
    assert len(set(made)) == len(made)
    assert folder(faces) == made[0]
    assert {path.parent for path in made} == {tmp_path / "choice"}


def test_multiple_choice_is_judged_against_one_out_of_the_names_on_offer(faces: list[FaceFile], tools: Tools, tmp_path: Path) -> None:
    track = run_mode("choice", faces, NAMES, tools, tmp_path, options=2, tune=False)
    assert track.chance == 0.5
    assert len(track.config["picked_places"]) == 2


def test_the_true_name_stands_at_every_place_equally_often() -> None:
    faces = [FaceFile(f"{at:032x}", "", at % 20, at, "test") for at in range(3000)]
    names = [f"name{at}" for at in range(20)]
    questions = choice_questions(faces, names, options=5, seed=1)
    places = np.bincount([one.options.index(one.face.name) for one in questions], minlength=5)
    assert abs(places / 3000 - 0.2).max() < 0.03
    assert all(len(set(one.options)) == 5 for one in questions)
    assert choice_questions(faces[7:8], names, options=5, seed=1) == questions[7:8]
    with pytest.raises(ValueError, match="options"):
        choice_questions(faces, names, options=21, seed=1)


def test_answers_are_read_by_letter_or_name_and_doubtful_ones_are_none() -> None:
    question = choice_questions([FaceFile("f", "", 0, 0, "test")], NAMES, options=3, seed=0)[0]
    letter = question.answer
    for text in (letter, f"{letter}.", f" {letter.lower()}) Anna", "Anna", "I would say Anna."):
        assert read_choice(text, question, NAMES) == 0, text
    for text in ("", "Z", "Zoe", "Anna or Bela", "D"):
        assert read_choice(text, question, NAMES) == 3, text
    assert read_open("“Cora”!", NAMES) == 2
    assert read_open("Anna Bela", NAMES) == 3
