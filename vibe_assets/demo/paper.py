"""Seeds become documents, screenshots and pictures of nothing in particular."""

from __future__ import annotations

import math

from PIL import Image, ImageDraw

from vibe_assets.demo.paint import Canvas, Color, Drawing, font, hsv, mix, shade

PROSE = """
the of and to in for with on from by this that please note total item date order number room terms local summer garden house
delivery account service water report market travel paper window letter morning agreement between second amount reference
according general public school office city river small large open early late
"""
WORDS = tuple(PROSE.split())
ITEMS = (
    "Milk 1 l",
    "Bread",
    "Apples 1 kg",
    "Coffee",
    "Tomatoes",
    "Cheese",
    "Soap",
    "Pasta",
    "Olive oil",
    "Eggs x10",
    "Butter",
    "Tea",
    "Rice 500 g",
)
NAMES = ("Ada", "Ben", "Chen", "Dora", "Emil", "Fatma", "Goran", "Hana", "Ivo", "Jun", "Kofi", "Lena")


def document(canvas: Canvas, *, flat: bool = False) -> Drawing:
    """A receipt, a letter, a form or an open book on a desk; `flat` as a scanner sees it, edge to edge."""
    c = canvas
    kind = c.pick(("receipt", "receipt", "letter", "letter", "form", "book"))
    share = {"receipt": 0.46, "letter": 0.72, "form": 0.74, "book": 1.35}[kind]
    height = c.h * (1.0 if flat and kind != "book" else c.between(0.8, 0.94)) * (0.72 if kind == "book" else 1)
    page = _page(c, kind, round(height * share), round(height))
    desk = c.pick(((120, 84, 58), (74, 78, 84), (176, 150, 120), (196, 200, 204)))
    if flat:
        desk = c.pick(((236, 236, 232), (214, 214, 210)))
    c.gradient(desk, shade(desk, 0.82))
    if not flat:
        c.mottle(0.08, 24)
        if c.chance(0.4):
            _pen(c)
    angle = c.between(-1.2, 1.2) if flat else c.between(-9, 9)
    mask = Image.new("L", page.size, 255).rotate(angle, Image.Resampling.BICUBIC, expand=True)
    turned = page.rotate(angle, Image.Resampling.BICUBIC, expand=True)
    left, top = round((c.w - turned.width) / 2 + c.between(-0.05, 0.05) * c.w), round((c.h - turned.height) / 2)
    c.image.paste(shade(desk, 0.55), (left + 12, top + 14), mask)
    c.image.paste(turned, (left, top), mask)
    if not flat and c.chance(0.6):
        c.glow(c.w * c.between(0, 1), c.h * c.between(0, 1), c.h * 0.7, c.pick(((20, 18, 24), (255, 244, 220))), 0.3)
    key = {"receipt": "document.receipt", "letter": "document", "form": "document", "book": "document.book"}[kind]
    return Drawing(c.finished(), "document", (key,), has_text=True)


