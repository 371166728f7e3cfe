"""Things of the demo library: goods as shops show them, and the furniture of its rooms. Each function draws one at (x, y)."""

from __future__ import annotations

from collections.abc import Callable

from vibe_assets.demo.paint import Canvas, hsv, mix, shade

BRANDS = ("NORDEN", "Luma", "OAK & CO", "Piko", "VERA", "Solis", "Mono 5", "Hello!", "ORIGINAL", "fresh mint")


def mug(c: Canvas, x: float, y: float, size: float) -> bool:
    color = c.vivid(0.5, 0.85)
    c.shadow(x, y + size, size * 1.2, size * 0.25)
    c.draw.ellipse(
        (x + size * 0.45, y - size * 0.5, x + size * 1.35, y + size * 0.55), outline=shade(color, 0.85), width=round(size * 0.17)
    )
    _upright(c, x, y, size * 0.8, size, color)
    c.oval(x, y - size, size * 0.8, size * 0.2, mix(color, (255, 255, 255), 0.5))
    c.oval(x, y - size * 0.98, size * 0.7, size * 0.15, (70, 46, 34))
    if text := c.chance(0.35):
        c.write(x, y + size * 0.1, c.pick(BRANDS), size * 0.3, (250, 250, 250), "mm")
    return text


def bottle(c: Canvas, x: float, y: float, size: float) -> bool:
    color = hsv(c.between(0, 1), 0.55, c.between(0.35, 0.8))
    c.shadow(x, y + size * 1.3, size * 0.8, size * 0.2)
    c.box(x - size * 0.18, y - size * 1.35, x + size * 0.18, y - size * 0.5, color, size * 0.05)
    c.box(x - size * 0.21, y - size * 1.5, x + size * 0.21, y - size * 1.2, c.vivid(0.6, 0.6), size * 0.06)
    _upright(c, x, y + size * 0.4, size * 0.48, size * 0.9, color)
    c.box(x - size * 0.48, y, x + size * 0.48, y + size * 0.8, (246, 242, 230))
    c.write(x, y + size * 0.25, c.pick(BRANDS), size * 0.21, shade(color, 0.6), "mm")
    c.write(x, y + size * 0.52, f"{c.count(2, 9)}50 ml", size * 0.13, (90, 90, 90), "mm")
    return True


def carton(c: Canvas, x: float, y: float, size: float) -> bool:
    color = c.vivid(0.6, 0.8)
    side, depth = size * c.between(0.7, 1.1), size * 0.35
    c.shadow(x + depth * 0.5, y + size * 1.1, side * 1.4, size * 0.25)
    c.shape(
        [(x + side, y - size), (x + side + depth, y - size * 1.25), (x + side + depth, y + size * 0.8), (x + side, y + size * 1.1)],
        shade(color, 0.65),
    )
    c.shape(
        [(x - side, y - size), (x - side + depth, y - size * 1.25), (x + side + depth, y - size * 1.25), (x + side, y - size)],
        mix(color, (255, 255, 255), 0.35),
    )
    c.gradient(color, shade(color, 0.88), (x - side, y - size, x + side, y + size * 1.1))
    c.oval(x, y + size * 0.45, side * 0.55, side * 0.4, mix(color, (255, 255, 255), 0.75))
    c.write(x, y - size * 0.5, c.pick(BRANDS), size * 0.36, (252, 250, 246), "mm")
    c.write(x, y + size * 0.45, c.pick(("new", "500 g", "No. 7", "bio")), size * 0.26, shade(color, 0.6), "mm")
    return True


def phone(c: Canvas, x: float, y: float, size: float) -> bool:
    body = c.pick(((34, 34, 38), (210, 212, 216), (60, 76, 100)))
    c.shadow(x + size * 0.1, y + size * 1.2, size * 0.9, size * 0.22)
    c.box(x - size * 0.62, y - size * 1.25, x + size * 0.62, y + size * 1.25, body, size * 0.16)
    tint = c.vivid(0.6, 0.7)
    c.gradient(tint, shade(c.vivid(0.6, 0.7), 0.7), (x - size * 0.54, y - size * 1.12, x + size * 0.54, y + size * 1.12))
    if text := c.chance(0.4):
        c.write(x, y - size * 0.6, f"{c.count(0, 2)}{c.count(0, 3)}:{c.count(1, 5)}{c.count(0, 9)}", size * 0.36, (250, 250, 250), "mm")
    for row in range(3):
        for column in range(3):
            px, py = x + (column - 1) * size * 0.34, y + size * (0.1 + 0.33 * row)
            c.box(px - size * 0.12, py - size * 0.12, px + size * 0.12, py + size * 0.12, c.vivid(0.5, 0.95), size * 0.05)
    return text


