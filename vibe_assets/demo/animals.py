"""Seeds become animals of the demo library: cats, dogs, rabbits, birds and fish, at home and outside."""

from __future__ import annotations

import math

import numpy as np

from vibe_assets.demo.outdoors import GREENS, tree
from vibe_assets.demo.paint import Canvas, Color, Drawing, hsv, mix, shade

FURS: tuple[Color, ...] = ((196, 132, 72), (92, 84, 80), (224, 214, 200), (60, 52, 50), (158, 118, 84), (206, 176, 132))


def animal(canvas: Canvas) -> Drawing:
    """One animal, or two of a kind, large in the picture."""
    c = canvas
    kind = c.pick(("cat", "cat", "dog", "dog", "rabbit", "bird", "bird", "fish"))
    if kind == "fish":
        _aquarium(c)
        return Drawing(c.finished(), "animals", ("animals.fish", "plant"), has_animal=True)
    outside = c.chance(0.5) or kind == "bird"
    extras = _outside(c) if outside else _inside(c)
    pair, far = c.chance(0.2), c.chance(0.25)
    for index in range(2 if pair else 1):
        x = c.w * (c.between(0.38, 0.62) if not pair else 0.3 + 0.4 * index)
        size = c.h * (c.between(0.1, 0.15) if far else c.between(0.19, 0.27)) * (0.75 if pair else 1)
        if kind == "bird":
            _bird(c, x, c.h * c.between(0.48, 0.6), size)
        else:
            furry(c, kind, x, c.h * c.between(0.9, 0.98), size)
    return Drawing(c.finished(), "animals", (f"animals.{kind}", *extras), has_animal=True)


def _outside(c: Canvas) -> tuple[str, ...]:
    green = c.near(c.pick(GREENS), 12)
    horizon = c.h * c.between(0.1, 0.5)
    c.gradient((150, 190, 220), mix(green, (220, 232, 236), 0.7), (0, 0, c.w, horizon))
    c.gradient(mix(green, (230, 230, 200), 0.25), shade(green, 0.8), (0, horizon, c.w, c.h))
    for _ in range(c.count(0, 3)):
        tree(c, c.w * c.between(0, 1), horizon + 20, c.h * c.between(0.2, 0.4), conifer=c.chance(0.3))
    c.soften(c.between(6, 16))
    c.mottle(0.22, 80, (0, horizon, c.w, c.h))
    for _ in range(160):
        x, y = c.w * c.between(0, 1), c.between(max(horizon, c.h * 0.55), c.h)
        c.stroke([(x, y), (x + c.between(-9, 9), y - c.between(10, 34))], c.near(green, 22), 3)
    return ()


def _inside(c: Canvas) -> tuple[str, ...]:
    wall, floor = hsv(c.between(0, 1), c.between(0.05, 0.3), c.between(0.55, 0.9)), c.near((168, 124, 84), 22)
    c.gradient(wall, shade(wall, 0.85))
    line = c.h * c.between(0.55, 0.75)
    c.gradient(floor, shade(floor, 0.75), (0, line, c.w, c.h))
    if sofa := c.chance(0.45):
        cloth = c.vivid(0.4, 0.6)
        c.box(-40, c.h * 0.28, c.w + 40, c.h * 0.8, cloth, 60)
        c.box(-40, c.h * 0.7, c.w + 40, c.h + 40, shade(cloth, 1.15), 50)
    c.soften(8)
    c.mottle(0.05, 30)
    if not sofa and c.chance(0.6):
        rug = c.vivid(0.5, 0.6)
        c.oval(c.w / 2, c.h * 0.94, c.w * 0.42, c.h * 0.15, rug)
        c.oval(c.w / 2, c.h * 0.94, c.w * 0.36, c.h * 0.12, mix(rug, (255, 255, 255), 0.25))
    return ("dailystuff.sofa",) if sofa else ()


