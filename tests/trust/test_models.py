"""Models from elsewhere: nothing in their files is ever run, refusals name file and remedy, and what changes a vector changes its name."""

from __future__ import annotations

import io
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from tests.encoders.models import save_onnx, save_openclip, save_siglip
from vibe_assets.encoders.base import EncoderError, load_encoder
from vibe_assets.heads.legacy import import_pt
from vibe_assets.heads.models import HeadError
from vibe_assets.names.results import ResultsError, read_track
from vibe_assets.settings import EncoderSettings, TaggerSettings
from vibe_assets.vlm.failures import VlmError
from vibe_assets.vlm.local import load_local, names_of_old
from vibe_assets.vlm.registry import Model
from vibe_assets.vlm.tiny import save_tiny_model


class Burglar:
    """Unpickled, it makes a file."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.mark),)


@pytest.fixture
def mark(tmp_path: Path) -> Path:
    """Where a file would appear if anything were run; the trap is proven to work first."""
    mark = tmp_path / "pwned"
    pickle.loads(pickle.dumps(Burglar(mark)))
    assert mark.exists()
    mark.rmdir()
    return mark


def as_torch(content: Any) -> bytes:
    buffer = io.BytesIO()
    torch.save(content, buffer)
    return buffer.getvalue()


def settings(name: str, **more: Any) -> EncoderSettings:
    return EncoderSettings.model_validate({"name": name, "device": "cpu", "precision": "fp32", **more})


# -- pickles -----------------------------------------------------------------------------------------------------------
@pytest.mark.parametrize("packed", ["zip", "bare"])
def test_a_head_of_the_historical_layout_that_hides_code_is_refused(mark: Path, tmp_path: Path, packed: str) -> None:
    content = {"scene_labels": ["a"], "state": Burglar(mark), "seed": 1}
    file = tmp_path / "head.pt"
    file.write_bytes(as_torch(content) if packed == "zip" else pickle.dumps(content))
    with pytest.raises(HeadError, match=r"head\.pt"):
        import_pt(file, encoder="e" * 16, known=("scene.food",))
    assert not mark.exists()


@pytest.mark.parametrize("packed", ["zip", "bare"])
def test_a_hub_folder_whose_weights_hide_code_is_refused(mark: Path, tmp_path: Path, packed: str) -> None:
    folder = save_siglip(tmp_path / "model")
    (folder / "model.safetensors").unlink()
    content = {"logit_scale": Burglar(mark)}
    (folder / "pytorch_model.bin").write_bytes(as_torch(content) if packed == "zip" else pickle.dumps(content))
    with pytest.raises(EncoderError, match=r"pytorch_model\.bin.*safetensors"):
        load_encoder(settings(f"siglip:{folder}"))
    assert not mark.exists()


@pytest.mark.parametrize("name", ["open_clip_pytorch_model.bin", "model.pth"])
def test_an_openclip_folder_whose_weights_hide_code_is_refused(mark: Path, tmp_path: Path, name: str) -> None:
    folder = save_openclip(tmp_path / "model")
    (folder / "open_clip_model.safetensors").unlink()
    (folder / name).write_bytes(as_torch({"logit_scale": Burglar(mark)}))
    with pytest.raises(EncoderError, match=f"{name}.*safetensors"):
        load_encoder(settings(f"openclip:{folder}"))
    assert not mark.exists()


def test_openclip_weights_under_a_name_that_open_clip_passes_over_are_no_random_model(tmp_path: Path) -> None:
    folder = save_openclip(tmp_path / "model")
    (folder / "open_clip_model.safetensors").rename(folder / "open_clip_model.pt")
    with pytest.raises(EncoderError, match="holds no weights"):
        load_encoder(settings(f"openclip:{folder}"))


def test_plain_tensors_in_a_bin_file_are_read(tmp_path: Path) -> None:
    from safetensors.torch import load_file

    folder = save_siglip(tmp_path / "model")
    before = load_encoder(settings(f"siglip:{folder}"))
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()
    after = load_encoder(settings(f"siglip:{folder}"))
    pixels = np.full((1, 3, 32, 32), 90, np.uint8)
    assert np.array_equal(before.encode(pixels), after.encode(pixels))


def test_results_that_hide_code_are_refused(mark: Path, tmp_path: Path) -> None:
    np.save(tmp_path / "predictions.npy", np.array([Burglar(mark)], dtype=object), allow_pickle=True)
    np.save(tmp_path / "true_labels.npy", np.array([0]))
    with pytest.raises(ResultsError, match=r"predictions\.npy"):
        read_track(tmp_path)
    assert not mark.exists()


def test_no_module_of_the_package_unpickles(tmp_path: Path) -> None:
    import re

    import vibe_assets

    sources = {path: path.read_text() for path in Path(vibe_assets.__file__).parent.rglob("*.py")}
    risky = re.compile(
        r"pickle\.loads?\(|joblib|dill|allow_pickle=True|weights_only=False|trust_remote_code=True|torch\.jit\.load|(?<![\w.])(eval|exec)\("
    )
    found = {path.name: hit[0] for path, text in sources.items() if (hit := risky.search(text))}
    assert found.keys() <= {"ray_engine.py"}, "only what Ray's own processes hand to each other is unpickled, never a file"


# -- code in hub folders -----------------------------------------------------------------------------------------------
CLASSES = ("AutoConfig", "AutoModelForImageTextToText", "AutoProcessor", "AutoImageProcessor", "AutoTokenizer")


def plant_code(folder: Path, mark: Path, config: str, classes: tuple[str, ...]) -> None:
    """Custom code as hubs carry it: a module beside the weights and an auto_map that names it."""
    (folder / "modeling_evil.py").write_text(f"import os\nos.mkdir({str(mark)!r})\n")
    file = folder / config
    known = json.loads(file.read_text()) if file.exists() else {}
    file.write_text(json.dumps(known | {"auto_map": dict.fromkeys(classes, "modeling_evil.Evil")}))


def test_code_that_an_encoder_brings_along_is_not_run(mark: Path, tmp_path: Path) -> None:
    folder = save_siglip(tmp_path / "model")
    plant_code(folder, mark, "config.json", ("AutoConfig", "AutoModel"))
    plant_code(folder, mark, "preprocessor_config.json", ("AutoImageProcessor", "AutoProcessor"))
    plant_code(folder, mark, "tokenizer_config.json", ("AutoTokenizer",))
    encoder = load_encoder(settings(f"siglip:{folder}"))
    assert encoder.encode_text(["a dog"]).shape == (1, encoder.dim)
    assert not mark.exists()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil"}))
    with pytest.raises(EncoderError, match="model"):
        load_encoder(settings(f"siglip:{folder}"))
    assert not mark.exists()


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_tiny_model(tmp_path_factory.mktemp("vlm") / "tiny", ["tags of a photo", "dog cat boat"])


def test_code_that_a_vision_language_model_brings_along_is_not_run(mark: Path, tmp_path: Path, tiny: Path) -> None:
    import shutil

    folder = Path(shutil.copytree(tiny, tmp_path / "model"))
    for config in ("config.json", "processor_config.json", "preprocessor_config.json", "tokenizer_config.json"):
        plant_code(folder, mark, config, CLASSES)
    load_local(str(folder), device="cpu")
    assert not mark.exists()
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(config | {"model_type": "evil", "architectures": ["Evil"]}))
    with pytest.raises(VlmError, match=r"custom code|no vision-language model"):
        load_local(str(folder), device="cpu")
    assert not mark.exists()


# -- adapters ----------------------------------------------------------------------------------------------------------
@pytest.fixture
def adapter(tmp_path: Path, tiny: Path) -> Path:
    from peft import LoraConfig, get_peft_model

    with names_of_old():
        model = get_peft_model(load_local(str(tiny), device="cpu").model, LoraConfig(r=2, target_modules=["q_proj"]))
        model.save_pretrained(tmp_path / "adapter")
    config = json.loads((tmp_path / "adapter" / "adapter_config.json").read_text())
    (tmp_path / "adapter" / "adapter_config.json").write_text(json.dumps(config | {"base_model_name_or_path": str(tiny)}))
    return tmp_path / "adapter"


def test_an_adapter_whose_weights_hide_code_is_refused(mark: Path, adapter: Path, tiny: Path) -> None:
    load_local(str(tiny), adapter=adapter, device="cpu")
    (adapter / "adapter_model.safetensors").unlink()
    (adapter / "adapter_model.bin").write_bytes(as_torch({"x": Burglar(mark)}))
    with pytest.raises(VlmError, match=r"adapter_model\.bin.*safetensors"):
        load_local(str(tiny), adapter=adapter, device="cpu")
    assert not mark.exists()


def test_other_weights_or_other_settings_of_an_adapter_are_another_model(adapter: Path, tiny: Path) -> None:
    chosen = TaggerSettings.model_validate({"local": str(tiny)})
    alone, first = Model("a", chosen, str(tiny)), Model("a", chosen, str(tiny), adapter)
    seen = {alone.identity, first.identity}
    weights = adapter / "adapter_model.safetensors"
    data = bytearray(weights.read_bytes())
    data[-1] ^= 1
    weights.write_bytes(bytes(data))
    seen.add(Model("a", chosen, str(tiny), adapter).identity)
    config = json.loads((adapter / "adapter_config.json").read_text())
    (adapter / "adapter_config.json").write_text(json.dumps(config | {"lora_alpha": 64}))
    seen.add(Model("a", chosen, str(tiny), adapter).identity)
    assert len(seen) == 4


# -- what a model is called --------------------------------------------------------------------------------------------
@pytest.mark.parametrize("kind", ["siglip", "openclip"])
def test_other_weights_are_another_encoder(tmp_path: Path, kind: str) -> None:
    from safetensors.torch import load_file, save_file

    folder = (save_siglip if kind == "siglip" else save_openclip)(tmp_path / "model")
    before = load_encoder(settings(f"{kind}:{folder}")).fingerprint
    file = next(folder.glob("*.safetensors"))
    weights = load_file(file)
    weights["logit_scale"] += 1e-3
    save_file(weights, file, metadata={"format": "pt"})
    after = load_encoder(settings(f"{kind}:{folder}")).fingerprint
    assert before != after


def test_a_revision_belongs_to_what_a_model_is_called() -> None:
    names = ("org/model", f"org/model@{'a' * 40}", f"org/model@{'b' * 40}")
    pinned = [Model("m", TaggerSettings.model_validate({"local": name}), name) for name in names]
    assert len({model.identity for model in pinned}) == 3
    assert len({model.fingerprint("prompt") for model in pinned}) == 3


def test_a_revision_is_asked_for_at_the_hub(monkeypatch: pytest.MonkeyPatch) -> None:
    import huggingface_hub
    import transformers

    asked: list[object] = []

    def refuse(*_: object, revision: str | None = None, **__: object) -> None:
        asked.append(revision)
        raise OSError("offline")

    monkeypatch.setattr(huggingface_hub, "snapshot_download", refuse)
    monkeypatch.setattr(transformers.AutoProcessor, "from_pretrained", refuse)
    with pytest.raises(EncoderError, match="at revision 'abc'"):
        load_encoder(settings("siglip:org/model", revision="abc"))
    with pytest.raises(EncoderError, match="at revision 'def'"):
        load_encoder(settings("siglip:org/model@def"))
    with pytest.raises(VlmError, match="org/model"):
        load_local("org/model@ghi", device="cpu")
    assert asked == ["abc", "def", "ghi"]


# -- ONNX --------------------------------------------------------------------------------------------------------------
def with_outside_data(folder: Path, location: str, content: bytes | None = None) -> Path:
    """A tower whose weights lie at `location`, as the file itself says."""
    import onnx
    from onnx.external_data_helper import set_external_data

    folder.mkdir(parents=True, exist_ok=True)
    file = save_onnx(folder / "tower.onnx")
    model = onnx.load(file)
    tensor = model.graph.initializer[0]
    raw = tensor.raw_data
    place = folder / location
    place.parent.mkdir(parents=True, exist_ok=True)
    if not place.exists():
        place.write_bytes(content or raw)
    set_external_data(tensor, location, length=len(raw))
    tensor.ClearField("raw_data")
    file.write_bytes(model.SerializeToString())
    return file


def test_onnx_weights_beside_the_file_are_read_and_are_part_of_its_name(tmp_path: Path) -> None:
    file = with_outside_data(tmp_path / "model", "weights.bin")
    before = load_encoder(settings(f"onnx:{file}", precision="auto"))
    data = np.frombuffer((tmp_path / "model" / "weights.bin").read_bytes(), np.float32).copy()
    (tmp_path / "model" / "weights.bin").write_bytes((data * 1.5).tobytes())
    after = load_encoder(settings(f"onnx:{file}", precision="auto"))
    assert before.fingerprint != after.fingerprint


@pytest.mark.parametrize("how", ["above", "absolute", "link"])
def test_onnx_weights_outside_the_folder_are_refused(tmp_path: Path, how: str) -> None:
    secret = tmp_path / "secret.bin"
    secret.write_bytes(np.zeros(16 * 3 * 8 * 8, np.float32).tobytes())
    location = {"above": "../secret.bin", "absolute": str(secret), "link": "beside.bin"}[how]
    folder = tmp_path / "model"
    folder.mkdir()
    if how == "link":
        (folder / "beside.bin").symlink_to(secret)
    file = with_outside_data(folder, location)
    with pytest.raises(EncoderError, match=r"tower\.onnx.*outside its folder"):
        load_encoder(settings(f"onnx:{file}", precision="auto"))


# -- heads -------------------------------------------------------------------------------------------------------------
def test_a_zip_with_a_path_that_climbs_is_no_head(tmp_path: Path) -> None:
    file = tmp_path / "head.pt"
    with zipfile.ZipFile(file, "w") as packed:
        packed.writestr("../../climbed.txt", "x")
    with pytest.raises(HeadError, match=r"head\.pt"):
        import_pt(file, encoder="e" * 16, known=("scene.food",))
    assert not (tmp_path.parent / "climbed.txt").exists()
