"""People of the demo library: faces and figures of many looks, and the pictures they are in."""

from __future__ import annotations

from collections.abc import Callable

from vibe_assets.demo.paint import Canvas, Color, Drawing, hsv, mix, shade

SKINS: tuple[Color, ...] = ((244, 212, 188), (232, 190, 160), (214, 166, 130), (182, 130, 96), (140, 96, 70), (98, 66, 50))
HAIRS: tuple[Color, ...] = ((40, 30, 28), (72, 48, 36), (122, 84, 50), (196, 158, 96), (150, 74, 40), (176, 172, 170), (28, 26, 32))


def people(canvas: Canvas, *, party: bool = False, behind: Callable[[Canvas], Drawing] | None = None) -> Drawing:
    """A selfie, a portrait, a small group or figures at a distance, before a park, a wall, a party or what `behind` paints."""
    c = canvas
    extras: tuple[str, ...] = ()
    if behind is None:
        extras = _backdrop(c, party)
    else:
        behind(c)
        c.soften(c.between(2, 9))
    kind = c.pick(("selfie", "portrait", "group", "group", "distance"))
    if kind == "distance":
        for index in range(count := c.count(2, 5)):
            figure(c, c.w * (index + 0.5 + c.between(-0.2, 0.2)) / count, c.h * c.between(0.9, 0.99), c.h * c.between(0.5, 0.66))
        return Drawing(c.finished(), "people", ("dailystuff.clothing", *extras), has_person=True)
    heads = {"selfie": 1, "portrait": 1, "group": c.count(2, 4)}[kind]
    size = c.h * {"selfie": c.between(0.24, 0.3), "portrait": c.between(0.15, 0.2)}.get(kind, 0.24 / heads**0.55)
    glasses = False
    for index in range(heads):
        x = c.w * ((index + 0.5) / heads + c.between(-0.04, 0.04)) if heads > 1 else c.w * c.between(0.4, 0.6)
        glasses |= bust(c, x, c.h * c.between(0.4, 0.5) + (size if index % 2 and heads > 2 else 0), size * c.between(0.92, 1.08))
    if party and c.chance(0.5):
        _cake(c, c.w * 0.5, c.h * 0.94, c.h * 0.16)
        extras = ("food.dessert.cake", *extras)
    worn = ("dailystuff.clothing", "dailystuff.glasses") if glasses else ("dailystuff.clothing",)
    return Drawing(c.finished(), "people", (*worn, *extras), has_person=True, selfie=kind == "selfie")


def _backdrop(c: Canvas, party: bool) -> tuple[str, ...]:
    if party:
        c.gradient(c.near((206, 186, 160), 24), c.near((150, 120, 100), 20))
        for _ in range(c.count(3, 8)):
            x, y, size = c.w * c.between(0, 1), c.h * c.between(0.04, 0.4), c.h * c.between(0.06, 0.1)
            c.stroke([(x, y + size), (x + c.between(-20, 20), y + size * 4)], (220, 216, 210), 2)
            c.ball(x, y, size * 0.85, size, c.vivid(0.75, 0.9))
        return ("dailystuff.balloon",)
    if c.chance(0.55):
        green = hsv(c.between(0.2, 0.4), c.between(0.25, 0.6), c.between(0.35, 0.7))
        c.gradient(mix(green, (214, 226, 236), c.between(0.2, 0.8)), shade(green, 0.8))
        for _ in range(c.count(10, 24)):
            c.glow(
                c.w * c.between(0, 1),
                c.h * c.between(0, 0.9),
                c.h * c.between(0.05, 0.16),
                c.near(mix(green, (255, 250, 200), c.between(0, 0.8)), 14),
                0.6,
            )
        return ()
    wall = hsv(c.between(0, 1), c.between(0.05, 0.35), c.between(0.45, 0.9))
    c.gradient(wall, shade(wall, 0.75))
    if c.chance(0.5):
        left = c.w * c.between(0.02, 0.7)
        c.box(left, c.h * 0.08, left + c.w * 0.22, c.h * 0.36, c.near((232, 226, 214), 10))
        c.gradient(c.vivid(0.4, 0.8), c.vivid(0.4, 0.6), (left + 14, c.h * 0.08 + 14, left + c.w * 0.22 - 14, c.h * 0.36 - 14))
    c.soften(c.between(4, 18))
    return ()


