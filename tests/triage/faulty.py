"""A sound photo goes in; the same photo with one known fault each comes out, so that a pick can be right or wrong."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image, ImageEnhance, ImageFilter

SOUND = "sound"


def takes_of(image: Image.Image) -> dict[str, Image.Image]:
    """The photo, blurred, under-exposed, over-exposed until a third of its pixels are white, and cropped to a corner of half its sides."""
    width, height = image.size
    corner = image.crop((0, 0, width // 2, height // 2)).resize((width, height), Image.Resampling.LANCZOS)
    return {
        SOUND: image,
        "blurred": image.filter(ImageFilter.GaussianBlur(width / 250)),
        "under-exposed": ImageEnhance.Brightness(image).enhance(0.4),
        "over-exposed": ImageEnhance.Brightness(image).enhance(255 / np.quantile(np.asarray(image.convert("L")), 2 / 3)),
        "cropped": corner,
    }


def write_takes(photo: Path, folder: Path, *, seed: int, leave_out: str = "") -> dict[str, str]:
    """Save the takes without EXIF under consecutive names in a drawn order; name -> fault."""
    folder.mkdir(parents=True)
    image = Image.open(photo).convert("RGB")
    image.thumbnail((1024, 1024))
    takes = [(fault, take) for fault, take in takes_of(image).items() if fault != leave_out]
    named = {}
    for number, at in enumerate(np.random.default_rng(seed).permutation(len(takes)), 8):
        fault, take = takes[at]
        take.save(folder / f"IMG_{number}.jpg", quality=92)
        named[f"{folder.name}/IMG_{number}.jpg"] = fault
    return named
