"""Heads deployed, rolled back and imported by hand: bound to their encoder, judged by the gates, the log keeps what was overruled."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.stages.rows import FOLDERS
from vibe_assets.heads.deployments import Deployments
from vibe_assets.heads.models import HeadError, TrainedHead
from vibe_assets.heads.store import load_head, save_head
from vibe_assets.stages.deploying import deploy_by_hand, import_head, roll_back
from vibe_assets.stages.platform import Platform, StageError
from vibe_assets.stages.runtime import predict_folder
from vibe_assets.stages.students import deployed, deployments


def variant(platform: Platform, *, weight: float = 1.0, **card: str) -> str:
    """The deployed scene head with other weights or another card, saved."""
    head = deployed(platform)["scene"]
    changed = dataclasses.replace(head, weight=np.float32(weight) * head.weight, card=dataclasses.replace(head.card, **card))
    return save_head(changed, platform.settings.heads_dir)


def log_of(platform: Platform) -> list[tuple[str, str, str]]:
    return [(entry.action, entry.version, entry.reason) for entry in Deployments(platform.settings.heads_dir).history("scene")]


def test_a_head_that_passes_the_gates_is_put_in_force_and_rolled_back(settled: Platform) -> None:
    before, same = deployments(settled)["scene"], variant(settled, code_version="other")
    assert deploy_by_hand(settled, same).failed == {}
    assert deployments(settled)["scene"] == same
    assert roll_back(settled, "scene").version == before
    assert log_of(settled)[-2:] == [("deploy", same, "by hand"), ("rollback", before, f"back from {same}")]


def test_a_head_of_no_use_stays_out_of_force_and_its_gates_are_named(settled: Platform) -> None:
    useless, before = variant(settled, weight=-1.0), log_of(settled)
    with pytest.raises(StageError, match=rf"(?s){useless} failed the gates of scene_head.*beats_majority: not shown.*--force"):
        deploy_by_hand(settled, useless)
    assert log_of(settled) == before


def test_forcing_a_head_is_kept_in_the_log_with_the_gates_it_failed(settled: Platform) -> None:
    useless = variant(settled, weight=-1.0)
    assert set(deploy_by_hand(settled, useless, force=True).failed) == {"beats_majority", "not_worse_than_deployed"}
    action, version, reason = log_of(settled)[-1]
    assert (action, version) == ("deploy", useless)
    assert reason.startswith("by hand, forced although it failed beats_majority (not shown to be better")


def test_a_roll_back_to_a_head_of_no_use_is_refused_until_it_is_forced(settled: Platform) -> None:
    good, useless = deployments(settled)["scene"], variant(settled, weight=-1.0)
    deploy_by_hand(settled, useless, force=True)
    deploy_by_hand(settled, good)
    with pytest.raises(StageError, match="vibe heads rollback scene --force"):
        roll_back(settled, "scene")
    assert deployments(settled)["scene"] == good
    assert roll_back(settled, "scene", force=True).version == useless
    assert "forced although it failed beats_majority" in log_of(settled)[-1][2]


@pytest.mark.parametrize("force", [False, True])
def test_a_head_of_another_encoder_is_never_put_in_force(settled: Platform, force: bool) -> None:
    foreign, before = variant(settled, encoder="e-9"), log_of(settled)
    with pytest.raises(StageError, match=r"trained on vectors of encoder e-9.*here they are of e-1: set encoder\.name back"):
        deploy_by_hand(settled, foreign, force=force)
    assert log_of(settled) == before


def test_rolling_back_the_first_head_leaves_its_question_to_the_teacher(settled: Platform) -> None:
    assert roll_back(settled, "scene").version == ""
    assert "scene" not in deployments(settled)
    rows = predict_folder(settled, FOLDERS[0])
    assert set(rows["source"]) == {
        "scene=teacher has_person=student has_animal=student has_text=student is_document=teacher is_screenshot=teacher objects=student"
    }
    assert rows["scene"].equals(rows["teacher_scene"])


@pytest.mark.parametrize("more", [-4, 4])
def test_a_file_whose_head_reads_vectors_of_another_length_is_not_imported(settled: Platform, tmp_path: Path, more: int) -> None:
    from vibe_assets.encoders.base import load_encoder

    dim, file = load_encoder(settled.settings.encoder).dim, tmp_path / "old.pt"
    content = {"scene_labels": ["scene.food", "scene.people"], "seed": 1}
    torch.save({**content, "state": {"weight": torch.eye(2, dim + more), "bias": torch.zeros(2)}}, file)
    with pytest.raises(HeadError, match=rf"old\.pt: the head reads vectors of {dim + more:,} numbers, the encoder in force makes {dim:,}"):
        import_head(settled, file)
    torch.save({**content, "state": {"weight": torch.eye(2, dim), "bias": torch.zeros(2)}}, file)
    head: TrainedHead = load_head(settled.settings.heads_dir / import_head(settled, file))
    assert head.card.encoder == load_encoder(settled.settings.encoder).fingerprint