def bust(c: Canvas, x: float, y: float, size: float) -> bool:
    """Head and shoulders; (x, y) is the middle of the face, `size` half its height. Returns whether glasses are worn."""
    skin, hair, cloth = c.near(c.pick(SKINS), 7), c.near(c.pick(HAIRS), 8), c.vivid(0.55, 0.65)
    long_hair = c.chance(0.45)
    if long_hair:
        c.box(x - size * 0.86, y - size * 0.7, x + size * 0.86, y + size * c.between(1.1, 1.7), shade(hair, 0.9), size * 0.6)
    c.box(x - size * 1.5, y + size * 1.25, x + size * 1.5, c.h + size, cloth, size * 0.75)
    c.shape([(x - size * 0.5, y + size * 1.24), (x + size * 0.5, y + size * 1.24), (x, y + size * 1.75)], skin)
    if c.chance(0.3):
        for stripe in range(4):
            c.box(
                x - size * 1.35,
                y + size * (1.6 + stripe * 0.4),
                x + size * 1.35,
                y + size * (1.74 + stripe * 0.4),
                mix(cloth, (255, 255, 255), 0.5),
            )
    c.box(x - size * 0.33, y + size * 0.6, x + size * 0.33, y + size * 1.42, shade(skin, 0.86), size * 0.2)
    c.oval(x - size * 0.76, y + size * 0.05, size * 0.12, size * 0.2, shade(skin, 0.9))
    c.oval(x + size * 0.76, y + size * 0.05, size * 0.12, size * 0.2, shade(skin, 0.9))
    if c.chance(0.9):
        c.blob(x, y - size * 0.3, size * 0.86, size * 0.86, hair, 0.1)
    c.ball(x, y + size * 0.06, size * 0.74, size * 0.94, skin, 0.2)
    glasses = _face(c, x, y, size, skin, hair)
    if c.chance(0.75):
        c.draw.pieslice((x - size * 0.78, y - size * 0.98, x + size * 0.78, y + size * 0.4), 180, 360, fill=hair)
        c.draw.pieslice((x - size * 0.68, y - size * c.between(0.5, 0.62), x + size * 0.68, y + size * 0.16), 180, 360, fill=skin)
    return glasses


def _face(c: Canvas, x: float, y: float, size: float, skin: Color, hair: Color) -> bool:
    look = size * c.between(-0.04, 0.04)
    for side in (-1, 1):
        eye = x + side * size * 0.3
        c.oval(eye, y, size * 0.13, size * 0.085, (246, 244, 240))
        c.oval(eye + look, y, size * 0.07, size * 0.078, c.pick(((70, 50, 40), (80, 110, 130), (70, 90, 60))))
        c.oval(eye + look, y, size * 0.035, size * 0.04, (16, 14, 14))
        c.draw.arc(
            (eye - size * 0.19, y - size * 0.28, eye + size * 0.19, y + size * 0.05),
            205,
            335,
            fill=shade(hair, 0.8),
            width=max(round(size * 0.06), 2),
        )
        c.glow(x + side * size * 0.42, y + size * 0.36, size * 0.22, (214, 96, 84), 0.28)
    c.stroke(
        [(x, y + size * 0.06), (x + size * 0.08, y + size * 0.32), (x - size * 0.06, y + size * 0.34)], shade(skin, 0.75), size * 0.045
    )
    mouth = (x - size * 0.28, y + size * 0.3, x + size * 0.28, y + size * 0.68)
    if c.chance(0.5):
        c.draw.chord(mouth, 10, 170, fill=(148, 56, 60))
        c.draw.chord(
            (mouth[0] + size * 0.06, mouth[1] + size * 0.08, mouth[2] - size * 0.06, mouth[3] - size * 0.1), 20, 160, fill=(248, 244, 240)
        )
    else:
        c.draw.arc(mouth, 25, 155, fill=(166, 76, 76), width=max(round(size * 0.06), 2))
    if not c.chance(0.25):
        return False
    for side in (-1, 1):
        box = (x + side * size * 0.3 - size * 0.22, y - size * 0.17, x + side * size * 0.3 + size * 0.22, y + size * 0.17)
        c.draw.rounded_rectangle(box, size * 0.1, outline=(34, 34, 40), width=max(round(size * 0.045), 2))
    c.stroke([(x - size * 0.08, y), (x + size * 0.08, y)], (34, 34, 40), size * 0.045)
    return True


