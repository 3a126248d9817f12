"""The landscapes of the demo's pictures: each paints itself at the size that is asked for."""

import math
from random import Random

from PIL import Image, ImageChops, ImageFilter

from worker.local.scenes.brushes import (
    Point,
    Size,
    below,
    discs,
    fog,
    glow,
    gradient,
    lay,
    levels,
    mix,
    ridge,
    shape,
    shine,
    vignette,
)


def mountains(size: Size, rng: Random) -> Image.Image:
    """Paint ridge behind ridge in the haze of a clear dawn."""
    width, height = size
    sky = gradient(
        size,
        [(0, (64, 98, 150)), (0.25, (142, 158, 190)), (0.42, (246, 196, 160)), (0.55, (255, 226, 178))],
    )
    clouds = levels(fog(size, cells=(3, 9), rng=rng, octaves=5), 0.52, 0.85, top=0.55)
    lay(sky, (255, 214, 190), clouds)
    sun = (width * 0.7, height * 0.29)
    sky = shine(sky, (255, 190, 120), glow(size, sun, (width * 0.55, width * 0.42), falloff=2.2))
    canvas = shine(sky, (255, 240, 205), glow(size, sun, (width * 0.16, width * 0.16), falloff=2.6))
    lay(canvas, (255, 250, 232), discs(size, [(sun, width * 0.018, 255)], blur=width * 0.002))
    layers = 7
    for layer in range(layers):
        depth = layer / (layers - 1)
        line = ridge(
            width,
            level=height * (0.46 + 0.47 * depth**1.25),
            relief=height * (0.24 - 0.1 * depth),
            roughness=0.53,
            rng=rng,
        )
        tone = mix((178, 156, 176), (14, 26, 48), depth**0.75)
        mist = mix((255, 216, 176), (92, 120, 150), depth)
        top = min(y for _, y in line) / height
        slope = gradient(size, [(top, tone), (top + 0.1, tone), (top + 0.42, mist)])
        lit = levels(fog(size, cells=(12, 30), rng=rng, octaves=4), 0.42, 0.75, top=0.22 * (1 - depth) + 0.05)
        lay(slope, mix(tone, (255, 196, 150), 0.7), lit)
        lay(canvas, slope, below(size, line))
    return vignette(canvas)


