"""What the demo's pictures are painted with, by Pillow alone: gradients, clouds, glows, ridges, grain."""

from collections.abc import Iterator, Sequence
from itertools import pairwise
from random import Random
from typing import Final, TypeAlias

from PIL import Image, ImageChops, ImageDraw, ImageFilter

Size: TypeAlias = tuple[int, int]
Point: TypeAlias = tuple[float, float]
Colour: TypeAlias = tuple[int, int, int]
Stops: TypeAlias = Sequence[tuple[float, Colour]]
"""Colours of a gradient, each with its place from 0 (top) to 1 (bottom)."""

_MIDDLE_GREY: Final = 128
_RIM: Final = 0.3
"""Pillow's radial gradient, inverted, has this brightness where it touches its square."""


def mix(one: Colour, other: Colour, share: float) -> Colour:
    """Return the colour that lies `share` (0 to 1) of the way from one to the other."""
    red, green, blue = (round(a + (b - a) * share) for a, b in zip(one, other, strict=True))
    return red, green, blue


def gradient(size: Size, stops: Stops) -> Image.Image:
    """Paint a vertical gradient through all the stops."""
    column = Image.new("RGB", (1, min(size[1], 256)))
    column.putdata(list(_shades(stops, column.height)))
    return column.resize((1, size[1]), Image.Resampling.BILINEAR).resize(size, Image.Resampling.NEAREST)


def _shades(stops: Stops, height: int) -> Iterator[Colour]:
    legs = list(pairwise(stops))
    for row in range(height):
        place = row / max(1, height - 1)
        (start, above), (end, below) = next((leg for leg in legs if place <= leg[1][0]), legs[-1])
        yield mix(above, below, min(1.0, max(0.0, (place - start) / (end - start))))


