"""
An APNG decoder that composes frames as browsers do; each frame is decompressed as a PNG of its own.

Pillow's own composition disposes of frames to black or to the first colour of the palette, where the canvas
is transparent, and blends the alpha of translucent pixels with itself.
"""

import io
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import count, pairwise
from typing import TYPE_CHECKING, Final

from PIL import Image

from worker.domain.errors import CorruptError, TruncatedError
from worker.imaging.colour import reduce_grey_to_8_bits, to_scalable_mode
from worker.imaging.composed_file import ComposedFile
from worker.imaging.headers import png_chunks
from worker.imaging.png import PngFile

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

_SIGNATURE: Final = b"\x89PNG\r\n\x1a\n"
_ANIMATION: Final = frozenset({b"acTL", b"fcTL", b"fdAT"})
_CHECKED: Final = frozenset({b"IHDR", b"PLTE", b"IDAT"}) | _ANIMATION
_CONTROL: Final = struct.Struct(">IIIIIHHBB")
"""Sequence number, width, height, left, top, delay as a fraction of a second, disposal, blending."""
_TO_TRANSPARENT, _TO_PREVIOUS, _OVER = 1, 2, 1
_HUNDREDTHS: Final = 100
"""Denominator of a delay that states zero."""
_KEPT_INFO: Final = frozenset(
    {"icc_profile", "gamma", "chromaticity", "srgb", "exif", "xmp", "XML:com.adobe.xmp"}
)


@dataclass(frozen=True, slots=True)
class _Frame:
    """
    A frame as stored.

    Attributes:
        box: Left, top, right and bottom on the canvas.
        delay: How long it is shown, in milliseconds.
        disposal: What becomes of it before the next frame is drawn.
        is_blended: Whether it is drawn over what is below, in place of replacing it.
        data: Compressed pixels.
    """

    box: tuple[int, int, int, int]
    delay: Fraction
    disposal: int
    is_blended: bool
    data: list[memoryview]


class ApngFile(ComposedFile):
    """
    A PNG whose frames are composed on an RGBA canvas that is transparent at first.

    A default image that is not a frame of the animation is left out. `info["loop"]` is the number of plays,
    0 for forever.
    """

    format = "PNG"
    format_description = "Animated portable network graphics"

    def _open(self) -> None:
        content = memoryview(self.fp.read() if self.fp else b"")
        self._header: list[bytes] = []
        self._announced = 0
        self._frames = list(self._parse(content))
        self._still = PngFile(io.BytesIO(_without_animation(content)))
        self._size, self._mode = self._still.size, "RGBA"
        self._take_info()
        times = [Fraction(0)]
        for frame in self._frames:
            times.append(times[-1] + frame.delay)
        self._durations_ms = [round(end) - round(start) for start, end in pairwise(times)]
        self._number = 0
        self._restart()

    def load(self) -> "PixelAccess | None":
        """Compose the selected frame, and the frames before it; read the metadata after the pixels."""
        if self._still.tile:
            self._still.load()
            self._take_info()
        return super().load()

    def _take_info(self) -> None:
        self.info.update((name, value) for name, value in self._still.info.items() if name in _KEPT_INFO)

    def _require_frame(self, number: int) -> None:
        if not 0 <= number < len(self._frames):
            message = f"the APNG file has no frame {number}"
            raise EOFError(message)

    def _compose_next(self) -> None:
        number = self._composed + 1
        frame = self._frames[number]
        canvas = self._canvas or Image.new("RGBA", self.size)
        if number > 0:
            before = self._frames[number - 1]
            if self._below is not None:
                canvas.paste(self._below, before.box)
            elif before.disposal in {_TO_TRANSPARENT, _TO_PREVIOUS}:
                canvas.paste((0, 0, 0, 0), before.box)
        is_restored = frame.disposal == _TO_PREVIOUS and number > 0
        self._below = canvas.crop(frame.box) if is_restored else None
        picture = self._decoded(frame)
        if frame.is_blended:
            canvas.alpha_composite(picture, frame.box[:2])
        else:
            canvas.paste(picture, frame.box)
        self.info["duration"] = self._durations_ms[number]
        self._canvas, self.im, self._composed = canvas, canvas.im, number

    def _decoded(self, frame: _Frame) -> Image.Image:
        """
        Return the picture of a frame alone.

        Raises:
            Exception: Any type of error, if its data is damaged.
        """
        left, top, right, bottom = frame.box
        first, *others = self._header
        header = struct.pack(">II", right - left, bottom - top) + first[8:]
        data = b"".join(frame.data)
        chunks = (_chunk(b"IHDR", header), *others, _chunk(b"IDAT", data), _chunk(b"IEND", b""))
        picture: Image.Image = PngFile(io.BytesIO(_SIGNATURE + b"".join(chunks)))
        picture.load()
        if picture.mode.startswith("I;16"):
            picture, _ = reduce_grey_to_8_bits(picture, None)
        return to_scalable_mode(picture, None)[0].convert("RGBA")

    def _parse(self, content: memoryview) -> Iterator[_Frame]:
        """
        Yield the frames that the file announces.

        Raises:
            CorruptError: A checksum, the order or the box of a frame is wrong.
            TruncatedError: There are fewer frames.
        """
        frame: _Frame | None = None
        numbers, found = count(), 0
        for kind, data in self._chunks(content):
            if kind != b"IDAT" and int.from_bytes(data[:4]) != next(numbers):
                raise CorruptError(reason="its frames are not in order")
            if kind == b"fcTL":
                if frame is not None:
                    yield frame
                if found == self._announced:
                    return
                found, frame = found + 1, _frame(data, struct.unpack_from(">II", self._header[0]))
            elif frame is not None:
                frame.data.append(data if kind == b"IDAT" else data[4:])
        if frame is not None:
            yield frame
        if found < self._announced:
            raise TruncatedError

    def _chunks(self, content: memoryview) -> Iterator[tuple[bytes, memoryview]]:
        """Yield the chunks with pixels and controls of frames, and keep those that every frame needs."""
        for kind, body in png_chunks(content):
            data = content[body]
            stored = int.from_bytes(content[body.stop : body.stop + 4])
            if kind in _CHECKED and zlib.crc32(content[body.start - 4 : body.stop]) != stored:
                raise CorruptError(reason=f"the checksum of a {kind.decode('ascii')} chunk is wrong")
            match kind:
                case b"IHDR":
                    self._header.append(bytes(data))
                case b"PLTE" | b"tRNS":
                    self._header.append(_chunk(kind, bytes(data)))
                case b"acTL":
                    self._announced, self.info["loop"] = struct.unpack_from(">II", data)
                case b"IDAT" | b"fcTL" | b"fdAT":
                    yield kind, data


def _frame(control: memoryview, canvas: tuple[int, int]) -> _Frame:
    _, width, height, left, top, delay, parts, disposal, blending = _CONTROL.unpack_from(control)
    if not (width and height and left + width <= canvas[0] and top + height <= canvas[1]):
        raise CorruptError(reason=f"a frame of {width}x{height} pixels is not within its canvas")
    return _Frame(
        box=(left, top, left + width, top + height),
        delay=Fraction(1000 * delay, parts or _HUNDREDTHS),
        disposal=disposal,
        is_blended=blending == _OVER,
        data=[],
    )


def _without_animation(content: memoryview) -> bytes:
    """Return the default image as a file of its own."""
    kept = (
        content[body.start - 8 : body.stop + 4]
        for kind, body in png_chunks(content)
        if kind not in _ANIMATION
    )
    return b"".join((_SIGNATURE, *kept))


def _chunk(kind: bytes, body: bytes) -> bytes:
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
