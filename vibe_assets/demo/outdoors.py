"""Seeds become landscapes, streets and animals of the demo library."""

from __future__ import annotations

import math

import numpy as np

from vibe_assets.demo.figures import figure
from vibe_assets.demo.paint import Canvas, Color, Drawing, mix, shade

SKIES: tuple[tuple[Color, Color], ...] = (
    ((78, 138, 210), (196, 222, 240)), ((52, 104, 178), (170, 205, 232)), ((150, 160, 172), (208, 212, 214)),
    ((64, 58, 110), (244, 160, 96)), ((98, 120, 168), (250, 204, 150)), ((34, 44, 88), (150, 120, 150)),
)  # fmt: skip
GREENS: tuple[Color, ...] = ((108, 150, 72), (78, 124, 70), (142, 160, 84), (172, 160, 96), (88, 132, 98))


def landscape(canvas: Canvas) -> Drawing:
    """Sky, ridges that pale with distance, and water, a meadow, a beach or snow in front."""
    c = canvas
    sky = c.pick(SKIES)
    horizon = c.h * c.between(0.42, 0.62)
    _sky(c, sky, horizon)
    objects = []
    if c.chance(0.75):
        objects.append("mountain")
        layers = c.count(2, 4)
        base = c.pick(((92, 104, 120), (70, 92, 84), (112, 100, 92)))
        for layer in range(layers):
            near = (layer + 1) / layers
            ridge_y = horizon - c.h * c.between(0.08, 0.3) * (1.1 - near)
            _ridge(c, ridge_y, c.h * 0.16 * (1.2 - 0.6 * near), mix(sky[1], base, 0.35 + 0.6 * near), snow=layer == 0 and c.chance(0.4))
    front = c.pick(("lake", "lake", "meadow", "meadow", "forest", "beach", "snow"))
    objects += _front(c, front, horizon, sky)
    if c.chance(0.08):
        figure(c, c.w * c.between(0.3, 0.7), c.h * 0.9, c.h * 0.16)
        return Drawing(c.finished(), "landscape", tuple(objects), has_person=True)
    return Drawing(c.finished(), "landscape", tuple(objects))


def _sky(c: Canvas, sky: tuple[Color, Color], horizon: float) -> None:
    top, bottom = c.near(sky[0], 8), c.near(sky[1], 8)
    c.gradient(top, bottom, (0, 0, c.w, horizon + 4))
    c.gradient(bottom, bottom, (0, horizon, c.w, c.h))
    if c.chance(0.4):
        x, y = c.w * c.between(0.1, 0.9), horizon * c.between(0.2, 0.85)
        c.glow(x, y, c.h * 0.4, (255, 240, 205), 0.6)
        c.oval(x, y, c.h * 0.035, fill=(255, 250, 232))
    for _ in range(c.count(0, 6)):
        x, y, size = c.w * c.between(0, 1), horizon * c.between(0.1, 0.7), c.h * c.between(0.05, 0.14)
        for _ in range(c.count(3, 6)):
            c.glow(
                x + size * c.between(-1.8, 1.8),
                y + size * c.between(-0.3, 0.3),
                size * c.between(0.7, 1.4),
                mix(bottom, (255, 255, 255), 0.75),
                0.6,
                0.5,
            )


def _ridge(c: Canvas, y: float, height: float, color: Color, snow: bool = False) -> None:
    """A mountain line: octaves of noise, so that it looks neither like a wave nor like a saw."""
    xs = np.linspace(0, c.w, 97)
    line = np.zeros_like(xs)
    for octave in (2, 4, 9, 20, 48):
        knots = c.rng.uniform(-1, 1, octave + 2)
        line += np.interp(np.linspace(0, octave + 1, len(xs)), np.arange(octave + 2), knots) * 1.6 / octave
    points = list(zip(xs, y - height * line, strict=True))
    c.shape([(0, c.h), *points, (c.w, c.h)], color)
    if snow:
        cap = float(np.quantile(y - height * line, 0.3))
        hem = [(x, max(top, min(cap + c.between(-8, 10), top + height * 0.3))) for x, top in reversed(points)]
        c.shape([*points, *hem], (238, 242, 248))


