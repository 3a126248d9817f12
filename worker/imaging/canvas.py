"""Pad a picture to a larger canvas."""

from PIL import Image, ImageColor

from worker.domain.recipe import Size
from worker.imaging.geometry import offset
from worker.imaging.picture import Extent

_OPAQUE = 255


def pad_to_canvas(image: Image.Image, canvas: Extent, size: Size) -> Image.Image:
    """
    Return the picture on a canvas, filled with the size's background and aligned by its gravity.

    Args:
        image: RGB or RGBA, no larger than the canvas.
        canvas: Width and height in pixels.
        size: Size with the background and gravity.

    Returns:
        RGB if both picture and background are opaque, otherwise RGBA.
    """
    colour = (*ImageColor.getrgb(size.background), _OPAQUE)[:4]
    at = offset(canvas, Extent(*image.size), size.gravity.point)
    if image.mode == "RGB" and colour[3] == _OPAQUE:
        padded = Image.new("RGB", canvas, colour[:3])
        padded.paste(image, at)
        return padded
    padded = Image.new("RGBA", canvas, colour)
    if image.mode == "RGB":
        padded.paste(image, at)
    else:
        padded.alpha_composite(image, dest=at)
    return padded
