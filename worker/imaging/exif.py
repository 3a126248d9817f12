"""What a picture says of itself, as far as the record and the renditions want to know."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from PIL import ExifTags, Image

MAX_CHARACTERS: Final = 100
MAX_CREDIT_CHARACTERS: Final = 300

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")
_CREDITS: Final = (ExifTags.Base.Artist, ExifTags.Base.Copyright)
_DEGREE_PARTS: Final = 3
_LONGEST_EXPOSURE_S: Final = 100_000


def read_exif(image: Image.Image) -> Image.Exif:
    """Return the EXIF of an opened picture; an empty one when it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - parsers of hostile bytes raise anything; a picture is more than its EXIF
        return Image.Exif()


def extract_metadata(exif: Image.Exif, *, with_location: bool = False) -> Mapping[str, str]:
    """
    Return what the record keeps of the EXIF: `camera`, `lens`, `exposure`, `takenAt`, where they are given.

    Args:
        exif: Neither its size nor its types are trusted.
        with_location: Whether `location` is among them, as degrees north and east.

    Returns:
        Printable text of at most 100 characters each.
    """
    if not exif:
        return {}
    details = _part(exif, ExifTags.IFD.Exif)
    told = {
        "camera": _camera(exif),
        "lens": _text(details.get(ExifTags.Base.LensModel)),
        "exposure": _exposure(details),
        "takenAt": _taken_at(details),
        "location": _location(_part(exif, ExifTags.IFD.GPSInfo)) if with_location else "",
    }
    return {name: value for name, value in told.items() if value}


def extract_credits(exif: Image.Exif) -> bytes:
    """Return EXIF with the artist and copyright of this one and nothing else; empty if it has neither."""
    kept = Image.Exif()
    for tag in _CREDITS:
        if text := _text(exif.get(tag), most=MAX_CREDIT_CHARACTERS):
            kept[tag] = text
    return kept.tobytes() if kept else b""


def _part(exif: Image.Exif, ifd: ExifTags.IFD) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(ifd)
    except Exception:  # noqa: BLE001 - as above
        return {}


def _camera(exif: Image.Exif) -> str:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    if model.casefold().startswith(make.casefold()):
        make = ""
    return f"{make} {model}".strip()[:MAX_CHARACTERS].strip()


def _taken_at(details: Mapping[int, Any]) -> str:
    for moment, offset in (
        (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
        (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    ):
        try:
            local = datetime.strptime(_text(details.get(moment)), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - a camera knows no zone
        except ValueError:
            continue  # absent, or never set: many cameras write "0000:00:00 00:00:00"
        zone = _text(details.get(offset))
        return local.isoformat() + (zone if _OFFSET.fullmatch(zone) else "")
    return ""


def _exposure(details: Mapping[int, Any]) -> str:
    """Return, for example, `1/120 s, f/1.8, ISO 100, 26 mm`, less what is not given."""
    time_s = _number(details.get(ExifTags.Base.ExposureTime))
    aperture = _number(details.get(ExifTags.Base.FNumber))
    sensitivity = details.get(ExifTags.Base.ISOSpeedRatings)
    focal_mm = _number(details.get(ExifTags.Base.FocalLength))
    iso = _number(sensitivity[0] if isinstance(sensitivity, tuple) and sensitivity else sensitivity)
    parts = (
        _seconds(time_s) if 0 < time_s < _LONGEST_EXPOSURE_S else "",
        f"f/{aperture:.3g}" if 0 < aperture < _LONGEST_EXPOSURE_S else "",
        f"ISO {iso:.0f}" if iso > 0 else "",
        f"{focal_mm:.3g} mm" if 0 < focal_mm < _LONGEST_EXPOSURE_S else "",
    )
    return ", ".join(part for part in parts if part)[:MAX_CHARACTERS]


def _seconds(time_s: float) -> str:
    if time_s >= 0.3:  # noqa: PLR2004 - as cameras show it
        return f"{time_s:.3g} s"
    return f"1/{max(1, round(1 / time_s))} s"


def _location(place: Mapping[int, Any]) -> str:
    """Return degrees north and east with five digits: a metre."""
    tags = ExifTags.GPS
    north = _degrees(place.get(tags.GPSLatitude), place.get(tags.GPSLatitudeRef), negative="S", most=90)
    east = _degrees(place.get(tags.GPSLongitude), place.get(tags.GPSLongitudeRef), negative="W", most=180)
    return "" if north is None or east is None else f"{north:.5f}, {east:.5f}"


def _degrees(parts: object, side: object, *, negative: str, most: int) -> float | None:
    if not isinstance(parts, tuple | list) or len(parts) != _DEGREE_PARTS:
        return None
    degrees, minutes, seconds = (_number(part) for part in parts)
    total = degrees + minutes / 60 + seconds / 3600
    if not 0 <= total <= most:
        return None
    return -total if _text(side).upper().startswith(negative) else total


def _number(value: Any) -> float:  # noqa: ANN401 - EXIF holds anything
    """Return a number of EXIF, whatever it is written as; not-a-number if it is none."""
    try:
        number = float(value)
    except (ArithmeticError, TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _text(value: object, *, most: int = MAX_CHARACTERS) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return _CONTROL.sub(" ", value[: 10 * most]).strip()[:most].strip()
