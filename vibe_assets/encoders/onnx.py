"""An ONNX image tower (FILE.onnx, preprocessing in FILE.json beside it) as an Encoder, through onnxruntime.

FILE.json, every key optional: `{"size": 224, "mean": [..], "std": [..], "resample": "bicubic", "fit": "squash", "input": "pixel_values",
"output": "image_embeds"}`. `size` is a side or [height, width]; `fit` is "squash" (both sides to size) or "crop" (shorter side to size,
then the centre). Without it: the size of the model's own input, mean and std 0.5 (SigLIP's), bicubic, squash.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from PIL import Image, ImageOps
from pydantic import BaseModel, ConfigDict, ValidationError

from vibe_assets.encoders.base import EncoderError, encoder_fingerprint, hash_files

if TYPE_CHECKING:
    from vibe_assets.settings import EncoderSettings

VERSION = 1
OUTPUTS = ("image_embeds", "image_embedding", "embedding", "pooler_output")  # names that exporters use, best first
RESAMPLE = {"nearest": 0, "lanczos": 1, "bilinear": 2, "bicubic": 3, "box": 4, "hamming": 5}


class Preprocessing(BaseModel):
    """FILE.json."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    size: int | tuple[int, int] | None = None
    mean: tuple[float, float, float] = (0.5, 0.5, 0.5)
    std: tuple[float, float, float] = (0.5, 0.5, 0.5)
    resample: Literal["nearest", "lanczos", "bilinear", "bicubic", "box", "hamming"] = "bicubic"
    fit: Literal["squash", "crop"] = "squash"
    input: str | None = None
    output: str | None = None


