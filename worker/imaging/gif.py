"""
A GIF decoder that composes frames as browsers do; Pillow decompresses them.

Pillow's own composition fills the canvas around a first frame that does not cover it with a colour of the
palette, enlarges the canvas for later frames, disposes of frames to a background colour, and applies a
frame's disposal method to the frames after it.
"""

import io
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from PIL import GifImagePlugin, Image

from worker.imaging.composed_file import ComposedFile

_HEADER_BYTES: Final = 13
_EXTENSION, _IMAGE = 0x21, 0x2C
_GRAPHIC_CONTROL, _APPLICATION = 0xF9, 0xFF
_LOOP_EXTENSIONS: Final = frozenset({b"NETSCAPE2.0", b"ANIMEXTS1.0"})
_MANIFEST: Final = b"C2PA_GIF"
"""The application whose extension contains content credentials."""
_GRAPHIC_CONTROL_BYTES: Final = 4
_LOOP_BYTES: Final = 3
_TO_TRANSPARENT: Final = 2
_TO_PREVIOUS: Final = frozenset({3, 4})
"""Disposal methods that restore what was below the frame; some programs write 4."""


@dataclass(frozen=True, slots=True)
class _Frame:
    """
    A frame as stored.

    Attributes:
        box: Left, top, right and bottom on the canvas.
        is_interlaced: Whether rows are stored in four passes.
        palette: Red, green and blue of each index; None for a palette of greys.
        transparent: Index that is transparent.
        disposal: What becomes of the frame before the next one is drawn.
        duration_ms: How long it is shown.
        data: Compressed pixels, from the code size on; cut short if the file is.
    """

    box: tuple[int, int, int, int]
    is_interlaced: bool
    palette: bytes | None
    transparent: int | None
    disposal: int
    duration_ms: int
    data: bytes

    def decode(self) -> Image.Image:
        """
        Return the picture of this frame alone, P or L.

        Raises:
            OSError: The data is damaged or truncated.
        """
        left, top, right, bottom = self.box
        palette = self.palette or b""
        flags = 0x80 | (len(palette) // 3).bit_length() - 2 if palette else 0
        screen = struct.pack("<6sHHBBB", b"GIF89a", right - left, bottom - top, flags, 0, 0)
        descriptor = struct.pack("<BHHHHB", _IMAGE, 0, 0, right - left, bottom - top, self.is_interlaced << 6)
        alone = GifImagePlugin.GifImageFile(io.BytesIO(screen + palette + descriptor + self.data))
        alone.load()
        if self.transparent is not None:
            alone.info["transparency"] = self.transparent
        return alone


class GifFile(ComposedFile):
    """
    A GIF whose frames are composed on a canvas that is transparent at first.

    A first frame that covers the canvas keeps its mode, P or L; other frames are RGB or RGBA. `info["loop"]`
    is the number of repeats, 0 for forever, and absent if the animation is played once. `info["c2pa"]` is
    true if there are content credentials before the first frame.
    """

    format = "GIF"
    format_description = "Compuserve GIF"

    def _open(self) -> None:
        content = self.fp.read() if self.fp else b""
        if len(content) < _HEADER_BYTES:
            message = "the header of the GIF file is truncated"
            raise EOFError(message)
        self._later_frames = self._parse(content)
        self._frames: list[_Frame] = []
        first = self._frame(0)
        screen = struct.unpack_from("<HH", content, 6)
        # As in browsers, a first frame beyond the canvas enlarges it, and later frames are clipped.
        self._size = max(screen[0], first.box[2]), max(screen[1], first.box[3])
        self._mode = "P"
        self._number = 0
        self._restart()

    def _require_frame(self, number: int) -> None:
        self._frame(number)

    def _compose_next(self) -> None:
        number = self._composed + 1
        frame = self._frame(number)
        picture = frame.decode()
        self.info["duration"] = frame.duration_ms
        self.info.pop("transparency", None)
        if number == 0 and frame.box == (0, 0, *self.size):
            self._canvas = picture
            if frame.transparent is not None:
                self.info["transparency"] = frame.transparent
        else:
            self._canvas = self._canvas_below(number)
            drawn = _drawn_pixels(picture, frame.transparent)
            self._canvas.paste(picture.convert(self._canvas.mode), frame.box[:2], drawn)
        self.im, self._mode, self.palette = self._canvas.im, self._canvas.mode, self._canvas.palette
        self._composed = number

    def _canvas_below(self, number: int) -> Image.Image:
        """Return the canvas on which a frame is drawn: what the frame before it leaves."""
        canvas = self._canvas or Image.new("RGBA", self.size)
        if canvas.mode in {"P", "L"}:
            canvas = canvas.convert("RGB" if self._is_opaque() else "RGBA")
        if number > 0:
            before = self._frames[number - 1]
            if before.disposal == _TO_TRANSPARENT:
                canvas.paste((0, 0, 0, 0), before.box)
            elif before.disposal in _TO_PREVIOUS:
                canvas = self._below or Image.new(canvas.mode, self.size)
        is_restored = self._frames[number].disposal in _TO_PREVIOUS
        self._below = canvas.copy() if is_restored else None
        return canvas

    def _is_opaque(self) -> bool:
        """Return whether no pixel is ever transparent, given that the first frame covers the canvas."""
        while self._read_frame():
            pass
        first = self._frames[0]
        is_kept = first.transparent is None and first.disposal not in _TO_PREVIOUS
        return is_kept and all(frame.disposal != _TO_TRANSPARENT for frame in self._frames)

    def _frame(self, number: int) -> _Frame:
        while len(self._frames) <= number:
            if not self._read_frame():
                message = f"the GIF file has no frame {number}"
                raise EOFError(message)
        return self._frames[number]

    def _read_frame(self) -> bool:
        frame = next(self._later_frames, None)
        if frame is not None:
            self._frames.append(frame)
        return frame is not None

    def _parse(self, content: bytes) -> Iterator[_Frame]:
        """Yield the frames as far as the file contains them, and read the number of repeats on the way."""
        global_palette, at = _palette(content, _HEADER_BYTES, content[10])
        control = b""
        while at < len(content):
            kind = content[at]
            if kind == _EXTENSION and at + 1 < len(content):
                blocks, end = _sub_blocks(content, at + 2)
                if (
                    content[at + 1] == _GRAPHIC_CONTROL
                    and blocks
                    and len(blocks[0]) >= _GRAPHIC_CONTROL_BYTES
                ):
                    control = blocks[0]
                elif content[at + 1] == _APPLICATION and blocks[:1] and blocks[0] in _LOOP_EXTENSIONS:
                    self._read_loop(blocks[1:])
                elif content[at + 1] == _APPLICATION and blocks[:1] and blocks[0][:8] == _MANIFEST:
                    self.info["c2pa"] = True
                at = end
            elif kind == _IMAGE and at + 10 < len(content):
                left, top, width, height, flags = struct.unpack_from("<HHHHB", content, at + 1)
                palette, start = _palette(content, at + 10, flags)
                end = _end_of_sub_blocks(content, start + 1)
                flags_of_control, duration, transparent = struct.unpack("<BHB", control[:4] or bytes(4))
                yield _Frame(
                    box=(left, top, left + width, top + height),
                    is_interlaced=bool(flags & 0x40),
                    palette=palette or global_palette,
                    transparent=transparent if flags_of_control & 1 else None,
                    disposal=flags_of_control >> 2 & 7,
                    duration_ms=duration * 10,
                    data=content[start:end],
                )
                control, at = b"", end
            else:
                return

    def _read_loop(self, blocks: list[bytes]) -> None:
        if blocks and len(blocks[0]) >= _LOOP_BYTES and blocks[0][0] & 7 == 1:
            self.info["loop"] = int.from_bytes(blocks[0][1:3], "little")


def _drawn_pixels(picture: Image.Image, transparent: int | None) -> Image.Image | None:
    """Return a mask of the pixels that are drawn; None for all of them."""
    if transparent is None:
        return None
    indices = Image.frombytes("L", picture.size, picture.tobytes())
    return indices.point([0 if index == transparent else 255 for index in range(256)])


def _palette(content: bytes, at: int, flags: int) -> tuple[bytes | None, int]:
    """Return the palette at an offset, if the flags announce one, and the offset of its end."""
    if not flags & 0x80:
        return None, at
    end = at + (3 << (flags & 7) + 1)
    return content[at:end].ljust(end - at, b"\0"), end


def _sub_blocks(content: bytes, at: int) -> tuple[list[bytes], int]:
    """Return the first blocks of data, at most two, and the offset of the end of all of them."""
    blocks: list[bytes] = []
    end = _end_of_sub_blocks(content, at)
    while at < end and content[at] and len(blocks) < 2:  # noqa: PLR2004 - see above
        blocks.append(content[at + 1 : at + 1 + content[at]])
        at += 1 + content[at]
    return blocks, end


def _end_of_sub_blocks(content: bytes, at: int) -> int:
    """Return the offset after the empty block that ends the blocks, or the end of a file that is cut."""
    try:
        while length := content[at]:
            at += 1 + length
    except IndexError:
        return len(content)
    return at + 1
