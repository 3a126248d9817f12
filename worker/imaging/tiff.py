"""Read TIFF files: reject camera raw files and unsupported layouts by name, correct what Pillow misreads."""

import io
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import TYPE_CHECKING, Final

from PIL import ImagePalette, TiffImagePlugin

from worker.domain.errors import FormatNotAllowedError, TruncatedError
from worker.imaging.headers import TIFF_ENTRY_BYTES, tiff_start
from worker.imaging.signatures import ALLOWED_FORMATS

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

# libtiff reads every layout that Pillow knows; Pillow's own reader of uncompressed files misreads planes of
# 16 bits and reversed bits. libtiff returns samples in the machine's byte order, so that one mode serves both
# byte orders.
TiffImagePlugin.READ_LIBTIFF = True
for _order in (b"II", b"MM"):
    for _photometric in (0, 1):
        TiffImagePlugin.OPEN_INFO[_order, _photometric, (1,), 1, (16,), ()] = ("I;16", "I;16")
        TiffImagePlugin.OPEN_INFO[_order, _photometric, (1,), 1, (12,), ()] = ("I;16", "I;12")
for _key, _modes in list(TiffImagePlugin.OPEN_INFO.items()):  # libtiff turns reversed bits round
    TiffImagePlugin.OPEN_INFO.setdefault((*_key[:3], 2, *_key[4:]), _modes)

_MAX_PAGES: Final = 64
"""Number of pages in which the first page that is not a thumbnail is searched."""

_MAX_ENTRIES: Final = 4096
_MAX_VALUES: Final = 64
_TYPES: Final[Mapping[int, str]] = {1: "B", 2: "c", 3: "H", 4: "I", 13: "I", 16: "Q", 18: "Q"}
"""TIFF type -> code of `struct`, for the types of the tags that are read here."""

_TYPE_BYTES: Final[Mapping[int, int]] = {
    **dict.fromkeys((1, 2, 6, 7), 1),
    **dict.fromkeys((3, 8), 2),
    **dict.fromkeys((4, 9, 11, 13), 4),
    **dict.fromkeys((5, 10, 12, 16, 17, 18), 8),
}


class _Tag(IntEnum):
    SUBFILE_TYPE = 254
    OLD_SUBFILE_TYPE = 255
    WIDTH = 256
    HEIGHT = 257
    BITS = 258
    COMPRESSION = 259
    PHOTOMETRIC = 262
    MAKE = 271
    PLANES = 284
    SUB_DIRECTORIES = 330
    EXTRA_SAMPLES = 338
    SAMPLE_FORMAT = 339
    LEAF_DATA = 34310
    DNG_VERSION = 50706


_TAGS: Final = frozenset(_Tag)
_VISIBLE_TAGS: Final = frozenset(
    {*range(256, 267), 273, *range(277, 280), 284, 292, 293, *range(317, 326), *range(332, 340), 347}
    | {*range(529, 533), 34675}
)
"""Tags without which pixels, their colours or their orientation would be missing or different."""

_THUMBNAIL_OR_MASK: Final = 1 | 4
_OLD_THUMBNAIL: Final = 2
_WHITE_IS_ZERO: Final = 0
_SEPARATE_PLANES: Final = 2
_SINGLE_PLANE_COLOURS: Final = frozenset({0, 1, 3})
_RAW_PHOTOMETRICS: Final = frozenset({32803, 34892})
"""Colour filter array, and linear raw."""

_RAW_COMPRESSIONS: Final = frozenset({262, 32767, 32769, 32770, 32867, 34713, 65000, 65535})
"""Compressions of Kodak, Sony, Epson, Samsung, Nikon and Pentax cameras."""

_READ_COMPRESSIONS: Final = frozenset({1, 2, 3, 4, 5, 6, 7, 8, 32773, 32946, 34925, 50000})
_COMPRESSIONS: Final[Mapping[int, str]] = {
    32809: "ThunderScan",
    33003: "JPEG 2000",
    33005: "JPEG 2000",
    34661: "JBIG",
    34676: "LogLuv",
    34677: "LogLuv",
    34712: "JPEG 2000",
    34887: "LERC",
    50001: "WebP",
    50002: "JPEG XL",
    52546: "JPEG XL",
}
_COLOURS: Final[Mapping[int, str]] = {
    0: "white-is-zero grey",
    1: "grey",
    2: "RGB",
    3: "palette",
    4: "mask",
    5: "CMYK",
    6: "YCbCr",
    8: "CIELab",
    9: "ICCLab",
    10: "ITULab",
    32844: "LogL",
    32845: "LogLuv",
}
_SAMPLES: Final[Mapping[int, str]] = {2: "signed ", 3: "floating-point ", 5: "complex ", 6: "complex "}
_UNSIGNED: Final = 1
_MAX_BITS: Final = 16
_TWELVE_BITS: Final = 12
_MAX_LEVEL: Final = 255
_PALETTE_MODES: Final = frozenset({"P", "PA"})
_HINT: Final = "save it with 8 or 16 bits per channel"