def _front(c: Canvas, kind: str, horizon: float, sky: tuple[Color, Color]) -> list[str]:
    bottom = (0, horizon, c.w, c.h)
    if kind in ("lake", "beach"):
        water = mix(sky[0], (40, 92, 110), c.between(0.3, 0.6))
        c.gradient(mix(sky[1], water, 0.35), water, bottom)
        for _ in range(60):
            y = horizon + (c.h - horizon) * c.between(0, 1) ** 1.6
            x, length = c.w * c.between(-0.1, 1), c.w * c.between(0.02, 0.1) * (0.4 + (y - horizon) / c.h)
            c.stroke([(x, y), (x + length, y)], mix(water, sky[1], c.between(0.2, 0.8)), 2)
        if kind == "beach":
            sand = c.near((222, 200, 156), 8)
            edge = [(x, c.h * 0.84 + 22 * math.sin(x / 130) - x * 0.06) for x in np.linspace(0, c.w, 40)]
            c.shape([(0, c.h), *[(x, y - 12) for x, y in edge], (c.w, c.h)], (240, 244, 240))
            c.shape([(0, c.h), *edge, (c.w, c.h)], sand)
        elif c.chance(0.4):
            _boat(c, c.w * c.between(0.2, 0.8), horizon + (c.h - horizon) * c.between(0.2, 0.5), c.h * c.between(0.05, 0.1))
            return ["water", "dailystuff.vehicle.boat"]
        return ["water"]
    ground = (232, 238, 246) if kind == "snow" else c.pick(GREENS)
    c.gradient(mix(ground, sky[1], 0.35), shade(ground, 0.8), bottom)
    c.mottle(0.06 if kind == "snow" else 0.14, 70, bottom)
    if kind == "meadow":
        bloom = c.pick(((240, 208, 60), (216, 72, 72), (238, 238, 240), (150, 100, 190)))
        for _ in range(c.count(40, 170)):
            y = horizon + (c.h - horizon) * c.between(0.15, 1)
            c.oval(c.w * c.between(0, 1), y, 2 + 7 * (y - horizon) / c.h, fill=c.near(bloom, 12))
    trees = c.count(2, 5) if kind == "meadow" else c.count(5, 22)
    for y in sorted(horizon + (c.h - horizon) * c.between(0.02, 0.5) for _ in range(trees)):
        size = c.h * (0.1 + 0.5 * (y - horizon) / c.h) * c.between(0.8, 1.5)
        tree(c, c.w * c.between(0, 1), y, size, conifer=kind != "meadow", snowy=kind == "snow")
    return ["plant.tree", *(["plant.flower"] if kind == "meadow" else [])]


def tree(c: Canvas, x: float, y: float, size: float, *, conifer: bool, snowy: bool = False) -> None:
    """A tree that stands at (x, y)."""
    c.box(x - size * 0.05, y - size * 0.35, x + size * 0.05, y, c.near((84, 62, 46), 8))
    leaf = c.near(c.pick(((44, 84, 58), (58, 104, 56), (98, 120, 52))), 10)
    if conifer:
        for step in range(4):
            half, top = size * (0.36 - 0.07 * step), y - size * (0.45 + 0.22 * step)
            c.shape([(x - half, top + size * 0.28), (x, top - size * 0.06), (x + half, top + size * 0.28)], shade(leaf, 0.75 + 0.1 * step))
            if snowy:
                c.shape([(x - half * 0.5, top + size * 0.11), (x, top - size * 0.06), (x + half * 0.5, top + size * 0.11)], (236, 240, 246))
        return
    for _ in range(7):
        c.blob(x + size * c.between(-0.28, 0.28), y - size * c.between(0.4, 0.85), size * 0.24, size * 0.2, c.near(leaf, 10), 0.3)


def _boat(c: Canvas, x: float, y: float, size: float) -> None:
    hull = c.vivid(0.5, 0.6)
    c.shape(
        [(x - size, y - size * 0.2), (x + size, y - size * 0.2), (x + size * 0.7, y + size * 0.15), (x - size * 0.7, y + size * 0.15)], hull
    )
    c.stroke([(x, y - size * 0.2), (x, y - size * 2)], (90, 70, 60), 4)
    c.shape([(x + 4, y - size * 1.95), (x + size * 0.8, y - size * 0.35), (x + 4, y - size * 0.35)], (248, 246, 238))


