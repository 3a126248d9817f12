"""The three steps with Pillow: check, `thumbnail` (which drafts JPEGs by itself), and mark and encode."""

import io
from functools import cache
from typing import Any

from PIL import ExifTags, Image, ImageDraw, ImageFont, ImageOps

BOX = (800, 600)
MOST_PIXELS = 100_000_000
TEXT = "Processed by Image Platform"
_ON_ITS_SIDE = {5, 6, 7, 8}

Image.MAX_IMAGE_PIXELS = None  # `validate` refuses


def validate(state: dict[str, Any]) -> dict[str, Any]:
    """Open the picture and look at its header; damage shows when `resize` decodes it."""
    image = state["image"] = Image.open(io.BytesIO(state["content"]), formats=["JPEG"])
    if image.width * image.height > MOST_PIXELS:
        message = f"{image.size}: too many pixels"
        raise ValueError(message)
    return {"result": "valid", "format": "jpeg"}


def resize(state: dict[str, Any]) -> dict[str, Any]:
    """Scale it to the box, upright."""
    image = state["image"]
    original = image.size
    is_turned = image.getexif().get(ExifTags.Base.Orientation) in _ON_ITS_SIDE
    image.thumbnail(BOX[::-1] if is_turned else BOX)
    ImageOps.exif_transpose(image, in_place=True)
    return {"dimensions": {"original": _sides(original), "processed": _sides(image.size)}}


def watermark(state: dict[str, Any]) -> dict[str, Any]:
    """Lay the text on its bounding box, from a tile drawn once; encode as baseline JPEG."""
    image = state["image"].convert("RGB")
    shorter = min(image.size)
    tile = _tile(round(shorter * 0.045))
    margin = round(shorter * 0.02)
    at = (image.width - margin - tile.width, image.height - margin - tile.height)
    image.paste((255, 255, 255), (*at, at[0] + tile.width, at[1] + tile.height), tile)
    file = io.BytesIO()
    image.save(file, "JPEG", quality=82, subsampling="4:2:0", exif=b"")
    state["size"], state["result"] = image.size, file.getvalue()
    return {"watermarkType": "text", "watermarkText": TEXT}


STEPS = (("validation", validate), ("resize", resize), ("watermark", watermark))


def _sides(size: tuple[int, int]) -> dict[str, int]:
    return {"width": size[0], "height": size[1]}


@cache
def _tile(height_px: int) -> Image.Image:
    font = ImageFont.load_default(height_px)
    left, top, right, bottom = (round(side) for side in font.getbbox(TEXT))
    tile = Image.new("L", (right - left, bottom - top))
    ImageDraw.Draw(tile).text((-left, -top), TEXT, font=font, fill=140)
    return tile
