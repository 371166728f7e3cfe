from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

from tests.heads.examples import PROVENANCE, SCENES, SETTINGS, folder_set, label_set, scene_set
from tests.support.questions import PACKAGED
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.train import TrainingSet, build_targets, train_head, training_set
from vibe_assets.questions import Label, ManyOf, OneOf
from vibe_assets.records import Labels
from vibe_assets.settings import StudentSettings


def train(kind: str, data: TrainingSet, labels=SCENES, settings=SETTINGS, **more):
    return train_head(kind, data, labels=labels, settings=settings, provenance=PROVENANCE, **more)


def with_splits(data: TrainingSet, splits) -> TrainingSet:
    return replace(data, splits=np.asarray(splits))


ELSEWHERE = """
from tests.heads.test_train import *
for kind, data, labels in (("scene", scene_set(), SCENES), ("object", label_set(), ("object.a", "object.b", "object.c"))):
    print(train(kind, data, labels).version)
"""


def test_two_processes_train_bit_identical_heads_whatever_their_thread_settings():
    started = [
        subprocess.Popen(
            [sys.executable, "-c", ELSEWHERE], env={**os.environ, "OMP_NUM_THREADS": threads}, cwd=Path(__file__).parents[2],
            stdout=subprocess.PIPE, text=True,
        )
        for threads in ("1", "2")
    ]  # fmt: skip
    runs = [process.communicate()[0].split() for process in started]
    assert runs[0] == runs[1]
    assert len(runs[0]) == 2


def test_training_leaves_the_settings_and_random_state_of_torch_alone():
    torch.manual_seed(5)
    before = torch.random.get_rng_state(), torch.get_num_threads(), torch.are_deterministic_algorithms_enabled()
    train("scene", scene_set(), threads=1)
    assert torch.equal(before[0], torch.random.get_rng_state())
    assert before[1:] == (torch.get_num_threads(), torch.are_deterministic_algorithms_enabled())


def test_the_same_data_trains_the_same_head_and_other_data_another():
    assert train("scene", scene_set(200)).version == train("scene", scene_set(200)).version
    assert train("scene", scene_set(200)).version != train("scene", scene_set(200, seed=1)).version


def test_a_class_absent_from_train_keeps_its_slot():
    head = train("scene", scene_set(classes=3))
    assert head.labels == SCENES
    assert head.probabilities(scene_set().x).shape == (240, 4)
    assert head.card.positives["scene.d"] == {"train": 0, "val": 0, "test": 0}
    assert not (head.logits(scene_set().x).argmax(axis=1) == 3).any()


def test_a_final_class_that_falls_only_in_val_does_not_stop_training():
    data = scene_set(400, classes=4)
    only_val = with_splits(data, np.where(data.targets == 3, "val", data.splits))
    without = with_splits(data, np.where(data.targets == 3, "aside", data.splits))
    head, reference = train("scene", only_val), train("scene", without)
    assert head.labels == SCENES
    assert head.card.positives["scene.d"]["val"] > 0
    np.testing.assert_array_equal(head.weight, reference.weight)
    assert head.card.metrics["val"]["accuracy"] < reference.card.metrics["val"]["accuracy"], "the unseen class counts as wrong"


def test_validation_selects_strength_and_iteration_not_the_last():
    head = train("scene", scene_set(160, dim=60, noise=2.0))
    losses = [entry["val_loss"] for entry in head.card.history]
    chosen = head.card.selection
    assert chosen["by"] == "val"
    assert chosen["loss"] == pytest.approx(min(losses), abs=1e-7)
    assert losses[-1] > chosen["loss"], "training went on past the best state, and the best was kept"
    assert len({entry["strength"] for entry in head.card.history}) > 1


def test_the_kept_weights_have_the_validation_loss_that_the_card_states():
    data = scene_set(160, dim=60, noise=2.0)
    head = train("scene", data)
    val = data.rows("val")
    linear = replace(head, card=replace(head.card, distance=False))
    scores = torch.from_numpy(linear.logits(data.x[val]))
    assert float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(data.targets[val]))) == pytest.approx(
        head.card.selection["loss"], rel=1e-4
    )


