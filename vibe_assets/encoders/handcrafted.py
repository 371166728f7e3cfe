"""A photo becomes a descriptor of colour, layout, edges and texture: no weights, NumPy and Pillow only, the offline default.

The blocks are textbook ones: joint colour histograms, a spatial pyramid of colour moments, histograms of oriented gradients
(Dalal & Triggs 2005), local binary patterns (Ojala et al. 2002) and GIST, the energy of oriented band-pass filters
(Oliva & Torralba 2001). Each block is power-normalised (signed square root) and scaled to unit length, then weighted.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import cache

import numpy as np
from PIL import Image

from vibe_assets.encoders.base import EncoderError, encoder_fingerprint

VERSION = 1
SIDE = 128  # every photo is looked at as 128 x 128, and as 64 x 64 for coarse structure
SMALL = 64
DRAFT_PX = 256
BOX = Image.Resampling.BOX
# influence of a block on the cosine; chosen on real photos with a linear classifier, by group-wise and source-wise accuracy
WEIGHTS = {"lbp": 2.0, "coarse_lbp": 2.0, "gist": 2.0, "whole": 2.0, "moments": 1.0, "hog": 1.0, "edges": 1.0, "hsv": 0.5}


class HandcraftedEncoder:
    """An Encoder without weights. Same photo, same vector, on every machine up to the last bits of float32."""

    name = "handcrafted"
    reads_text = False
    logit_scale = 1.0
    logit_bias = 0.0

    def __init__(self, *, decode_mode: str = "draft") -> None:
        self.draft_px = DRAFT_PX if decode_mode == "draft" else None
        self.fingerprint = encoder_fingerprint(
            kind="handcrafted", weights="none", preprocessing={"side": SIDE, "blocks": WEIGHTS},
            decode_mode=decode_mode, draft_px=self.draft_px, precision="fp32", version=VERSION,
        )  # fmt: skip
        self.dim = len(describe(Image.new("RGB", (SIDE, SIDE), "grey")))

    def preprocess(self, image: Image.Image) -> np.ndarray:
        """The descriptor itself, (d,) float32: the decode threads do all the work, `encode` only stacks."""
        return describe(image)

    def encode(self, batch: Sequence[np.ndarray] | np.ndarray) -> np.ndarray:
        return np.asarray(batch, dtype=np.float32).reshape(len(batch), self.dim)

    def stream(self, batches: Iterable[Sequence[np.ndarray]]) -> Iterator[np.ndarray]:
        return map(self.encode, batches)

    def encode_text(self, texts: Sequence[str]) -> np.ndarray:
        raise EncoderError("[encoder] name = 'handcrafted' has no text tower. Choose a SigLIP or CLIP model for zero-shot labels")


def describe(image: Image.Image) -> np.ndarray:
    """RGB photo -> (d,) float32 of unit length."""
    picture = image.resize((SIDE, SIDE), BOX if min(image.size) >= 2 * SIDE else Image.Resampling.BILINEAR)
    rgb = np.asarray(picture)  # (s, s, 3) uint8
    hsv = np.asarray(picture.convert("HSV"))
    ycc = np.asarray(picture.convert("YCbCr")).astype(np.float32) / 255
    luma = ycc[..., 0]
    coarse = np.asarray(picture.resize((SMALL, SMALL), BOX).convert("L")).astype(np.float32) / 255
    magnitude, _ = _gradient(luma)
    blocks = {
        "lbp": _histogram(_local_binary_pattern(luma, radius=1, threshold=0.0), 59, grid=2),
        "coarse_lbp": _histogram(_local_binary_pattern(luma, radius=2, threshold=2 / 255), 59, grid=1),
        "gist": _gist(coarse),
        "whole": _whole(image.size, rgb, hsv, luma, magnitude),
        "moments": _moments(ycc, grid=4),
        "hog": _oriented_gradients(coarse, grid=4, bins=9),
        "edges": _histogram(np.minimum((np.log2(1 + magnitude * 64) * 1.6).astype(np.intp), 7), 8, grid=4),
        "hsv": _histogram(_joint_bins(hsv, (12, 4, 4)), 192, grid=1),
    }
    vector = np.concatenate(
        [_unit(np.sign(block) * np.sqrt(np.abs(block))) * np.float32(WEIGHTS[name] ** 0.5) for name, block in blocks.items()]
    )
    return _unit(vector).astype(np.float32)


def _unit(vector: np.ndarray) -> np.ndarray:
    return vector / max(float(np.linalg.norm(vector)), 1e-6)


@cache
def _cell_of(side: int, grid: int) -> np.ndarray:
    """(s, s) number of the grid cell of each pixel."""
    line = np.arange(side) * grid // side
    return line[:, None] * grid + line[None, :]


def _histogram(index: np.ndarray, bins: int, *, grid: int, weights: np.ndarray | None = None) -> np.ndarray:
    """Histogram (grid * grid * bins) of an index image (s, s), by cell, in shares of a pixel count."""
    cells = _cell_of(index.shape[0], grid) * bins + index
    counts = np.bincount(cells.ravel(), None if weights is None else weights.ravel(), minlength=grid * grid * bins)
    return counts.astype(np.float32) / index.size


def _joint_bins(channels: np.ndarray, bins: tuple[int, int, int]) -> np.ndarray:
    """(s, s, 3) uint8 -> (s, s) index of the joint bin."""
    parts = [(channels[..., i].astype(np.intp) * bins[i]) >> 8 for i in range(3)]
    return (parts[0] * bins[1] + parts[1]) * bins[2] + parts[2]


def _moments(ycc: np.ndarray, *, grid: int) -> np.ndarray:
    """Mean and standard deviation of luma and chroma by cell."""
    side = ycc.shape[0] // grid
    cells = ycc.reshape(grid, side, grid, side, 3)
    mean = cells.mean((1, 3)) - np.float32(0.5)
    return np.concatenate([mean.ravel(), cells.std((1, 3)).ravel()])


def _gradient(luma: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(magnitude, angle) of central differences, zero at the border."""
    dx, dy = np.zeros_like(luma), np.zeros_like(luma)
    dx[:, 1:-1] = luma[:, 2:] - luma[:, :-2]
    dy[1:-1] = luma[2:] - luma[:-2]
    return np.hypot(dx, dy), np.arctan2(dy, dx)


