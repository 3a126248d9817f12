"""What is laid on a picture to mark it."""

from typing import NamedTuple

from PIL import Image


class WatermarkTile(NamedTuple):
    """
    A mark, ready to be laid on.

    Attributes:
        ink: RGB.
        cover: L: how much of the picture the ink hides.
    """

    ink: Image.Image
    cover: Image.Image

    def rotated(self, degrees: int) -> "WatermarkTile":
        """Return it turned counterclockwise, as large as that needs."""
        if degrees % 360 == 0:
            return self
        layer = self.layer.convert("RGBa").rotate(degrees, Image.Resampling.BICUBIC, expand=True)
        layer = layer.convert("RGBA")
        return WatermarkTile(ink=layer.convert("RGB"), cover=layer.getchannel("A"))

    @property
    def layer(self) -> Image.Image:
        """RGBA: both in one."""
        layer = self.ink.convert("RGBA")
        layer.putalpha(self.cover)
        return layer

    def paste_onto(self, image: Image.Image, at: tuple[int, int]) -> None:
        """Lay it on an RGB or RGBA picture, in place, touching no pixel outside of it."""
        if image.mode == "RGBA":
            image.alpha_composite(self.layer, dest=at)
        else:
            image.paste(self.ink, at, self.cover)