def test_test_photos_and_photos_set_aside_change_nothing_but_the_test_figures():
    data = scene_set()
    shuffled = replace(data, targets=np.where(data.splits == "test", (data.targets + 1) % 3, data.targets))
    aside = with_splits(data, np.where(data.splits == "test", "aside", data.splits))
    head = train("scene", data)
    for other in (train("scene", shuffled), train("scene", aside)):
        np.testing.assert_array_equal(head.weight, other.weight)
        assert head.card.thresholds == other.card.thresholds
        assert head.card.calibration == other.card.calibration
    assert head.card.metrics["test"] != train("scene", shuffled).card.metrics["test"]
    assert "test" not in train("scene", aside).card.metrics


def test_standardisation_is_learned_on_train_and_applied_at_run_time():
    data = scene_set()
    offset = replace(data, x=(data.x * 3 + 2).astype(np.float32))
    head, moved = train("scene", data), train("scene", offset)
    np.testing.assert_allclose(moved.mean, head.mean * 3 + 2, rtol=1e-5)
    np.testing.assert_allclose(moved.probabilities(offset.x), head.probabilities(data.x), atol=0.02)
    np.testing.assert_allclose(head.mean, data.x[data.rows("train")].mean(axis=0), atol=1e-6)


def test_a_constant_column_is_harmless():
    data = scene_set()
    x = data.x.copy()
    x[:, 0] = 0.25
    head = train("scene", replace(data, x=x))
    assert head.std[0] == 1
    assert np.isfinite(head.logits(x)).all()


def test_the_numpy_forward_equals_the_torch_forward():
    head = train("attribute", label_set(), ("has_person", "has_animal", "has_text"))
    layer = torch.nn.Linear(head.card.dim, 3)
    layer.load_state_dict({"weight": torch.from_numpy(head.weight), "bias": torch.from_numpy(head.bias)})
    x = label_set(seed=3).x
    with torch.no_grad():
        expected = layer((torch.from_numpy(x) - torch.from_numpy(head.mean)) / torch.from_numpy(head.std)).numpy()
    np.testing.assert_allclose(head.logits(x), expected, atol=1e-5)


def test_unknown_attributes_are_masked_one_by_one_not_dropped_by_row():
    data = label_set(400)
    mask = data.mask.copy()
    mask[::2, 0] = False  # the first attribute is unknown for half the photos
    garbage = np.where(mask, data.targets, 1 - data.targets)
    names = ("has_person", "has_animal", "has_text")
    masked = train("attribute", replace(data, mask=mask), names)
    wrong_behind_the_mask = train("attribute", replace(data, mask=mask, targets=garbage), names)
    assert masked.version == wrong_behind_the_mask.version
    known = train("attribute", data, names)
    assert masked.card.positives["has_person"]["train"] < known.card.positives["has_person"]["train"]
    assert masked.card.positives["has_text"] == known.card.positives["has_text"]


def test_an_attribute_with_one_outcome_only_is_left_out_and_named():
    data = label_set()
    targets = data.targets.copy()
    targets[:, 1] = 0
    head = train("attribute", replace(data, targets=targets), ("has_person", "has_animal", "has_text"))
    assert head.labels == ("has_person", "has_text")
    assert head.card.left_out == {"has_animal": 0}


def test_rare_objects_are_left_out_and_named_with_their_count():
    data = label_set()
    targets = data.targets.copy()
    targets[:, 2] = 0
    targets[data.rows("train")[:3], 2] = 1
    head = train("object", replace(data, targets=targets), ("object.a", "object.b", "object.rare"))
    assert head.labels == ("object.a", "object.b")
    assert head.card.left_out == {"object.rare": 3}


def test_weighting_rare_positives_does_not_inflate_their_probabilities():
    data = label_set(1500, labels=2, rate=0.06)
    held = data.rows("val")
    few = data.targets.copy()
    few[held[4:], 1] = 0  # the second label has too few held-out positives to calibrate on
    few[held[:4], 1] = 1
    head = train("object", replace(data, targets=few), ("object.a", "object.b"))
    assert head.card.calibration["platt"]["object.b"] == [1.0, 0.0]
    train_rows = data.rows("train")
    assert head.probabilities(data.x[train_rows])[:, 1].mean() == pytest.approx(few[train_rows, 1].mean(), rel=0.5)


