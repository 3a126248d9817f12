"""A PNG decoder that decompresses pixels in Rust, in a third of the time that Pillow takes with zlib."""

import io
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

import numpy as np  # kornia-rs would import it with the first image, which hangs when memory is short
from kornia_rs.io import decode_image_png_u8
from numpy.typing import NDArray
from PIL import Image, ImageFile, PngImagePlugin

from worker.imaging.headers import find_damaged_png_chunk, has_repeated_png_pixels, is_truncated

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess

_CHANNELS: Final[Mapping[object, str]] = {"RGB": "rgb", "RGBA": "rgba", "L": "mono"}
"""Pillow's name of a pixel format with eight bits a channel -> the name in kornia-rs."""

_DECOMPRESSED: Final = "decompressed"


class PngFile(PngImagePlugin.PngImageFile):
    """
    Pillow's PNG decoder, with pixels decompressed by kornia-rs where both give exactly the same result.

    These are grey, RGB and RGBA pixels with eight bits a channel, interlaced or not, in an undamaged file
    without animation. Everything else is left to Pillow, and so is any damaged file: the reason for its
    rejection does not depend on kornia-rs.

    Attributes:
        is_verified: Whether the end of the file and its checksums have been found to be right.
    """

    is_verified = False

    def load(self) -> "PixelAccess | None":
        """Decode the pixels, and read the rest of the file."""
        if self.tile and (pixels := self._decompress()) is not None:
            self.tile = [self.tile[0]._replace(codec_name=_DECOMPRESSED, args=(pixels,))]
            self.is_verified = True
        return super().load()

    def _decompress(self) -> NDArray[np.uint8] | None:
        channels = _CHANNELS.get(self.tile[0].args)
        is_still = self.png is not None and self.png.im_n_frames is None
        if channels is None or not is_still or not isinstance(self.fp, io.BytesIO):
            return None
        content = self.fp.getvalue()
        if is_truncated(content, image_format="png") or find_damaged_png_chunk(content, except_pixels=True):
            return None
        if has_repeated_png_pixels(content):  # kornia-rs does not compare the checksum of all pixels
            return None
        # Allocate Pillow's pixels first: if memory is too short for both copies, Pillow decodes into its own.
        self.im = Image.new(self.mode, self.size, None).im
        try:
            pixels: NDArray[np.uint8] = decode_image_png_u8(content, (self.height, self.width), channels)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic in Rust is not an Exception; Pillow decodes the file
            return None
        return pixels


class _Decompressed(ImageFile.PyDecoder):
    """A decoder for Pillow that takes pixels which are already decompressed."""

    _pulls_fd = True

    def decode(self, buffer: object) -> tuple[int, int]:  # noqa: ARG002 - Pillow passes a part of the file
        self.set_as_raw(self.args[0])
        return -1, 0


Image.register_decoder(_DECOMPRESSED, _Decompressed)
