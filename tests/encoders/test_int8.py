"""8-bit linear layers: what they compute, what they are put in place of, and where they are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.encoders.test_torch_models import encode, pictures, settings
from vibe_assets.encoders import torch_encoder
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.encoders.int8 import ROWS, Int8Linear, eight_bit
from vibe_assets.encoders.rewire import BatchFirstAttention

MODELS = ["siglip", "clip", "dinov2", "naflex", "openclip"]
vnni = pytest.mark.skipif(not {"avx512_vnni", "avx_vnni", "amx_int8"} & torch_encoder._cpu_flags(), reason="this CPU has no VNNI")


def name_of(model: str, request: pytest.FixtureRequest) -> str:
    return f"{'openclip' if model == 'openclip' else 'hf'}:{request.getfixturevalue(model)}"


def layer(n: int, m: int, *, bias: bool = True) -> nn.Linear:
    torch.manual_seed(0)
    return nn.Linear(n, m, bias=bias).requires_grad_(False)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("shape", [(1,), (3, 7), (2, ROWS + 1)])
def test_a_layer_is_as_close_as_eight_bits_allow(shape: tuple[int, ...], dtype: torch.dtype, bias: bool) -> None:
    exact = layer(48, 40, bias=bias)
    x = torch.randn(*shape, 48)
    got = Int8Linear(exact)(x.to(dtype))
    assert got.dtype == dtype
    assert got.shape == (*shape, 40)
    assert (got.float() - exact(x)).norm() / exact(x).norm() < 0.02


def test_integers_come_out_exactly() -> None:
    exact = layer(64, 16, bias=False)
    exact.weight.copy_(torch.randint(-127, 128, (16, 64)))
    exact.weight[:, 0] = 127
    x = torch.randint(-127, 128, (5, 64)).float()
    x[:, 1] = -127
    assert torch.allclose(Int8Linear(exact)(x), exact(x), rtol=1e-5)


def test_a_row_does_not_depend_on_the_rows_beside_it_and_outliers_stay_in_theirs() -> None:
    eight = Int8Linear(layer(32, 32))
    x = torch.randn(6, 32)
    alone = eight(x[:1])
    x[3] *= 1e6
    assert torch.equal(eight(x)[:1], alone)


def test_rows_of_zeros_give_the_bias_and_rows_that_are_not_finite_stay_so() -> None:
    exact = layer(8, 8)
    x = torch.zeros(3, 8)
    x[1, 2], x[2, 0] = torch.nan, torch.inf
    got = Int8Linear(exact)(x)
    assert torch.equal(got[0], exact.bias)
    assert not got[1].isfinite().any()
    assert not got[2].isfinite().any()


def test_attention_that_reads_its_weights_itself_is_replaced_or_left_alone() -> None:
    torch.manual_seed(0)
    both = nn.ModuleDict({"a": nn.MultiheadAttention(16, 2, batch_first=True), "b": nn.MultiheadAttention(16, 2, kdim=8)}).eval()
    x = torch.randn(2, 5, 16)
    with torch.inference_mode():
        exact, _ = both["a"](x, x, x, need_weights=False)
        eight_bit(both)
        got, _ = both["a"](x, x, x, need_weights=False)
    assert isinstance(both["a"], BatchFirstAttention)
    assert all(isinstance(part, Int8Linear) for part in (both["a"].query, both["a"].key_value, both["a"].out_proj))
    assert (got - exact).norm() / exact.norm() < 0.05
    assert isinstance(both["b"], nn.MultiheadAttention)
    with pytest.raises(ValueError, match="no linear layers"):
        eight_bit(nn.Sequential(nn.Conv2d(3, 4, 2)))


@vnni
@pytest.mark.parametrize("model", MODELS)
def test_vectors_stay_close_to_fp32_whoever_is_in_the_batch(model: str, request: pytest.FixtureRequest) -> None:
    name = name_of(model, request)
    full, half, eight = (load_encoder(settings(name, precision=precision)) for precision in ("fp32", "bf16", "int8"))
    wanted, got = encode(full, pictures()), encode(eight, pictures())
    assert 0.99 < (wanted * got).sum(1).min() < 1 - 1e-7  # as close, and not the same: something was rounded
    assert np.abs(encode(eight, pictures()[:1]) - got[:1]).max() < 0.02  # attention rounds by batch
    assert len({full.fingerprint, half.fingerprint, eight.fingerprint}) == 3


@vnni
def test_the_text_tower_and_the_embeddings_are_left_as_they_are(clip: Path, naflex: Path) -> None:
    for folder in (clip, naflex):
        half, eight = (load_encoder(settings(f"hf:{folder}", precision=precision)) for precision in ("bf16", "int8"))
        assert np.array_equal(half.encode_text(["a photo of a dog"]), eight.encode_text(["a photo of a dog"]))


@vnni
@pytest.mark.parametrize("model", MODELS)
def test_every_block_of_the_tower_changes(model: str, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    from vibe_assets.encoders import int8

    seen: list[nn.Module] = []
    monkeypatch.setattr(int8, "eight_bit", lambda tower: seen.append(eight_bit(tower)))
    load_encoder(settings(name_of(model, request), precision="int8"))
    changed = [path for path, module in seen[0].named_modules() if isinstance(module, Int8Linear)]
    assert len(changed) >= 10  # two blocks: query, key and value (one or two layers), out, two of the MLP
    left = [path for path, module in seen[0].named_modules() if isinstance(module, nn.Linear)]
    assert all("embed" in path or "text" in path or "projection" in path for path in left), left


def test_where_eight_bits_are_not_computed_they_are_refused(siglip: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    wish = settings(f"siglip:{siglip}", precision="int8")
    with pytest.raises(EncoderError, match=r"on the CPU only, and device is cuda"):
        torch_encoder.choose_precision(wish, torch.device("cuda"))
    monkeypatch.setattr(torch_encoder, "_cpu_flags", lambda: {"avx2", "bf16"})
    with pytest.raises(EncoderError, match="shows no VNNI"):
        load_encoder(wish)
    monkeypatch.setattr(torch_encoder, "_cpu_flags", lambda: {"avx_vnni"})
    assert torch_encoder.choose_precision(wish, torch.device("cpu")) == ("int8+fp32", torch.float32)
