"""Putting a picture on a canvas larger than itself."""

from PIL import Image, ImageColor

from worker.domain.recipe import Size
from worker.imaging.geometry import offset
from worker.imaging.picture import Extent

_OPAQUE = 255


def pad_to_canvas(image: Image.Image, canvas: Extent, size: Size) -> Image.Image:
    """
    Return the picture on a canvas of the size's background, where its gravity says.

    Args:
        image: RGB or RGBA, no larger than the canvas.
        canvas: In pixels.
        size: Its background and gravity.

    Returns:
        RGB where picture and background are opaque, else RGBA.
    """
    colour = (*ImageColor.getrgb(size.background), _OPAQUE)[:4]
    at = offset(canvas, Extent(*image.size), size.gravity.point)
    if image.mode == "RGB" and colour[3] == _OPAQUE:
        ground = Image.new("RGB", canvas, colour[:3])
        ground.paste(image, at)
        return ground
    ground = Image.new("RGBA", canvas, colour)
    if image.mode == "RGB":
        ground.paste(image, at)
    else:
        ground.alpha_composite(image, dest=at)
    return ground
