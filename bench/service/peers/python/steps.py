"""The three steps with Pillow: validate, `thumbnail` (which uses `draft` for JPEGs), watermark and encode."""

import io
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from typing import TypeAlias

from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps

from bench.service.peers.python.record import Value

BOX = (800, 600)
MAX_PIXELS = 100_000_000
TEXT = "Processed by Image Platform"
_ROTATED = {5, 6, 7, 8}
"""EXIF orientations that exchange width and height."""

Image.MAX_IMAGE_PIXELS = None  # `validate` has its own limit


@dataclass
class State:
    """An image between two steps."""

    content: bytes
    image: Image.Image = field(init=False)
    result: bytes = field(init=False)


def validate(state: State) -> dict[str, Value]:
    """Open the image and check its header; `resize` finds damaged data when it decodes."""
    image = state.image = Image.open(io.BytesIO(state.content), formats=["JPEG"])
    if image.width * image.height > MAX_PIXELS:
        message = f"{image.width * image.height:,} pixels exceed the limit of {MAX_PIXELS:,}"
        raise ValueError(message)
    return {"result": "valid", "format": "jpeg"}


def resize(state: State) -> dict[str, Value]:
    """Scale the image to fit the box, and rotate it upright."""
    image = state.image
    original = image.size
    is_rotated = image.getexif().get(ExifTags.Base.Orientation) in _ROTATED
    image.thumbnail(BOX[::-1] if is_rotated else BOX)
    ImageOps.exif_transpose(image, in_place=True)
    return {"dimensions": {"original": _dimensions(original), "processed": _dimensions(image.size)}}


def watermark(state: State) -> dict[str, Value]:
    """Paste the text, rendered once per size, and encode as baseline JPEG."""
    image = state.image = state.image.convert("RGB")
    shorter_side = min(image.size)
    tile = _text_tile(round(shorter_side * 0.045))
    margin = round(shorter_side * 0.02)
    left, top = image.width - margin - tile.width, image.height - margin - tile.height
    image.paste((255, 255, 255), (left, top, left + tile.width, top + tile.height), tile)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82, subsampling="4:2:0", exif=b"")
    state.result = file.getvalue()
    return {"watermarkType": "text", "watermarkText": TEXT}


Step: TypeAlias = Callable[[State], dict[str, Value]]
"""Processes an image, and returns the step's details for the record."""

STEPS: tuple[tuple[str, Step], ...] = (
    ("validation", validate),
    ("resize", resize),
    ("watermark", watermark),
)


def _dimensions(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


@cache
def _text_tile(height_px: int) -> Image.Image:
    font = ImageFont.load_default(height_px)
    left, top, right, bottom = (round(side) for side in font.getbbox(TEXT))
    tile = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(tile).text((-left, -top), TEXT, font=font, fill=140)
    return tile
