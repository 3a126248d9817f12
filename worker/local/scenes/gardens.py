"""The gentler of the demo's pictures: tulips, a lake in grey, and a balloon on nothing at all."""

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

from worker.local.scenes.brushes import (
    Colour,
    Point,
    Size,
    below,
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

_IN_LIGHT = 0.4
"""The share of blossoms that the sun is on."""

_WIDEST = 0.42
"""Where a balloon is widest, from 0 (its crown) to 1 (its mouth)."""


def tulips(size: Size, rng: Random) -> Image.Image:
    """Paint rows of tulips that run to the horizon under a spring sky."""
    width, height = size
    horizon = round(height * 0.42)
    canvas = gradient(
        size, [(0, (52, 118, 198)), (0.42, (190, 220, 240)), (0.43, (60, 110, 52)), (1, (34, 74, 30))]
    )
    for cells, low in (((3, 6), 0.5), ((5, 12), 0.56)):
        clouds = levels(fog(size, cells=cells, rng=rng, octaves=6), low, low + 0.22, top=0.92)
        lay(canvas, (252, 250, 246), ImageChops.multiply(clouds, _fading_down(size, horizon)))
    trees = ridge(width, level=horizon - height * 0.012, relief=height * 0.03, roughness=0.62, rng=rng)
    lay(canvas, (70, 104, 92), shape(size, [*trees, (width, horizon + 2), (0, horizon + 2)]))
    _mill(canvas, foot=(width * 0.24, horizon + 2), height=height * 0.2)
    rows: tuple[Colour, ...] = (
        (214, 36, 48),
        (250, 190, 40),
        (236, 96, 150),
        (252, 244, 236),
        (150, 50, 140),
        (244, 120, 40),
    )
    vanishing = (width * 0.62, horizon - height * 0.02)
    for index in range(-12, 13):
        left, right = (vanishing[0] + (index + edge) * width * 0.17 for edge in (0.08, 0.8))
        near = height * 1.02
        strip = shape(
            size,
            [
                _along(vanishing, (left, near), 0.06),
                _along(vanishing, (right, near), 0.06),
                (right, near),
                (left, near),
            ],
        )
        tone = rows[index % len(rows)]
        lay(canvas, mix(tone, (40, 60, 30), 0.45), strip)
        _blossoms(canvas, tone, (vanishing, (left, near), (right, near)), rng)
    return vignette(canvas, strength=0.25)


def _fading_down(size: Size, horizon: int) -> Image.Image:
    mask = Image.new("L", size)
    mask.paste(
        ImageChops.invert(Image.linear_gradient("L"))
        .resize((size[0], horizon))
        .point([min(255, 3 * v) for v in range(256)]),
        (0, 0),
    )
    return mask


def _along(start: Point, end: Point, share: float) -> Point:
    return start[0] + (end[0] - start[0]) * share, start[1] + (end[1] - start[1]) * share


def _blossoms(canvas: Image.Image, tone: Colour, corners: tuple[Point, Point, Point], rng: Random) -> None:
    """Dot a strip with flowers, small and pale far away, large and shaded near by."""
    draw = ImageDraw.Draw(canvas)
    vanishing, left, right = corners
    for step in range(70):
        near = 0.06 + 0.94 * (step / 69) ** 2
        radius = canvas.height * 0.011 * near + 0.5
        one, other = _along(vanishing, left, near), _along(vanishing, right, near)
        for _ in range(9):
            x = rng.uniform(one[0], other[0])
            y = one[1] + rng.uniform(-radius, radius)
            if not -radius < x < canvas.width + radius:
                continue
            shade = mix(
                tone, (255, 255, 255) if rng.random() < _IN_LIGHT else (60, 10, 20), rng.uniform(0, 0.35)
            )
            draw.ellipse([x - radius * 0.8, y - radius * 1.2, x + radius * 0.8, y + radius], fill=shade)


def _mill(canvas: Image.Image, *, foot: Point, height: float) -> None:
    x, y = foot
    half = height * 0.13
    body = [
        (x - half, y),
        (x - half * 0.55, y - height * 0.62),
        (x, y - height * 0.74),
        (x + half * 0.55, y - height * 0.62),
        (x + half, y),
    ]
    hub, sails = (x, y - height * 0.62), []
    for quarter in range(4):
        angle = 0.5 + quarter * math.pi / 2
        along, across = (math.cos(angle), math.sin(angle)), (-math.sin(angle), math.cos(angle))
        sails.append(
            [
                (
                    hub[0] + along[0] * height * far + across[0] * height * wide,
                    hub[1] + along[1] * height * far + across[1] * height * wide,
                )
                for far, wide in (
                    (0, -0.008),
                    (0.5, -0.008),
                    (0.5, 0.07),
                    (0.12, 0.07),
                    (0.12, 0.008),
                    (0, 0.008),
                )
            ]
        )
    lay(canvas, (74, 56, 50), shape(canvas.size, body))
    lay(canvas, (232, 224, 210), shape(canvas.size, *sails))


def lake(size: Size, rng: Random) -> Image.Image:
    """Paint a jetty on a still lake, in grey."""
    width, height = size
    shore = round(height * 0.5)
    canvas = gradient(size, [(0, (96, 100, 104)), (0.5, (226, 228, 228))])
    lay(canvas, (250, 250, 250), levels(fog(size, cells=(2, 7), rng=rng, octaves=5), 0.48, 0.8, top=0.7))
    for level, tone in ((0.36, 176), (0.42, 138), (0.47, 92)):
        line = ridge(width, level=height * level, relief=height * 0.1, roughness=0.52, rng=rng)
        slope = gradient(size, [(level - 0.1, (tone, tone, tone)), (0.5, (216, 218, 218))])
        lay(canvas, slope, below(size, line))
    water = canvas.crop((0, 2 * shore - height, width, shore)).transpose(Image.Transpose.FLIP_TOP_BOTTOM)
    water = Image.blend(
        water.filter(ImageFilter.GaussianBlur(height * 0.004)),
        Image.new("RGB", water.size, (70, 74, 78)),
        0.22,
    )
    lay(water, (245, 246, 246), levels(fog(water.size, cells=(3, 40), rng=rng, octaves=3), 0.5, 0.8, top=0.3))
    canvas.paste(water, (0, shore))
    lay(canvas, (236, 238, 238), glow(size, (width * 0.5, shore), (width * 0.9, height * 0.07), falloff=1.0))
    _jetty(canvas, rng)
    return vignette(canvas, strength=0.5)


def _jetty(canvas: Image.Image, rng: Random) -> None:
    width, height = canvas.size
    far, left, right = (
        (width * 0.52, height * 0.6),
        (width * 0.2, height * 1.02),
        (width * 0.62, height * 1.02),
    )
    planks = 34
    for plank in range(planks):
        near = [0.12 + 0.88 * ((plank + edge) / planks) ** 1.9 for edge in (0.0, 0.86)]
        tone = rng.randrange(44, 84)
        corners = [
            _along(far, left, near[0]),
            _along(far, right, near[0]),
            _along(far, right, near[1]),
            _along(far, left, near[1]),
        ]
        ImageDraw.Draw(canvas).polygon(corners, fill=(tone, tone, tone))
    for share in (0.12, 0.3, 0.62):
        for side in (left, right):
            x, y = _along(far, side, share)
            half, rise = width * 0.014 * share + 1, height * 0.16 * share
            ImageDraw.Draw(canvas).rectangle(
                [x - half, y - rise, x + half, y + rise * 0.35], fill=(28, 28, 30)
            )


def balloon(size: Size, _rng: Random) -> Image.Image:
    """Paint a hot-air balloon; around it the picture is transparent."""
    width, height = size
    centre, radius = (width * 0.5, height * 0.38), height * 0.35
    gores: tuple[Colour, ...] = (
        (222, 60, 52),
        (250, 236, 214),
        (244, 168, 50),
        (250, 236, 214),
        (44, 112, 164),
        (250, 236, 214),
    )
    canvas = Image.new("RGB", size, (222, 60, 52))
    edges = [radius * math.sin(math.pi * (gore / 12 - 0.5)) for gore in range(13)]
    outline = _envelope(centre, radius, radius)
    for gore in range(12):
        left, right = (_envelope(centre, edges[gore + side], radius)[:41] for side in (0, 1))
        lay(canvas, gores[gore % len(gores)], shape(size, [*left, *reversed(right)]))
    lit = glow(
        size, (centre[0] - radius * 0.35, centre[1] - radius * 0.4), (radius * 1.1, radius * 1.1), falloff=1.5
    )
    lay(canvas, (30, 10, 40), ImageChops.invert(lit).point(lambda value: value * 2 // 5))
    canvas = shine(canvas, (110, 100, 80), lit)
    skirt, top, bottom = radius * 0.16, height * 0.84, height * 0.93
    basket = [
        (centre[0] - skirt, top),
        (centre[0] + skirt, top),
        (centre[0] + skirt * 0.8, bottom),
        (centre[0] - skirt * 0.8, bottom),
    ]
    weave = gradient(size, [(top / height, (166, 112, 62)), (bottom / height, (86, 52, 28))])
    lay(canvas, weave, shape(size, basket))
    ropes = Image.new("L", size)
    draw = ImageDraw.Draw(ropes)
    for side in (-1, -0.35, 0.35, 1):
        start = (centre[0] + side * skirt * 1.15, centre[1] + radius * 1.22)
        draw.line([start, (centre[0] + side * skirt * 0.95, top + 3)], fill=255, width=max(1, width // 260))
    lay(canvas, (70, 52, 40), ropes)
    alpha = ImageChops.lighter(ImageChops.lighter(shape(size, outline), shape(size, basket)), ropes)
    canvas.putalpha(alpha)
    return canvas


def _envelope(centre: Point, half: float, radius: float) -> list[Point]:
    """Return the outline of a balloon: down one side, whose bulge is `half` wide, and up the other."""
    side = []
    for index in range(41):
        down = index / 40
        y = centre[1] - radius + down * radius * 2.24
        if down < _WIDEST:
            bulge = math.sqrt(1 - (1 - down / _WIDEST) ** 2)
        else:
            bulge = 0.16 + 0.84 * math.cos((down - _WIDEST) / (1 - _WIDEST) * math.pi / 2) ** 1.15
        side.append((centre[0] + half * bulge, y))
    return [*side, *((2 * centre[0] - x, y) for x, y in reversed(side))]