@pytest.mark.parametrize("kind", ["scene", "attribute", "object"])
def test_without_validation_photos_folds_of_groups_choose(kind):
    data = scene_set() if kind == "scene" else label_set()
    labels = SCENES if kind == "scene" else ("object.a", "object.b", "object.c")
    head = train(kind, with_splits(data, np.where(data.splits == "val", "train", data.splits)), labels)
    assert head.card.selection["by"] == "5 folds of groups in train"
    assert head.card.selection["loss"] == min(head.card.selection["losses"])
    assert "val" not in head.card.metrics
    assert head.card.metrics["cross_validated"]["n"] == head.card.n_train
    figure = head.card.metrics["cross_validated"]["accuracy" if kind == "scene" else "macro_average_precision"]
    assert figure > 0.7


def never_seen(data: TrainingSet, folder: str) -> tuple[TrainingSet, np.ndarray]:
    """The set with a folder set aside, and its positions."""
    out = data.sources == folder
    return with_splits(data, np.where(out, "aside", data.splits)), np.flatnonzero(out)


def test_whole_folders_are_held_out_to_set_thresholds_and_the_card_says_how_far_it_carries():
    head = train("scene", folder_set())
    assert head.card.selection["folders"] == "3 folds of 6 folders"
    assert head.card.metrics["new_folders"]["n"] == head.card.n_train
    assert head.card.metrics["new_folders"]["accuracy"] < head.card.metrics["val"]["accuracy"] - 0.05
    carried = head.card.carry_over
    assert carried["carries_over"] is (head.card.thresholds["scene"]["rule"] == "precision")
    assert f"answers {carried['answered']:.0%}" in carried["note"]
    assert train("scene", scene_set()).card.carry_over["carries_over"] is None, "without folders nothing tells"


def test_photos_of_a_folder_never_seen_are_left_open_more_often_than_before():
    answered, before = [], []
    for seed in range(4):
        data, new = never_seen(folder_set(seed=seed), "folder 2")
        for head, kept in ((train("scene", data), answered), (train("scene", replace(data, sources=None)), before)):
            kept.append((head.probabilities(data.x[new]).max(axis=1) >= head.thresholds()[0]).mean())
    assert np.mean(answered) < np.mean(before) - 0.1, (answered, before)


def test_the_further_a_photo_is_from_all_that_trained_the_less_sure_is_its_scene():
    head = train("scene", folder_set())
    near = folder_set().x[:1]
    away = head.mean + 4 * (near - head.mean)  # four times as far in the same direction: a linear layer is four times as sure
    (answer, sure), (same, doubt) = ((p.argmax(), p.max()) for p in map(head.probabilities, (near, away)))
    assert same == answer
    assert doubt <= sure
    plain = replace(head, card=replace(head.card, distance=False))
    assert plain.probabilities(away).max() > plain.probabilities(near).max()
    assert head.card.calibration["temperature"] >= 1, "folders not seen are no reason to be surer"
    labels = train("object", label_set(400, labels=3, rate=0.3), ("object.a", "object.b", "object.c"))
    assert not labels.card.distance, "half a chance is not what is known of a label that nothing is known of"


def test_folders_that_show_one_scene_each_are_not_held_out():
    data = replace(scene_set(), groups=scene_set().image_ids)
    head = train("scene", replace(data, sources=np.array([f"folder {scene}" for scene in data.targets])))
    assert "folders" not in head.card.selection
    assert head.card.thresholds == train("scene", data).card.thresholds


def test_labels_that_learnt_nothing_are_left_open_with_the_reason_and_others_are_not():
    data = label_set(600, labels=3, noise=0.3, rate=0.3)
    targets = data.targets.copy()
    targets[:, 1] = np.random.default_rng(5).random(600) < 0.05
    for kind, names in (("attribute", ("has_person", "has_animal", "has_text")), ("object", ("object.a", "object.b", "object.c"))):
        head = train(kind, replace(data, targets=targets), names)
        assert list(head.card.open) == [names[1]]
        assert "held-out photos" in head.card.open[names[1]]
        assert head.labels == names, "it is known, and left open"


def test_validation_without_any_positive_falls_back_to_folds():
    data = label_set()
    targets = np.where((data.splits == "val")[:, None], 0, data.targets)
    head = train("object", replace(data, targets=targets), ("object.a", "object.b", "object.c"))
    assert head.card.selection["by"].endswith("folds of groups in train")


def test_a_single_group_gives_a_head_that_says_nothing_chose_it():
    data = scene_set()
    alone = replace(data, splits=np.full(240, "train"), groups=np.full(240, "g"))
    head = train("scene", alone)
    assert head.card.selection["by"].startswith("nothing")
    assert head.card.calibration == {"temperature": 1.0}
    assert head.card.metrics == {}


