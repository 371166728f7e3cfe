"""The real libraries' own answers, from tiny models saved in hub format, are the oracle."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from tests.encoders.models import picture, save_siglip
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.settings import EncoderSettings

TEXTS = ["a photo of a dog", "a document", "House tree"]
SIZES = [(160, 120), (97, 211), (33, 32), (300, 40), (20, 30)]


def settings(name: str, **options: object) -> EncoderSettings:
    return EncoderSettings(name=name, **({"precision": "fp32", "device": "cpu"} | options))


def pictures() -> list[Image.Image]:
    return [picture(seed, size) for seed, size in enumerate(SIZES)]


def encode(encoder, images: list[Image.Image]) -> np.ndarray:
    return encoder.encode([encoder.preprocess(image) for image in images])


def unit(rows: torch.Tensor) -> np.ndarray:
    return torch.nn.functional.normalize(rows.float(), dim=-1).detach().numpy()


@pytest.mark.parametrize("model", ["siglip", "clip", "dinov2", "naflex", "openclip"])
def test_vectors_are_float32_unit_rows_that_differ_between_photos(model: str, request: pytest.FixtureRequest) -> None:
    folder = request.getfixturevalue(model)
    encoder = load_encoder(settings(f"{'openclip' if model == 'openclip' else 'hf'}:{folder}"))
    rows = encode(encoder, pictures())
    assert rows.dtype == np.float32
    assert rows.shape == (len(SIZES), encoder.dim)
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    cosines = rows @ rows.T
    assert cosines[~np.eye(len(rows), dtype=bool)].max() < 0.999
    assert encoder.encode([]).shape == (0, encoder.dim)


@pytest.mark.parametrize("model", ["siglip", "clip", "dinov2"])
@pytest.mark.parametrize(("backend", "grey_levels"), [("pil", 0.01), ("torchvision", 1.01)])
def test_preprocessing_equals_the_librarys_own_processor(
    model: str, backend: str, grey_levels: float, request: pytest.FixtureRequest
) -> None:
    from transformers import AutoImageProcessor

    folder = request.getfixturevalue(model)
    encoder = load_encoder(settings(f"hf:{folder}"))
    processor = AutoImageProcessor.from_pretrained(folder, backend=backend)
    mean, std = (np.reshape(value, (3, 1, 1)) for value in (processor.image_mean, processor.image_std))
    for image in pictures():
        ours = encoder.preprocess(image)
        assert ours.dtype == np.uint8
        theirs = np.asarray(processor(images=image, return_tensors="np")["pixel_values"][0])
        np.testing.assert_allclose(ours, (theirs * std + mean) * 255, atol=grey_levels)


@pytest.mark.parametrize("model", ["siglip", "clip", "naflex"])
def test_zero_shot_logits_equal_the_models_own_forward(model: str, request: pytest.FixtureRequest) -> None:
    from transformers import AutoImageProcessor, AutoModel, AutoTokenizer

    folder = request.getfixturevalue(model)
    encoder = load_encoder(settings(f"siglip:{folder}"))
    logits = encoder.logit_scale * encode(encoder, pictures()) @ encoder.encode_text(TEXTS).T + encoder.logit_bias

    images = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=pictures(), return_tensors="pt")
    if model == "clip":
        texts = AutoTokenizer.from_pretrained(folder)(TEXTS, padding=True, return_tensors="pt")
        texts = {"input_ids": texts["input_ids"], "attention_mask": texts["attention_mask"]}
    else:
        texts = {
            "input_ids": AutoTokenizer.from_pretrained(folder)(TEXTS, padding="max_length", max_length=16, return_tensors="pt")["input_ids"]
        }
    with torch.no_grad():
        expected = AutoModel.from_pretrained(folder)(**images, **texts).logits_per_image.numpy()
    np.testing.assert_allclose(logits, expected, atol=2e-3)
    assert expected.std() > 0.01
    if model == "siglip":
        assert encoder.logit_scale == pytest.approx(np.exp(2.3), rel=1e-6)
        assert encoder.logit_bias == pytest.approx(-7.7)


def test_dinov2_gives_the_pooled_class_token_and_has_no_text_tower(dinov2: Path) -> None:
    from transformers import AutoImageProcessor, Dinov2Model

    encoder = load_encoder(settings(f"hf:{dinov2}"))
    inputs = AutoImageProcessor.from_pretrained(dinov2, backend="pil")(images=pictures(), return_tensors="pt")
    with torch.no_grad():
        expected = unit(Dinov2Model.from_pretrained(dinov2)(**inputs).pooler_output)
    np.testing.assert_allclose(encode(encoder, pictures()), expected, atol=1e-4)
    assert not encoder.reads_text
    with pytest.raises(EncoderError, match="no text tower"):
        encoder.encode_text(["a dog"])


def test_openclip_equals_the_librarys_own_pipeline(openclip: Path) -> None:
    import open_clip

    encoder = load_encoder(settings(f"openclip:{openclip}"))
    model, _, transform = open_clip.create_model_and_transforms(f"local-dir:{openclip}")
    model.eval()
    with torch.no_grad():
        images = unit(model.encode_image(torch.stack([transform(image) for image in pictures()])))
        texts = unit(model.encode_text(open_clip.get_tokenizer(f"local-dir:{openclip}")(TEXTS)))
    np.testing.assert_allclose(encode(encoder, pictures()), images, atol=1e-5)
    np.testing.assert_allclose(encoder.encode_text(TEXTS), texts, atol=1e-5)
    assert encoder.logit_scale == pytest.approx(model.logit_scale.exp().item())
    assert encoder.logit_bias == 0.0


@pytest.mark.parametrize("model", ["siglip", "clip", "dinov2", "openclip"])
def test_bf16_stays_close_to_fp32_and_has_a_fingerprint_of_its_own(model: str, request: pytest.FixtureRequest) -> None:
    name = f"{'openclip' if model == 'openclip' else 'hf'}:{request.getfixturevalue(model)}"
    full, half = load_encoder(settings(name)), load_encoder(settings(name, precision="bf16"))
    assert (encode(full, pictures()) * encode(half, pictures())).sum(1).min() > 0.99
    assert full.fingerprint != half.fingerprint
    assert full.logit_scale == half.logit_scale


def test_the_fingerprint_moves_with_weights_preprocessing_and_decode_mode_only(siglip: Path, tmp_path: Path) -> None:
    def fingerprint(folder: Path, **options: object) -> str:
        return load_encoder(settings(f"siglip:{folder}", **options)).fingerprint

    base = fingerprint(siglip)
    copy = tmp_path / "copy"
    shutil.copytree(siglip, copy)
    assert len(base) == 16
    assert fingerprint(copy) == base, "where the model lies must not matter"
    assert fingerprint(siglip, batch_size=3, decode_workers=1) == base
    assert fingerprint(siglip, decode_mode="full") != base
    assert fingerprint(save_siglip(tmp_path / "other", seed=9)) != base

    config = json.loads((copy / "preprocessor_config.json").read_text())
    (copy / "preprocessor_config.json").write_text(json.dumps(config | {"resample": 2}))
    assert fingerprint(copy) != base
    (copy / "preprocessor_config.json").write_text(json.dumps(config | {"image_mean": [0.4, 0.5, 0.5]}))
    assert fingerprint(copy) != base
    (copy / "preprocessor_config.json").write_text(json.dumps(config))
    model_config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps(model_config | {"transformers_version": "4.0.0"}))
    assert fingerprint(copy) == base, "saving again with another library version is no other model"


def test_a_processor_with_steps_of_its_own_is_run_by_the_library(siglip: Path, tmp_path: Path) -> None:
    from transformers import AutoImageProcessor

    folder = tmp_path / "padded"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "preprocessor_config.json").read_text())
    (folder / "preprocessor_config.json").write_text(json.dumps(config | {"do_normalize": False}))
    encoder = load_encoder(settings(f"siglip:{folder}"))
    expected = AutoImageProcessor.from_pretrained(folder, backend="pil")(images=picture(0), return_tensors="np")["pixel_values"][0]
    np.testing.assert_array_equal(encoder.preprocess(picture(0)), expected)


def test_draft_mode_asks_for_twice_the_input_and_full_mode_for_everything(siglip: Path) -> None:
    assert load_encoder(settings(f"siglip:{siglip}")).draft_px == 64
    assert load_encoder(settings(f"siglip:{siglip}", decode_mode="full")).draft_px is None


def test_a_tokenizer_whose_class_is_not_installed_is_read_from_its_json(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "sentencepiece"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "tokenizer_config.json").read_text())
    (folder / "tokenizer_config.json").write_text(json.dumps(config | {"tokenizer_class": "NoSuchTokenizer"}))
    rows = load_encoder(settings(f"siglip:{folder}")).encode_text(TEXTS)
    np.testing.assert_allclose(rows, load_encoder(settings(f"siglip:{siglip}")).encode_text(TEXTS), atol=1e-6)


@pytest.mark.parametrize("masked", [False, True])
def test_the_replaced_pooling_attention_equals_torchs_own(masked: bool) -> None:
    from vibe_assets.encoders.rewire import BatchFirstAttention

    torch.manual_seed(0)
    original = torch.nn.MultiheadAttention(16, 4, batch_first=True).eval()
    query, rows = torch.randn(3, 1, 16), torch.randn(3, 7, 16)
    mask = torch.zeros(12, 1, 7).masked_fill(torch.rand(12, 1, 7) < 0.4, -1e9) if masked else None
    with torch.no_grad():
        expected = original(query, rows, rows, attn_mask=mask)[0]
        got = BatchFirstAttention(original)(query, rows, rows, attn_mask=mask)[0]
    torch.testing.assert_close(got, expected, atol=1e-6, rtol=1e-5)


@pytest.mark.parametrize("model", ["siglip", "naflex"])
def test_photos_gain_the_same_vector_alone_as_in_a_batch(model: str, request: pytest.FixtureRequest) -> None:
    encoder = load_encoder(settings(f"siglip:{request.getfixturevalue(model)}"))
    together = encode(encoder, pictures())
    alone = np.concatenate([encode(encoder, [image]) for image in pictures()])
    np.testing.assert_allclose(together, alone, atol=1e-5)
