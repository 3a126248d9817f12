"""The demo's pictures of cities: one at dusk, and one that is nothing but its lights."""

from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from worker.local.scenes.brushes import (
    Colour,
    Size,
    discs,
    fog,
    glow,
    gradient,
    lay,
    levels,
    mix,
    shine,
    vignette,
)

_WITH_MAST = 0.3
"""The share of houses that carry an aerial."""


def city(size: Size, rng: Random) -> Image.Image:
    """Paint a skyline at dusk and its lights in the river."""
    width, height = size
    shore = round(height * 0.7)
    canvas = gradient(
        size,
        [
            (0, (22, 30, 74)),
            (0.3, (74, 66, 126)),
            (0.52, (214, 116, 122)),
            (0.7, (255, 190, 128)),
            (1, (255, 200, 140)),
        ],
    )
    lay(canvas, (52, 46, 96), levels(fog(size, cells=(3, 16), rng=rng, octaves=5), 0.52, 0.8, top=0.6))
    for tone, tallest, lit in (
        ((128, 92, 126), 0.42, 0.05),
        ((72, 58, 100), 0.5, 0.3),
        ((26, 24, 52), 0.4, 0.5),
    ):
        _row_of_houses(canvas, shore=shore, tallest=height * tallest, tone=tone, lit=lit, rng=rng)
    canvas = ImageChops.screen(
        canvas,
        canvas.point(lambda value: max(0, value - 190) * 3).filter(ImageFilter.GaussianBlur(width * 0.006)),
    )
    mirrored = canvas.crop((0, 2 * shore - height, width, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    ripple = fog(mirrored.size, cells=(40, 46), rng=rng, octaves=2)
    smeared = mirrored.resize((width, 24), Image.Resampling.BOX).resize(
        mirrored.size, Image.Resampling.BICUBIC
    )
    water = Image.composite(smeared, mirrored.filter(ImageFilter.GaussianBlur(3)), levels(ripple, 0.35, 0.6))
    lay(water, (12, 16, 44), levels(ripple, 0.35, 0.75, top=0.55))
    canvas.paste(Image.blend(water, Image.new("RGB", water.size, (14, 18, 48)), 0.28), (0, shore))
    ImageDraw.Draw(canvas).rectangle([0, shore - 1, width, shore + height // 160], fill=(14, 14, 34))
    return vignette(canvas)


def _row_of_houses(
    canvas: Image.Image, *, shore: int, tallest: float, tone: Colour, lit: float, rng: Random
) -> None:
    draw = ImageDraw.Draw(canvas)
    width = canvas.width
    pane = max(2, width // 500)
    x = -rng.randrange(width // 20)
    while x < width:
        breadth = round(width * rng.uniform(0.025, 0.065))
        centred = 1 - abs((x + breadth / 2) / width - 0.55)
        top = round(shore - tallest * rng.uniform(0.3, 1.0) * centred**1.5)
        draw.rectangle([x, top, x + breadth, shore], fill=tone)
        if rng.random() < _WITH_MAST:
            mast = x + breadth // 2
            draw.rectangle([mast, top - tallest * 0.14, mast + pane // 2, top], fill=tone)
        for column in range(x + pane * 2, x + breadth - pane * 2, pane * 3):
            for row in range(top + pane * 2, shore - pane, pane * 4):
                if rng.random() < lit:
                    shade = mix((255, 214, 130), tone, rng.uniform(0, 0.7))
                    draw.rectangle([column, row, column + pane - 1, row + pane * 2 - 1], fill=shade)
        x += breadth + rng.randrange(max(2, width // 160))


def bokeh(size: Size, rng: Random) -> Image.Image:
    """Paint the lights of a city far out of focus."""
    full, size = size, (size[0] // 2, size[1] // 2)  # nothing in it is sharp
    width, height = size
    canvas = gradient(size, [(0, (16, 12, 38)), (0.5, (52, 22, 62)), (1, (14, 16, 40))])
    canvas = shine(
        canvas, (150, 60, 60), glow(size, (width * 0.3, height * 0.6), (width * 0.6, height * 0.7))
    )
    colours = (
        (255, 170, 70),
        (255, 90, 110),
        (90, 170, 255),
        (255, 220, 150),
        (190, 100, 255),
        (80, 230, 200),
    )
    for layer in range(14):
        radius = width * rng.uniform(0.018, 0.075)
        spots = [
            (
                (rng.gauss(width * 0.5, width * 0.32), rng.gauss(height * 0.56, height * 0.2)),
                radius * rng.uniform(0.8, 1.1),
                rng.randrange(60, 150),
            )
            for _ in range(rng.randrange(4, 9))
        ]
        rims = discs(size, [(place, r * 0.93, brightness // 2) for place, r, brightness in spots])
        mask = ImageChops.subtract(discs(size, spots), rims.point(lambda value: value // 2))
        blur = radius * (0.03 if layer % 3 else 0.3)
        canvas = shine(canvas, colours[layer % len(colours)], mask.filter(ImageFilter.GaussianBlur(blur)))
    return vignette(canvas.resize(full, Image.Resampling.BICUBIC))
