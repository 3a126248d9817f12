"""
Synthetic photographs; the same seed gives the same image.

Texture is noise whose amplitude falls with frequency, as in natural scenes (Field 1987). Discs in front of
each other give edges, a gradient gives sky, and grain gives sensor noise. The amounts are chosen so that a
JPEG is as large as a phone's: a quarter of a byte per pixel.
"""

import io
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

Plane: TypeAlias = NDArray[np.float32]

_GRAIN = 0.6
_TEXTURE, _CHROMA = 11.0, 3.0
_DISCS = 60


def photograph(width: int, height: int, *, seed: int = 1) -> Image.Image:
    """Return a synthetic RGB photograph."""
    rng = np.random.default_rng(seed)
    texture = _TEXTURE * _natural_noise(rng, width, height)
    chroma = [_CHROMA * _natural_noise(rng, width, height) for _ in range(3)]
    scene = _scene(rng, width, height)
    planes = [scene[..., band] + texture + chroma[band] for band in range(3)]
    grain = rng.normal(0, _GRAIN, (height, width, 3)).astype(np.float32)
    pixels = np.clip(np.stack(planes, axis=-1) + grain, 0, 255).astype(np.uint8)
    return Image.fromarray(pixels)


def encoded(image: Image.Image, image_format: str, **options: Any) -> bytes:
    """Return the image as a file in a format of Pillow, for example `JPEG`."""
    file = io.BytesIO()
    image.save(file, image_format, **options)
    return file.getvalue()


def _natural_noise(rng: np.random.Generator, width: int, height: int) -> Plane:
    """Return noise with a spectrum of 1/f and a standard deviation of 1."""
    horizontal = np.fft.rfftfreq(width).astype(np.float32) * width
    vertical = np.fft.fftfreq(height).astype(np.float32)[:, None] * height
    frequency = np.hypot(horizontal, vertical)
    frequency[0, 0] = 1
    phases = rng.random(frequency.shape, dtype=np.float32) * np.float32(2 * np.pi)
    noise = np.fft.irfft2(np.exp(1j * phases) / frequency, s=(height, width))
    return np.asarray(noise / noise.std(), np.float32)


def _scene(rng: np.random.Generator, width: int, height: int) -> Plane:
    """Return discs of many sizes in front of a vertical gradient."""
    top, bottom = rng.integers(60, 200, (2, 3)).astype(np.float32)
    share = np.linspace(0, 1, height, dtype=np.float32)[:, None, None]
    gradient = np.broadcast_to(top + (bottom - top) * share, (height, width, 3))
    scene = Image.fromarray(gradient.astype(np.uint8))
    draw = ImageDraw.Draw(scene)
    for _ in range(_DISCS):
        radius = min(width, height) * 0.3 * rng.random() ** 2
        x, y = rng.random(2) * (width, height)
        colour = tuple(int(level) for level in rng.integers(30, 226, 3))
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=colour)
    return np.asarray(scene, dtype=np.float32)
