"""Names of encoders: what cannot be loaded says which setting is wrong and what to do."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.settings import EncoderSettings


def refused(name: str, **options: object) -> str:
    with pytest.raises(EncoderError) as caught:
        load_encoder(EncoderSettings(name=name, **options))
    return str(caught.value)


@pytest.mark.parametrize("name", ["", "clip", "siglip", "resnet:50", "handcrafted:2"])
def test_an_unknown_name_lists_the_known_ones(name: str) -> None:
    message = refused(name)
    assert repr(name) in message
    assert "[encoder] name" in message
    assert "openclip:ARCH/PRETRAINED" in message


@pytest.mark.parametrize("kind", ["siglip", "hf", "openclip", "onnx"])
def test_nothing_after_the_colon(kind: str) -> None:
    assert "nothing after the colon" in refused(f"{kind}: ")


@pytest.mark.parametrize("kind", ["siglip", "hf", "openclip", "onnx"])
def test_a_missing_folder_or_file_is_named(kind: str, tmp_path: Path) -> None:
    message = refused(f"{kind}:{tmp_path}/absent.onnx")
    assert "no such" in message
    assert f"{tmp_path}/absent.onnx" in message


def test_a_folder_without_weights_is_refused(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "bare"
    shutil.copytree(siglip, folder)
    (folder / "model.safetensors").unlink()
    assert "holds no weights" in refused(f"siglip:{folder}")
    assert "holds no open_clip_config.json" in refused(f"openclip:{folder}")
    (folder / "open_clip_config.json").write_text("{}")
    assert "holds no weights" in refused(f"openclip:{folder}")


def test_weights_that_do_not_fit_the_configuration_are_refused_not_filled_with_noise(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "holes"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "config.json").read_text())
    config["vision_config"]["num_hidden_layers"] += 1
    (folder / "config.json").write_text(json.dumps(config))
    assert "missing or of another shape" in refused(f"siglip:{folder}")


def test_damaged_weights_and_a_missing_processor_are_worded(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "damaged"
    shutil.copytree(siglip, folder)
    (folder / "preprocessor_config.json").unlink()
    assert "preprocessor_config.json" in refused(f"siglip:{folder}")
    (folder / "model.safetensors").write_bytes(b"junk")
    assert "could not be loaded" in refused(f"siglip:{folder}")


def test_pickled_code_in_a_weight_file_is_not_run(siglip: Path, tmp_path: Path) -> None:
    import torch

    class Trap:
        def __reduce__(self) -> tuple[object, tuple[str]]:
            return Path.touch, (Path(tmp_path / "trapped"),)  # type: ignore[return-value]

    folder = tmp_path / "pickled"
    shutil.copytree(siglip, folder)
    (folder / "model.safetensors").unlink()
    torch.save({"logit_scale": Trap()}, folder / "pytorch_model.bin")
    assert "could not be loaded" in refused(f"siglip:{folder}")
    assert not (tmp_path / "trapped").exists()


def test_code_beside_a_model_is_not_run(siglip: Path, tmp_path: Path) -> None:
    folder = tmp_path / "remote"
    shutil.copytree(siglip, folder)
    config = json.loads((folder / "config.json").read_text())
    code = {"auto_map": {"AutoConfig": "evil.Config", "AutoModel": "evil.Model"}, "model_type": "evil"}
    (folder / "config.json").write_text(json.dumps(config | code))
    (folder / "evil.py").write_text(f"open({str(tmp_path / 'trapped')!r}, 'w')")
    assert "could not be loaded" in refused(f"hf:{folder}")
    assert not (tmp_path / "trapped").exists()


def test_a_hub_name_that_is_not_in_the_cache_says_so_when_offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    import huggingface_hub.constants

    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    message = refused("siglip:nobody/such-model", revision="abc")
    assert "nobody/such-model at revision 'abc' is neither a folder nor in the hub's cache" in message
    assert "hf download" in message


def test_open_clip_names_are_checked_before_anything_is_fetched() -> None:
    assert "not ARCH/PRETRAINED" in refused("openclip:NoSuchArch/laion2b")
    assert "there are:" in (message := refused("openclip:ViT-B-32/no_such_tag"))
    assert "laion2b_s34b_b79k" in message


def test_a_device_that_is_not_there_is_refused(siglip: Path) -> None:
    import torch

    absent = "mps" if not torch.backends.mps.is_available() else "cuda"
    assert "is not on this machine" in refused(f"siglip:{siglip}", device=absent)
    assert "no such device" in refused(f"siglip:{siglip}", device="toaster")


def test_importing_the_room_loads_no_model_library() -> None:
    code = "import sys, vibe_assets.encoders.base, vibe_assets.encoders.engine, vibe_assets.encoders.bench; print(*sys.modules)"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "vibe_assets.encoders.bench" in loaded
    assert not {"torch", "polars", "pyarrow", "transformers", "open_clip", "onnxruntime"} & set(loaded)
