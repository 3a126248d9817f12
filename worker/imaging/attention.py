"""
Find the part of a picture that draws the eye, from a small copy of it.

A map adds three features of each part: how its colours differ from those around it, edges of brightness, and
the colours of skin. Each is divided by its mean, so that what is everywhere does not count: a beach is not
skin, and the edges of a meadow are not a subject. The numbers were chosen on photographs, as the page
`docs/decisions.md` describes.
"""

from functools import lru_cache
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from worker.domain.focus import Focus
from worker.imaging.colour import flatten
from worker.imaging.orientation import UPRIGHT, turn_upright

_MAP_PX, _SAMPLES = 64, 4
"""Longer side of the map, and pixels that are sampled for each of its parts in both directions."""

_COLOUR_WEIGHT: Final = np.array([1, 4, 4], np.float32)
"""Of a difference in brightness, and in blue and red against brightness."""

_SURROUNDINGS: Final = 8
"""A part is compared with the square around it whose side is two in this many of the map's."""

_SKIN_BLUE, _SKIN_RED = -0.08, 0.1
_SKIN_BLUE_WIDTH, _SKIN_RED_WIDTH = 0.08, 0.07
"""Centre and width of the colours of skin, of any brightness, as chroma of ITU-R BT.601."""

_DARK, _BRIGHT, _FADE = 0.08, 0.97, 0.12
_SKIN_EDGES: Final = 0.04
"""Mean edge of a face: skin without edges counts less, like walls and sand."""

_UPPER_SHARE: Final = 0.5
"""By how much skin at the top counts more than at the bottom: faces are above hands."""

_EDGES_WEIGHT, _MAX_SKIN = 0.5, 3.0
_NOISE, _SKIN_NOISE = 0.03, 0.05
"""Means of features below which they are not scaled up to what other pictures have."""

_BACKGROUND, _EMPHASIS = 1.3, 1.5
"""Parts with less than this multiple of the mean are background; above it, the largest count most."""

_POSITIONS: Final = 65
"""Positions of a window that are compared: odd, so that the middle is one of them."""

_FALL: Final = 0.6
"""By how much the ends of a window count less than its middle."""

_UNCERTAINTY: Final = 0.2
"""Share of all attention for which a window is not moved to an end of the picture."""

_DECIMALS: Final = 4
"""Of scores: rounding in the vector units of a CPU must not decide between windows that are equally good."""

Map: TypeAlias = NDArray[np.floating]


