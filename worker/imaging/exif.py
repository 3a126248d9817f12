"""Read EXIF, XMP and IPTC: camera, exposure, time and place for the record, credits for the renditions."""

import math
import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import islice
from typing import TYPE_CHECKING, Final, NamedTuple, cast
from xml.etree import ElementTree as ET

from PIL import ExifTags, Image, TiffImagePlugin

if TYPE_CHECKING:
    from typing import SupportsFloat

MAX_CHARACTERS: Final = 100
MAX_CREDIT_CHARACTERS: Final = 300

_CONTROL: Final = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff]+")
_OFFSET: Final = re.compile(r"[+-]\d\d:\d\d")
_EXIF_CREDITS: Final = (ExifTags.Base.Artist, ExifTags.Base.Copyright)
_NAMESPACES: Final = {
    "dc": "{http://purl.org/dc/elements/1.1/}",
    "photoshop": "{http://ns.adobe.com/photoshop/1.0/}",
    "rights": "{http://ns.adobe.com/xap/1.0/rights/}",
}
_XMP_ITEM: Final = "{http://www.w3.org/1999/02/22-rdf-syntax-ns#}li"
_XMP_LANGUAGE: Final = "{http://www.w3.org/XML/1998/namespace}lang"
_MAX_XMP_BYTES: Final = 262_144
_UTF_16: Final = (b"\xff\xfe", b"\xfe\xff")
_MAX_XMP_ITEMS: Final = 100
_IPTC_MARKER, _IPTC_RECORD = 0x1C, 2
_IPTC_BY_LINE, _IPTC_CREDIT, _IPTC_COPYRIGHT = 80, 110, 116
_IPTC_EXTENDED: Final = 0x8000
"""Flag of a length that is the length of the length."""
_MAX_IPTC_DATASETS, _MAX_IPTC_LENGTH_BYTES = 1000, 4
_PHOTOSHOP_IPTC: Final = 0x0404
"""Number of the Photoshop resource that contains IPTC."""
_TIFF_IPTC: Final = 33723
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


class _Credits(NamedTuple):
    """
    Credits in one kind of metadata; what is missing is empty.

    Attributes:
        creator: Who made the image.
        rights: Copyright notice.
        line: Text to print next to the image, for example with the agency.
        terms: Terms of use.
        statement: URL of the terms of use.
    """

    creator: str = ""
    rights: str = ""
    line: str = ""
    terms: str = ""
    statement: str = ""


def extract_credits(exif: Image.Exif, xmp: bytes = b"", iptc: bytes = b"") -> bytes:
    """
    Return EXIF that contains only an artist and a copyright, encoded; empty if there is neither.

    EXIF precedes XMP, and XMP precedes IPTC, for each of the credits. The credit line and the terms of use,
    for which EXIF has no place, follow the copyright.

    Args:
        exif: EXIF of the upload.
        xmp: XMP packet of the upload.
        iptc: IPTC of the upload.
    """
    from_exif = _Credits(*(_text(exif.get(tag), limit=MAX_CREDIT_CHARACTERS) for tag in _EXIF_CREDITS))
    found = (from_exif, _credits_in_xmp(xmp), _credits_in_iptc(iptc))
    parts = [next(filter(None, texts), "") for texts in zip(*found, strict=True)]
    kept = Image.Exif()
    for tag, text in zip(_EXIF_CREDITS, (parts[0], _joined(parts[1:])), strict=True):
        if text:
            kept[tag] = text.encode()  # Pillow would replace what is not ASCII by question marks
    return kept.tobytes() if kept else b""


def read_iptc(image: Image.Image) -> bytes:
    """Return the IPTC of an opened JPEG or TIFF; empty if there is none."""
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        return _iptc_of_tiff(image)
    resources = image.info.get("photoshop")
    found = resources.get(_PHOTOSHOP_IPTC) if isinstance(resources, dict) else None
    return found if isinstance(found, bytes) else b""


