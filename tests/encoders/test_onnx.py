"""ONNX image towers: the file's own answer is the oracle; the JSON beside it decides the preprocessing."""

from __future__ import annotations

import json
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest

from tests.encoders.models import picture, save_onnx
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.settings import EncoderSettings


@pytest.fixture
def tower(onnx_file: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(onnx_file, tmp_path / "tower.onnx"))


def load(file: Path, **options: object):
    return load_encoder(EncoderSettings(name=f"onnx:{file}", device="cpu", **options))


def test_vectors_equal_the_files_own_output(tower: Path) -> None:
    import onnxruntime

    encoder = load(tower)
    images = [picture(seed) for seed in range(3)]
    rows = encoder.encode([encoder.preprocess(image) for image in images])
    pixels = np.stack([np.asarray(image.resize((32, 32), 3), np.float32).transpose(2, 0, 1) for image in images])
    (expected,) = onnxruntime.InferenceSession(str(tower)).run(None, {"pixel_values": (pixels / 255 - 0.5) / 0.5})
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    np.testing.assert_allclose(rows, expected, atol=1e-5)
    assert rows.dtype == np.float32
    assert not encoder.reads_text


def test_the_json_beside_it_sets_the_preprocessing_and_the_fingerprint(tower: Path) -> None:
    base = load(tower)
    tower.with_suffix(".json").write_text(
        json.dumps({"mean": [0.1, 0.2, 0.3], "std": [0.2, 0.2, 0.2], "resample": "bilinear", "fit": "crop"})
    )
    other = load(tower)
    assert other.fingerprint != base.fingerprint
    image = picture(1, (200, 100))
    assert np.abs(other.preprocess(image).astype(int) - base.preprocess(image)).max() > 10
    assert load(tower, decode_mode="full").fingerprint != other.fingerprint
    assert load(tower, batch_size=1).fingerprint == other.fingerprint


def test_other_weights_are_another_encoder(tower: Path, tmp_path: Path) -> None:
    assert load(save_onnx(tmp_path / "other.onnx", seed=6)).fingerprint != load(tower).fingerprint


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ('{"sizes": 32}', "sizes"),
        ("{", "tower.json"),
        ('{"input": "pixels"}', "no input called 'pixels'"),
        ('{"output": "x"}', "which output"),
    ],
)
def test_a_wrong_json_is_named(recipe: str, message: str, tower: Path) -> None:
    tower.with_suffix(".json").write_text(recipe)
    with pytest.raises(EncoderError, match=message):
        load(tower)


def test_damaged_files_and_impossible_wishes_are_worded(tower: Path) -> None:
    for precision in ("bf16", "int8"):
        with pytest.raises(EncoderError, match="carries its own precision"):
            load(tower, precision=precision)
    tower.write_bytes(b"junk")
    with pytest.raises(EncoderError, match="could not be loaded"):
        load(tower)


def test_without_onnxruntime_the_remedy_is_named(tower: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(EncoderError, match=r"pip install 'vibe-assets\[onnx\]'"):
        load(tower)
