"""The night pieces of the demo's pictures: each paints itself at the size asked for."""

import math
from random import Random

from PIL import Image, ImageChops, ImageDraw, ImageFilter

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
    ridge,
    shape,
    shine,
    vignette,
)


def stars(size: Size, rng: Random) -> Image.Image:
    """Paint the Milky Way and the moon above a line of firs."""
    width, height = size
    canvas = gradient(
        size, [(0, (6, 9, 28)), (0.55, (18, 32, 74)), (0.85, (58, 78, 118)), (1, (112, 112, 128))]
    )
    band = fog(size, cells=(9, 6), rng=rng, octaves=5)
    square = glow((width, width), (width * 0.5, width * 0.5), (width * 0.6, width * 0.14), falloff=1.1)
    square = square.rotate(42, resample=Image.Resampling.BILINEAR)
    across = square.crop((0, (width - height) // 2, width, (width - height) // 2 + height))
    canvas = shine(canvas, (150, 146, 196), ImageChops.multiply(across, levels(band, 0.2, 0.8, top=0.8)))
    canvas = shine(canvas, (210, 160, 150), ImageChops.multiply(across, levels(band, 0.5, 0.85, top=0.6)))
    faint = [_star(size, rng, radius=0.0007) for _ in range(1100)]
    dense = ImageChops.multiply(discs(size, [_star(size, rng, radius=0.0006) for _ in range(2600)]), across)
    bright = [_star(size, rng, radius=0.0014) for _ in range(60)]
    canvas = shine(canvas, (216, 226, 255), ImageChops.lighter(discs(size, faint), dense))
    canvas = shine(
        canvas,
        (150, 180, 255),
        discs(size, bright, blur=width * 0.0028).point(lambda value: min(255, value * 4)),
    )
    canvas = shine(canvas, (255, 250, 240), discs(size, bright))
    canvas = _moon(canvas, rng)
    for level, tone, trees in ((0.86, (26, 38, 64), 70), (0.95, (6, 10, 22), 46)):
        line = ridge(width, level=height * level, relief=height * 0.05, roughness=0.5, rng=rng, detail=8)
        lay(canvas, tone, below(size, line))
        lay(
            canvas,
            tone,
            shape(
                size, *(_fir(rng.choice(line), height * rng.uniform(0.05, 0.11), rng) for _ in range(trees))
            ),
        )
    return vignette(canvas)


def _star(size: Size, rng: Random, *, radius: float) -> tuple[tuple[float, float], float, int]:
    place = (rng.uniform(0, size[0]), rng.uniform(0, size[1] * 0.92))
    return place, max(0.5, size[0] * radius * rng.uniform(0.6, 1.3)), round(255 * rng.random() ** 1.6)


def _moon(canvas: Image.Image, rng: Random) -> Image.Image:
    width, height = canvas.size
    centre, radius = (width * 0.79, height * 0.22), height * 0.05
    canvas = shine(canvas, (120, 150, 210), glow(canvas.size, centre, (radius * 7, radius * 7), falloff=2.6))
    face = Image.new("RGB", canvas.size, (246, 242, 226))
    lay(
        face,
        (188, 190, 196),
        levels(fog(canvas.size, cells=(34, 24), rng=rng, octaves=3), 0.45, 0.65, top=0.7),
    )
    lay(canvas, face, discs(canvas.size, [(centre, radius, 255)]))
    return canvas


def _fir(foot: tuple[float, float], height: float, rng: Random) -> list[tuple[float, float]]:
    """Return the outline of a fir that stands on a point, tier above tier."""
    x, y = foot
    y += height * 0.08
    tiers, half = 6, height * rng.uniform(0.15, 0.22)
    left, right = [], []
    for tier in range(tiers):
        low, spread = y - height * tier / tiers, half * (1 - tier / tiers)
        left += [(x - spread, low), (x - spread * 0.5, low - height / tiers)]
        right += [(x + spread, low), (x + spread * 0.5, low - height / tiers)]
    return [*left, (x, y - height), *reversed(right)]


def aurora(size: Size, rng: Random) -> Image.Image:
    """Paint northern lights over snow."""
    width, height = size
    canvas = gradient(size, [(0, (4, 8, 24)), (0.6, (10, 34, 56)), (0.8, (24, 68, 78))])
    canvas = shine(canvas, (210, 224, 255), discs(size, [_star(size, rng, radius=0.001) for _ in range(500)]))
    for colour, start, reach in (
        ((96, 60, 170), 0.1, 0.34),
        ((40, 220, 140), 0.24, 0.4),
        ((120, 255, 170), 0.34, 0.3),
    ):
        canvas = shine(canvas, colour, _curtain(size, start=height * start, reach=height * reach, rng=rng))
    snow = gradient(size, [(0.7, (116, 160, 170)), (0.86, (70, 110, 130)), (1, (26, 44, 66))])
    far = ridge(width, level=height * 0.74, relief=height * 0.1, roughness=0.55, rng=rng)
    lay(canvas, (22, 40, 58), below(size, far))
    lay(snow, (160, 216, 196), levels(fog(size, cells=(3, 26), rng=rng, octaves=4), 0.45, 0.8, top=0.55))
    near = ridge(width, level=height * 0.84, relief=height * 0.05, roughness=0.36, rng=rng)
    lay(canvas, snow, below(size, near))
    firs = [_fir(rng.choice(near), height * rng.uniform(0.05, 0.12), rng) for _ in range(26)]
    lay(canvas, (8, 18, 28), shape(size, *firs))
    return vignette(canvas)


def _curtain(size: Size, *, start: float, reach: float, rng: Random) -> Image.Image:
    """Return a hanging curtain of light: sharp at its wavy lower hem, streaked and fading upwards."""
    width = size[0]
    brightness = fog((width, 1), cells=(24, 2), rng=rng, octaves=4).tobytes()
    phase, swing = rng.uniform(0, math.tau), rng.uniform(0.8, 1.5)
    fade = Image.linear_gradient("L").point([round(255 * (value / 255) ** 2.2) for value in range(256)])
    curtain = Image.new("L", size)
    step = max(2, width // 300)
    for x in range(0, width, step):
        turn = math.tau * swing * x / width + phase
        hem = start + reach * (1 + 0.22 * math.sin(turn) + 0.09 * math.sin(2.7 * turn))
        length = reach * (0.75 + 0.35 * math.sin(1.7 * turn + 1))
        dimmed = [value * brightness[x] // 200 for value in range(256)]
        ray = fade.resize((step, max(2, round(length)))).point(dimmed)
        curtain.paste(ray, (x, round(hem - length)))
    return curtain.filter(ImageFilter.GaussianBlur(width * 0.0045))


def storm(size: Size, rng: Random) -> Image.Image:
    """Paint lightning that strikes a plain."""
    width, height = size
    canvas = gradient(
        size, [(0, (18, 16, 38)), (0.5, (58, 48, 92)), (0.8, (150, 106, 130)), (1, (196, 140, 130))]
    )
    strike = (width * 0.62, height * 0.1)
    canvas = shine(canvas, (120, 110, 200), glow(size, strike, (width * 0.6, height * 0.75), falloff=1.6))
    bolts = Image.new("L", size)
    _bolt(ImageDraw.Draw(bolts), strike, (width * 0.56, height * 0.9), thickness=width / 380, rng=rng)
    for cells, low, tone in (
        ((3, 5), 0.42, (20, 18, 40)),
        ((5, 10), 0.5, (88, 78, 128)),
        ((6, 13), 0.52, (12, 12, 28)),
    ):
        heap = levels(fog(size, cells=cells, rng=rng, octaves=6), low, low + 0.25, top=0.85)
        ceiling = glow(size, (width * 0.5, 0), (width * 1.2, height * 0.75), falloff=0.8)
        lay(canvas, tone, ImageChops.multiply(heap, ceiling))
    bolts = ImageChops.multiply(bolts, levels(Image.linear_gradient("L").resize(size), 0.1, 0.32))
    for blur, colour in (
        (width * 0.03, (90, 70, 220)),
        (width * 0.006, (150, 140, 255)),
        (0.8, (255, 252, 255)),
    ):
        soft = bolts.filter(ImageFilter.GaussianBlur(blur))
        canvas = shine(
            canvas,
            colour,
            soft.point([min(255, round(value * (2.6 if blur > 1 else 1.2))) for value in range(256)]),
        )
    line = ridge(width, level=height * 0.89, relief=height * 0.02, roughness=0.6, rng=rng)
    lay(canvas, (10, 9, 18), below(size, line))
    return vignette(canvas)


def _bolt(
    draw: ImageDraw.ImageDraw, start: Point, end: Point, *, thickness: float, rng: Random, forks: int = 7
) -> None:
    """Draw a flash from point to point, and weaker ones that fork off it."""
    along = (end[0] - start[0], end[1] - start[1])
    length = math.hypot(*along)
    stray = ridge(round(length), level=0, relief=length * 0.16, roughness=0.54, rng=rng, detail=7)
    tilt = (stray[-1][1] - stray[0][1]) / length
    path = []
    for far, off in stray:
        share, aside = far / length, (off - stray[0][1] - tilt * far) / length
        path.append(
            (start[0] + along[0] * share - along[1] * aside, start[1] + along[1] * share + along[0] * aside)
        )
    draw.line(path, fill=255, width=max(1, round(thickness)), joint="curve")
    for _ in range(forks):
        x, y = root = rng.choice(path[8 : len(path) * 3 // 4])
        reach = length * rng.uniform(0.12, 0.34)
        tip = (x + rng.choice((-1, 1)) * reach * rng.uniform(0.4, 1.0), y + reach * rng.uniform(0.6, 1.0))
        _bolt(draw, root, tip, thickness=thickness * 0.5, rng=rng, forks=forks // 3)