def laptop(c: Canvas, x: float, y: float, size: float) -> bool:
    body = c.near(c.pick(((176, 178, 184), (64, 66, 72))), 6)
    c.shadow(x, y + size * 0.95, size * 1.9, size * 0.25)
    c.box(x - size * 1.25, y - size * 1.05, x + size * 1.25, y + size * 0.6, shade(body, 0.7), size * 0.08)
    c.gradient(c.vivid(0.5, 0.7), c.vivid(0.5, 0.5), (x - size * 1.16, y - size * 0.96, x + size * 1.16, y + size * 0.5))
    c.shape(
        [
            (x - size * 1.25, y + size * 0.6),
            (x + size * 1.25, y + size * 0.6),
            (x + size * 1.6, y + size * 1.0),
            (x - size * 1.6, y + size * 1.0),
        ],
        body,
    )
    for row in range(3):
        c.stroke(
            [
                (x - size * (1.15 + 0.08 * row), y + size * (0.66 + 0.08 * row)),
                (x + size * (1.15 + 0.08 * row), y + size * (0.66 + 0.08 * row)),
            ],
            shade(body, 0.5),
            size * 0.05,
        )
    return False


def keyboard(c: Canvas, x: float, y: float, size: float) -> bool:
    body, key = c.pick((((54, 54, 60), (90, 90, 98)), ((220, 220, 222), (250, 250, 250))))
    c.shadow(x, y + size * 0.5, size * 1.9, size * 0.4)
    c.box(x - size * 1.7, y - size * 0.6, x + size * 1.7, y + size * 0.6, body, size * 0.08)
    accent = c.vivid(0.7, 0.85)
    for row in range(5):
        for column in range(14):
            left, top = x - size * 1.62 + column * size * 0.232, y - size * 0.53 + row * size * 0.215
            wide = size * 0.2 if not (row == 4 and 4 <= column <= 8) else size * 0.24
            c.box(left, top, left + wide, top + size * 0.175, accent if (row, column) in ((0, 0), (2, 13)) else key, 5)
    return False


def mouse(c: Canvas, x: float, y: float, size: float) -> bool:
    body = c.near(c.pick(((44, 44, 50), (226, 226, 230), (150, 50, 60))), 6)
    c.shadow(x, y + size * 0.6, size * 0.9, size * 0.7)
    c.stroke([(x, y - size), (x + size * 0.4, y - size * 1.5), (x + size * 1.6, y - size * 1.7)], shade(body, 0.7), 8)
    c.ball(x, y, size * 0.7, size * 1.1, body, 0.3)
    c.stroke([(x, y - size * 1.05), (x, y - size * 0.25)], shade(body, 0.55), 5)
    c.box(x - size * 0.08, y - size * 0.75, x + size * 0.08, y - size * 0.4, (90, 92, 98), size * 0.08)
    return False


def headphones(c: Canvas, x: float, y: float, size: float) -> bool:
    color = c.near(c.pick(((40, 40, 46), (230, 226, 218), (180, 60, 66))), 6)
    c.shadow(x, y + size * 1.1, size * 1.3, size * 0.22)
    c.draw.arc((x - size, y - size * 1.2, x + size, y + size * 0.9), 180, 360, fill=color, width=round(size * 0.17))
    for side in (-1, 1):
        c.box(x + side * size - size * 0.3, y - size * 0.3, x + side * size + size * 0.3, y + size * 0.9, color, size * 0.26)
        c.box(
            x + side * size * 0.72 - size * 0.14,
            y - size * 0.2,
            x + side * size * 0.72 + size * 0.14,
            y + size * 0.8,
            shade(color, 0.6),
            size * 0.12,
        )
    return False