def furry(c: Canvas, kind: str, x: float, y: float, size: float) -> None:
    """A cat, dog or rabbit that sits at (x, y) and looks at the camera; `size` is the radius of its head."""
    fur = c.near(c.pick(FURS), 10)
    pale = mix(fur, (250, 244, 236), 0.55)
    head_y = y - size * 2.7
    c.shadow(x, y, size * 1.5, size * 0.35)
    if kind != "rabbit":
        tail = [(x + size * (0.9 + 0.7 * math.sin(t * 2)), y - size * (0.2 + 1.6 * t)) for t in np.linspace(0, 1, 12)]
        c.stroke(tail, shade(fur, 0.85), size * 0.26)
    c.ball(x, y - size * 1.05, size * 1.05, size * 1.2, fur, 0.22)
    c.oval(x, y - size * 0.95, size * 0.55, size * 0.85, pale)
    for side in (-1, 1):
        c.box(x + side * size * 0.42 - size * 0.26, y - size * 1.1, x + side * size * 0.42 + size * 0.26, y, shade(fur, 0.94), size * 0.24)
        c.oval(x + side * size * 0.45, y - size * 0.08, size * 0.36, size * 0.17, pale)
        _ear(c, kind, x, head_y, size, side, fur)
    c.ball(x, head_y, size * 1.02, size * 0.9, fur, 0.22)
    _coat(c, x, y, size, head_y, fur)
    if kind == "dog":
        for side in (-1, 1):
            c.turned(x + side * size * 0.98, head_y + size * 0.12, size * 0.3, size * 0.68, side * -14, shade(fur, 0.68))
    c.oval(x, head_y + size * 0.4, size * (0.52 if kind == "dog" else 0.4), size * 0.36, pale)
    iris = c.pick(((212, 180, 60), (104, 150, 84), (92, 140, 180))) if kind == "cat" else (66, 42, 30)
    for side in (-1, 1):
        eye = x + side * size * 0.4
        c.oval(eye, head_y - size * 0.08, size * 0.2, size * 0.2, iris)
        c.oval(eye, head_y - size * 0.08, size * (0.07 if kind == "cat" else 0.13), size * 0.17, (16, 14, 14))
        c.oval(eye - size * 0.05, head_y - size * 0.15, size * 0.05, fill=(252, 252, 252))
        for whisker in (-0.12, 0.04, 0.2):
            if kind != "dog":
                c.stroke(
                    [(x + side * size * 0.25, head_y + size * 0.4), (x + side * size * 1.3, head_y + size * (0.35 + whisker))],
                    (240, 238, 232),
                    2,
                )
    nose = (38, 30, 32) if kind == "dog" else (206, 128, 128)
    c.shape([(x - size * 0.16, head_y + size * 0.2), (x + size * 0.16, head_y + size * 0.2), (x, head_y + size * 0.38)], nose)
    for side in (-1, 1):
        box = (x + min(0, side) * size * 0.26, head_y + size * 0.3, x + max(0, side) * size * 0.26, head_y + size * 0.58)
        c.draw.arc(box, 0, 180, fill=(70, 50, 48), width=max(round(size * 0.04), 2))
    if kind == "dog" and c.chance(0.6):
        c.oval(x, head_y + size * 0.68, size * 0.13, size * 0.2, (222, 112, 116))
    if c.chance(0.3):
        c.box(x - size * 0.6, y - size * 1.95, x + size * 0.6, y - size * 1.8, c.vivid(0.8, 0.8), size * 0.07)


def _ear(c: Canvas, kind: str, x: float, y: float, size: float, side: int, fur: Color) -> None:
    if kind == "cat":
        c.shape(
            [(x + side * size * 0.25, y - size * 0.7), (x + side * size * 0.95, y - size * 1.5), (x + side * size * 0.98, y - size * 0.2)],
            fur,
        )
        c.shape(
            [
                (x + side * size * 0.45, y - size * 0.75),
                (x + side * size * 0.86, y - size * 1.25),
                (x + side * size * 0.88, y - size * 0.45),
            ],
            (214, 150, 146),
        )
    if kind == "rabbit":
        c.turned(x + side * size * 0.42, y - size * 1.5, size * 0.25, size * 0.9, side * 10, fur)
        c.turned(x + side * size * 0.42, y - size * 1.5, size * 0.13, size * 0.7, side * 10, (226, 176, 172))


def _coat(c: Canvas, x: float, y: float, size: float, head_y: float, fur: Color) -> None:
    """Strokes of hair, and stripes or patches on some."""
    if c.chance(0.5):
        for stripe in (-0.3, 0.0, 0.3):
            c.stroke(
                [(x + size * stripe, head_y - size * 0.84), (x + size * stripe * 0.8, head_y - size * 0.42)], shade(fur, 0.6), size * 0.1
            )
    for _ in range(220):
        angle, reach = c.between(0, 6.283), c.between(0.3, 1.0)
        px, py = x + size * 0.98 * reach * math.cos(angle), y - size * 1.05 + size * 1.12 * reach * math.sin(angle)
        c.stroke([(px, py), (px + c.between(-5, 5), py + c.between(8, 20))], c.near(fur, 18), 2)
    for _ in range(120):
        angle, reach = c.between(0, 6.283), c.between(0.5, 0.98)
        px, py = x + size * reach * math.cos(angle), head_y + size * 0.85 * reach * math.sin(angle)
        c.stroke([(px, py), (px + c.between(-4, 4), py + c.between(6, 14))], c.near(fur, 18), 2)