def sea(size: Size, rng: Random) -> Image.Image:
    """Paint the sun going down into a calm sea that gives back its light."""
    width, height = size
    horizon = round(height * 0.56)
    canvas = gradient(
        size,
        [
            (0, (38, 42, 92)),
            (0.22, (118, 68, 122)),
            (0.4, (232, 112, 92)),
            (0.53, (255, 184, 92)),
            (0.57, (255, 206, 120)),
        ],
    )
    for cells, low, colour in (((2.5, 11), 0.5, (88, 52, 102)), ((4, 22), 0.56, (255, 150, 110))):
        bank = levels(fog(size, cells=cells, rng=rng, octaves=5), low, low + 0.26, top=0.75)
        lay(canvas, colour, bank)
    sun = (width * 0.42, horizon - height * 0.055)
    canvas = shine(canvas, (255, 150, 60), glow(size, sun, (width * 0.5, height * 0.5), falloff=2.4))
    disc = discs(size, [(sun, height * 0.042, 255)], blur=height * 0.0015)
    lay(canvas, (255, 244, 206), disc)
    sky = canvas.crop((0, 0, width, horizon)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = sky.resize((width, height - horizon)).filter(ImageFilter.GaussianBlur(height * 0.012))
    water = Image.blend(
        water, gradient(water.size, [(0, (176, 92, 84)), (0.5, (64, 48, 92)), (1, (18, 24, 54))]), 0.62
    )
    swell = _waves(water.size, rng)
    lay(water, (22, 22, 58), levels(ImageChops.invert(swell), 0.48, 0.75, top=0.6))
    lay(water, (250, 150, 110), levels(swell, 0.52, 0.8, top=0.4))
    for reach, colour in ((0.3, (190, 90, 50)), (0.1, (255, 214, 140))):
        path = glow(water.size, (sun[0], -height * 0.04), (width * reach, height * 0.6), falloff=0.8)
        water = shine(water, colour, ImageChops.multiply(path, levels(swell, 0.46, 0.58)))
    canvas.paste(water, (0, horizon))
    lay(canvas, (26, 20, 44), shape(size, _headland(size, horizon, rng)))
    return vignette(canvas)


def _waves(size: Size, rng: Random) -> Image.Image:
    """Return waves in perspective: fine at the horizon, long at the shore, each band fading into the next."""
    width, height = size
    waves, bands = Image.new("L", size, 128), 8
    for band in range(bands):
        top, bottom = (round(height * (edge / bands) ** 1.7) for edge in (band, band + 1))
        strip = (width, max(4, round((bottom - top) * 1.5)))
        across, thickness = 60 - 5.5 * band, height * (0.006 + 0.0045 * band)
        crests = fog(strip, cells=(across, strip[1] / thickness), rng=rng, octaves=3)
        fade = Image.linear_gradient("L").resize(strip).point([min(255, 3 * value) for value in range(256)])
        waves.paste(crests, (0, top), fade)
    return waves


def _headland(size: Size, horizon: int, rng: Random) -> list[tuple[float, float]]:
    width, height = size
    land = ridge(round(width * 0.3), level=0, relief=height * 0.012, roughness=0.55, rng=rng, detail=7)
    start, length = width * 0.74, width * 0.3
    hump = [
        (
            start + x,
            horizon
            + 1
            - height * 0.075 * math.sin(min(1.0, x / length) * math.pi / 2) ** 1.5
            + y * x / length,
        )
        for x, y in land
    ]
    return [(0, horizon + 1), (start, horizon + 1), *hump, (width, horizon + 1)]


def dunes(size: Size, rng: Random) -> Image.Image:
    """Paint dunes in low light, each with its crest between sun and shadow."""
    width, height = size
    canvas = gradient(size, [(0, (86, 132, 168)), (0.3, (176, 190, 184)), (0.5, (250, 214, 168))])
    canvas = shine(
        canvas, (255, 170, 90), glow(size, (width * 0.08, height * 0.4), (width * 0.7, height * 0.6))
    )
    for depth, peak in ((0.0, 0.66), (0.35, 0.24), (0.62, 0.8), (1.0, 0.4)):
        _dune(canvas, depth=depth, peak=width * peak, rng=rng)
    return vignette(canvas)


def _dune(canvas: Image.Image, *, depth: float, peak: float, rng: Random) -> None:
    """Lay one dune over the canvas; `depth` is 0 for the farthest and 1 for the nearest."""
    size = width, height = canvas.size
    top, foot = height * (0.4 + 0.22 * depth), height * (0.6 + 0.36 * depth)
    reach = width * (0.36 + 0.24 * depth)

    def surface(x: float) -> float:
        away = min(1.0, abs(x - peak) / reach)
        rise = math.pow(1 - away, 1.5)
        return foot - (foot - top) * rise + height * 0.012 * math.sin(x / width * 7 + depth * 9)

    line = [(x, surface(x)) for x in range(0, width + 8, 8)]
    sand = mix((246, 190, 130), (226, 132, 62), depth)
    lit = gradient(
        size, [(top / height, mix(sand, (255, 226, 170), 0.5)), (1, mix(sand, (150, 70, 30), 0.35))]
    )
    ripples = fog(size, cells=(9 - 3 * depth, 90 - 40 * depth), rng=rng, octaves=2)
    lay(lit, mix(sand, (120, 60, 30), 0.6), levels(ripples, 0.45, 0.75, top=0.08 + 0.2 * depth))
    lay(canvas, lit, below(size, line))
    # The crest winds from the peak down to the foot; beyond it lies the shadow.
    crest: list[Point] = []
    for index in range(41):
        down = index / 40
        sway = math.sin(down * math.pi * 1.4) * width * 0.09 * (0.4 + depth)
        crest.append(
            (peak + sway + down * width * 0.06, surface(peak) + down * (height * 1.02 - surface(peak)))
        )
    lee = [(x, surface(x)) for x in range(width + 8, round(peak), -8)]
    dark = mix((178, 120, 104), (96, 44, 34), depth)
    shade = gradient(size, [(top / height, dark), (1, mix(dark, sand, 0.4))])
    lay(shade, mix(dark, (40, 20, 24), 0.5), levels(ripples, 0.5, 0.8, top=0.25))
    lay(canvas, shade, shape(size, [*crest, (width, height), *lee]).filter(ImageFilter.GaussianBlur(1.2)))


def forest(size: Size, rng: Random) -> Image.Image:
    """Paint trunks that fade into the morning fog, and the sun between them."""
    width, height = size
    canvas = gradient(
        size, [(0, (178, 196, 178)), (0.45, (232, 232, 200)), (0.75, (190, 196, 156)), (1, (120, 126, 92))]
    )
    sun = (width * 0.6, height * 0.3)
    canvas = shine(canvas, (255, 240, 190), glow(size, sun, (width * 0.8, width * 0.8), falloff=1.4))
    layers = 6
    for layer in range(layers):
        depth = layer / (layers - 1)
        tone = mix((196, 206, 180), (18, 26, 20), depth**0.85)
        foot = height * (0.66 + 0.3 * depth**1.3)
        trunks = [_trunk(size, foot=foot, depth=depth, rng=rng) for _ in range(round(18 - 13 * depth))]
        line = ridge(width, level=foot, relief=height * 0.03, roughness=0.6, rng=rng)
        bark = gradient(
            size, [(0, mix(tone, (214, 222, 190), 0.35)), (0.8, tone), (1, mix(tone, (60, 70, 30), 0.4))]
        )
        lay(
            canvas,
            bark,
            ImageChops.lighter(shape(size, *(part for trunk in trunks for part in trunk)), below(size, line)),
        )
        mist = levels(fog(size, cells=(2, 7), rng=rng, octaves=4), 0.35, 0.85, top=0.5 * (1 - depth) + 0.08)
        lay(canvas, (232, 234, 206), mist)
    return vignette(shine(canvas, (255, 226, 150), _rays(size, sun, rng)))


def _trunk(size: Size, *, foot: float, depth: float, rng: Random) -> list[list[Point]]:
    """Return the outlines of a bare trunk and of its branches."""
    width, height = size
    x, half = rng.uniform(0, width), max(width, height) * (0.003 + 0.012 * depth) * rng.uniform(0.6, 1.3)
    lean = rng.uniform(-0.03, 0.03) * width
    parts = [
        [
            (x - half, foot + height * 0.05),
            (x + lean - half * 0.6, 0),
            (x + lean + half * 0.6, 0),
            (x + half, foot + height * 0.05),
        ]
    ]
    for _ in range(rng.randrange(5, 12)):
        up, side = rng.uniform(0.1, 0.95), rng.choice((-1, 1))
        start = (x + lean * up, foot * (1 - up))
        length = half * rng.uniform(5, 14) * (1.15 - up)
        tip = (start[0] + side * length, start[1] + length * rng.uniform(-0.5, 0.3))
        parts.append([(start[0], start[1] - half * 0.22), tip, (start[0], start[1] + half * 0.22)])
    return parts


def _rays(size: Size, sun: Point, rng: Random) -> Image.Image:
    width, height = size
    beams = []
    for _ in range(16):
        angle, spread = rng.uniform(0.2, 2.9), rng.uniform(0.01, 0.05)
        ends = [
            (sun[0] + 2 * height * math.cos(a), sun[1] + 2 * height * math.sin(a))
            for a in (angle, angle + spread)
        ]
        beams.append([sun, *ends])
    mask = shape((width // 2, height // 2), *([(x / 2, y / 2) for x, y in beam] for beam in beams))
    mask = mask.filter(ImageFilter.GaussianBlur(width * 0.004)).resize(size, Image.Resampling.BILINEAR)
    return ImageChops.multiply(mask, glow(size, sun, (height * 0.9, height * 0.8), falloff=1.3)).point(
        lambda value: value // 2
    )