def _page(c: Canvas, kind: str, width: int, height: int) -> Image.Image:
    paper = c.near(c.pick(((250, 249, 244), (244, 238, 224), (252, 252, 252), (250, 244, 214))), 3)
    page = Image.new("RGB", (width, height), paper)
    pen = ImageDraw.Draw(page)
    ink = c.near((44, 44, 52), 12)
    if kind == "receipt":
        _receipt(c, pen, width, height, ink)
    elif kind == "book":
        for side in (0, 1):
            _lines(c, pen, (width * (0.06 + 0.48 * side), height * 0.08, width * (0.46 + 0.48 * side), height * 0.92), height / 32, ink)
        for offset in range(30):
            pen.line(
                (width / 2 + offset - 15, 0, width / 2 + offset - 15, height), fill=shade(paper, 0.72 + abs(offset - 15) * 0.018), width=1
            )
    elif kind == "form":
        pen.rectangle((0, 0, width, height * 0.09), fill=c.vivid(0.5, 0.55))
        pen.text(
            (width * 0.06, height * 0.02),
            c.pick(("Application", "Registration", "Order form", "Membership")),
            font=font(round(height * 0.045)),
            fill=(252, 252, 252),
        )
        for row in range(10):
            top = height * (0.14 + 0.082 * row)
            pen.text((width * 0.06, top), c.pick(WORDS).capitalize(), font=font(round(height * 0.026)), fill=ink)
            pen.rectangle((width * 0.34, top - 2, width * 0.93, top + height * 0.046), outline=(130, 136, 150), width=2)
            if c.chance(0.7):
                pen.text(
                    (width * 0.36, top + 3),
                    c.pick((*NAMES, "12 March", "No. 48", "Oak Street")),
                    font=font(round(height * 0.029)),
                    fill=(40, 60, 140),
                )
    else:
        pen.text(
            (width * 0.1, height * 0.07),
            c.pick(("Dear neighbours,", "Minutes", "Invitation", "To whom it concerns")),
            font=font(round(height * 0.038)),
            fill=ink,
        )
        _lines(c, pen, (width * 0.1, height * 0.15, width * 0.9, height * c.between(0.6, 0.86)), height / 36, ink)
        pen.text(
            (width * 0.55, height * 0.9),
            c.pick(NAMES) + " " + c.pick("ABCDEFGHKL") + ".",
            font=font(round(height * 0.036)),
            fill=(40, 60, 140),
        )
    return page


def _receipt(c: Canvas, pen: ImageDraw.ImageDraw, width: int, height: int, ink: Color) -> None:
    size = round(height * 0.032)
    pen.text(
        (width / 2, height * 0.05),
        c.pick(("CORNER SHOP", "GREEN MARKET", "STATION KIOSK", "CITY FOODS")),
        font=font(round(width * 0.1)),
        fill=ink,
        anchor="mt",
    )
    pen.text(
        (width / 2, height * 0.12),
        f"{c.count(10, 28)}.0{c.count(1, 9)}.2024  {c.count(8, 20)}:{c.count(10, 59)}",
        font=font(size),
        fill=ink,
        anchor="mt",
    )
    total = 0.0
    for row in range(rows := c.count(7, 14)):
        price = round(c.between(0.5, 14), 2)
        total += price
        top = height * (0.19 + 0.045 * row)
        pen.text((width * 0.08, top), c.pick(ITEMS), font=font(size), fill=ink)
        pen.text((width * 0.92, top), f"{price:.2f}", font=font(size), fill=ink, anchor="ra")
    top = height * (0.21 + 0.045 * rows)
    pen.line((width * 0.08, top, width * 0.92, top), fill=ink, width=2)
    pen.text((width * 0.08, top + size * 0.5), "TOTAL", font=font(round(size * 1.4)), fill=ink)
    pen.text((width * 0.92, top + size * 0.5), f"{total:.2f}", font=font(round(size * 1.4)), fill=ink, anchor="ra")
    at = width * 0.15
    while at < width * 0.85:
        bar = c.pick((2, 3, 5))
        pen.rectangle((at, height * 0.91, at + bar, height * 0.97), fill=ink)
        at += bar + c.pick((2, 3, 6))


def _lines(c: Canvas, pen: ImageDraw.ImageDraw, box: tuple[float, float, float, float], size: float, ink: Color) -> None:
    """Running text in a column."""
    face, (left, top, right, bottom) = font(max(round(size), 7)), box
    while top < bottom:
        line = ""
        wanted = (right - left) * (0.5 if c.chance(0.1) else 0.88)
        while len(line) * size * 0.5 < wanted:
            line += c.pick(WORDS) + " "
        pen.text((left, top), line.strip(), font=face, fill=ink)
        top += size * (2.6 if c.chance(0.1) else 1.45)


def _pen(c: Canvas) -> None:
    x, color = c.w * c.between(0.86, 0.94), c.vivid(0.7, 0.6)
    c.stroke([(x, c.h * 0.3), (x - c.w * 0.05, c.h * 0.75)], color, 18)
    c.stroke([(x - c.w * 0.05, c.h * 0.75), (x - c.w * 0.055, c.h * 0.79)], (40, 40, 44), 10)