def _iptc_of_tiff(image: TiffImagePlugin.TiffImageFile) -> bytes:
    # Some programs store it as numbers of four bytes, of which Pillow returns the first.
    found = image.tag_v2._tagdata.get(_TIFF_IPTC)  # noqa: SLF001 - the only access to the bytes of a tag
    return found if isinstance(found, bytes) else b""


def _joined(texts: Sequence[str]) -> str:
    """Return different texts as one, without those that another one contains."""
    kept: list[str] = []
    for text in texts:
        if not any(text in other for other in kept):
            kept.append(text)
    return "; ".join(filter(None, kept))[:MAX_CREDIT_CHARACTERS].strip()


def _credits_in_xmp(xmp: bytes) -> _Credits:
    # Without a document type there are no entities, which could expand without bound.
    if not xmp or len(xmp) > _MAX_XMP_BYTES or b"<!DOCTYPE" in xmp.replace(b"\0", b""):
        return _Credits()
    if not xmp.startswith(_UTF_16):
        xmp = xmp.rstrip(b"\0 ")
    try:
        root = ET.fromstring(xmp)  # noqa: S314 - see above
    except (ET.ParseError, ValueError, LookupError):
        return _Credits()
    return _Credits(
        creator="; ".join(_xmp_texts(root, "dc", "creator"))[:MAX_CREDIT_CHARACTERS].strip(),
        rights=_first(_xmp_texts(root, "dc", "rights")),
        line=_first(_xmp_texts(root, "photoshop", "Credit")),
        terms=_first(_xmp_texts(root, "rights", "UsageTerms")),
        statement=_first(_xmp_texts(root, "rights", "WebStatement")),
    )


def _xmp_texts(root: ET.Element, namespace: str, name: str) -> list[str]:
    """
    Return the texts of a property: of an attribute or an element, or of the items in it.

    Items are a list of creators, or alternatives in several languages, of which the default comes first.
    Only the first element is read: elements within each other would take quadratic time.
    """
    qualified = f"{_NAMESPACES[namespace]}{name}"
    element = next(root.iter(qualified), None)
    if element is None:
        texts = (element.get(qualified) for element in root.iter())
        found = next((text for text in texts if text is not None), "")
    else:
        items = list(islice(element.iter(_XMP_ITEM), _MAX_XMP_ITEMS))
        items.sort(key=lambda item: item.get(_XMP_LANGUAGE) != "x-default")
        listed = [_printable(item.text or "", limit=MAX_CREDIT_CHARACTERS) for item in items]
        if any(listed):
            return list(filter(None, listed))
        found = element.text or ""
    text = _printable(found, limit=MAX_CREDIT_CHARACTERS)
    return [text] if text else []


def _credits_in_iptc(iptc: bytes) -> _Credits:
    found: dict[int, list[str]] = {}
    for dataset, value in _iptc_datasets(iptc):
        if text := _printable(_decode(value[: 10 * MAX_CREDIT_CHARACTERS]), limit=MAX_CREDIT_CHARACTERS):
            found.setdefault(dataset, []).append(text)
    return _Credits(
        creator="; ".join(found.get(_IPTC_BY_LINE, []))[:MAX_CREDIT_CHARACTERS].strip(),
        rights=_first(found.get(_IPTC_COPYRIGHT, [])),
        line=_first(found.get(_IPTC_CREDIT, [])),
    )


def _iptc_datasets(iptc: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield the number and the value of each complete dataset of the application record (IPTC-IIM)."""
    at = 0
    for _ in range(_MAX_IPTC_DATASETS):
        head = iptc[at : at + 5]
        if len(head) < 5 or head[0] != _IPTC_MARKER:  # noqa: PLR2004 - a marker, two numbers and a length
            return
        length, at = int.from_bytes(head[3:]), at + 5
        if length & _IPTC_EXTENDED:
            size = length - _IPTC_EXTENDED
            if size > _MAX_IPTC_LENGTH_BYTES:
                return
            length, at = int.from_bytes(iptc[at : at + size]), at + size
        end = at + length
        if end > len(iptc):
            return
        if head[1] == _IPTC_RECORD:
            yield head[2], iptc[at:end]
        at = end


def _first(texts: Sequence[str]) -> str:
    return texts[0] if texts else ""


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