def camera(c: Canvas, x: float, y: float, size: float) -> bool:
    c.shadow(x, y + size * 0.85, size * 1.4, size * 0.25)
    c.box(x - size * 1.3, y - size * 0.7, x + size * 1.3, y + size * 0.85, (46, 46, 50), size * 0.15)
    c.box(x - size * 1.3, y - size * 0.7, x + size * 1.3, y - size * 0.35, (176, 176, 180), size * 0.12)
    c.box(x - size * 0.4, y - size * 1.0, x + size * 0.4, y - size * 0.55, (70, 70, 76), size * 0.08)
    for radius, tone in ((0.72, 24), (0.6, 66), (0.48, 14)):
        c.oval(x, y + size * 0.15, size * radius, fill=(tone, tone, tone + 6))
    c.ball(x, y + size * 0.15, size * 0.38, size * 0.38, (52, 64, 110), 0.5)
    c.oval(x + size * 0.95, y - size * 0.52, size * 0.1, fill=(200, 50, 46))
    return False


def shoe(c: Canvas, x: float, y: float, size: float) -> bool:
    color, sole = c.vivid(0.65, 0.75), (244, 242, 236)
    c.shadow(x, y + size * 0.75, size * 1.7, size * 0.25)
    c.box(x - size * 1.45, y + size * 0.45, x + size * 1.5, y + size * 0.75, sole, size * 0.14)
    c.shape(
        [
            (x - size * 1.4, y + size * 0.5),
            (x - size * 1.35, y - size * 0.75),
            (x - size * 0.55, y - size * 0.75),
            (x - size * 0.1, y - size * 0.1),
            (x + size * 0.9, y + size * 0.05),
            (x + size * 1.4, y + size * 0.3),
            (x + size * 1.45, y + size * 0.5),
        ],
        color,
    )
    c.oval(x - size * 0.95, y - size * 0.74, size * 0.4, size * 0.12, shade(color, 0.5))
    c.shape(
        [
            (x - size * 0.9, y + size * 0.35),
            (x + size * 0.2, y + size * 0.02),
            (x + size * 0.35, y + size * 0.16),
            (x - size * 0.8, y + size * 0.48),
        ],
        mix(color, (255, 255, 255), 0.75),
    )
    for lace in range(4):
        px, py = x - size * (0.5 - 0.17 * lace), y - size * (0.6 - 0.17 * lace)
        c.stroke([(px, py), (px + size * 0.2, py - size * 0.1)], (250, 250, 248), size * 0.07)
    return False


def bag(c: Canvas, x: float, y: float, size: float) -> bool:
    color = c.near(c.pick(((150, 92, 56), (60, 70, 96), (176, 50, 60), (96, 110, 80))), 12)
    c.shadow(x, y + size * 1.05, size * 1.2, size * 0.22)
    c.draw.arc(
        (x - size * 0.6, y - size * 1.35, x + size * 0.6, y + size * 0.3), 180, 360, fill=shade(color, 0.7), width=round(size * 0.12)
    )
    c.shape(
        [
            (x - size * 0.9, y - size * 0.5),
            (x + size * 0.9, y - size * 0.5),
            (x + size * 1.1, y + size * 1.05),
            (x - size * 1.1, y + size * 1.05),
        ],
        color,
    )
    c.shape(
        [
            (x - size * 0.92, y - size * 0.5),
            (x + size * 0.92, y - size * 0.5),
            (x + size * 0.6, y + size * 0.25),
            (x - size * 0.6, y + size * 0.25),
        ],
        shade(color, 0.85),
    )
    c.oval(x, y + size * 0.2, size * 0.1, fill=(226, 196, 110))
    return False


def book(c: Canvas, x: float, y: float, size: float) -> bool:
    cover = c.vivid(0.6, 0.6)
    c.shadow(x + size * 0.1, y + size * 1.1, size * 1.0, size * 0.22)
    c.box(x - size * 0.75, y - size * 1.0, x + size * 0.88, y + size * 1.12, (240, 236, 224), 8)
    c.box(x - size * 0.8, y - size * 1.05, x + size * 0.8, y + size * 1.05, cover, 10)
    c.box(x - size * 0.8, y - size * 1.05, x - size * 0.66, y + size * 1.05, shade(cover, 0.7), 6)
    c.write(
        x + size * 0.05,
        y - size * 0.55,
        c.pick(("The Lake", "Winter", "On Maps", "Small Fires", "A Guide")),
        size * 0.25,
        (248, 240, 220),
        "mm",
    )
    c.oval(x + size * 0.05, y + size * 0.2, size * 0.36, fill=mix(cover, (255, 236, 190), 0.6))
    return True


