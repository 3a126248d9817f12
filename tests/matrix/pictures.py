"""The samples of the matrix's pictures, at every depth and with every kind of transparency."""

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

WIDTH, HEIGHT = 52, 36
_KEY_BLOCK = slice(20, 30), slice(4, 18)
"""Rows and columns of the colour that a colour key makes transparent."""
_NEAR_KEY_BLOCK = slice(20, 30), slice(22, 36)
"""Rows and columns of a colour that differs from it by a single level."""

Samples = NDArray[np.int64]


def colours(kind: str, depth: int) -> Samples:
    """Return rows x columns x channels of unsigned samples: `grey`, `white-is-zero`, `RGB` or `CMYK`."""
    highest = (1 << depth) - 1
    samples = np.round(_light(kind) * highest).astype(np.int64)
    samples[_KEY_BLOCK] = key(kind, depth)
    near = key(kind, depth)
    near[-1] ^= 1
    samples[_NEAR_KEY_BLOCK] = near
    return highest - samples if kind == "white-is-zero" else samples


def key(kind: str, depth: int) -> list[int]:
    """Return the colour that a colour key makes transparent."""
    highest = (1 << depth) - 1
    shares = (0.2,) if kind in {"grey", "white-is-zero"} else (0.2, 0.6, 0.4, 0.1)[: _channels(kind)]
    return [round(share * highest) for share in shares]


def opacity(alpha: str, depth: int) -> Samples:
    """Return rows x columns x 1 of alpha: zero everywhere, or from 0 at the left to opaque at the right."""
    highest = (1 << depth) - 1
    if alpha == "zero":
        return np.zeros((HEIGHT, WIDTH, 1), np.int64)
    row = np.clip(np.linspace(-0.3, 1.3, WIDTH), 0, 1)
    return np.round(np.broadcast_to(row[None, :, None], (HEIGHT, WIDTH, 1)) * highest).astype(np.int64)


def with_alpha(samples: Samples, alpha: str, depth: int) -> Samples:
    """Return the samples with a channel of alpha; with `associated`, the colours are multiplied by it."""
    channel = opacity(alpha, depth)
    if alpha == "associated":
        samples = np.round(samples * (channel / ((1 << depth) - 1))).astype(np.int64)
    return np.concatenate([samples, channel], axis=2)


def indices(depth: int) -> Samples:
    """Return rows x columns of indices into `palette(depth)`."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    return (rows // 3 * 7 + columns // 4 * 3) % (1 << depth)


def palette(depth: int) -> list[tuple[int, int, int]]:
    """Return the red, green and blue of each index."""
    count = 1 << depth
    return [
        (round(255 * index / max(1, count - 1)), index * 83 % 256, 255 - index * 37 % 256)
        for index in range(count)
    ]


def palette_opacity(depth: int) -> list[int]:
    """Return the alpha of each index."""
    return [index * 151 % 256 for index in range(1 << depth)]


def bytes_of(samples: NDArray[Any]) -> NDArray[np.uint8]:
    """Return samples of 8 bits as bytes."""
    return np.ascontiguousarray(samples.astype(np.uint8))


def _channels(kind: str) -> int:
    return {"grey": 1, "white-is-zero": 1, "RGB": 3, "CMYK": 4}[kind]


@cache
def _light(kind: str) -> NDArray[np.float64]:
    """Return gradients without symmetry, and a block of a saturated colour, from 0 to 1."""
    rows, columns = np.mgrid[0:HEIGHT, 0:WIDTH]
    across, down = columns / (WIDTH - 1), rows / (HEIGHT - 1)
    channels = [across, down, 0.15 + 0.7 * (across + down) / 2, 0.5 * (1 - across)]
    light = np.stack(channels[: _channels(kind)], axis=2)
    light[2:12, 34:48] = (0.85, 0.15, 0.1, 0.05)[: _channels(kind)]
    return light
