"""Brushes of the demo's pictures: a seeded canvas with soft shapes, text and textures, and the look of a camera over it."""

from __future__ import annotations

import colorsys
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, TypeVar

import numpy as np
from PIL import Image, ImageChops, ImageDraw, ImageEnhance, ImageFilter, ImageFont

Color = tuple[int, int, int]
Point = tuple[float, float]
T = TypeVar("T")

MONOCHROME = 0.06  # share of black-and-white photos
SUPERSAMPLING = 2  # drawn at twice the size, then reduced: Pillow's shapes have hard edges


@dataclass(frozen=True)
class Drawing:
    """A picture and what it truly shows: object words of the taxonomy (keys without `object.`), main object first."""

    image: Image.Image  # RGB
    scene: str
    objects: tuple[str, ...] = ()
    has_person: bool = False
    has_animal: bool = False
    has_text: bool = False
    selfie: bool = False


class Canvas:
    """A picture in the making; lengths in pixels of the supersampled picture."""

    def __init__(self, rng: np.random.Generator, width: int, height: int, ground: Color = (255, 255, 255)) -> None:
        self.rng = rng
        self.w, self.h = width * SUPERSAMPLING, height * SUPERSAMPLING
        self.image = Image.new("RGB", (self.w, self.h), ground)
        self.draw = ImageDraw.Draw(self.image)

    # -- chance --------------------------------------------------------------------------------------------------------
    def between(self, low: float, high: float) -> float:
        return float(self.rng.uniform(low, high))

    def count(self, low: int, high: int) -> int:
        """A whole number, both ends included."""
        return int(self.rng.integers(low, high + 1))

    def chance(self, probability: float) -> bool:
        return bool(self.rng.random() < probability)

    def pick(self, items: Sequence[T]) -> T:
        return items[int(self.rng.integers(len(items)))]

    def near(self, color: Color, spread: float = 18) -> Color:
        red, green, blue = (int(np.clip(part + self.rng.normal(0, spread), 0, 255)) for part in color)
        return red, green, blue

    def vivid(self, saturation: float = 0.6, value: float = 0.8) -> Color:
        return hsv(self.between(0, 1), saturation * self.between(0.7, 1.2), value * self.between(0.7, 1.15))

    # -- shapes --------------------------------------------------------------------------------------------------------
    def gradient(self, top: Color, bottom: Color, box: tuple[float, float, float, float] | None = None) -> None:
        """Fill the box (left, top, right, bottom; the whole picture without one) from top to bottom colour."""
        left, upper, right, lower = (round(v) for v in box or (0, 0, self.w, self.h))
        rows = max(lower - upper, 1)
        ramp = np.linspace(0, 1, rows)[:, None] * (np.array(bottom) - np.array(top)) + np.array(top)
        strip = Image.fromarray(ramp.round().clip(0, 255).astype(np.uint8)[:, None, :])
        self.image.paste(strip.resize((max(right - left, 1), rows)), (left, upper))

    def oval(self, x: float, y: float, rx: float, ry: float | None = None, fill: Color | None = None, **options: Any) -> None:
        ry = rx if ry is None else ry
        self.draw.ellipse((x - rx, y - ry, x + rx, y + ry), fill=fill, **options)

    def box(
        self, left: float, top: float, right: float, bottom: float, fill: Color | None = None, radius: float = 0, **options: Any
    ) -> None:
        box = (min(left, right), min(top, bottom), max(left, right), max(top, bottom))
        self.draw.rounded_rectangle(box, radius=radius, fill=fill, **options)

    def shape(self, points: Sequence[Point], fill: Color) -> None:
        self.draw.polygon(list(points), fill=fill)

    def stroke(self, points: Sequence[Point], fill: Color, width: float = 3) -> None:
        self.draw.line(list(points), fill=fill, width=max(round(width), 1), joint="curve")

    def turned(self, x: float, y: float, rx: float, ry: float, degrees: float, fill: Color) -> None:
        """A turned ellipse."""
        angle = math.radians(degrees)
        ring = np.linspace(0, 2 * math.pi, 36, endpoint=False)
        dx, dy = rx * np.cos(ring), ry * np.sin(ring)
        self.shape(
            list(zip(x + dx * math.cos(angle) - dy * math.sin(angle), y + dx * math.sin(angle) + dy * math.cos(angle), strict=True)), fill
        )

    def blob(self, x: float, y: float, rx: float, ry: float, fill: Color, roughness: float = 0.15) -> None:
        """A smooth irregular shape."""
        ring = np.linspace(0, 2 * math.pi, 48, endpoint=False)
        radius = 1 + sum(roughness / k * math.sin(self.between(0, 6.3)) * np.sin(k * ring + self.between(0, 6.3)) for k in (2, 3, 5))
        self.shape(list(zip(x + rx * radius * np.cos(ring), y + ry * radius * np.sin(ring), strict=True)), fill)

    def ball(self, x: float, y: float, rx: float, ry: float, color: Color, light: float = 0.35) -> None:
        """An ellipse lit from the upper left."""
        size = (max(round(2 * rx), 2), max(round(2 * ry), 2))
        bright, dark = (Image.new("RGB", size, tone) for tone in (mix(color, (255, 255, 255), light), shade(color, 1 - 0.8 * light)))
        shaded = Image.composite(bright, dark, _falloff().resize(size))
        self.image.paste(shaded, (round(x - rx), round(y - ry)), _disc().resize(size))

    def glow(self, x: float, y: float, radius: float, color: Color, opacity: float = 0.6, squash: float = 1.0) -> None:
        """A soft spot of light (or, in a dark colour, of shadow)."""
        size = (max(round(2 * radius), 2), max(round(2 * radius * squash), 2))
        mask = _soft().resize(size).point(lambda level: level * opacity)
        self.image.paste(Image.new("RGB", size, color), (round(x - radius), round(y - radius * squash)), mask)

    def shadow(self, x: float, y: float, rx: float, ry: float, opacity: float = 0.45) -> None:
        """The shadow of something that stands at (x, y)."""
        self.glow(x, y, rx * 1.3, (12, 10, 14), opacity, ry / rx)

    def write(self, x: float, y: float, text: str, size: float, fill: Color = (30, 30, 30), anchor: str = "la") -> None:
        self.draw.text((x, y), text, font=font(max(round(size), 6)), fill=fill, anchor=anchor)

    def mottle(self, strength: float, cells: int, box: tuple[float, float, float, float] | None = None) -> None:
        """Darker patches, `cells` across: cloth, grass, plaster."""
        left, top, right, bottom = (round(v) for v in box or (0, 0, self.w, self.h))
        part = self.image.crop((left, top, right, bottom))
        patches = self.rng.uniform(0, 1, (max(cells * part.height // max(part.width, 1), 2), cells))
        levels = 255 * (1 - 1.5 * strength * patches)
        field = Image.fromarray(levels.astype(np.uint8)).resize(part.size, Image.Resampling.BILINEAR)
        self.image.paste(ImageChops.multiply(part, Image.merge("RGB", (field, field, field))), (left, top))

    def soften(self, radius: float) -> None:
        """Out of focus, all that was drawn so far."""
        self.image = self.image.reduce(4).filter(ImageFilter.GaussianBlur(radius / 4)).resize(self.image.size, Image.Resampling.BICUBIC)
        self.draw = ImageDraw.Draw(self.image)

    def finished(self) -> Image.Image:
        return self.image.reduce(SUPERSAMPLING)


def hsv(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, min(max(saturation, 0), 1), min(max(value, 0), 1))
    return round(255 * red), round(255 * green), round(255 * blue)


def mix(a: Color, b: Color, share: float) -> Color:
    red, green, blue = (round(x + (y - x) * share) for x, y in zip(a, b, strict=True))
    return red, green, blue


def shade(color: Color, factor: float) -> Color:
    red, green, blue = (min(max(round(part * factor), 0), 255) for part in color)
    return red, green, blue


@lru_cache(maxsize=64)
def font(size: int) -> Any:
    return ImageFont.load_default(size)


def through_a_lens(
    image: Image.Image, rng: np.random.Generator, *, exposure: float = 1.0, blur_px: float = 0.0, grain: float = 4.0
) -> Image.Image:
    """What a camera adds: white balance, exposure, a darker edge, blur, noise. `grain` in grey levels of 0..255."""
    if blur_px:
        image = image.filter(ImageFilter.GaussianBlur(blur_px))
    pixels = np.asarray(image, dtype=np.float32)
    height, width = pixels.shape[:2]
    across, down = np.linspace(-1, 1, width, dtype=np.float32)[None, :], np.linspace(-1, 1, height, dtype=np.float32)[:, None]
    edge = 1 - np.float32(rng.uniform(0.0, 0.09)) * (across**2 + down**2)
    balance = rng.normal(1.05, 0.03 if rng.random() < 0.8 else 0.09, 3).astype(np.float32) * np.float32(exposure)
    noise = rng.standard_normal((height, width), dtype=np.float32) * np.float32(grain)
    lit = pixels * balance * edge[..., None] + noise[..., None]
    photo = ImageEnhance.Contrast(Image.fromarray(lit.clip(0, 255).astype(np.uint8))).enhance(float(rng.uniform(0.88, 1.1)))
    return photo.convert("L").convert("RGB") if rng.random() < MONOCHROME else photo


@lru_cache(maxsize=1)
def _disc() -> Image.Image:
    mask = Image.new("L", (512, 512), 0)
    ImageDraw.Draw(mask).ellipse((1, 1, 510, 510), fill=255)
    return mask


@lru_cache(maxsize=1)
def _falloff() -> Image.Image:
    """Brightness of a ball lit from the upper left."""
    axis = np.linspace(-1, 1, 128)
    distance = np.hypot(axis[None, :] + 0.35, axis[:, None] + 0.4)
    return Image.fromarray((np.clip(1 - distance / 1.6, 0, 1) * 255).astype(np.uint8))


@lru_cache(maxsize=1)
def _soft() -> Image.Image:
    """A spot that fades from its centre to nothing."""
    axis = np.linspace(-1, 1, 128)
    distance = np.hypot(axis[None, :], axis[:, None])
    return Image.fromarray((np.clip(1 - distance, 0, 1) ** 1.4 * 255).astype(np.uint8))
