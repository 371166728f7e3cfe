"""Seeds become food, goods and rooms of the demo library."""

from __future__ import annotations

import math

from vibe_assets.demo import goods
from vibe_assets.demo.animals import furry
from vibe_assets.demo.figures import figure
from vibe_assets.demo.paint import Canvas, Color, Drawing, hsv, mix, shade

DISHES = ("pizza", "salad", "noodles", "soup", "cake", "fruit", "breakfast")
DISH_KEYS = {
    "pizza": ("food.pizza",),
    "salad": ("food.vegetable",),
    "noodles": ("food.noodles",),
    "soup": ("food.soup",),
    "cake": ("food.dessert.cake",),
    "fruit": ("food.fruit",),
    "breakfast": ("food.bread",),
}


def food(canvas: Canvas) -> Drawing:
    """A plate or bowl from above, on wood or cloth, often with cutlery and a cup."""
    c = canvas
    _table(c)
    x, y, size = (
        c.w * c.between(0.42, 0.58),
        c.h * c.between(0.46, 0.56),
        c.h * (c.between(0.5, 0.72) if c.chance(0.25) else c.between(0.28, 0.4)),
    )
    dish = c.pick(DISHES)
    rim = c.near(c.pick(((244, 244, 242), (238, 232, 220), (70, 92, 120), (232, 236, 240))), 6)
    c.shadow(x + 10, y + 16, size * 1.08, size * 1.08, 0.5)
    c.oval(x, y, size, fill=rim)
    c.oval(x, y, size * 0.97, fill=mix(rim, (255, 255, 255), 0.3))
    c.oval(x, y, size * 0.76, fill=shade(rim, 0.93))
    _DISHES[dish](c, x, y, size * 0.72)
    objects = list(DISH_KEYS[dish])
    if c.chance(0.7):
        for side, tool in ((-1, "fork"), (1, "knife")):
            place = x + side * size * 1.22
            c.stroke([(place, y - size * 0.1), (place, y + size * 0.75)], (178, 180, 186), 13)
            c.box(place - 13, y - size * 0.7, place + (13 if tool == "fork" else 9), y - size * 0.05, (196, 198, 204), 10)
            for prong in (-5, 5) if tool == "fork" else ():
                c.stroke([(place + prong, y - size * 0.7), (place + prong, y - size * 0.42)], shade((150, 120, 90), 0.9), 3)
        objects.append("dailystuff.tableware")
    if c.chance(0.4):
        cx, cy, r = x + size * 1.25 * c.pick((-1, 1)), y - size * c.between(0.75, 0.95), size * 0.34
        c.shadow(cx, cy + 8, r * 1.1, r)
        c.oval(cx, cy, r, fill=(246, 244, 240))
        c.oval(cx, cy, r * 0.82, fill=c.pick(((84, 52, 34), (176, 128, 88), (150, 84, 30))))
        c.oval(cx - r * 0.2, cy - r * 0.1, r * 0.3, r * 0.2, fill=(206, 166, 128))
        objects.append("drink.coffee")
    return Drawing(c.finished(), "food", tuple(objects))


def _table(c: Canvas) -> None:
    if c.chance(0.55):
        wood = c.near(c.pick(((170, 120, 76), (120, 80, 52), (206, 170, 128))), 10)
        c.gradient(wood, shade(wood, 0.88))
        planks = c.count(4, 7)
        for plank in range(planks):
            left, right = c.w * plank / planks, c.w * (plank + 1) / planks
            c.gradient(c.near(wood, 7), c.near(wood, 7), (left, 0, right - 3, c.h))
            for _ in range(14):
                x = c.between(left, right)
                c.stroke([(x, 0), (x + c.between(-14, 14), c.h)], shade(wood, c.between(0.82, 1.08)), 2)
        return
    cloth = hsv(c.between(0, 1), c.between(0.05, 0.5), c.between(0.5, 0.92))
    c.gradient(cloth, shade(cloth, 0.9))
    if c.chance(0.6):
        step = round(c.between(50, 110))
        for at in range(0, c.w, 2 * step):
            c.box(at, 0, at + step, c.h, mix(cloth, (255, 255, 255), 0.35))
        for at in range(0, c.h, 2 * step):
            c.box(0, at, c.w, at + step * 0.4, mix(cloth, (255, 255, 255), 0.5))
    c.mottle(0.1, 60)