def _oriented_gradients(luma: np.ndarray, *, grid: int, bins: int) -> np.ndarray:
    """Unsigned gradient orientations by cell, weighted by magnitude, linearly shared between neighbouring bins."""
    magnitude, angle = _gradient(luma)
    place = (angle % np.pi) / np.pi * bins
    low = np.floor(place)
    share = place - low
    first = low.astype(np.intp) % bins
    return _histogram(first, bins, grid=grid, weights=magnitude * (1 - share)) + _histogram(
        (first + 1) % bins, bins, grid=grid, weights=magnitude * share
    )


@cache
def _uniform_patterns() -> np.ndarray:
    """(256,) pattern -> 0..57 for the patterns with at most two changes around the circle, 58 for the rest."""
    table, next_code = np.full(256, 58, np.intp), 0
    for pattern in range(256):
        bits = [(pattern >> i) & 1 for i in range(8)]
        if sum(bits[i] != bits[i - 1] for i in range(8)) <= 2:
            table[pattern], next_code = next_code, next_code + 1
    return table


def _local_binary_pattern(luma: np.ndarray, *, radius: int, threshold: float) -> np.ndarray:
    """(s - 2r, s - 2r) uniform pattern of each inner pixel: which of its eight neighbours are brighter by `threshold`."""
    side, r = luma.shape[0], radius
    centre = luma[r:-r, r:-r] + np.float32(threshold)
    code = np.zeros(centre.shape, np.uint8)
    for bit, (dy, dx) in enumerate([(-1, -1), (-1, 0), (-1, 1), (0, 1), (1, 1), (1, 0), (1, -1), (0, -1)]):
        neighbour = luma[r + dy * r : side - r + dy * r, r + dx * r : side - r + dx * r]
        code |= (neighbour >= centre).astype(np.uint8) << bit
    return _uniform_patterns()[code]


@cache
def _filters(side: int, scales: int, orientations: int) -> tuple[np.ndarray, np.ndarray]:
    """(scales * orientations, s, s // 2 + 1) band-pass filters over frequencies, and the low-pass of the contrast normalisation."""
    fy, fx = np.fft.fftfreq(side)[:, None], np.fft.rfftfreq(side)[None, :]
    radius, angle = np.hypot(fx, fy), np.arctan2(fy, fx)
    bank = []
    for scale in range(scales):
        radial = np.exp(-3.5 * (radius / (0.3 / 1.85**scale) - 1) ** 2)
        for orientation in range(orientations):
            distance = (angle - np.pi * orientation / orientations + np.pi / 2) % np.pi - np.pi / 2
            bank.append(radial * np.exp(-(orientations**2) / (4 * np.pi) * distance**2))
    low = np.exp(-(radius**2) / ((4 / side) ** 2 / np.log(2)))
    return np.asarray(bank, np.float32), low.astype(np.float32)


def _gist(luma: np.ndarray, *, scales: int = 4, orientations: int = 8, grid: int = 4) -> np.ndarray:
    """Mean energy of each filter by cell (scales * orientations * grid * grid), after local contrast normalisation."""
    side = luma.shape[0]
    bank, low = _filters(side, scales, orientations)
    spectrum = np.fft.rfft2(np.log1p(luma * np.float32(255)))
    detail = np.fft.irfft2(spectrum * (1 - low), (side, side))
    contrast = np.sqrt(np.abs(np.fft.irfft2(np.fft.rfft2(detail * detail) * low, (side, side))))
    spectrum = np.fft.rfft2(detail / (np.float32(0.2) + contrast))
    energy = np.abs(np.fft.irfft2(spectrum[None] * bank, (side, side), axes=(1, 2)))
    cell = side // grid
    return energy.reshape(len(bank), grid, cell, grid, cell).mean((2, 4)).ravel()


def _whole(size: tuple[int, int], rgb: np.ndarray, hsv: np.ndarray, luma: np.ndarray, magnitude: np.ndarray) -> np.ndarray:
    """What tells drawn, printed and photographed pictures apart: shape, flat areas, number and concentration of colours, extremes."""
    flat = np.abs(np.diff(rgb.astype(np.int16), axis=1)).sum(-1)
    quantised = (rgb >> 3).astype(np.int32)
    counts = np.bincount(((quantised[..., 0] << 10) | (quantised[..., 1] << 5) | quantised[..., 2]).ravel(), minlength=1 << 15)
    shares = np.sort(counts[counts > 0])[::-1] / flat.shape[0] ** 2
    top = np.zeros(5)
    top[: len(shares[:5])] = shares[:5]
    saturation = hsv[..., 1] / np.float32(255)
    shape_and_flatness = [np.log(size[0] / size[1]), (flat == 0).mean(), (flat < 6).mean()]
    edges = [(magnitude > 0.1).mean(), (magnitude > 0.3).mean()]
    tones = [(luma > 0.95).mean(), (luma < 0.05).mean(), saturation.mean(), saturation.std(), luma.std()]
    colours = [len(shares) / 4000, *top, np.log(shares @ shares) / 10]
    return np.array([*shape_and_flatness, *colours, *edges, *tones], np.float32)
