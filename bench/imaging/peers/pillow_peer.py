"""Pillow as it is usually used: `thumbnail`, a full-size layer for the watermark, `save`."""

import io
from functools import cache

from PIL import Image

from bench.imaging.peers.protocol import serve


@cache
def open_mark(file: str) -> Image.Image:
    """Return the watermark, rendered once: to draw the text for each image would take longer."""
    return Image.open(file).convert("RGBA")


def thumbnail(content: bytes) -> Image.Image:
    """Decode and resize."""
    image = Image.open(io.BytesIO(content))
    image.thumbnail((800, 600), Image.Resampling.LANCZOS)
    return image


def process(content: bytes, mark_file: str) -> bytes:
    """Return the watermarked JPEG."""
    image = thumbnail(content).convert("RGBA")
    mark = open_mark(mark_file)
    layer = Image.new("RGBA", image.size)
    layer.paste(mark, (image.width - mark.width, image.height - mark.height))
    file = io.BytesIO()
    Image.alpha_composite(image, layer).convert("RGB").save(file, "JPEG", quality=82)
    return file.getvalue()


def resize(content: bytes) -> tuple[int, int, bytes]:
    """Return the resized pixels."""
    image = thumbnail(content).convert("RGB")
    return *image.size, image.tobytes()


if __name__ == "__main__":
    serve(process, resize)
