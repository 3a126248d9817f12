"""
Pictures like photographs, the same ones from the same seed.

Noise whose amplitude falls with its frequency, as that of natural scenes does (Field 1987), for texture;
discs in front of each other for edges; a gradient for skies; a little grain for the sensor's noise. As much
of each as gives JPEGs the weight of a phone's: a quarter of a byte for each pixel.
"""

import io
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane = NDArray[np.float32]

_GRAIN = 0.6
_TEXTURE, _CHROMA = 11.0, 3.0
_DISCS = 60


def photograph(width: int, height: int, *, seed: int = 1) -> Image.Image:
    """Return an RGB picture."""
    dice = np.random.default_rng(seed)
    texture = _TEXTURE * _natural(dice, width, height)
    chroma = [_CHROMA * _natural(dice, width, height) for _ in range(3)]
    scene = _scene(dice, width, height)
    planes = [scene[..., band] + texture + chroma[band] for band in range(3)]
    grain = dice.normal(0, _GRAIN, (height, width, 3)).astype(np.float32)
    pixels = np.clip(np.stack(planes, axis=-1) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, picture_format: str, **options: Any) -> bytes:  # noqa: ANN401 - as Pillow takes them
    """Return a file of the picture."""
    file = io.BytesIO()
    image.save(file, picture_format, **options)
    return file.getvalue()


def _natural(dice: np.random.Generator, width: int, height: int) -> Plane:
    """Return noise with a spectrum of 1/f and a standard deviation of one."""
    across = np.fft.rfftfreq(width).astype(np.float32) * width
    down = np.fft.fftfreq(height).astype(np.float32)[:, None] * height
    frequency = np.hypot(across, down)
    frequency[0, 0] = 1
    phases = dice.random(frequency.shape, dtype=np.float32) * np.float32(2 * np.pi)
    noise = np.fft.irfft2(np.exp(1j * phases) / frequency, s=(height, width))
    return (noise / noise.std()).astype(np.float32)


def _scene(dice: np.random.Generator, width: int, height: int) -> Plane:
    """Return discs of many sizes before a gradient."""
    top, bottom = dice.integers(60, 200, (2, 3)).astype(np.float32)
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    ground = np.broadcast_to(top + (bottom - top) * share, (height, width, 3))
    scene = Image.fromarray(ground.astype(np.uint8))
    pen = ImageDraw.Draw(scene)
    for _ in range(_DISCS):
        radius = min(width, height) * 0.3 * dice.random() ** 2
        x, y = dice.random(2) * (width, height)
        colour = tuple(int(level) for level in dice.integers(30, 226, 3))
        pen.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(scene, dtype=np.float32)
