"""Read EXIF and XMP: camera, exposure, time and place for the record, credits for the renditions."""

import math
import re
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Final, cast
from xml.etree import ElementTree as ET

from PIL import ExifTags, Image

if TYPE_CHECKING:
    from typing import SupportsFloat

MAX_CHARACTERS: Final = 100
MAX_CREDIT_CHARACTERS: Final = 300

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")
_CREDITS: Final = (ExifTags.Base.Artist, ExifTags.Base.Copyright)
_XMP_CREDITS: Final = {ExifTags.Base.Artist: "creator", ExifTags.Base.Copyright: "rights"}
_DUBLIN_CORE: Final = "{http://purl.org/dc/elements/1.1/}"
_XMP_ITEM: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_MAX_XMP_BYTES: Final = 262_144
_DEGREE_PARTS: Final = 3
_MAX_PLAUSIBLE: Final = 100_000
"""Exposures in seconds, apertures and focal lengths from here on are not shown."""


def read_exif(image: Image.Image) -> Image.Exif:
    """
    Return the EXIF of an opened image file; empty if there is none or it cannot be read.

    Where EXIF has no orientation, Pillow takes that of the XMP, which browsers ignore: it must have been
    removed by `take_xmp`.
    """
    try:
        return image.getexif()
    except Exception:  # noqa: BLE001 - any type is possible; damaged EXIF does not make the image invalid
        return Image.Exif()


def take_xmp(image: Image.Image) -> bytes:
    """Remove the XMP packet from an opened image file and return it; empty if there is none."""
    packets = [image.info.pop(name, b"") for name in ("xmp", "XML:com.adobe.xmp")]
    packet = next((packet for packet in packets if packet), b"")
    return packet.encode() if isinstance(packet, str) else bytes(packet)


def extract_metadata(exif: Image.Exif, *, with_location: bool = False) -> Mapping[str, str]:
    """
    Return the metadata for the record: `camera`, `lens`, `exposure` and `takenAt`, as far as present.

    Args:
        exif: EXIF of the upload. Neither its size nor its types are trusted.
        with_location: Whether to include `location`, in degrees north and east.

    Returns:
        Name -> printable text of at most 100 characters.
    """
    if not exif:
        return {}
    details = _ifd(exif, ExifTags.IFD.Exif)
    metadata = {
        "camera": _camera(exif),
        "lens": _text(details.get(ExifTags.Base.LensModel)),
        "exposure": _exposure(details),
        "takenAt": _taken_at(details),
        "location": _location(_ifd(exif, ExifTags.IFD.GPSInfo)) if with_location else "",
    }
    return {name: value for name, value in metadata.items() if value}


def extract_credits(exif: Image.Exif, xmp: bytes = b"") -> bytes:
    """
    Return EXIF that contains only the artist and copyright, encoded; empty if there is neither.

    Args:
        exif: EXIF of the upload.
        xmp: XMP packet of the upload, for what its EXIF does not have.
    """
    kept = Image.Exif()
    from_xmp = _credits_in_xmp(xmp) if xmp else {}
    for tag in _CREDITS:
        text = _text(exif.get(tag), limit=MAX_CREDIT_CHARACTERS) or from_xmp.get(tag, "")
        if text:
            kept[tag] = text.encode()  # Pillow would replace what is not ASCII by question marks
    return kept.tobytes() if kept else b""


def _credits_in_xmp(xmp: bytes) -> Mapping[int, str]:
    """Return the creators and rights of an XMP packet by their EXIF tag."""
    # Without a document type there are no entities, which could expand without bound.
    if len(xmp) > _MAX_XMP_BYTES or b"<!DOCTYPE" in xmp.replace(b"\0", b""):
        return {}
    try:
        root = ET.fromstring(xmp.rstrip(b"\0 "))  # noqa: S314 - see above
    except (ET.ParseError, ValueError, LookupError):
        return {}
    found: dict[int, str] = {}
    for tag, name in _XMP_CREDITS.items():
        texts = [
            text
            for element in root.iter(f"{_DUBLIN_CORE}{name}")
            for item in (*element.iter(_XMP_ITEM), element)
            if (text := _printable(item.text or "", limit=MAX_CREDIT_CHARACTERS))
        ]
        # Rights are alternatives in several languages, the default first; creators are a list.
        joined = texts[0] if texts and tag == ExifTags.Base.Copyright else "; ".join(texts)
        if joined:
            found[tag] = joined[:MAX_CREDIT_CHARACTERS].strip()
    return found