@dataclass(frozen=True, slots=True)
class _Directory:
    """
    The tags of a page, or of another image that belongs to it.

    Attributes:
        tags: Tag -> its first values; only the tags and types that are read here.
        missing: Tags whose values are not in the file; all that are visible, if it ends in the directory.
        page: Number of the page, from 0.
        is_sub_directory: Whether it belongs to the page, which is the image that viewers show.
    """

    tags: Mapping[int, Sequence[int]]
    missing: frozenset[int]
    page: int
    is_sub_directory: bool = False

    def number(self, tag: _Tag, default: int = 0) -> int:
        """Return the first value of a tag."""
        return next(iter(self.tags.get(tag, ())), default)

    @property
    def is_cut(self) -> bool:
        """Whether the file ends before the directory or the values of its tags do."""
        return bool(self.missing)

    @property
    def is_thumbnail(self) -> bool:
        """Whether it is a smaller copy or a mask of another image in the file."""
        is_part = self.number(_Tag.SUBFILE_TYPE) & _THUMBNAIL_OR_MASK
        return bool(is_part) or self.number(_Tag.OLD_SUBFILE_TYPE) == _OLD_THUMBNAIL

    @property
    def is_raw(self) -> bool:
        """Whether it contains the unprocessed samples of a camera's sensor."""
        is_raw = self.number(_Tag.PHOTOMETRIC) in _RAW_PHOTOMETRICS
        is_raw = is_raw or self.number(_Tag.COMPRESSION) in _RAW_COMPRESSIONS
        return is_raw or bool(self.tags.keys() & {_Tag.DNG_VERSION, _Tag.LEAF_DATA})

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.number(_Tag.WIDTH) * self.number(_Tag.HEIGHT)


class TiffFile(TiffImagePlugin.TiffImageFile):
    """
    Pillow's TIFF decoder, with grey of 12 bits scaled and grey of 16 bits with zero as white inverted.

    Attributes:
        is_cut: Whether the file ends before the index of its page does.
    """

    is_cut = False

    def load(self) -> "PixelAccess | None":
        """Decode the pixels of the current page."""
        is_decoded = bool(self.tile)
        access = super().load()
        if not is_decoded or self.mode != "I;16":
            return access
        if self.tag_v2.get(_Tag.BITS, (1,))[0] == _TWELVE_BITS:
            self.im = self.point(lambda value: value * 16 + 0).im
        if self.tag_v2.get(_Tag.PHOTOMETRIC, _WHITE_IS_ZERO) == _WHITE_IS_ZERO:
            self.im = self.point(lambda value: value * -1 + 65535).im
        return super().load()


def open_tiff(file: io.BytesIO) -> TiffFile:
    """
    Open the first page that is not a thumbnail.

    Raises:
        FormatNotAllowedError: The file is a camera raw file, or its layout is not supported.
        TruncatedError: The file ends before the index of its page does, or before its colour profile.
        Exception: Any type of error, if the file is damaged.
    """
    with file.getbuffer() as view:
        directories = list(_directories(view))
    page = _checked_page(directories)
    try:
        image = TiffFile(file)
        image.seek(page.page if page else 0)
    except (SyntaxError, KeyError, TypeError, struct.error) as error:
        if page is None or page.is_cut:
            raise TruncatedError from error
        if "unknown pixel mode" not in str(error):
            raise
        raise _unsupported(f"{_describe(page)} TIFF", hint=_HINT) from error
    if page is not None and page.missing & _VISIBLE_TAGS:
        raise TruncatedError
    image.is_cut = page is None or page.is_cut
    if image.mode in _PALETTE_MODES:
        _scale_palette(image)
    return image


def _scale_palette(image: TiffFile) -> None:
    """Correct a palette of 8 bits: the specification wants 16, and Pillow drops the lower half."""
    levels = image.tag_v2[TiffImagePlugin.COLORMAP]
    if max(levels) <= _MAX_LEVEL:
        image.palette = ImagePalette.raw("RGB;L", bytes(levels))


