"""Recognise drawings, text and screenshots, which are encoded in another way than photographs."""

from typing import Final

import numpy as np
from numpy.typing import NDArray
from PIL import Image

_MAX_COLOURS: Final = 256
_SMALL_PX: Final = 128 * 128

_ROWS: Final = 16
_VISIBLE_EDGE: Final = 40
"""Difference of colour between neighbouring pixels that is visibly blurred at half the resolution."""
_MANY_EDGES: Final = 0.05
_SOME_EDGES: Final = 0.0015
_FLAT_SHARE: Final = 0.6
"""
Bounds of the shares of neighbouring pixels with an edge of colour, and of about equal brightness.

Photographs have edges at up to 0.35 % of their pixels, and 0.2 to 0.56 of equal brightness; drawings have
edges at 0.2 % and more, and 0.6 to 1 of equal brightness.
"""
_EMPTY_SHARE: Final = 0.8
_FEW_EDGES: Final = 0.0002
_TEXT_STEP: Final = 4
"""In mostly empty images fewer edges count, and smaller letters: full resolution costs few bytes there."""
FEW_COLOURS: Final = 16
_EQUAL_SHARE: Final = 0.5
"""Least share of neighbouring pixels that are equal in a drawing; photographs have up to 0.3."""
_FLAT_EQUAL_SHARE: Final = 0.95

_MULTIPLIERS: Final = tuple((2_654_435_761 * (2 * number + 1)) & 0xFFFF_FFFF for number in range(64))
_HASH_BITS: Final = 16
_OPAQUE: Final = 255


def needs_full_chroma(image: Image.Image) -> bool:
    """
    Return whether colours should be stored for every pixel, and not for every second one in each direction.

    This holds for small images, and for drawings: coloured edges next to areas of a single colour. Some rows
    are sampled, which takes 0.15 ms, and every fourth row if these are mostly flat, so that a line of text on
    an empty page is found (0.8 ms).

    Args:
        image: RGB or RGBA.
    """
    if is_small(image):
        return True
    edges, flat = _edge_and_flat_shares(_sampled_rows(image))
    if flat >= _EMPTY_SHARE and edges < _SOME_EDGES:
        edges, _ = _edge_and_flat_shares(_sampled_rows(image, image.height // _TEXT_STEP))
        return edges >= _FEW_EDGES
    return edges >= _MANY_EDGES or (edges >= _SOME_EDGES and flat >= _FLAT_SHARE)


def _edge_and_flat_shares(rows: NDArray[np.uint8]) -> tuple[float, float]:
    """Return the shares of neighbouring pixels with an edge of colour, and of about equal brightness."""
    red, green, blue, *_ = rows.astype(np.int16).transpose(2, 0, 1)
    edges = np.zeros(green[:, 1:].shape, dtype=np.bool_)
    for colour in (red - green, blue - green):
        edges |= np.abs(colour[:, 1:] - colour[:, :-1]) > _VISIBLE_EDGE
    flat = np.abs(green[:, 1:] - green[:, :-1]) <= 1
    pixels = max(1, edges.size)
    return np.count_nonzero(edges) / pixels, np.count_nonzero(flat) / pixels


def is_small(image: Image.Image) -> bool:
    """Return whether a picture has so few pixels that its bytes do not matter."""
    return image.width * image.height <= _SMALL_PX


def is_drawing(image: Image.Image) -> bool:
    """
    Return whether a picture is smaller and better without loss: few colours in areas, or few pixels.

    A photograph in colour is recognised after some hundred pixels, a grey one by some rows.

    Args:
        image: RGB or RGBA.
    """
    colours = image.getcolors(_MAX_COLOURS)
    if colours is None:
        return False
    if len(colours) <= FEW_COLOURS or is_small(image):
        return True
    return _equal_share(image) >= _EQUAL_SHARE


def is_flat(image: Image.Image) -> bool:
    """Return whether nearly all of a picture is areas of a single colour, of which there may be many."""
    return _equal_share(image) >= _FLAT_EQUAL_SHARE


def with_palette(image: Image.Image) -> Image.Image | None:
    """
    Return exactly the same pixels as palette indices; as grey if all of more than 16 colours are grey.

    Args:
        image: RGB or RGBA.

    Returns:
        P with the fewest bits, or L; None if there are more than 256 colours.
    """
    colours = image.getcolors(_MAX_COLOURS)
    if colours is None:
        return None
    if len(colours) > FEW_COLOURS and image.mode == "RGB" and all(len({*_bands(c)}) == 1 for _, c in colours):
        return image.getchannel("G")
    pixels = np.asarray(image.convert("RGBA")).view("<u4")[..., 0]
    keys = np.array([_key(colour) for _, colour in colours], "<u4")
    for multiplier in _MULTIPLIERS:
        hashes = _hash(keys, multiplier)
        if len(np.unique(hashes)) == len(keys):
            break
    else:
        return None
    # Colours with alpha come first, so that the list of alphas is short.
    keys = keys[np.argsort(keys >> 24, kind="stable")]
    indices = np.zeros(1 << _HASH_BITS, np.uint8)
    indices[_hash(keys, multiplier)] = np.arange(len(keys))
    palette = keys.view(np.uint8).reshape(-1, 4)
    result = Image.frombytes("P", image.size, indices[_hash(pixels, multiplier)].tobytes())
    result.putpalette(palette[:, :3].tobytes())
    alphas = palette[:, 3]
    if alphas[0] != _OPAQUE:
        result.info["transparency"] = alphas[: np.count_nonzero(alphas != _OPAQUE)].tobytes()
    return result


def _equal_share(image: Image.Image) -> float:
    """Return the share of pixels in some rows that are equal to their right neighbour."""
    rows = _sampled_rows(image)
    equal = (rows[:, 1:] == rows[:, :-1]).all(axis=-1)
    return float(np.count_nonzero(equal) / max(1, equal.size))


def _sampled_rows(image: Image.Image, rows: int = _ROWS) -> NDArray[np.uint8]:
    return np.asarray(image.resize((image.width, max(1, min(rows, image.height))), Image.Resampling.NEAREST))


def _bands(colour: float | tuple[int, ...]) -> tuple[int, ...]:
    return colour if isinstance(colour, tuple) else (int(colour),)


def _key(colour: float | tuple[int, ...]) -> int:
    return int.from_bytes(bytes((*_bands(colour), _OPAQUE)[:4]), "little")


def _hash(keys: NDArray[np.uint32], multiplier: int) -> NDArray[np.uint32]:
    """Return a number of 16 bits for each colour, as in multiplicative hashing."""
    return np.asarray((keys * np.uint32(multiplier)) >> np.uint32(32 - _HASH_BITS))