# -- screens -----------------------------------------------------------------------------------------------------------
def screenshot(canvas: Canvas) -> Drawing:
    """A chat, a list, settings, a chart, a map or a window with a sidebar; light or dark."""
    c = canvas
    dark = c.chance(0.35)
    ground, panel, ink = ((24, 26, 32), (42, 46, 54), (228, 230, 236)) if dark else ((246, 247, 250), (255, 255, 255), (36, 38, 46))
    accent = hsv(c.between(0, 1), 0.65, 0.75)
    c.gradient(ground, ground)
    unit = c.h / 40 if c.h > c.w else c.h / 30
    c.write(unit, unit * 0.4, f"{c.count(8, 23)}:{c.count(10, 59)}", unit * 0.9, ink)
    for bar in range(4):
        c.box(c.w - unit * (1 + bar), unit * (0.5 + 0.2 * bar), c.w - unit * (1 + bar) + unit * 0.5, unit * 1.3, ink)
    c.box(0, unit * 1.8, c.w, unit * 4.6, accent if c.chance(0.6) else panel)
    c.write(
        unit * 1.5,
        unit * 3.2,
        c.pick(("Messages", "Settings", "Inbox", "Library", "Today", "Weather", "Files", "Maps")),
        unit * 1.3,
        (250, 250, 252) if dark else ink,
        "lm",
    )
    paint = c.pick(
        (_chat, _list, _list, _settings, _chart, _map, _gallery, _gallery) if c.h > c.w else (_window, _window, _chart, _list, _gallery)
    )
    paint(c, unit, panel, ink, accent)
    if c.h > c.w:
        c.box(0, c.h - unit * 3, c.w, c.h, panel)
        for tab in range(4):
            c.box(
                c.w * (tab + 0.5) / 4 - unit * 0.7,
                c.h - unit * 2.2,
                c.w * (tab + 0.5) / 4 + unit * 0.7,
                c.h - unit * 0.9,
                accent if tab == 1 else mix(ink, panel, 0.6),
                unit * 0.3,
            )
    return Drawing(c.finished(), "screenshot", (), has_text=True)


def _sentence(c: Canvas, low: int, high: int) -> str:
    return " ".join(c.pick(WORDS) for _ in range(c.count(low, high))).capitalize()