def street(canvas: Canvas) -> Drawing:
    """A row of houses, a road, perhaps a car, a walker, a shop sign."""
    c = canvas
    _sky(c, c.pick(SKIES), c.h * 0.6)
    x, ground = -20.0, c.h * c.between(0.7, 0.8)
    while x < c.w:
        width, height = c.w * c.between(0.14, 0.28), c.h * c.between(0.35, 0.66)
        _house(c, x, ground, width, height)
        x += width
    c.gradient((150, 148, 144), (120, 118, 118), (0, ground, c.w, c.h))
    c.shape([(0, ground + c.h * 0.06), (c.w, ground + c.h * 0.06), (c.w, c.h), (0, c.h)], c.near((84, 84, 90), 8))
    for dash in range(6):
        c.box(c.w * (dash / 5 - 0.1), c.h * 0.93, c.w * (dash / 5 + 0.02), c.h * 0.945, (220, 216, 200))
    objects, person, text = ["building"], False, c.chance(0.4)
    if text:
        sign_x = c.w * c.between(0.1, 0.6)
        c.box(sign_x, ground - c.h * 0.2, sign_x + c.w * 0.24, ground - c.h * 0.12, c.vivid(0.7, 0.5), 8)
        c.write(
            sign_x + c.w * 0.12,
            ground - c.h * 0.16,
            c.pick(("BAKERY", "CAFE", "BOOKS", "HOTEL", "FLOWERS", "CINEMA")),
            c.h * 0.055,
            (250, 246, 230),
            "mm",
        )
    for _ in range(c.count(0, 2)):
        _car(c, c.w * c.between(0.1, 0.9), ground + c.h * c.between(0.1, 0.16), c.h * c.between(0.09, 0.13))
        objects.append("dailystuff.vehicle.car")
    for _ in range(c.pick((0, 0, 1, 2))):
        figure(c, c.w * c.between(0.1, 0.9), ground + c.h * c.between(0.05, 0.12), c.h * c.between(0.2, 0.3))
        person = True
    if c.chance(0.4):
        tree(c, c.w * c.between(0.1, 0.9), ground + 20, c.h * 0.4, conifer=False)
        objects.append("plant.tree")
    return Drawing(c.finished(), "snapshot", tuple(dict.fromkeys(objects)), has_person=person, has_text=text)


def _house(c: Canvas, x: float, ground: float, width: float, height: float) -> None:
    wall = c.near(c.pick(((196, 168, 140), (172, 108, 88), (204, 196, 180), (150, 160, 168), (214, 188, 128))), 12)
    c.box(x, ground - height, x + width, ground, wall)
    c.shape(
        [
            (x - 8, ground - height),
            (x + width + 8, ground - height),
            (x + width * 0.85, ground - height - 40),
            (x + width * 0.15, ground - height - 40),
        ],
        shade(c.pick(((120, 70, 60), (80, 84, 92))), c.between(0.8, 1.1)),
    )
    columns, rows = c.count(2, 4), c.count(3, 6)
    pane = c.pick(((92, 112, 132), (60, 72, 90), (240, 214, 140)))
    for column in range(columns):
        for row in range(rows):
            left, top = x + width * (column + 0.25) / columns, ground - height + height * (row + 0.2) / (rows + 0.3)
            c.box(left - 3, top - 3, left + width * 0.5 / columns + 3, top + height * 0.55 / rows + 3, mix(wall, (255, 255, 255), 0.5))
            c.box(left, top, left + width * 0.5 / columns, top + height * 0.55 / rows, c.near(pane, 10))


def _car(c: Canvas, x: float, y: float, size: float) -> None:
    paint = c.vivid(0.65, 0.75)
    c.shadow(x, y + size * 0.5, size * 2, size * 0.3)
    c.shape(
        [(x - size * 1.1, y - size * 0.3), (x - size * 0.6, y - size), (x + size * 0.6, y - size), (x + size * 1.2, y - size * 0.3)],
        shade(paint, 0.85),
    )
    c.shape(
        [
            (x - size * 0.85, y - size * 0.35),
            (x - size * 0.5, y - size * 0.88),
            (x - size * 0.05, y - size * 0.88),
            (x - size * 0.05, y - size * 0.35),
        ],
        (170, 196, 210),
    )
    c.shape(
        [
            (x + size * 0.05, y - size * 0.88),
            (x + size * 0.5, y - size * 0.88),
            (x + size * 0.95, y - size * 0.35),
            (x + size * 0.05, y - size * 0.35),
        ],
        (160, 186, 204),
    )
    c.box(x - size * 1.9, y - size * 0.35, x + size * 1.9, y + size * 0.35, paint, size * 0.3)
    for wheel in (-1.1, 1.1):
        c.oval(x + wheel * size, y + size * 0.35, size * 0.36, fill=(34, 34, 38))
        c.oval(x + wheel * size, y + size * 0.35, size * 0.16, fill=(170, 172, 176))