def _ifd(exif: Image.Exif, ifd: ExifTags.IFD) -> Mapping[int, object]:
    try:
        return exif.get_ifd(ifd)
    except Exception:  # noqa: BLE001 - see `read_exif`
        return {}


def _camera(exif: Image.Exif) -> str:
    make, model = _text(exif.get(ExifTags.Base.Make)), _text(exif.get(ExifTags.Base.Model))
    if model.casefold().startswith(make.casefold()):
        make = ""
    return f"{make} {model}".strip()[:MAX_CHARACTERS].strip()


def _taken_at(details: Mapping[int, object]) -> str:
    for moment, offset in (
        (ExifTags.Base.DateTimeOriginal, ExifTags.Base.OffsetTimeOriginal),
        (ExifTags.Base.DateTimeDigitized, ExifTags.Base.OffsetTimeDigitized),
    ):
        try:
            local = datetime.strptime(_text(details.get(moment)), "%Y:%m:%d %H:%M:%S")  # noqa: DTZ007 - EXIF has no zone here
        except ValueError:
            continue  # missing, or the "0000:00:00 00:00:00" of a camera whose clock is not set
        zone = _text(details.get(offset))
        return local.isoformat() + (zone if _OFFSET.fullmatch(zone) else "")
    return ""


def _exposure(details: Mapping[int, object]) -> str:
    """Return, for example, `1/120 s, f/1.8, ISO 100, 26 mm`, without the parts that are missing."""
    time_s = _number(details.get(ExifTags.Base.ExposureTime))
    aperture = _number(details.get(ExifTags.Base.FNumber))
    sensitivity = details.get(ExifTags.Base.ISOSpeedRatings)
    focal_mm = _number(details.get(ExifTags.Base.FocalLength))
    iso = _number(sensitivity[0] if isinstance(sensitivity, tuple) and sensitivity else sensitivity)
    parts = (
        _seconds(time_s) if 0 < time_s < _MAX_PLAUSIBLE else "",
        f"f/{aperture:.3g}" if 0 < aperture < _MAX_PLAUSIBLE else "",
        f"ISO {iso:.0f}" if iso > 0 else "",
        f"{focal_mm:.3g} mm" if 0 < focal_mm < _MAX_PLAUSIBLE else "",
    )
    return ", ".join(part for part in parts if part)[:MAX_CHARACTERS]


def _seconds(time_s: float) -> str:
    if time_s >= 0.3:  # noqa: PLR2004 - cameras show longer exposures as decimals
        return f"{time_s:.3g} s"
    return f"1/{max(1, round(1 / time_s))} s"


def _location(gps: Mapping[int, object]) -> str:
    """Return degrees north and east with five decimals, which is a precision of one metre."""
    tags = ExifTags.GPS
    north = _degrees(gps.get(tags.GPSLatitude), gps.get(tags.GPSLatitudeRef), negative="S", limit=90)
    east = _degrees(gps.get(tags.GPSLongitude), gps.get(tags.GPSLongitudeRef), negative="W", limit=180)
    return "" if north is None or east is None else f"{north:.5f}, {east:.5f}"


def _degrees(parts: object, reference: object, *, negative: str, limit: int) -> float | None:
    if not isinstance(parts, tuple | list) or len(parts) != _DEGREE_PARTS:
        return None
    degrees, minutes, seconds = (_number(part) for part in parts)
    total = degrees + minutes / 60 + seconds / 3600
    if not 0 <= total <= limit:
        return None
    return -total if _text(reference).upper().startswith(negative) else total


def _number(value: object) -> float:
    """Return an EXIF value of any numeric type as a float; NaN if it is not a finite number."""
    try:
        number = float(cast("SupportsFloat", value))
    except (ArithmeticError, TypeError, ValueError):
        return math.nan
    return number if math.isfinite(number) else math.nan


def _text(value: object, *, limit: int = MAX_CHARACTERS) -> str:
    if isinstance(value, str):
        try:
            value = value.encode("latin-1")  # the bytes of the file, which Pillow has decoded as Latin-1
        except UnicodeEncodeError:
            return _printable(str(value), limit=limit)
    return _printable(_decode(value), limit=limit) if isinstance(value, bytes) else ""


def _decode(text: bytes) -> str:
    """Decode text that is UTF-8 or, in files of older programs, a Western code page."""
    for encoding in ("utf-8", "cp1252"):
        try:
            return text.decode(encoding)
        except UnicodeDecodeError:
            continue
    return text.decode("latin-1")


def _printable(text: str, *, limit: int) -> str:
    return _CONTROL.sub(" ", text[: 10 * limit]).strip()[:limit].strip()