def _chat(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    y = unit * 6
    while y < c.h - unit * 7:
        mine, lines = c.chance(0.5), c.count(1, 3)
        width = c.w * c.between(0.4, 0.7)
        left = c.w - width - unit if mine else unit
        c.box(left, y, left + width, y + unit * (1.2 + 1.4 * lines), accent if mine else panel, unit * 0.8)
        for line in range(lines):
            c.write(
                left + unit * 0.7,
                y + unit * (0.5 + 1.4 * line),
                _sentence(c, 2, 4)[: round(width / unit / 0.55) - 3],
                unit * 0.95,
                (252, 252, 252) if mine else ink,
            )
        y += unit * (2.2 + 1.4 * lines)


def _list(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    y = unit * 5.2
    while y < c.h - unit * 5:
        c.box(unit * 0.6, y, c.w - unit * 0.6, y + unit * 3.4, panel, unit * 0.4)
        c.oval(unit * 2.4, y + unit * 1.7, unit * 1.1, fill=c.vivid(0.5, 0.8))
        c.write(unit * 4.2, y + unit * 0.5, c.pick(NAMES) + " " + c.pick(WORDS).capitalize(), unit * 1.05, ink)
        c.write(unit * 4.2, y + unit * 1.9, _sentence(c, 3, 5)[: round(c.w / unit) - 6], unit * 0.85, mix(ink, panel, 0.45))
        y += unit * 3.8


def _settings(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    for row in range(round((c.h - unit * 9) / unit / 2.6)):
        y = unit * (5.4 + 2.6 * row)
        c.box(0, y, c.w, y + unit * 2.5, panel)
        c.write(unit * 1.5, y + unit * 1.25, _sentence(c, 1, 2), unit * 1.05, ink, "lm")
        on = c.chance(0.5)
        c.box(c.w - unit * 4.2, y + unit * 0.6, c.w - unit * 1.4, y + unit * 1.9, accent if on else mix(ink, panel, 0.75), unit * 0.65)
        c.oval(c.w - unit * (2.05 if on else 3.55), y + unit * 1.25, unit * 0.52, fill=(252, 252, 252))


def _chart(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    bottom = c.h * c.between(0.45, 0.6)
    c.box(unit, unit * 5.4, c.w - unit, bottom + unit * 2, panel, unit * 0.6)
    bars = c.count(6, 12)
    for bar in range(bars):
        left = unit * 2.4 + (c.w - unit * 4.8) * bar / bars
        top = bottom - (bottom - unit * 8) * c.between(0.15, 1)
        c.box(left, top, left + (c.w - unit * 4.8) / bars * 0.7, bottom, mix(accent, panel, 0.35 if bar % 2 else 0))
    c.write(unit * 2, unit * 6, _sentence(c, 2, 3), unit * 1.1, ink)
    y = bottom + unit * 3
    while y < c.h - unit * 4.5:
        c.write(unit * 1.6, y, _sentence(c, 2, 3), unit, ink)
        c.write(c.w - unit * 1.6, y, f"{c.between(1, 99):.1f} %", unit, accent, "ra")
        y += unit * 1.9


def _map(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    c.box(0, unit * 4.6, c.w, c.h, (226, 230, 216))
    for _ in range(3):
        c.blob(c.w * c.between(0, 1), c.h * c.between(0.2, 0.9), c.w * 0.22, c.w * 0.16, (178, 212, 164), 0.3)
    c.stroke(
        [(-20, c.h * c.between(0.3, 0.8)), (c.w * 0.5, c.h * c.between(0.4, 0.6)), (c.w + 20, c.h * c.between(0.3, 0.8))],
        (150, 194, 224),
        unit * 2,
    )
    for _ in range(9):
        c.stroke([(c.w * c.between(-0.2, 1.2), unit * 4.7), (c.w * c.between(-0.2, 1.2), c.h)], (252, 252, 250), unit * c.pick((0.4, 0.7)))
        y = c.between(unit * 6, c.h)
        c.stroke([(0, y), (c.w, y + c.between(-120, 120))], (252, 252, 250), unit * c.pick((0.4, 0.7)))
    for _ in range(4):
        c.write(
            c.w * c.between(0.05, 0.6),
            c.between(unit * 7, c.h - unit * 6),
            c.pick(WORDS).capitalize() + " street",
            unit * 0.9,
            (90, 90, 96),
        )
    x, y = c.w * c.between(0.3, 0.7), c.h * c.between(0.4, 0.6)
    c.shape([(x - unit, y - unit * 1.6), (x + unit, y - unit * 1.6), (x, y + unit * 0.6)], (214, 60, 52))
    c.oval(x, y - unit * 2, unit * 1.15, fill=(214, 60, 52))
    c.oval(x, y - unit * 2, unit * 0.4, fill=(250, 250, 250))


def _gallery(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    """Pictures on the screen, one large or many small: a screenshot that has the colours of photos."""
    columns = c.pick((1, 2, 3))
    side, y = c.w / columns, unit * 5.2
    while y < c.h - unit * 3:
        for column in range(columns):
            left, low = column * side, y + side * 0.72
            c.gradient(c.vivid(0.4, 0.9), c.vivid(0.4, 0.7), (left + 4, y, left + side - 4, low))
            c.blob(left + side * 0.5, low - side * 0.2, side * 0.3, side * 0.16, c.vivid(0.5, 0.6), 0.3)
            c.glow(left + side * c.between(0.2, 0.8), y + side * 0.2, side * 0.2, (255, 250, 230), 0.6)
            c.box(left + 4, low, left + side - 4, low + unit * 2, panel)
            c.write(left + unit * 0.6, low + unit, _sentence(c, 1, 2)[: round(side / unit)], unit * 0.9, ink, "lm")
        y += side * 0.72 + unit * 2.4


def _window(c: Canvas, unit: float, panel: Color, ink: Color, accent: Color) -> None:
    c.box(0, unit * 4.6, c.w * 0.24, c.h, mix(panel, ink, 0.08))
    for row in range(12):
        y = unit * (5.8 + 1.9 * row)
        if row == 2:
            c.box(unit * 0.4, y - unit * 0.4, c.w * 0.23, y + unit * 1.4, accent, unit * 0.3)
        c.write(unit * 1.1, y, c.pick(WORDS).capitalize(), unit * 0.9, (252, 252, 252) if row == 2 else ink)
    y = unit * 5.6
    while y < c.h - unit * 2:
        c.write(c.w * 0.27, y, _sentence(c, 5, 8), unit * 0.85, mix(ink, panel, 0.2 if c.chance(0.7) else 0.5))
        y += unit * (2.4 if c.chance(0.2) else 1.45)
    left = c.w * c.between(0.66, 0.72)
    c.box(left, unit * 5.4, c.w - unit, unit * c.between(12, 18), mix(accent, panel, 0.55), unit * 0.4)
    c.write(left + unit, unit * 6.2, c.pick(WORDS).capitalize(), unit * 1.1, ink)


# -- other -------------------------------------------------------------------------------------------------------------
def other(canvas: Canvas) -> Drawing:
    """Nothing in particular: lights out of focus, stripes, tiles, a wall, a picture taken in the pocket."""
    c = canvas
    c.pick((_lights, _stripes, _tiles, _pocket, _swirl))(c)
    return Drawing(c.finished(), "other")


def _lights(c: Canvas) -> None:
    c.gradient(shade(c.vivid(0.5, 0.3), 0.7), (14, 12, 24))
    for _ in range(c.count(20, 60)):
        c.oval(c.w * c.between(0, 1), c.h * c.between(0, 1), c.h * c.between(0.02, 0.09), fill=c.vivid(0.6, 0.9))
    c.soften(c.between(8, 24))


def _stripes(c: Canvas) -> None:
    tones = [c.vivid(0.7, 0.8) for _ in range(c.count(2, 5))]
    width, slope = c.between(30, 110), c.between(-1.2, 1.2)
    for index in range(-30, 60):
        x = index * width
        c.shape([(x, 0), (x + width, 0), (x + width + slope * c.h, c.h), (x + slope * c.h, c.h)], tones[index % len(tones)])
    c.mottle(0.15, 50)


def _tiles(c: Canvas) -> None:
    tone, joint = c.vivid(0.4, 0.65), c.near((206, 200, 190), 12)
    c.gradient(joint, joint)
    width, height = c.between(90, 170), c.between(40, 110)
    for row in range(30):
        for column in range(-1, 14):
            left, top = (column + 0.5 * (row % 2)) * width, row * height
            c.box(left + 4, top + 4, left + width - 4, top + height - 4, c.near(tone, 13), 5)
    c.mottle(0.15, 60)


def _pocket(c: Canvas) -> None:
    tone = hsv(c.between(0, 0.12), c.between(0.3, 0.9), c.between(0.06, 0.3))
    c.gradient(tone, shade(tone, 0.5))
    for _ in range(5):
        c.glow(c.w * c.between(0, 1), c.h * c.between(0, 1), c.h * c.between(0.3, 0.8), c.near(shade(tone, 2.4), 12), 0.4)
    c.soften(30)


def _swirl(c: Canvas) -> None:
    base = c.vivid(0.6, 0.7)
    c.gradient(base, c.vivid(0.6, 0.6))
    for ring in range(36):
        radius = c.h * (1.1 - ring / 36)
        angle = ring * c.between(0.2, 0.3)
        c.blob(
            c.w / 2 + 60 * math.cos(angle),
            c.h / 2 + 60 * math.sin(angle),
            radius,
            radius * 0.8,
            mix(base, c.vivid(0.7, 0.85), c.between(0.1, 0.9)),
            0.2,
        )
