"""
libvips through pyvips, single-threaded: shrink-on-load and sequential reading.

The watermark is blended on its bounding box only, which takes less than `composite2` on the whole image.
"""

import os
from functools import cache

os.environ["VIPS_CONCURRENCY"] = "1"  # libvips reads it when it is loaded

import pyvips  # type: ignore[import-not-found]  # installed in the peer's environment only

from bench.imaging.peers.protocol import serve

pyvips.cache_set_max(0)


@cache
def open_mark(file: str) -> tuple[pyvips.Image, pyvips.Image]:
    """Return the colours of the watermark and its alpha channel."""
    mark = pyvips.Image.new_from_file(file).copy_memory()
    return mark[:3].copy_memory(), mark[3].copy_memory()


def thumbnail(content: bytes) -> pyvips.Image:
    """Decode and resize; libvips evaluates it lazily."""
    return pyvips.Image.thumbnail_buffer(content, 800, height=600, size="down")


def process(content: bytes, mark_file: str) -> bytes:
    """Return the watermarked JPEG."""
    image = thumbnail(content)
    if image.hasalpha():
        image = image.flatten()
    image = image.copy_memory()
    colours, alpha = open_mark(mark_file)
    left, top = image.width - colours.width, image.height - colours.height
    background = image.crop(left, top, colours.width, colours.height)
    marked = image.insert(alpha.ifthenelse(colours, background, blend=True), left, top)
    result: bytes = marked.jpegsave_buffer(Q=82, keep="none")
    return result


def resize(content: bytes) -> tuple[int, int, bytes]:
    """Return the resized pixels."""
    image = thumbnail(content)[:3]
    return image.width, image.height, image.write_to_memory()


if __name__ == "__main__":
    serve(process, resize)
