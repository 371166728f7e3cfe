from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from tests.heads.examples import PROVENANCE, SCENES, SETTINGS, label_set, plain_head, scene_set
from vibe_assets.heads.models import HeadCard, HeadError
from vibe_assets.heads.store import load_head, save_head, saved_heads
from vibe_assets.heads.train import train_head


@pytest.fixture(scope="module")
def head():
    return train_head("scene", scene_set(), labels=SCENES, settings=SETTINGS, provenance=PROVENANCE)


def test_a_saved_head_comes_back_equal(head, tmp_path):
    version = save_head(head, tmp_path)
    again = load_head(tmp_path / version)
    assert again.card == head.card
    assert again.version == version
    np.testing.assert_array_equal(again.probabilities(scene_set().x), head.probabilities(scene_set().x))


@pytest.mark.parametrize("kind", ["attribute", "object"])
def test_every_kind_survives_saving(kind, tmp_path):
    labels = ("has_person", "has_animal", "has_text")
    head = train_head(kind, label_set(), labels=labels, settings=SETTINGS, provenance=PROVENANCE)
    again = load_head(tmp_path / save_head(head, tmp_path))
    np.testing.assert_array_equal(again.probabilities(label_set().x), head.probabilities(label_set().x))
    np.testing.assert_array_equal(again.thresholds("upper"), head.thresholds("upper"))


def test_the_card_names_what_the_head_was_made_from(head, tmp_path):
    card = json.loads((tmp_path / save_head(head, tmp_path) / "card.json").read_text())
    assert card["labels"] == list(SCENES)
    assert (card["encoder"], card["teacher"], card["mapping"], card["seed"]) == ("enc-1", "t", "m", 42)
    assert card["data_versions"] == {"auto_ground_truth": 3}
    assert {"val", "test"} == set(card["metrics"])


def test_the_same_content_is_the_same_version_whenever_it_was_made(head, tmp_path):
    later = replace(head, card=replace(head.card, created_at="2027-01-01T00:00:00Z"))
    assert save_head(head, tmp_path) == save_head(later, tmp_path)
    assert saved_heads(tmp_path) == [head.version]
    assert replace(head, bias=head.bias + 1).version != head.version
    assert replace(head, card=replace(head.card, teacher="other")).version != head.version


def test_a_card_of_an_earlier_version_without_the_later_fields_is_the_same_head(tmp_path):
    older = plain_head("scene", SCENES, np.eye(4))
    file = tmp_path / save_head(older, tmp_path) / "card.json"
    values = json.loads(file.read_text())
    assert (values.pop("open"), values.pop("carry_over"), values.pop("distance")) == ({}, {}, False)
    file.write_text(json.dumps(values))
    assert load_head(tmp_path / older.version).version == older.version
    values.pop("seed")
    file.write_text(json.dumps(values))
    with pytest.raises(HeadError, match="missing or unexpected fields"):
        load_head(tmp_path / older.version)


def test_changed_weights_are_refused_with_the_name_of_the_file(head, tmp_path):
    file = tmp_path / save_head(head, tmp_path) / "head.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    with pytest.raises(HeadError, match=r"head\.safetensors.*changed after training"):
        load_head(file.parent)


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("head.safetensors", b""),
        ("head.safetensors", b"not a safetensors file"),
        ("card.json", b"{"),
        ("card.json", b"[]"),
        ("card.json", b'{"format": 99}'),
        ("card.json", b"\xff\xfe"),
    ],
)
def test_damaged_files_are_named(head, tmp_path, name, content):
    folder = tmp_path / save_head(head, tmp_path)
    (folder / name).write_bytes(content)
    with pytest.raises(HeadError, match=name.replace(".", r"\.")):
        load_head(folder)


def test_an_edited_card_is_refused(head, tmp_path):
    file = tmp_path / save_head(head, tmp_path) / "card.json"
    card = json.loads(file.read_text())
    card["labels"] = card["labels"][::-1]
    file.write_text(json.dumps(card))
    with pytest.raises(HeadError, match="changed after training"):
        load_head(file.parent)


def test_a_missing_head_is_named(tmp_path):
    with pytest.raises(HeadError, match=r"scene-0.*no such file"):
        load_head(tmp_path / "scene-0")


def test_a_card_survives_json(head):
    assert HeadCard.from_json(head.card.to_json()) == head.card


KILLED = """
import sys, time
from pathlib import Path
from tests.heads.examples import plain_head
from vibe_assets.heads import store

real = store._write
def slow(path, content):
    real(path, content)
    print(path, flush=True)
    time.sleep(60)

store._write = slow
store.save_head(plain_head("scene", ("scene.a", "scene.b"), [[1, 0], [0, 1]]), Path(sys.argv[1]))
"""


def test_a_kill_in_the_middle_of_saving_leaves_no_half_head(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, str(tmp_path)], stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline().strip().endswith("head.safetensors")
        process.send_signal(signal.SIGKILL)
    assert saved_heads(tmp_path) == []
    head = plain_head("scene", ("scene.a", "scene.b"), [[1, 0], [0, 1]])
    left = [entry for entry in tmp_path.iterdir() if entry.name != head.version]
    assert [entry.name[0] for entry in left] == ["."], "what the killed writer left is hidden"
    assert load_head(tmp_path / save_head(head, tmp_path)).version == head.version
    assert left[0].exists(), "a fresh unfinished folder may belong to a writer that is alive"
    yesterday = time.time() - 2 * 24 * 3600
    os.utime(left[0], (yesterday, yesterday))
    save_head(plain_head("scene", ("scene.a", "scene.b"), [[2, 0], [0, 1]]), tmp_path)
    assert not left[0].exists()


def test_a_head_whose_arrays_do_not_fit_its_card_cannot_exist():
    head = plain_head("scene", ("scene.a", "scene.b"), [[1, 0], [0, 1]])
    with pytest.raises(ValueError, match="weight: expected float32"):
        replace(head, weight=head.weight[:1])
    with pytest.raises(ValueError, match="finite"):
        replace(head, bias=np.array([np.nan, 0], np.float32))
    with pytest.raises(ValueError, match=r"expected vectors \(n, 2\)"):
        head.logits(np.zeros((3, 5), np.float32))