def test_calibration_error_is_reported_before_and_after():
    head = train("scene", scene_set(600, noise=2.0))
    figures = head.card.metrics["val"]
    assert 0 <= figures["ece"] <= 1
    assert 0 <= figures["ece_before"] <= 1
    assert figures["baseline"] < figures["accuracy"]


def test_too_little_to_learn_from_is_said_with_the_remedy():
    data = scene_set()
    with pytest.raises(HeadError, match="no photo of the train split"):
        train("scene", with_splits(data, np.full(240, "val")))
    with pytest.raises(HeadError, match=r"every photo of the train split is scene\.a"):
        train("scene", replace(data, targets=np.zeros(240, np.int64)))
    with pytest.raises(HeadError, match=r"lower students\.min_positives"):
        train("object", label_set(), ("object.a", "object.b", "object.c"), StudentSettings(min_positives=1000))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"kind": "mood"}, "a name and a type in"),
        ({"labels": ("scene.a", "scene.a", "scene.b")}, "each once"),
        ({"labels": ("scene.a", "scene.b")}, "below 2"),
        ({"provenance": {"teacher": "t"}}, "encoder"),
        ({"provenance": {"encoder": "e", "colour": "red"}}, "colour"),
    ],
)
def test_arguments_that_do_not_fit_are_programmer_errors(change, message):
    call = {"kind": "scene", "labels": SCENES, "settings": SETTINGS, "provenance": PROVENANCE, **change}
    with pytest.raises(ValueError, match=message):
        train_head(call.pop("kind"), scene_set(), **call)


def test_vectors_with_nan_are_refused():
    data = scene_set()
    x = data.x.copy()
    x[3, 3] = np.nan
    with pytest.raises(ValueError, match="finite"):
        train("scene", replace(data, x=x))


SCENE = OneOf("scene", tuple(map(Label, SCENES)), "scene", "scene")


def test_targets_come_from_labels_with_parents_and_unknowns():
    nothing = dict.fromkeys(PACKAGED.columns)
    said = Labels("p1", {**nothing, "scene": "scene.b", "has_person": True, "objects": ("object.food.cake",)})
    truth = pl.DataFrame([said.row(), {**nothing, "image_id": "p0"}, {**nothing, "image_id": "p2", "objects": []}])
    scenes, known = build_targets(SCENE, truth)
    assert scenes.tolist() == [1, -1, -1]
    assert known.tolist() == [True, False, False]
    attributes, known = build_targets(PACKAGED["attributes"], truth)
    assert attributes[0].tolist() == [1, 0, 0, 0, 0]
    assert known.tolist() == [[True, False, False, False, False], [False] * 5, [False] * 5]
    keys = ("object.food", "object.food.cake", "object.mug")
    objects, known = build_targets(ManyOf("objects", tuple(map(Label, keys)), "object", "object"), truth)
    assert objects.tolist() == [[1, 1, 0], [0, 0, 0], [0, 0, 0]]
    assert known.tolist() == [[True] * 3, [False] * 3, [True] * 3]


def test_tables_join_into_a_training_set_without_copies_rejects_or_order():
    embeddings = pl.DataFrame({
        "folder_key": ["f"] * 5, "image_id": ["c", "a", "b", "a", "x"], "encoder": ["e"] * 5,
        "embedding": [[0.0, 1.0], [1.0, 0.0], None, [1.0, 0.0], [0.6, 0.8]],
    }, schema_overrides={"embedding": pl.List(pl.Float32)})  # fmt: skip
    truth = pl.DataFrame([Labels(one, {"scene": "scene.a"}).row() for one in "abc"])
    groups = pl.DataFrame({"image_id": ["a", "b", "c", "x"], "group_id": ["a", "a", "c", "x"], "split": ["train", "train", "val", "test"]})
    data = training_set(SCENE, embeddings, truth, groups)
    assert data.image_ids.tolist() == ["a", "c"]
    assert data.splits.tolist() == ["train", "val"]
    np.testing.assert_array_equal(data.x, np.array([[1, 0], [0, 1]], np.float32))
    mixed = embeddings.with_columns(embedding=pl.Series([[1.0], [1.0, 0.0], None, [1.0], [1.0]], dtype=pl.List(pl.Float32)))
    with pytest.raises(HeadError, match="one encoder"):
        training_set(SCENE, mixed, truth, groups)