def _pizza(c: Canvas, x: float, y: float, size: float) -> None:
    size *= 1.18
    c.blob(x, y, size, size, (198, 140, 74), 0.05)
    c.blob(x, y, size * 0.88, size * 0.88, (196, 66, 40), 0.06)
    for _ in range(26):
        _around(c, x, y, size * 0.8, lambda px, py: c.blob(px, py, size * 0.14, size * 0.11, c.near((240, 212, 130), 10), 0.4))
    topping = c.pick(((160, 40, 36), (90, 110, 52), (60, 44, 56)))
    for _ in range(c.count(6, 13)):
        _around(c, x, y, size * 0.72, lambda px, py: c.ball(px, py, size * 0.11, size * 0.11, topping, 0.25))
    for _ in range(c.count(2, 8)):
        _around(c, x, y, size * 0.7, lambda px, py: c.turned(px, py, size * 0.13, size * 0.06, c.between(0, 180), (62, 124, 52)))
    for slice_ in range(4):
        angle = slice_ * math.pi / 4 + 0.3
        c.stroke(
            [(x - size * math.cos(angle), y - size * math.sin(angle)), (x + size * math.cos(angle), y + size * math.sin(angle))],
            (150, 86, 48),
            3,
        )


def _salad(c: Canvas, x: float, y: float, size: float) -> None:
    for _ in range(60):
        leaf = hsv(c.between(0.2, 0.34), c.between(0.5, 0.8), c.between(0.4, 0.8))
        _around(c, x, y, size * 0.85, lambda px, py, leaf=leaf: c.blob(px, py, size * 0.2, size * 0.13, leaf, 0.4))
    for _ in range(c.count(5, 10)):
        _around(c, x, y, size * 0.75, lambda px, py: c.ball(px, py, size * 0.13, size * 0.13, c.near((212, 52, 40), 8), 0.35))
    for _ in range(c.count(3, 8)):
        _around(c, x, y, size * 0.75, lambda px, py: c.oval(px, py, size * 0.12, fill=(206, 226, 168), outline=(84, 134, 70), width=5))


def _noodles(c: Canvas, x: float, y: float, size: float) -> None:
    c.blob(x, y, size * 0.95, size * 0.9, (214, 168, 86), 0.08)
    for _ in range(110):
        start, spread, radius = c.between(0, 360), c.between(70, 220), size * c.between(0.1, 0.6)
        px, py = x + size * c.between(-0.35, 0.35), y + size * c.between(-0.35, 0.35)
        c.draw.arc(
            (px - radius, py - radius * 0.8, px + radius, py + radius * 0.8),
            start,
            start + spread,
            fill=c.near((238, 204, 120), 14),
            width=8,
        )
    sauce = c.pick(((176, 48, 30), (84, 120, 50), (120, 72, 44)))
    for _ in range(10):
        c.blob(x + size * c.between(-0.3, 0.3), y + size * c.between(-0.3, 0.3), size * 0.2, size * 0.15, c.near(sauce, 12), 0.4)
    for _ in range(6):
        c.turned(
            x + size * c.between(-0.3, 0.3), y + size * c.between(-0.3, 0.3), size * 0.12, size * 0.05, c.between(0, 180), (70, 136, 58)
        )


def _soup(c: Canvas, x: float, y: float, size: float) -> None:
    soup = c.pick(((206, 96, 40), (216, 172, 80), (110, 134, 60), (160, 90, 60)))
    c.oval(x, y, size * 1.05, fill=shade(soup, 0.8))
    c.oval(x, y, size, fill=soup)
    c.glow(x - size * 0.3, y - size * 0.35, size * 0.6, mix(soup, (255, 255, 255), 0.6), 0.5)
    for _ in range(c.count(4, 14)):
        piece = c.pick(((230, 140, 50), (94, 150, 64), (240, 226, 190)))
        _around(c, x, y, size * 0.75, lambda px, py, piece=piece: c.blob(px, py, size * 0.1, size * 0.08, piece, 0.3))
    c.draw.arc((x - size * 0.4, y - size * 0.3, x + size * 0.4, y + size * 0.4), 20, 300, fill=(250, 244, 230), width=12)


