"""Read the markers of JPEG files: scans, and where the image data ends."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from PIL import Image

from worker.domain.errors import CorruptError, TooManyScansError
from worker.ipc.framing import Content

MAX_SCANS: Final = 100
"""Maximum number of scans. Encoders write at most about 20; each takes time in proportion to the pixels."""

_MAX_SEGMENTS: Final = 20_000
_MARKER: Final = re.compile(rb"\xff[\x01-\xcf\xd8-\xfe]")
"""A marker within the data of a scan: not a stuffed 0xFF, a restart or padding."""

_START, _END, _SCAN = 0xD8, 0xD9, 0xDA
_PROGRESSIVE_FRAMES: Final = frozenset({0xC2, 0xCA})
_FRAMES: Final = frozenset({0xC0, 0xC1, 0xC2, 0xC9, 0xCA})
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD8)})
_COEFFICIENTS: Final = 64

END_OF_IMAGE: Final = b"\xff\xd9"
FILLERS: Final = (bytes(16), 16 * b"\xaa", 16 * b"\xfe")
"""
Different continuations of image data that is not terminated.

A decoder that has read the last pixel ignores them; one that has not makes different pixels of each.
"""

_FILL: Final = {"L": (128,), "RGB": (128, 128, 128), "CMYK": (127, 127, 127, 127)}
"""The pixels that libjpeg makes where data is missing before the end marker: the centre of the range."""


@dataclass(slots=True)
class JpegStructure:
    """
    What the markers of a JPEG show; of a multi-picture file, those of its first picture.

    Attributes:
        end: Offset of the end marker; None if there is none.
        scans: Number of scans.
        is_cut: Whether the file ends within a segment.
        is_progressive: Whether several scans refine the coefficients.
        missing: Component -> coefficients that are missing or not at their full precision.
    """

    end: int | None = None
    scans: int = 0
    is_cut: bool = False
    is_progressive: bool = False
    missing: dict[int, set[int]] = field(default_factory=dict)

    @property
    def may_be_complete(self) -> bool:
        """Whether all scans that the image needs have begun."""
        return bool(self.scans and self.missing) and not self.is_cut and not any(self.missing.values())


def read_structure(content: Content) -> JpegStructure:
    """
    Read the markers of a JPEG.

    Raises:
        TooManyScansError: There are more than `MAX_SCANS` scans.
        CorruptError: There are too many segments.
    """
    view = memoryview(content)
    structure = JpegStructure()
    for number, (marker, body) in enumerate(_segments(view)):
        if number > _MAX_SEGMENTS:
            raise CorruptError(reason=f"it has more than {_MAX_SEGMENTS:,} segments")
        if body is None:
            structure.is_cut = True
        elif marker == _END:
            structure.end = len(view) - len(body)
        elif marker in _FRAMES and not structure.missing:
            structure.is_progressive = marker in _PROGRESSIVE_FRAMES
            components = bytes(body[6::3])
            structure.missing = {component: set(range(_COEFFICIENTS)) for component in components}
        elif marker == _SCAN:
            structure.scans += 1
            if structure.scans > MAX_SCANS:
                raise TooManyScansError(limit=MAX_SCANS)
            _record_scan(structure, bytes(body))
            is_last = not structure.is_progressive and structure.may_be_complete
            if is_last and bytes(view[-2:]) == END_OF_IMAGE:
                # Nearly all files: a single scan, after which decoders stop. Searching it would take as long
                # as a tenth of decoding it.
                structure.end = len(view) - 2
                return structure
    return structure


def ends_in_fill(image: Image.Image) -> bool:
    """Return whether the last pixel of a decoded JPEG may be one for which the file has no data."""
    corner = image.crop((image.width - 1, image.height - 1, image.width, image.height))
    return tuple(corner.tobytes()) == _FILL.get(image.mode)


def _record_scan(structure: JpegStructure, body: bytes) -> None:
    """Remove from the missing coefficients those that a scan completes."""
    count = body[0] if body else 0
    components, spectrum = body[1 : 1 + 2 * count : 2], body[1 + 2 * count :]
    if len(spectrum) < 3:  # noqa: PLR2004 - first and last coefficient, and the bits that later scans refine
        structure.is_cut = True
        return
    first, last, precision = spectrum[:3]
    is_complete = not structure.is_progressive or precision & 0x0F == 0
    done = set(range(first, last + 1)) if structure.is_progressive else set(range(_COEFFICIENTS))
    for component in components:
        if is_complete:
            structure.missing.get(component, set()).difference_update(done)


def _segments(view: memoryview) -> Iterator[tuple[int, memoryview | None]]:
    """
    Yield each marker with its segment's body; None if the file ends in it.

    The last one is the end of the image, with the rest of the file from there on.
    """
    at = 2
    while at + 1 < len(view):
        marker = view[at + 1]
        if view[at] != 0xFF:  # noqa: PLR2004 - the first byte of a marker; decoders skip what is before it
            at += 1
        elif marker in _WITHOUT_LENGTH or marker in {_START, 0}:
            at += 2
        elif marker == 0xFF:  # noqa: PLR2004 - padding
            at += 1
        elif marker == _END:
            yield marker, view[at:]
            return
        else:
            end = at + 2 + int.from_bytes(view[at + 2 : at + 4])
            if at + 4 > len(view) or end > len(view):
                yield marker, None
                return
            yield marker, view[at + 4 : end]
            at = end
            if marker == _SCAN:
                found = _MARKER.search(view, at)
                at = found.start() if found else len(view)