def _checked_page(directories: Sequence[_Directory]) -> _Directory | None:
    """Return the page to decode; None if no page can be read."""
    if any(directory.is_raw for directory in directories):
        maker = bytes(directories[0].tags.get(_Tag.MAKE, b"")).split(b"\0")[0].decode("ascii", "replace")
        raise _unsupported(f"{maker.title()} camera raw".strip(), hint="export it as JPEG or TIFF")
    pages = [directory for directory in directories if not directory.is_sub_directory]
    page = next((page for page in pages if not page.is_thumbnail), None) or next(iter(pages), None)
    if page is None:
        return None
    if page.is_thumbnail and any(other.pixels > page.pixels for other in directories):
        raise _unsupported("TIFF whose only page is a thumbnail", hint="save the full image as a page")
    compression = page.number(_Tag.COMPRESSION, 1)
    if compression not in _READ_COMPRESSIONS:
        name = _COMPRESSIONS.get(compression, f"method {compression}")
        raise _unsupported(f"TIFF with {name} compression", hint="save it with another compression")
    is_unsigned = page.number(_Tag.SAMPLE_FORMAT, _UNSIGNED) == _UNSIGNED
    is_separate = page.number(_Tag.PLANES) == _SEPARATE_PLANES
    has_alpha = any(page.tags.get(_Tag.EXTRA_SAMPLES, ()))
    # Pillow would show signed samples as unsigned, and of grey and alpha in planes of their own only one.
    is_misread = is_separate and has_alpha and page.number(_Tag.PHOTOMETRIC) in _SINGLE_PLANE_COLOURS
    if is_misread or not is_unsigned or page.number(_Tag.BITS) > _MAX_BITS:
        raise _unsupported(f"{_describe(page)} TIFF", hint=_HINT)
    return page


def _describe(page: _Directory) -> str:
    """Return the kind of a page's pixels, such as `32-bit floating-point RGB`."""
    photometric = page.number(_Tag.PHOTOMETRIC)
    colours = _COLOURS.get(photometric, f"colour space {photometric}")
    samples = _SAMPLES.get(page.number(_Tag.SAMPLE_FORMAT, _UNSIGNED), "")
    extra = page.tags.get(_Tag.EXTRA_SAMPLES, ())
    alpha = " with alpha" if any(extra) else " with extra channels" if extra else ""
    planes = " in separate planes" if page.number(_Tag.PLANES) == _SEPARATE_PLANES else ""
    return f"{page.number(_Tag.BITS, 1)}-bit {samples}{colours}{alpha}{planes}"


def _unsupported(found: str, *, hint: str) -> FormatNotAllowedError:
    return FormatNotAllowedError(found=found, allowed=ALLOWED_FORMATS, hint=hint)


def _directories(view: memoryview) -> Iterator[_Directory]:
    """Yield the pages of a file and the directories that belong to them, as far as they can be read."""
    order, is_big, at = tiff_start(view)
    offset_code = order + ("Q" if is_big else "I")
    try:
        for number in range(_MAX_PAGES):
            tags, end, missing = _read_tags(view, at, order, is_big=is_big)
            yield _Directory(tags, missing, number)
            for sub_at in tags.get(_Tag.SUB_DIRECTORIES, ()):
                sub_tags, _, missing = _read_tags(view, sub_at, order, is_big=is_big)
                yield _Directory(sub_tags, missing, number, is_sub_directory=True)
            (at,) = struct.unpack_from(offset_code, view, end)
            if not at:
                return
    except struct.error:
        return


def _read_tags(
    view: memoryview, at: int, order: str, *, is_big: bool
) -> tuple[dict[int, tuple[int, ...]], int, frozenset[int]]:
    """Return the tags of a directory, the offset of its end, and the tags that are not in the file."""
    offset_code, offset_bytes = (f"{order}Q", 8) if is_big else (f"{order}I", 4)
    (count,) = struct.unpack_from(order + ("Q" if is_big else "H"), view, at)
    at += 8 if is_big else 2
    size = TIFF_ENTRY_BYTES[is_big]
    tags: dict[int, tuple[int, ...]] = {}
    missing = set(_VISIBLE_TAGS) if at + size * count > len(view) else set()
    for entry in range(at, min(at + size * min(count, _MAX_ENTRIES), len(view) - size + 1), size):
        tag, kind, length = struct.unpack_from(order + ("HHQ" if is_big else "HHI"), view, entry)
        value_at = entry + size - offset_bytes
        value_bytes = _TYPE_BYTES.get(kind, 0) * length
        if value_bytes > offset_bytes:
            (value_at,) = struct.unpack_from(offset_code, view, value_at)
        if value_at + value_bytes > len(view):
            missing.add(tag)
        elif tag in _TAGS and (code := _TYPES.get(kind)):
            values = struct.unpack_from(f"{order}{min(length, _MAX_VALUES)}{code}", view, value_at)
            tags[tag] = tuple(value[0] if isinstance(value, bytes) else value for value in values)
    return tags, at + size * count, frozenset(missing)