def _cake(c: Canvas, x: float, y: float, size: float) -> None:
    sponge, cream = (
        c.near(c.pick(((222, 176, 110), (104, 62, 44), (232, 200, 140))), 8),
        c.near(c.pick(((250, 244, 236), (244, 206, 214), (80, 48, 38))), 6),
    )
    c.shadow(x, y + size * 0.4, size * 0.8, size * 0.3)
    c.shape(
        [
            (x - size * 0.8, y - size * 0.1),
            (x + size * 0.7, y - size * 0.45),
            (x + size * 0.75, y + size * 0.15),
            (x - size * 0.75, y + size * 0.55),
        ],
        sponge,
    )
    for layer in (0.08, 0.3):
        c.stroke([(x - size * 0.79, y + size * layer), (x + size * 0.72, y + size * (layer - 0.36))], cream, size * 0.08)
    c.shape([(x - size * 0.8, y - size * 0.1), (x + size * 0.15, y - size * 0.75), (x + size * 0.7, y - size * 0.45)], cream)
    c.stroke([(x - size * 0.8, y - size * 0.1), (x + size * 0.7, y - size * 0.45)], shade(cream, 0.93), size * 0.1)
    c.ball(x + size * 0.1, y - size * 0.55, size * 0.16, size * 0.16, (200, 36, 52), 0.4)


def _fruit(c: Canvas, x: float, y: float, size: float) -> None:
    kinds: tuple[Color, ...] = ((206, 50, 44), (236, 150, 40), (128, 172, 60), (238, 208, 70), (98, 50, 110))
    for _ in range(c.count(6, 11)):
        color, radius = c.near(c.pick(kinds), 10), size * c.between(0.24, 0.36)
        px, py = x + size * c.between(-0.6, 0.6), y + size * c.between(-0.6, 0.5)
        c.shadow(px, py + radius * 0.5, radius, radius * 0.7, 0.3)
        c.ball(px, py, radius, radius * c.between(0.9, 1.05), color, 0.45)
        c.stroke([(px, py - radius * 0.8), (px + radius * 0.15, py - radius * 1.15)], (86, 60, 40), 5)
        c.turned(px + radius * 0.3, py - radius * 1.02, radius * 0.24, radius * 0.1, -20, (92, 140, 62))


def _breakfast(c: Canvas, x: float, y: float, size: float) -> None:
    c.box(x - size * 0.85, y - size * 0.75, x + size * 0.1, y + size * 0.15, (160, 104, 54), size * 0.2)
    c.box(x - size * 0.78, y - size * 0.68, x + size * 0.03, y + size * 0.08, c.near((232, 190, 124), 8), size * 0.16)
    for _ in range(c.count(1, 2)):
        px, py = x + size * c.between(0.1, 0.5), y + size * c.between(-0.1, 0.5)
        c.blob(px, py, size * 0.4, size * 0.34, (250, 248, 240), 0.2)
        c.ball(px, py, size * 0.15, size * 0.14, (248, 182, 40), 0.35)
    for strip in range(c.count(0, 3)):
        c.stroke(
            [
                (x - size * 0.6, y + size * (0.3 + strip * 0.16)),
                (x - size * 0.2, y + size * (0.36 + strip * 0.14)),
                (x + size * 0.1, y + size * (0.32 + strip * 0.16)),
            ],
            (172, 70, 52),
            22,
        )


def _around(c: Canvas, x: float, y: float, reach: float, paint: object) -> None:
    """Put something at a random place of a disc."""
    angle, distance = c.between(0, 6.283), reach * math.sqrt(c.between(0, 1))
    paint(x + distance * math.cos(angle), y + distance * math.sin(angle))  # type: ignore[operator]


