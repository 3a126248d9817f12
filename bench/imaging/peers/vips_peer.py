"""
libvips through pyvips: shrinks while it decodes, reads from top to bottom, in one thread.

The mark is blended on its own rectangle, which takes less than a `composite2` over the whole picture.
"""

import os
from functools import cache

os.environ["VIPS_CONCURRENCY"] = "1"

import pyvips
from protocol import answer

pyvips.cache_set_max(0)


@cache
def mark_of(file: str) -> tuple[pyvips.Image, pyvips.Image]:
    """Return the colours of the mark, and how much of the picture they hide."""
    mark = pyvips.Image.new_from_file(file).copy_memory()
    return mark[:3].copy_memory(), mark[3].copy_memory()


def shrunk(content: bytes) -> pyvips.Image:
    """Decode and resize, lazily."""
    return pyvips.Image.thumbnail_buffer(content, 800, height=600, size="down")


def finish(content: bytes, mark_file: str) -> bytes:
    """Make the result."""
    image = shrunk(content)
    if image.hasalpha():
        image = image.flatten()
    image = image.copy_memory()
    ink, cover = mark_of(mark_file)
    left, top = image.width - ink.width, image.height - ink.height
    under = image.crop(left, top, ink.width, ink.height)
    marked = image.insert(cover.ifthenelse(ink, under, blend=True), left, top)
    return marked.jpegsave_buffer(Q=82, keep="none")


def shrink(content: bytes) -> tuple[int, int, bytes]:
    """Return the pixels."""
    image = shrunk(content)[:3]
    return image.width, image.height, image.write_to_memory()


answer(finish, shrink)
