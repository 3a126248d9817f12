"""What a picture says of itself, as far as the record wants to know. Never where it was taken."""

import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

from PIL import ExifTags, Image

MAX_CHARACTERS: Final = 100

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")


def exif_of(image: Image.Image) -> Image.Exif:
    """Return the EXIF of an opened picture; an empty one when it cannot be read."""
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - parsers of hostile bytes raise anything; a picture is more than its EXIF
        return Image.Exif()


def metadata_of(exif: Image.Exif) -> Mapping[str, str]:
    """
    Return what the record keeps of the EXIF: `camera` and `takenAt`, where they are given.

    Returns:
        Printable text of at most 100 characters each.
    """
    told = {"camera": _camera(exif), "takenAt": _taken_at(_details(exif))}
    return {name: value for name, value in told.items() if value}


def _details(exif: Image.Exif) -> Mapping[int, Any]:
    try:
        return exif.get_ifd(ExifTags.IFD.Exif)
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


def _text(value: object) -> str:
    if isinstance(value, bytes):
        value = value.decode("utf-8", "replace")
    if not isinstance(value, str):
        return ""
    return _CONTROL.sub(" ", value[: 10 * MAX_CHARACTERS]).strip()[:MAX_CHARACTERS].strip()