def figure(c: Canvas, x: float, y: float, height: float) -> None:
    """Someone standing at (x, y), `height` from sole to crown."""
    skin, hair, top, legs = (
        c.near(c.pick(SKINS), 7),
        c.near(c.pick(HAIRS), 8),
        c.vivid(0.6, 0.7),
        c.pick(((52, 62, 92), (60, 56, 54), (126, 110, 88), (38, 38, 44))),
    )
    unit = height / 8
    c.shadow(x, y, unit * 1.4, unit * 0.35)
    skirt = c.chance(0.25)
    for side in (-1, 1):
        c.box(
            x + side * unit * 0.5 - unit * 0.36, y - unit * 4, x + side * unit * 0.5 + unit * 0.36, y, skin if skirt else legs, unit * 0.25
        )
        c.box(x + side * unit * 0.55 - unit * 0.45, y - unit * 0.35, x + side * unit * 0.55 + unit * 0.45, y, (44, 40, 40), unit * 0.2)
        c.stroke(
            [(x + side * unit * 1.0, y - unit * 6.2), (x + side * unit * c.between(1.2, 1.8), y - unit * c.between(3.6, 4.6))],
            shade(top, 0.85),
            unit * 0.5,
        )
    if skirt:
        c.shape(
            [
                (x - unit * 0.9, y - unit * 4.2),
                (x + unit * 0.9, y - unit * 4.2),
                (x + unit * 1.4, y - unit * 2),
                (x - unit * 1.4, y - unit * 2),
            ],
            shade(top, 0.9),
        )
    c.box(x - unit * 1.05, y - unit * 6.6, x + unit * 1.05, y - unit * 3.8, top, unit * 0.5)
    c.box(x - unit * 0.25, y - unit * 6.9, x + unit * 0.25, y - unit * 6.4, skin)
    if c.chance(0.4):
        c.box(x - unit * 0.7, y - unit * 7.8, x + unit * 0.7, y - unit * 6.2, hair, unit * 0.5)
    c.oval(x, y - unit * 7.45, unit * 0.68, unit * 0.72, hair)
    c.oval(x, y - unit * 7.25, unit * 0.56, unit * 0.66, skin)
    for side in (-1, 1):
        c.oval(x + side * unit * 0.22, y - unit * 7.3, unit * 0.07, fill=(40, 34, 34))
    c.draw.arc((x - unit * 0.25, y - unit * 7.2, x + unit * 0.25, y - unit * 6.85), 20, 160, fill=(150, 70, 70), width=2)


def _cake(c: Canvas, x: float, y: float, size: float) -> None:
    icing = c.pick(((244, 220, 228), (250, 244, 230), (112, 72, 54)))
    c.shadow(x, y, size * 1.4, size * 0.3)
    c.oval(x, y, size * 1.3, size * 0.3, (240, 240, 242))
    c.box(x - size, y - size * 0.75, x + size, y, c.near((214, 160, 110), 10), size * 0.15)
    c.box(x - size, y - size * 0.85, x + size, y - size * 0.45, icing, size * 0.18)
    for candle in range(5):
        place = x + size * (candle - 2) * 0.38
        c.box(place - 5, y - size * 1.35, place + 5, y - size * 0.82, c.vivid(0.6, 0.9))
        c.glow(place, y - size * 1.45, size * 0.28, (255, 210, 110), 0.7)
        c.oval(place, y - size * 1.44, 6, 11, (255, 236, 150))