def _bird(c: Canvas, x: float, y: float, size: float) -> None:
    """A bird in profile on a branch."""
    coat, face = c.vivid(0.55, 0.7), c.pick((-1, 1))
    c.stroke([(-20, y + size * 1.35), (c.w * 0.5, y + size * 1.2), (c.w + 20, y + size * c.between(0.9, 1.5))], (92, 70, 54), size * 0.2)
    for leg in (-0.2, 0.15):
        c.stroke([(x + leg * size, y + size * 0.7), (x + leg * size, y + size * 1.22)], (196, 138, 70), size * 0.07)
    c.shape(
        [
            (x - face * size * 0.7, y + size * 0.1),
            (x - face * size * 2.0, y + size * 0.75),
            (x - face * size * 1.9, y + size * 1.0),
            (x - face * size * 0.4, y + size * 0.6),
        ],
        shade(coat, 0.65),
    )
    c.ball(x, y + size * 0.1, size * 1.0, size * 0.78, coat, 0.3)
    c.oval(x + face * size * 0.2, y + size * 0.4, size * 0.62, size * 0.44, mix(coat, (250, 236, 214), 0.7))
    c.turned(x - face * size * 0.25, y + size * 0.1, size * 0.75, size * 0.38, face * -18, shade(coat, 0.75))
    for feather in range(4):
        px = x - face * size * (0.1 + 0.2 * feather)
        c.stroke([(px, y - size * 0.05), (px - face * size * 0.3, y + size * 0.32)], shade(coat, 0.55), size * 0.04)
    head_x, head_y = x + face * size * 0.75, y - size * 0.55
    c.shape(
        [
            (head_x + face * size * 0.4, head_y - size * 0.14),
            (head_x + face * size * 0.95, head_y + size * 0.06),
            (head_x + face * size * 0.4, head_y + size * 0.2),
        ],
        (236, 164, 60),
    )
    c.ball(head_x, head_y, size * 0.52, size * 0.5, coat, 0.3)
    c.oval(head_x + face * size * 0.18, head_y - size * 0.06, size * 0.13, fill=(250, 250, 246))
    c.oval(head_x + face * size * 0.2, head_y - size * 0.06, size * 0.08, fill=(14, 14, 16))


def _aquarium(c: Canvas) -> None:
    water = hsv(c.between(0.5, 0.62), c.between(0.5, 0.8), c.between(0.5, 0.75))
    c.gradient(mix(water, (220, 250, 250), 0.4), shade(water, 0.6))
    c.mottle(0.2, 8)
    c.gradient((206, 184, 140), (150, 128, 96), (0, c.h * 0.88, c.w, c.h))
    for _ in range(c.count(5, 12)):
        x, green = c.w * c.between(0, 1), hsv(c.between(0.3, 0.42), 0.6, c.between(0.3, 0.6))
        height = c.h * c.between(0.2, 0.6)
        c.stroke([(x + 20 * math.sin(t * 9), c.h * 0.92 - height * t) for t in np.linspace(0, 1, 16)], green, c.between(8, 20))
    for _ in range(c.count(1, 4)):
        x, y, size, face, color = (
            c.w * c.between(0.2, 0.8),
            c.h * c.between(0.2, 0.75),
            c.h * c.between(0.07, 0.17),
            c.pick((-1, 1)),
            c.vivid(0.8, 0.9),
        )
        c.shape(
            [
                (x - face * size * 0.8, y),
                (x - face * size * 1.8, y - size * 0.7),
                (x - face * size * 1.5, y),
                (x - face * size * 1.8, y + size * 0.7),
            ],
            shade(color, 0.8),
        )
        c.shape(
            [(x - size * 0.4, y - size * 0.4), (x + size * 0.3, y - size * 0.4), (x - face * size * 0.3, y - size * 1.0)], shade(color, 0.8)
        )
        c.ball(x, y, size * 1.1, size * 0.65, color, 0.35)
        for band in (-0.3, 0.15):
            c.stroke([(x + band * size, y - size * 0.55), (x + band * size, y + size * 0.55)], (250, 248, 240), size * 0.14)
        c.oval(x + face * size * 0.7, y - size * 0.12, size * 0.13, fill=(252, 252, 252))
        c.oval(x + face * size * 0.72, y - size * 0.12, size * 0.07, fill=(14, 14, 16))
    for _ in range(25):
        c.oval(c.w * c.between(0, 1), c.h * c.between(0, 0.85), c.between(4, 11), outline=(224, 244, 250), width=2)