def lamp(c: Canvas, x: float, y: float, size: float) -> bool:
    c.glow(x, y - size * 0.4, size * 2.0, (255, 236, 180), 0.45)
    c.shadow(x, y + size * 1.15, size * 0.7, size * 0.16)
    c.box(x - size * 0.07, y - size * 0.3, x + size * 0.07, y + size * 1.1, (120, 96, 66))
    c.oval(x, y + size * 1.12, size * 0.5, size * 0.13, (96, 76, 56))
    tint = mix(c.vivid(0.3, 0.95), (255, 240, 200), 0.6)
    c.shape(
        [
            (x - size * 0.45, y - size * 1.1),
            (x + size * 0.45, y - size * 1.1),
            (x + size * 0.85, y - size * 0.1),
            (x - size * 0.85, y - size * 0.1),
        ],
        tint,
    )
    return False


def chair(c: Canvas, x: float, y: float, size: float) -> bool:
    wood = c.near(c.pick(((156, 106, 64), (60, 56, 54), (214, 196, 168))), 10)
    c.shadow(x, y + size * 1.35, size * 1.1, size * 0.22)
    for leg, low in ((-0.75, 1.3), (0.75, 1.3), (-0.55, 1.1), (0.55, 1.1)):
        c.stroke([(x + leg * size * 0.9, y + size * 0.2), (x + leg * size, y + size * low)], shade(wood, 0.8), size * 0.13)
    for bar in (-1.2, -0.75, -0.3):
        c.box(x - size * 0.68, y + size * bar, x + size * 0.68, y + size * (bar + 0.2), wood, size * 0.05)
    for side in (-1, 1):
        c.stroke([(x + side * size * 0.68, y - size * 1.3), (x + side * size * 0.68, y + size * 0.2)], shade(wood, 0.9), size * 0.14)
    c.shape(
        [
            (x - size * 0.75, y + size * 0.02),
            (x + size * 0.75, y + size * 0.02),
            (x + size * 0.95, y + size * 0.36),
            (x - size * 0.95, y + size * 0.36),
        ],
        c.vivid(0.5, 0.7),
    )
    return False


GOODS: dict[str, Callable[[Canvas, float, float, float], bool]] = {
    "dailystuff.mug": mug,
    "drink": bottle,
    "dailystuff.packaging": carton,
    "electronics.phone": phone,
    "electronics.laptop": laptop,
    "electronics.peripheral.keyboard": keyboard,
    "electronics.peripheral.mouse": mouse,
    "electronics.audio.headphones": headphones,
    "electronics.camera": camera,
    "dailystuff.shoes": shoe,
    "dailystuff.bag": bag,
    "document.book": book,
    "dailystuff.lamp": lamp,
    "dailystuff.chair": chair,
}


def _upright(c: Canvas, x: float, y: float, half: float, height: float, color: tuple[int, int, int]) -> None:
    """A cylinder, lit from the left."""
    steps = 14
    for step in range(steps):
        left, right = x - half + 2 * half * step / steps, x - half + 2 * half * (step + 1) / steps
        drop = half * 0.22 * (1 - ((step + 0.5) / steps * 2 - 1) ** 2) ** 0.5
        light = 1.12 - 0.55 * abs(step / steps - 0.3) - 0.25 * (step / steps)
        c.box(left, y - height, right + 1, y + height - half * 0.2 + drop, shade(color, light))


# -- rooms -------------------------------------------------------------------------------------------------------------
def window(c: Canvas, left: float, top: float, width: float, height: float) -> None:
    c.box(left - 12, top - 12, left + width + 12, top + height + 12, (238, 236, 230))
    c.gradient((168, 204, 236), (226, 236, 232), (left, top, left + width, top + height))
    c.gradient((120, 158, 108), (92, 132, 88), (left, top + height * 0.72, left + width, top + height))
    c.box(left + width / 2 - 6, top, left + width / 2 + 6, top + height, (238, 236, 230))
    c.box(left, top + height * 0.45, left + width, top + height * 0.45 + 9, (238, 236, 230))
    curtain = c.vivid(0.4, 0.75)
    for side in (left - 40, left + width - 14):
        for fold in range(4):
            c.box(side + fold * 14, top - 26, side + fold * 14 + 13, top + height + 50, shade(curtain, 0.85 + 0.1 * (fold % 2)))


