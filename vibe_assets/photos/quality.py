"""A decoded RGB picture goes in; sharpness, exposure, contrast, colourfulness and a perceptual hash come out."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from PIL import Image

MEASURE_PX = 512  # longest side at which photos are compared: sharpness depends on scale


@dataclass(frozen=True)
class Quality:
    sharpness: float  # variance of the Laplacian of luma (0..255)
    exposure: float  # mean luma, 0..1
    contrast: float  # RMS contrast: standard deviation of luma, 0..1
    colourfulness: float  # Hasler-Suesstrunk M3; 0 is grey, above 100 is vivid


def measure(image: Image.Image) -> Quality:
    """Measure an RGB picture at 512 px on its longest side; smaller ones as they are, since enlarging invents blur."""
    small = at_measuring_size(image)
    rgb = np.asarray(small, dtype=np.float32)  # (h, w, 3)
    luma = np.asarray(small.convert("L"), dtype=np.float32)  # (h, w), ITU-R 601
    return Quality(
        sharpness=_laplacian_variance(luma),
        exposure=float(luma.mean() / 255),
        contrast=float(luma.std() / 255),
        colourfulness=_colourfulness(rgb),
    )


@dataclass(frozen=True)
class TakeQuality:
    """What tells the takes of one series apart without any label; see the formulas' sources at `measure_take`."""

    sharpness: float  # variance of the Laplacian of luma (0..255)
    exposure: float  # well-exposedness, 0..1; 1 where every pixel is mid-grey
    brightness: float  # mean luma, 0..1
    clipped_shadows: float  # share of pixels, 0..1
    clipped_highlights: float  # share of pixels, 0..1
    colourfulness: float  # Hasler-Suesstrunk M3
    contrast: float  # RMS contrast, 0..1
    noise: float  # standard deviation in grey levels of 0..255


def measure_take(image: Image.Image) -> TakeQuality:
    """Measure an upright RGB picture at 512 px on its longest side.

    exposure: mean over pixels of exp(-(luma - 0.5)^2 / (2 * 0.2^2)), Mertens et al., Exposure fusion (2007). noise: Immerkaer, Fast noise
    variance estimation (1996). The others as in `measure`. Clipped: luma at most 2, or at least 253, of 255.
    """
    small = at_measuring_size(image)
    basic = measure(small)
    luma = np.asarray(small.convert("L"), dtype=np.float32)  # (h, w)
    return TakeQuality(
        sharpness=basic.sharpness,
        exposure=float(np.exp(-np.square(luma / 255 - 0.5) / (2 * 0.2**2)).mean()),
        brightness=basic.exposure,
        clipped_shadows=float((luma <= 2).mean()),
        clipped_highlights=float((luma >= 253).mean()),
        colourfulness=basic.colourfulness,
        contrast=basic.contrast,
        noise=_noise(luma),
    )


def perceptual_hash(image: Image.Image) -> str:
    """64-bit DCT hash as 16 hex digits (ImageHash's phash). Flat pictures give few set bits: see groups.py."""
    import imagehash

    return str(imagehash.phash(at_measuring_size(image)))


def at_measuring_size(image: Image.Image) -> Image.Image:
    """The picture at 512 px on its longest side, or itself where it is no larger; do it once for several measures."""
    scale = MEASURE_PX / max(image.size)
    if image.mode != "RGB":
        raise ValueError(f"expected an RGB picture, got mode {image.mode}")
    if scale >= 1:
        return image
    size = (max(1, round(image.width * scale)), max(1, round(image.height * scale)))
    return image.resize(size, Image.Resampling.BICUBIC, reducing_gap=2.0)


def _laplacian_variance(luma: np.ndarray) -> float:
    """Pech-Pacheco et al., Diatom autofocusing in brightfield microscopy (2000), four-neighbour kernel; 0 below 3 x 3."""
    if min(luma.shape) < 3:
        return 0.0
    centre = luma[1:-1, 1:-1]
    return float((luma[:-2, 1:-1] + luma[2:, 1:-1] + luma[1:-1, :-2] + luma[1:-1, 2:] - 4 * centre).var())


def _colourfulness(rgb: np.ndarray) -> float:
    """Hasler and Suesstrunk, Measuring colourfulness in natural images (2003), metric M3."""
    red, green, blue = rgb[..., 0], rgb[..., 1], rgb[..., 2]
    opponent = np.stack([red - green, (red + green) / 2 - blue])  # (2, h, w)
    return float(np.hypot(*opponent.std(axis=(1, 2))) + 0.3 * np.hypot(*opponent.mean(axis=(1, 2))))


def _noise(luma: np.ndarray) -> float:
    """Immerkaer 1996: the mean of |image * [[1,-2,1],[-2,4,-2],[1,-2,1]]|, blind to edges and slopes, times sqrt(pi / 2) / 6."""
    if min(luma.shape) < 3:
        return 0.0
    rows = luma[:, :-2] - 2 * luma[:, 1:-1] + luma[:, 2:]
    return float(np.sqrt(np.pi / 2) / 6 * np.abs(rows[:-2] - 2 * rows[1:-1] + rows[2:]).mean())
