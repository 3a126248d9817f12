"""The picture of a text or logo that is laid over an image as its watermark."""

from typing import NamedTuple

from PIL import Image


class WatermarkTile(NamedTuple):
    """
    A watermark, rendered at its final size.

    Attributes:
        colour: RGB picture.
        alpha: L picture of the same size: the opacity of each pixel.
    """

    colour: Image.Image
    alpha: Image.Image

    def rotated(self, degrees: int) -> "WatermarkTile":
        """Return the tile rotated counterclockwise and enlarged to contain its corners."""
        if degrees % 360 == 0:
            return self
        rgba = self.rgba.convert("RGBa").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        rgba = rgba.convert("RGBA")
        return WatermarkTile(colour=rgba.convert("RGB"), alpha=rgba.getchannel("A"))

    @property
    def rgba(self) -> Image.Image:
        """The tile as a single RGBA picture."""
        rgba = self.colour.convert("RGBA")
        rgba.putalpha(self.alpha)
        return rgba

    def paste_onto(self, image: Image.Image, at: tuple[int, int]) -> None:
        """Draw the tile on an RGB or RGBA picture, in place, changing only the pixels below it."""
        if image.mode == "RGBA":
            image.alpha_composite(self.rgba, dest=at)
        else:
            image.paste(self.colour, at, self.alpha)
