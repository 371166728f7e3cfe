"""An opened picture goes in; where, when and with what it was taken comes out, junk read as unknown."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from PIL import ExifTags, Image

MAX_OFFSET_MIN = 15 * 60  # the widest zones are -12:00 and +14:00
MAX_CAMERA = 100  # characters; longer ones are junk
_TIMES = (  # (time, offset, fraction) by falling trust: DateTime moves when an editor saves
    (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal, ExifTags.Base.SubsecTimeOriginal),
    (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized, ExifTags.Base.SubsecTimeDigitized),
    (ExifTags.Base.DateTime, ExifTags.Base.OffsetTime, ExifTags.Base.SubsecTime),
)


@dataclass(frozen=True)
class Exif:
    """What the EXIF block says; None where it says nothing that can be true."""

    orientation: int = 1  # 1..8
    taken_at: datetime | None = None  # local wall clock, no zone
    offset_min: int | None = None  # minutes east of UTC
    latitude: float | None = None  # degrees north, WGS 84
    longitude: float | None = None  # degrees east, WGS 84
    camera: str | None = None  # maker and model


def read_exif(image: Image.Image) -> Exif:
    """Read the EXIF block of a picture as opened (a converted copy has lost it). Never raises on junk."""
    try:
        tags = image.getexif()
    except Exception:  # the parser raises whatever the junk leads it to: struct.error, SyntaxError, OverflowError, ...
        return Exif()
    base = _items(tags)
    details, place = _directory(tags, ExifTags.IFD.Exif), _directory(tags, ExifTags.IFD.GPSInfo)
    taken_at, offset_min = _taken(base, details)
    latitude, longitude = _position(place)
    return Exif(_orientation(base), taken_at, offset_min, latitude, longitude, _camera(base))


def _items(tags: Any) -> dict[int, Any]:
    values = {}
    for tag in tags:
        try:
            values[tag] = tags[tag]
        except Exception:  # noqa: S112 - one broken entry must not hide the others
            continue
    return values


def _directory(tags: Image.Exif, which: ExifTags.IFD) -> dict[int, Any]:
    try:
        return dict(tags.get_ifd(which))
    except Exception:  # as above: any type of error
        return {}


def _orientation(base: Mapping[int, Any]) -> int:
    value = _number(base.get(ExifTags.Base.Orientation))
    return int(value) if value in range(1, 9) else 1


def _number(value: Any) -> float:
    """The value as a finite float, NaN where it is none (a rational may have a zero denominator)."""
    if isinstance(value, tuple | list):
        value = value[0] if len(value) == 1 else None
    try:
        number = float(value)
    except (TypeError, ValueError, ZeroDivisionError, OverflowError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _text(value: Any) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return " ".join("".join(c if c.isprintable() else " " for c in value.split("\0")[0]).split())


def _taken(base: Mapping[int, Any], details: Mapping[int, Any]) -> tuple[datetime | None, int | None]:
    for time_tag, offset_tag, fraction_tag in _TIMES:
        taken_at = _time(_text(details.get(time_tag, base.get(time_tag))))
        if taken_at is not None:
            fraction = _text(details.get(fraction_tag))
            if fraction.isascii() and fraction.isdigit():
                taken_at = taken_at.replace(microsecond=int(f"{fraction[:6]:0<6}"))
            return taken_at, _offset(_text(details.get(offset_tag)))
    return None, None


def _time(text: str) -> datetime | None:
    match = re.match(r"(\d{4})[:\-/.](\d{1,2})[:\-/.](\d{1,2})[ T](\d{1,2}):(\d{1,2})(?::(\d{1,2}))?", text, re.ASCII)
    try:
        return datetime(*(int(part or 0) for part in match.groups())) if match else None  # type: ignore[arg-type]
    except ValueError:  # 0000:00:00 and friends
        return None


def _offset(text: str) -> int | None:
    if text == "Z":
        return 0
    match = re.fullmatch(r"([+-])(\d{1,2}):?(\d{2})", text, re.ASCII)
    if not match:
        return None
    minutes = int(match[2]) * 60 + int(match[3])
    return (-minutes if match[1] == "-" else minutes) if minutes <= MAX_OFFSET_MIN else None


def _position(place: Mapping[int, Any]) -> tuple[float | None, float | None]:
    """Both coordinates or neither; a sign that is not given is not guessed, and exactly (0, 0) is a camera without a fix."""
    latitude = _degrees(place.get(ExifTags.GPS.GPSLatitude), _text(place.get(ExifTags.GPS.GPSLatitudeRef)), "NS", 90)
    longitude = _degrees(place.get(ExifTags.GPS.GPSLongitude), _text(place.get(ExifTags.GPS.GPSLongitudeRef)), "EW", 180)
    if latitude is None or longitude is None or (latitude == 0 and longitude == 0):
        return None, None
    return latitude, longitude


def _degrees(parts: Any, ref: str, signs: str, limit: int) -> float | None:
    if not isinstance(parts, tuple | list) or not 1 <= len(parts) <= 3 or ref.upper() not in tuple(signs):
        return None
    while len(parts) > 1 and _is_nothing(parts[-1]):
        parts = parts[:-1]
    value = sum(_number(part) / 60**power for power, part in enumerate(parts))
    if not 0 <= value <= limit:  # also False for NaN
        return None
    return -value if ref.upper() == signs[1] else value


def _is_nothing(part: Any) -> bool:
    """Whether a rational is 0/0: how some writers say that a position has no seconds, or no minutes."""
    return (getattr(part, "numerator", None), getattr(part, "denominator", None)) == (0, 0)


def _camera(base: Mapping[int, Any]) -> str | None:
    """Maker and model, the maker once: 'EASTMAN KODAK COMPANY' + 'KODAK DC240' is 'KODAK DC240'."""
    maker, model = _text(base.get(ExifTags.Base.Make)), _text(base.get(ExifTags.Base.Model))
    if maker and (model.lower().startswith(maker.split()[0].lower()) or model.lower().split(" ")[0] in maker.lower().split()):
        maker = ""
    return f"{maker} {model}".strip()[:MAX_CAMERA] or None
