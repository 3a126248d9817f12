"""Pillow as people write it: `thumbnail`, a layer over the whole picture for the text, `save`."""

import io
from functools import cache

from PIL import Image
from protocol import answer


@cache
def mark_of(file: str) -> Image.Image:
    """Return the mark; a text drawn anew for each picture would cost more."""
    return Image.open(file).convert("RGBA")


def shrunk(content: bytes) -> Image.Image:
    """Decode and resize."""
    image = Image.open(io.BytesIO(content))
    image.thumbnail((800, 600), Image.Resampling.LANCZOS)
    return image


def finish(content: bytes, mark_file: str) -> bytes:
    """Make the result."""
    image = shrunk(content).convert("RGBA")
    mark = mark_of(mark_file)
    layer = Image.new("RGBA", image.size)
    layer.paste(mark, (image.width - mark.width, image.height - mark.height))
    file = io.BytesIO()
    Image.alpha_composite(image, layer).convert("RGB").save(file, "JPEG", quality=82)
    return file.getvalue()


def shrink(content: bytes) -> tuple[int, int, bytes]:
    """Return the pixels."""
    image = shrunk(content).convert("RGB")
    return *image.size, image.tobytes()


answer(finish, shrink)