class OnnxEncoder:
    """An Encoder over one onnxruntime session; it has no text tower."""

    reads_text = False
    logit_scale = 1.0
    logit_bias = 0.0

    def __init__(self, file: Path, settings: EncoderSettings) -> None:
        self.name = settings.name
        self._who = f"[encoder] name = {settings.name!r}"
        self._recipe = _read_recipe(file.with_suffix(".json"), self._who)
        files = weight_files(file, self._who)
        self._session = _session(file, settings, self._who)
        self._input, self._size = self._input_of()
        self._output = self._output_of()
        self._mean = np.asarray(self._recipe.mean, np.float32).reshape(1, 3, 1, 1) * 255
        self._std = np.asarray(self._recipe.std, np.float32).reshape(1, 3, 1, 1) * 255
        self.draft_px = 2 * max(self._size) if settings.decode_mode == "draft" else None
        self.fingerprint = encoder_fingerprint(
            kind="onnx", weights=hash_files(files),
            preprocessing={**self._recipe.model_dump(), "size": self._size, "input": self._input.name, "output": self._output},
            decode_mode=settings.decode_mode, draft_px=self.draft_px, precision="as in the file", version=VERSION,
        )  # fmt: skip
        self.dim = self._run(np.zeros((1, 3, *self._size), np.uint8)).shape[1]

    def preprocess(self, image: Image.Image) -> np.ndarray:
        height, width = self._size
        resample = Image.Resampling(RESAMPLE[self._recipe.resample])
        if self._recipe.fit == "crop":
            image = ImageOps.fit(image, (width, height), resample)
        elif image.size != (width, height):
            image = image.resize((width, height), resample)
        return np.ascontiguousarray(np.asarray(image).transpose(2, 0, 1))

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        if len(batch) == 0:
            return np.empty((0, self.dim), np.float32)
        features = self._run(np.asarray(batch))
        return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)

    def stream(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        return map(self.encode, batches)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        raise EncoderError(
            f"{self._who} has no text tower: an ONNX file embeds photos only. Choose a SigLIP or CLIP model for zero-shot labels"
        )

    def _run(self, pixels: np.ndarray) -> np.ndarray:
        """(b, 3, h, w) uint8 -> (b, d) float32, not yet of unit length."""
        kind = np.float16 if self._input.type == "tensor(float16)" else np.float32
        values = ((pixels.astype(np.float32) - self._mean) / self._std).astype(kind)
        batch = self._input.shape[0]
        step = batch if isinstance(batch, int) else len(values)  # some exports fix the batch
        try:
            parts = [self._run_exactly(values[i : i + step], step) for i in range(0, len(values), step)]
        except Exception as error:  # onnxruntime's own kinds
            raise EncoderError(f"{self._who}: the model could not run: {error}") from error
        return np.concatenate(parts).astype(np.float32)

    def _run_exactly(self, values: np.ndarray, step: int) -> np.ndarray:
        missing = step - len(values)
        padded = np.concatenate([values, np.zeros((missing, *values.shape[1:]), values.dtype)]) if missing else values
        return self._session.run([self._output], {self._input.name: padded})[0][: len(values)]

    def _input_of(self) -> tuple[Any, tuple[int, int]]:
        inputs = {item.name: item for item in self._session.get_inputs()}
        name = self._recipe.input or next(iter(inputs))
        if name not in inputs:
            raise EncoderError(f'{self._who}: no input called {name!r}; there are: {", ".join(inputs)}. Correct "input" in the JSON file')
        shape, size = inputs[name].shape, self._recipe.size
        if size is None and len(shape) == 4 and all(isinstance(side, int) for side in shape[2:]):
            return inputs[name], (shape[2], shape[3])
        if size is None or len(shape) != 4:
            raise EncoderError(
                f'{self._who}: input {name!r} has shape {shape}, expected (b, 3, h, w); write "size" into the JSON file beside it'
            )
        return inputs[name], (size, size) if isinstance(size, int) else size

    def _output_of(self) -> str:
        outputs = {item.name: item.shape for item in self._session.get_outputs()}
        flat = [name for name, shape in outputs.items() if len(shape) == 2]
        name = self._recipe.output or next((name for name in (*OUTPUTS, *flat) if name in flat), None)
        if name is None or name not in outputs:
            raise EncoderError(
                f'{self._who}: which output is the embedding (b, d)? Write "output" into the JSON file; there are: {outputs}'
            )
        return name


def load(target: str, settings: EncoderSettings) -> OnnxEncoder:
    """Load FILE.onnx. Raises EncoderError."""
    who, file = f"[encoder] name = {settings.name!r}", Path(target).expanduser()
    if not file.is_file():
        raise EncoderError(f"{who}: no such file: {file}. Give the path of an exported image tower (.onnx)")
    if settings.precision in ("bf16", "int8"):
        raise EncoderError(
            f"{who}: an ONNX file carries its own precision; set [encoder] precision to auto, or export it in the precision wanted"
        )
    return OnnxEncoder(file, settings)


def _read_recipe(file: Path, who: str) -> Preprocessing:
    if not file.is_file():
        return Preprocessing()
    try:
        return Preprocessing.model_validate(json.loads(file.read_text(encoding="utf-8")))
    except (ValidationError, ValueError, OSError) as error:
        raise EncoderError(f"{who}: {file}: {error}") from error


def _session(file: Path, settings: EncoderSettings, who: str) -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise EncoderError(f"{who} needs onnxruntime: pip install 'vibe-assets[onnx]'") from error
    device = settings.device.strip().lower().partition(":")[0]
    available = onnxruntime.get_available_providers()
    wanted = {
        "auto": ["CUDAExecutionProvider", "CPUExecutionProvider"],
        "cpu": ["CPUExecutionProvider"],
        "cuda": ["CUDAExecutionProvider"],
    }.get(device)
    providers = [provider for provider in wanted or () if provider in available]
    if not providers:
        raise EncoderError(
            f"{who}: [encoder] device = {settings.device!r} is not offered by this onnxruntime ({', '.join(available)}); write auto or cpu"
        )
    try:
        return onnxruntime.InferenceSession(str(file), providers=providers)
    except Exception as error:
        raise EncoderError(f"{who}: {file} could not be loaded: {error}. Export the model again") from error


def weight_files(file: Path, who: str) -> list[Path]:
    """The model and the files with weights that it names. Raises EncoderError for one that lies outside its folder, by path or by link."""
    try:
        import onnx
    except ImportError as error:
        raise EncoderError(f"{who} needs onnx, to see which other files the model reads: pip install 'vibe-assets[onnx]'") from error
    try:
        model = onnx.load(str(file), load_external_data=False)
    except Exception as error:  # protobuf's own kinds
        raise EncoderError(f"{who}: {file} could not be loaded: no ONNX model ({type(error).__name__}). Export the model again") from error
    home = file.parent.resolve()
    found = {file}
    for name in sorted(_named_files(model)):
        path = (home / name).resolve()
        if not path.is_relative_to(home):
            raise EncoderError(f"{who}: {file} reads weights from {name!r}, outside its folder; export the model again, into one folder")
        if path.is_file():
            found.add(path)
    return sorted(found)


def _named_files(message: Any) -> Iterator[str]:
    """Every location of external data in a model, however deep: tensors of graphs, of their nodes' attributes, of functions."""
    for field, value in message.ListFields():
        if field.name == "external_data":
            yield from (entry.value for entry in value if entry.key == "location")
        elif field.message_type is not None:
            for part in value if _is_many(value) else [value]:
                yield from _named_files(part)


def _is_many(value: Any) -> bool:
    return not hasattr(value, "ListFields")