def attention(image: Image.Image, orientation: int = UPRIGHT) -> Map:
    """
    Return how much each part of a picture draws the eye: at most 64 x 64 numbers of at least 0.

    Args:
        image: L, RGB or RGBA. Transparent parts draw no attention.
        orientation: EXIF orientation of the image, 1 to 8. The map is upright.
    """
    small = turn_upright(_small_copy(image), orientation)
    opacity = None
    if small.mode == "RGBA":
        opacity = np.asarray(small.getchannel("A"), np.float32) / 255
        small = flatten(small, "#ffffff")
    # The planes are Y, Cb and Cr, of which the latter are stored around 128.
    planes = np.asarray(small.convert("YCbCr"), np.float32) / 255 - np.array(
        [0, 128 / 255, 128 / 255], np.float32
    )
    surroundings = _blurred(planes, max(2, max(small.size) // _SURROUNDINGS))
    differences = np.abs(_blurred(planes, 1) - surroundings) * _COLOUR_WEIGHT
    edges = _edges(planes[..., 0])
    felt = (
        _rare(differences.sum(axis=2), _NOISE)
        + _EDGES_WEIGHT * _rare(_blurred(edges, 2), _NOISE)
        + np.minimum(_rare(_skin(planes, edges), _SKIN_NOISE), _MAX_SKIN)
    )
    if opacity is not None:
        felt *= opacity
    found: Map = np.maximum(felt - _BACKGROUND * felt.mean(), 0) ** _EMPHASIS
    return found


def focus_of_attention(found: Map, visible_share: tuple[float, float]) -> Focus:
    """
    Return the middle of the window that keeps most attention, and keeps it in its middle.

    Args:
        found: Result of `attention`.
        visible_share: Width and height of the window as shares of those of the picture.
    """
    across, down = visible_share
    # Where nothing decides, a window is a little above the middle, where subjects usually are.
    return Focus(_middle(found.sum(axis=0), across, 0.5), _middle(found.sum(axis=1), down, 0.4))


def _small_copy(image: Image.Image) -> Image.Image:
    """Sample pixels, then average them by whole factors: the time does not depend on the picture's size."""
    most = _MAP_PX * _SAMPLES
    longer = max(image.size)
    if longer > most:
        size = max(1, image.width * most // longer), max(1, image.height * most // longer)
        image = image.resize(size, Image.Resampling.NEAREST)
    factor = -(-max(image.size) // _MAP_PX)
    return image.reduce((min(factor, image.width), min(factor, image.height))) if factor > 1 else image


def _edges(light: Map) -> Map:
    edges = np.zeros_like(light)
    edges[:, 1:-1] += np.abs(light[:, 2:] - light[:, :-2])
    edges[1:-1] += np.abs(light[2:] - light[:-2])
    return edges


def _skin(planes: Map, edges: Map) -> Map:
    """Return how likely each part is the skin of a face."""
    light, blue, red = planes[..., 0], planes[..., 1], planes[..., 2]
    distance = ((blue - _SKIN_BLUE) / _SKIN_BLUE_WIDTH) ** 2 + ((red - _SKIN_RED) / _SKIN_RED_WIDTH) ** 2
    exposed = np.clip((light - _DARK) / _FADE, 0, 1) * np.clip((_BRIGHT - light) / _FADE, 0, 1)
    rows = len(light)
    height = (1 - (2 * np.arange(rows, dtype=np.float32)[:, np.newaxis] + 1) / rows) / 2
    detailed = np.clip(_blurred(edges, 3) / _SKIN_EDGES, 0.3, 1)
    skin: Map = _blurred(np.exp(-distance) * exposed, 3) * (1 + _UPPER_SHARE * height) * detailed
    return skin


def _rare(feature: Map, noise: float) -> Map:
    rare: Map = feature / (feature.mean() + noise)
    return rare


def _blurred(planes: Map, radius: int) -> Map:
    """Return the means of the squares around each part; the picture continues beyond its borders."""
    for axis in (0, 1):
        length = planes.shape[axis]
        before, after = np.full(planes.ndim, 0), np.full(planes.ndim, 0)
        before[axis], after[axis] = radius + 1, radius
        padded = np.pad(planes, tuple(zip(before, after, strict=True)), mode="edge")
        sums = np.cumsum(padded, axis=axis, dtype=np.float32)
        last = np.take(sums, np.arange(2 * radius + 1, 2 * radius + 1 + length), axis=axis)
        planes = (last - np.take(sums, np.arange(length), axis=axis)) / (2 * radius + 1)
    return planes


def _middle(profile: Map, share: float, usual: float) -> float:
    """
    Return the middle of the best window along one side.

    Args:
        profile: Attention of each part of the side.
        share: Length of the window as a share of the side: above 0, to 1.
        usual: Where the window is if nothing decides: 0 at the start of the side, 1 at its end.
    """
    whole = float(profile.sum())
    if whole <= 0 or share >= 1:
        return 0.5
    anchors = np.linspace(0, 1, _POSITIONS)
    scores = (_weights(len(profile), round(share, 3)) * profile).sum(axis=1) / whole
    scores = np.round(scores - _UNCERTAINTY * (anchors - usual) ** 2, _DECIMALS)
    best = anchors[scores == scores.max()]
    anchor = float(best[np.abs(best - usual).argmin()])
    return (1 - share) * anchor + share / 2


@lru_cache(maxsize=16)
def _weights(parts: int, share: float) -> NDArray[np.float64]:
    """Return how much each part of a side counts in each window: less at its ends, and 0 outside of it."""
    length = parts * share
    starts = np.linspace(0, parts - length, _POSITIONS)[:, np.newaxis]
    lefts = np.arange(parts)[np.newaxis]
    covered = np.clip(np.minimum(lefts + 1, starts + length) - np.maximum(lefts, starts), 0, 1)
    from_middle = (lefts + 0.5 - starts - length / 2) / (length / 2)
    weights: NDArray[np.float64] = covered * np.clip(1 - _FALL * from_middle**2, 0, 1)
    return weights
