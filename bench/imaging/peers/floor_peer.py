"""
The floor for a JPEG: libjpeg-turbo's scaled decode, scaling by SIMD code, and libjpeg-turbo's encoding.

It decodes at the scale that image-worker chooses, so that the fidelity is the same, and does nothing else: no
check of the file, no watermark, no colours. What a library needs above this is its own cost.
"""

import cykooz_resizer
import numpy as np
import simplejpeg  # type: ignore[import-not-found]  # installed in the peer's environment only
from PIL import Image

from bench.imaging.peers.protocol import serve

BOX = (800, 600)
MARGIN = 2
"""The decoded picture is at least this many times as large as the result."""

RESIZER = cykooz_resizer.Resizer()
LANCZOS = cykooz_resizer.ResizeOptions(
    cykooz_resizer.ResizeAlg.convolution(cykooz_resizer.FilterType.lanczos3)
)


def thumbnail(content: bytes) -> Image.Image:
    """Decode and resize: red, green, blue and an unused byte, under the name of a mode with four channels."""
    height, width, *_ = simplejpeg.decode_jpeg_header(content)
    share = min(BOX[0] / width, BOX[1] / height, 1)
    factor = max(factor for factor in (1, 2, 4, 8) if factor == 1 or MARGIN * factor * share <= 1)
    decoded = simplejpeg.decode_jpeg(
        content, "RGBX", min_width=-(-width // factor), min_height=-(-height // factor)
    )
    extent = (decoded.shape[1], decoded.shape[0])
    source = Image.frombuffer("CMYK", extent, decoded, "raw", "CMYK", 0, 1)  # copies no pixels
    resized = Image.new("CMYK", (round(width * share), round(height * share)))
    RESIZER.resize_pil(source, resized, LANCZOS)
    return resized


def process(content: bytes, _: str) -> bytes:
    """Return the JPEG."""
    pixels = np.asarray(thumbnail(content))
    result: bytes = simplejpeg.encode_jpeg(pixels, 82, "RGBX", "420")
    return result


def resize(content: bytes) -> tuple[int, int, bytes]:
    """Return the resized pixels."""
    resized = thumbnail(content)
    return *resized.size, np.asarray(resized)[..., :3].tobytes()


if __name__ == "__main__":
    serve(process, resize)
