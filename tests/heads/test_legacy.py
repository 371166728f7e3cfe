from __future__ import annotations

import os
import pickle
from dataclasses import replace

import numpy as np
import pytest
import torch

from tests.heads.examples import PROVENANCE, SCENES, SETTINGS, label_set, scene_set
from tests.support.questions import ATTRIBUTES
from vibe_assets.heads.legacy import export_pt, import_pt
from vibe_assets.heads.models import HeadError
from vibe_assets.heads.train import train_head


def test_the_round_trip_gives_the_same_logits_on_raw_unit_vectors(tmp_path):
    data = scene_set()
    head = train_head("scene", data, labels=SCENES, settings=SETTINGS, provenance=PROVENANCE)
    file = export_pt(head, tmp_path / "scene.pt")
    content = torch.load(file, weights_only=True)
    assert set(content) == {"scene_labels", "state", "seed"}
    assert (content["scene_labels"], content["seed"]) == (list(SCENES), 42)
    layer = torch.nn.Linear(head.card.dim, len(SCENES))
    layer.load_state_dict(content["state"])
    linear = replace(head, card=replace(head.card, distance=False))  # the layout has no place for it
    with torch.no_grad():
        np.testing.assert_allclose(layer(torch.from_numpy(data.x)).numpy(), linear.logits(data.x), atol=1e-4)
    again = import_pt(file, encoder="enc-1", known=SCENES)
    np.testing.assert_allclose(again.logits(data.x), linear.logits(data.x), atol=1e-4)
    assert again.card.encoder == "enc-1"


@pytest.mark.parametrize(("kind", "field"), [("attribute", "attr_keys"), ("object", "label_keys")])
def test_attribute_and_object_heads_have_their_own_field(kind, field, tmp_path):
    labels = ("has_person", "has_animal", "has_text")
    head = train_head(kind, label_set(), labels=labels, settings=SETTINGS, provenance=PROVENANCE)
    file = export_pt(head, tmp_path / "head.pt")
    assert torch.load(file, weights_only=True)[field] == list(labels)
    assert import_pt(file, encoder="e", known=labels).kind == kind


def test_an_unknown_attribute_key_does_not_shift_the_later_logits(tmp_path):
    keys = ["attr.has_person", "attr.has_vehicle", "has_text"]
    torch.save(
        {"attr_keys": keys, "state": {"fc.weight": torch.eye(3, 4), "fc.bias": torch.tensor([0.1, 0.2, 0.3])}, "seed": 1}, tmp_path / "a.pt"
    )
    head = import_pt(tmp_path / "a.pt", encoder="e", known=ATTRIBUTES)
    assert head.labels == ("has_person", "has_text")
    np.testing.assert_allclose(head.logits(np.eye(4, dtype=np.float32))[2], [0.1, 1.3], rtol=1e-6)
    assert head.card.left_out == {"has_vehicle": 0}


def test_another_order_of_labels_today_moves_the_rows_along(tmp_path):
    torch.save(
        {"scene_labels": ["scene.b", "scene.a"], "state": {"weight": torch.eye(2), "bias": torch.zeros(2)}, "seed": 1}, tmp_path / "a.pt"
    )
    head = import_pt(tmp_path / "a.pt", encoder="e", known=("scene.a", "scene.b", "scene.c"))
    assert head.labels == ("scene.a", "scene.b")
    np.testing.assert_array_equal(head.weight, [[0, 1], [1, 0]])


class Bomb:
    def __reduce__(self):
        return os.mkdir, ("exploded",)


@pytest.mark.parametrize("writer", ["torch", "pickle"])
def test_pickled_code_is_refused_and_not_run(tmp_path, monkeypatch, writer):
    monkeypatch.chdir(tmp_path)
    content = {"scene_labels": ["scene.a"], "state": Bomb(), "seed": 1}
    if writer == "torch":
        torch.save(content, "bomb.pt")
    else:
        (tmp_path / "bomb.pt").write_bytes(pickle.dumps(content))
    with pytest.raises(HeadError, match=r"bomb\.pt: refused"):
        import_pt(tmp_path / "bomb.pt", encoder="e", known=SCENES)
    assert not (tmp_path / "exploded").exists()


LINEAR = {"weight": torch.eye(2), "bias": torch.zeros(2)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([1, 2], "expected a mapping"),
        ({"state": LINEAR, "seed": 1}, "expected exactly one of"),
        ({"scene_labels": ["scene.a", "scene.b"], "attr_keys": [], "state": LINEAR}, "expected exactly one of"),
        ({"scene_labels": "scene.a", "state": LINEAR}, "expected a list"),
        ({"scene_labels": ["scene.a", "scene.a"], "state": LINEAR}, "named twice"),
        ({"scene_labels": ["scene.a"], "state": LINEAR}, "expected 1 rows"),
        ({"scene_labels": ["scene.a", "scene.b"], "state": {**LINEAR, "more": torch.eye(2)}}, "one linear layer"),
        ({"scene_labels": ["scene.a", "scene.b"], "state": {**LINEAR, "bias": torch.tensor([float("nan"), 0])}}, "finite"),
        ({"scene_labels": ["scene.y", "scene.z"], "state": LINEAR}, "none of its 2 labels"),
    ],
)
def test_a_file_of_another_layout_is_refused_with_its_name(tmp_path, content, message):
    torch.save(content, tmp_path / "odd.pt")
    with pytest.raises(HeadError, match=rf"odd\.pt: .*{message}"):
        import_pt(tmp_path / "odd.pt", encoder="e", known=SCENES)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 broken", b"text"])
def test_a_file_that_torch_did_not_write_is_refused(tmp_path, content):
    (tmp_path / "odd.pt").write_bytes(content)
    with pytest.raises(HeadError, match=r"odd\.pt"):
        import_pt(tmp_path / "odd.pt", encoder="e", known=SCENES)
    with pytest.raises(HeadError, match="no such file"):
        import_pt(tmp_path / "gone.pt", encoder="e", known=SCENES)