def fog(size: Size, *, cells: Point, rng: Random, octaves: int = 4) -> Image.Image:
    """
    Return soft noise as a grey picture: clouds, mist, the surface of sand or water.

    Args:
        size: (width, height) in pixels.
        cells: Blotches across and down in the coarsest layer; each further one has twice as many, half as
            strong.
        rng: Where the noise comes from.
        octaves: The number of layers.
    """
    coarse = max(1, size[0] // 3), max(1, size[1] // 3)
    layers = []
    for octave in range(octaves):
        across, down = (max(2, round(cell * 2**octave)) for cell in cells)
        speckles = Image.frombytes("L", (across, down), rng.randbytes(across * down))
        layers.append(speckles.resize(coarse, Image.Resampling.BICUBIC))
    soft = layers[-1]
    for layer in reversed(layers[:-1]):
        soft = Image.blend(layer, soft, 0.42)
    return soft.resize(size, Image.Resampling.BILINEAR)


def levels(
    mask: Image.Image, low: float, high: float, *, gamma: float = 1.0, top: float = 1.0
) -> Image.Image:
    """Stretch a grey picture so that `low` becomes black and `high` becomes `top`, all from 0 to 1."""
    table = []
    for value in range(256):
        share = min(1.0, max(0.0, (value / 255 - low) / (high - low)))
        table.append(round(255 * top * share**gamma))
    return mask.point(table)


def glow(size: Size, centre: Point, radius: Point, *, falloff: float = 2.0) -> Image.Image:
    """Return a mask that is white at the centre and fades to nothing at the radius (across, down)."""
    spot = levels(ImageChops.invert(Image.radial_gradient("L")), _RIM, 1.0, gamma=falloff)
    across, down = round(radius[0] * 2), round(radius[1] * 2)
    mask = Image.new("L", size)
    corner = (round(centre[0] - radius[0]), round(centre[1] - radius[1]))
    mask.paste(spot.resize((across, down), Image.Resampling.BILINEAR), corner)
    return mask


def lay(canvas: Image.Image, paint: Image.Image | Colour, mask: Image.Image) -> None:
    """Lay a colour or a picture of the same size over the canvas where the mask is white."""
    box = mask.getbbox()
    if box is not None:
        canvas.paste(paint.crop(box) if isinstance(paint, Image.Image) else paint, box, mask.crop(box))


def shine(canvas: Image.Image, colour: Colour, mask: Image.Image) -> Image.Image:
    """Add light of a colour where the mask is white, as a lamp would: it brightens and never covers."""
    box = mask.getbbox()
    if box is None:
        return canvas
    light = Image.merge(
        "RGB", [mask.crop(box).point([v * band // 255 for v in range(256)]) for band in colour]
    )
    lit = canvas.copy()
    lit.paste(ImageChops.screen(canvas.crop(box), light), box)
    return lit


def ridge(
    width: int, *, level: float, relief: float, roughness: float, rng: Random, detail: int = 9
) -> list[Point]:
    """
    Draw the line of a ridge from left to right by halving and displacing.

    Args:
        width: Of the picture, in pixels.
        level: Where the line lies on average, in pixels from the top.
        relief: How far it strays from there at first, in pixels.
        roughness: What each halving leaves of the relief: 0.35 rolls, 0.6 is rocky.
        rng: Where the displacements come from.
        detail: The number of halvings.
    """
    heights = [rng.uniform(-relief, relief) * 0.5, rng.uniform(-relief, relief) * 0.5]
    for _ in range(detail):
        relief *= roughness
        finer = [heights[0]]
        for left, right in pairwise(heights):
            finer += [(left + right) / 2 + rng.uniform(-relief, relief), right]
        heights = finer
    step = width / (len(heights) - 1)
    return [(index * step, level + height) for index, height in enumerate(heights)]


def shape(size: Size, *outlines: Sequence[Point]) -> Image.Image:
    """Return a mask that is white inside the outlines, with smooth edges."""
    across, down = zip(*(point for outline in outlines for point in outline), strict=True)
    left, top = (max(0, int(min(places)) - 1) for places in (across, down))
    right, bottom = (
        min(side, int(max(places)) + 2) for side, places in zip(size, (across, down), strict=True)
    )
    mask = Image.new("L", size)
    if left < right and top < bottom:
        part = Image.new("L", ((right - left) * 2, (bottom - top) * 2))
        draw = ImageDraw.Draw(part)
        for outline in outlines:
            draw.polygon([((x - left) * 2, (y - top) * 2) for x, y in outline], fill=255)
        mask.paste(part.reduce(2), (left, top))
    return mask


def below(size: Size, line: Sequence[Point]) -> Image.Image:
    """Return a mask that is white below a line that runs from left to right."""
    width, height = size
    return shape(size, [*line, (width, height), (0, height)])


def discs(size: Size, spots: Sequence[tuple[Point, float, int]], *, blur: float = 0.0) -> Image.Image:
    """Return a mask of filled circles, each a centre, a radius in pixels and a brightness up to 255."""
    mask = Image.new("L", (size[0] * 2, size[1] * 2))
    draw = ImageDraw.Draw(mask)
    for (x, y), radius, brightness in spots:
        draw.ellipse(
            [2 * (x - radius), 2 * (y - radius), 2 * (x + radius), 2 * (y + radius)], fill=brightness
        )
    mask = mask.reduce(2)
    return mask.filter(ImageFilter.GaussianBlur(blur)) if blur else mask


def grain(picture: Image.Image, *, strength: float, rng: Random) -> Image.Image:
    """Add the noise of a sensor: a photograph is never smooth, and its file never small."""
    one = Image.frombytes("L", picture.size, rng.randbytes(picture.width * picture.height))
    # The mean of two throws of the dice: extremes are rarer than the middle.
    two = Image.blend(one, one.transpose(Image.Transpose.ROTATE_180), 0.5)
    noise = two.point([round(_MIDDLE_GREY + (value - _MIDDLE_GREY) * strength) for value in range(256)])
    bands = Image.merge("RGB", (noise, noise, noise)) if picture.mode == "RGB" else noise
    return ImageChops.add(picture, bands, offset=-_MIDDLE_GREY)


def vignette(picture: Image.Image, *, strength: float = 0.35) -> Image.Image:
    """Darken the corners a little, as a lens does."""
    shade = levels(ImageChops.invert(Image.radial_gradient("L")), 0.0, 0.6)
    shade = shade.point([round(255 - (255 - value) * strength) for value in range(256)])
    shade = shade.resize(picture.size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(picture, Image.merge("RGB", (shade, shade, shade)))
