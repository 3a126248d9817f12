"""PNG files whose pixels are unpacked by Rust code, in a third of the time that Pillow takes with zlib."""

import io
from collections.abc import Mapping
from typing import Any, Final

import numpy  # noqa: F401, ICN001 - kornia-rs would load it with the first picture; short of memory, that hangs
from kornia_rs.io import decode_image_png_u8
from PIL import Image, ImageFile, PngImagePlugin

from worker.imaging.headers import find_damaged_png_chunk, is_truncated

_CHANNELS: Final[Mapping[object, str]] = {"RGB": "rgb", "RGBA": "rgba", "L": "mono"}
"""How Pillow names what the file stores in eight bits a channel -> how the other decoder does."""

_UNPACKED: Final = "unpacked"


class PngFile(PngImagePlugin.PngImageFile):
    """
    A PNG as Pillow reads it, but for pixels that another decoder unpacks to exactly the same.

    Those are the grey, RGB and RGBA ones in eight bits a channel, interlaced or not, of a whole file without
    animation. Everything else in the file stays with Pillow, and so does a file in which anything is wrong:
    why it is refused does not depend on the other decoder.

    Attributes:
        is_sound: Whether its end is there and its checksums are right; otherwise nobody has looked yet.
    """

    is_verified = False

    def load(self) -> Any:  # noqa: ANN401 - a type that Pillow keeps to itself
        """Decode the pixels, and read what comes after them in the file."""
        if self.tile and (pixels := self._unpacked()) is not None:
            self.tile = [self.tile[0]._replace(codec_name=_UNPACKED, args=(pixels,))]
            self.is_verified = True
        return super().load()

    def _unpacked(self) -> Any | None:  # noqa: ANN401 - an array of numpy, which is nothing but a buffer here
        channels = _CHANNELS.get(self.tile[0].args)
        is_still = self.png is not None and self.png.im_n_frames is None
        if channels is None or not is_still or not isinstance(self.fp, io.BytesIO):
            return None
        content = self.fp.getvalue()
        if is_truncated(content, picture_format="png") or find_damaged_png_chunk(content, but_pixels=True):
            return None
        # Pillow's own room first: if there is none for the pixels beside it, Pillow unpacks them into it.
        self.im = Image.new(self.mode, self.size, None).im
        try:
            return decode_image_png_u8(content, (self.height, self.width), channels)
        except (KeyboardInterrupt, SystemExit):
            raise
        except BaseException:  # noqa: BLE001 - a panic of Rust code is no Exception; now Pillow judges the file
            return None


class _Unpacked(ImageFile.PyDecoder):
    """Takes pixels as they are, where Pillow would have the file's own unpacked."""

    _pulls_fd = True

    def decode(self, buffer: object) -> tuple[int, int]:  # noqa: ARG002 - Pillow hands over a bit of the file
        self.set_as_raw(self.args[0])
        return -1, 0


Image.register_decoder(_UNPACKED, _Unpacked)