def picture(c: Canvas, left: float, top: float, size: float) -> None:
    c.box(left, top, left + size * 1.3, top + size, c.near((92, 70, 50), 20))
    c.gradient(c.vivid(0.4, 0.85), c.vivid(0.5, 0.5), (left + 9, top + 9, left + size * 1.3 - 9, top + size - 9))
    c.blob(left + size * 0.65, top + size * 0.6, size * 0.25, size * 0.2, c.vivid(0.6, 0.7), 0.3)


def poster(c: Canvas, left: float, top: float, size: float) -> None:
    c.box(left, top, left + size, top + size * 1.35, c.vivid(0.7, 0.75))
    for line, text in enumerate((c.pick(("JAZZ", "LIVE", "EXPO", "MUSIC")), c.pick(("NIGHT", "PARK", "2024", "CLUB")))):
        c.write(left + size / 2, top + size * (0.35 + 0.4 * line), text, size * 0.3, (252, 250, 240), "mm")


def shelf(c: Canvas, left: float, ground: float, width: float, height: float) -> None:
    wood = c.near((132, 92, 60), 14)
    c.box(left, ground - height, left + width, ground, shade(wood, 0.7))
    for row in range(4):
        top = ground - height * (row + 1) / 4
        at = left + 10
        while at < left + width - 24:
            thick, tall = c.between(9, 22), height / 4 * c.between(0.55, 0.85)
            c.box(at, top + height / 4 - tall, at + thick, top + height / 4, c.vivid(0.55, 0.65))
            at += thick + (c.between(10, 40) if c.chance(0.15) else 1)
        c.box(left, top + height / 4 - 6, left + width, top + height / 4 + 6, wood)
    for side in (left - 6, left + width - 6):
        c.box(side, ground - height, side + 12, ground, wood)


def sofa(c: Canvas, x: float, y: float, size: float) -> None:
    cloth = c.vivid(0.45, 0.6)
    c.shadow(x, y + size * 0.5, size * 2.0, size * 0.3)
    c.box(x - size * 1.7, y - size * 0.9, x + size * 1.7, y + size * 0.4, cloth, size * 0.2)
    for side in (-1, 1):
        c.box(
            x + side * size * 0.75 - size * 0.72,
            y - size * 0.25,
            x + side * size * 0.75 + size * 0.72,
            y + size * 0.25,
            mix(cloth, (255, 255, 255), 0.18),
            size * 0.12,
        )
        c.box(
            x + side * size * 1.65 - size * 0.22,
            y - size * 0.5,
            x + side * size * 1.65 + size * 0.22,
            y + size * 0.5,
            shade(cloth, 0.85),
            size * 0.15,
        )
        cushion = c.vivid(0.6, 0.8)
        c.box(
            x + side * size * 1.05 - size * 0.3, y - size * 0.65, x + side * size * 1.05 + size * 0.3, y - size * 0.08, cushion, size * 0.12
        )


def table(c: Canvas, x: float, y: float, size: float) -> None:
    wood = c.near((158, 110, 70), 16)
    c.shadow(x, y, size * 1.6, size * 0.25)
    for side in (-1, 1):
        c.box(x + side * size * 1.1 - 9, y - size * 0.9, x + side * size * 1.1 + 9, y, shade(wood, 0.75))
    c.shape(
        [
            (x - size * 1.1, y - size * 1.1),
            (x + size * 1.1, y - size * 1.1),
            (x + size * 1.4, y - size * 0.85),
            (x - size * 1.4, y - size * 0.85),
        ],
        wood,
    )
    c.box(x - size * 1.4, y - size * 0.85, x + size * 1.4, y - size * 0.76, shade(wood, 0.8))
    for item in range(c.count(1, 3)):
        px = x + size * (item - 1) * 0.7
        c.box(px - size * 0.13, y - size * 1.3, px + size * 0.13, y - size * 0.94, c.vivid(0.5, 0.8), 10)


def plant(c: Canvas, x: float, y: float, size: float) -> None:
    c.shadow(x, y, size * 0.9, size * 0.2)
    for _ in range(16):
        angle = c.between(-60, 60)
        c.turned(
            x + size * angle / 60 * 0.8,
            y - size * c.between(1.2, 2.3),
            size * 0.16,
            size * 0.6,
            angle,
            hsv(c.between(0.25, 0.4), 0.6, c.between(0.3, 0.65)),
        )
    c.shape(
        [(x - size * 0.55, y - size * 0.8), (x + size * 0.55, y - size * 0.8), (x + size * 0.4, y), (x - size * 0.4, y)],
        c.near((190, 106, 74), 14),
    )