_DISHES = {"pizza": _pizza, "salad": _salad, "noodles": _noodles, "soup": _soup, "cake": _cake, "fruit": _fruit, "breakfast": _breakfast}


def product(canvas: Canvas) -> Drawing:
    """One thing on plain ground, as shops show it."""
    c = canvas
    ground = c.pick(((244, 244, 244), (232, 234, 238), (214, 208, 200), hsv(c.between(0, 1), c.between(0.1, 0.45), c.between(0.6, 0.95))))
    c.gradient(ground, shade(ground, c.between(0.8, 0.95)))
    if c.chance(0.4):
        line = c.h * c.between(0.55, 0.75)
        c.gradient(shade(ground, 0.9), shade(ground, 0.8), (0, line, c.w, c.h))
    if c.chance(0.3):
        _table(c)
    key = c.pick(tuple(goods.GOODS))
    size = c.h * c.between(0.23, 0.31)
    text = goods.GOODS[key](c, c.w * c.between(0.45, 0.55), c.h * c.between(0.48, 0.55), size)
    return Drawing(c.finished(), "product", (key,), has_text=text)


def room(canvas: Canvas) -> Drawing:
    """A lived-in room: a window, pictures, a sofa or a table, and things lying about."""
    c = canvas
    wall = hsv(c.between(0, 1), c.between(0.05, 0.4), c.between(0.5, 0.9))
    floor = c.near(c.pick(((150, 108, 72), (186, 160, 130), (110, 100, 96))), 12)
    line = c.h * c.between(0.62, 0.74)
    c.gradient(wall, shade(wall, 0.88))
    c.gradient(shade(floor, 0.9), floor, (0, line, c.w, c.h))
    c.mottle(0.05, 40)
    objects: list[str] = []
    goods.window(c, c.w * c.between(0.05, 0.6), c.h * 0.08, c.w * 0.3, c.h * 0.36)
    for _ in range(c.count(1, 3)):
        goods.picture(c, c.w * c.between(0.02, 0.85), c.h * c.between(0.08, 0.3), c.h * c.between(0.08, 0.16))
    text = False
    if c.chance(0.55):
        goods.shelf(c, c.w * c.between(0.0, 0.7), line + 14, c.w * c.between(0.18, 0.28), c.h * c.between(0.4, 0.55))
        objects += ["dailystuff.furniture", "document.book"]
    if c.chance(0.65):
        goods.sofa(c, c.w * c.between(0.2, 0.7), line + c.h * 0.12, c.h * c.between(0.2, 0.26))
        objects.append("dailystuff.sofa")
    if c.chance(0.55) or not objects:
        goods.table(c, c.w * c.between(0.25, 0.8), c.h * 0.94, c.h * c.between(0.2, 0.28))
        objects.append("dailystuff.table")
    if c.chance(0.5):
        goods.plant(c, c.w * c.between(0.05, 0.95), line + c.h * 0.14, c.h * c.between(0.1, 0.16))
        objects.append("plant")
    if c.chance(0.5):
        goods.GOODS["dailystuff.lamp"](c, c.w * c.between(0.08, 0.92), line - c.h * 0.08, c.h * 0.13)
        objects.append("dailystuff.lamp")
    for _ in range(c.count(2, 6)):
        c.box(
            x := c.w * c.between(0, 0.95),
            y := c.between(line + 20, c.h),
            x + c.between(20, 70),
            y + c.between(14, 50),
            c.vivid(0.6, 0.7),
            8,
        )
    if person := c.chance(0.2):
        figure(c, c.w * c.between(0.15, 0.85), c.h * c.between(0.88, 0.97), c.h * c.between(0.45, 0.56))
    if pet := c.chance(0.12):
        furry(c, c.pick(("cat", "dog")), c.w * c.between(0.15, 0.85), c.h * 0.95, c.h * 0.07)
    if c.chance(0.12):
        text = True
        goods.poster(c, c.w * c.between(0.1, 0.8), c.h * 0.08, c.h * 0.2)
        objects.append("document.poster")
    return Drawing(c.finished(), "snapshot", tuple(objects), has_person=person, has_animal=pet, has_text=text)
