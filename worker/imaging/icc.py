"""Build ICC profiles in memory (ICC.1:2001-04), and read the tags of one."""

import struct
from collections.abc import Callable, Mapping, Sequence
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

Matrix: TypeAlias = Sequence[Sequence[float]]
"""Three rows of three numbers."""

Chromaticity: TypeAlias = tuple[float, float]
"""x and y of CIE 1931."""

Colours: TypeAlias = NDArray[np.float64]
"""Red, green and blue in the last dimension, 0 to 1."""

D65: Final[Chromaticity] = (0.3127, 0.3290)
SRGB_CURVE: Final = struct.pack(
    ">4s4xH2x5i",
    b"para",
    3,
    *(round(part * 65536) for part in (2.4, 1 / 1.055, 0.055 / 1.055, 1 / 12.92, 0.04045)),
)
"""The transfer curve of sRGB as the content of a tag."""

SRGB_TO_XYZ: Final[Matrix] = (
    (0.43607, 0.38515, 0.14307),
    (0.22249, 0.71687, 0.06061),
    (0.01392, 0.09708, 0.71410),
)
"""Linear sRGB to XYZ, adapted to D50."""

_D50: Final = (0.9642, 1.0, 0.8249)
_BRADFORD: Final[Matrix] = ((0.8951, 0.2664, -0.1614), (-0.7502, 1.7135, 0.0367), (0.0389, -0.0685, 1.0296))
"""XYZ to the cone responses in which colours are adapted to another white."""

_HEADER: Final = struct.Struct(">I4xI4s4s4s12x4s28x3i48x")
_ENTRY: Final = struct.Struct(">4sII")
_VERSION: Final = 0x02400000
_HEADER_BYTES: Final = 128
_PARAMETERS: Final = (1, 3, 4, 5, 7)
"""Number of parameters of each kind of parametric curve."""
_MAX_TAGS: Final = 100
_CURVE_LEVELS: Final = 4096
_GRID: Final = 33


def gamma_curve(exponent: float) -> bytes:
    """Return the curve `light = level ** exponent` as the content of a tag."""
    return struct.pack(">4s4xH2xi", b"para", 0, round(exponent * 65536))


def sampled_curve(light_of: Callable[[Colours], Colours]) -> bytes:
    """Return the curve of a function from level to light, both 0 to 1, as the content of a tag."""
    light = light_of(np.linspace(0, 1, _CURVE_LEVELS))
    return struct.pack(">4s4xI", b"curv", _CURVE_LEVELS) + _as_16_bits(light)


def grey_profile(name: str, curve: bytes) -> bytes:
    """Return a profile for grey pixels."""
    return _profile(b"GRAY", b"XYZ ", name, {b"wtpt": _xyz(_D50), b"kTRC": curve})


def matrix_profile(name: str, to_xyz: Matrix, curve: bytes) -> bytes:
    """
    Return a profile for RGB pixels.

    Args:
        name: Description of the profile, in ASCII.
        to_xyz: Linear RGB to XYZ, adapted to D50; see `rgb_to_xyz`.
        curve: Transfer curve of all three channels, as the content of a tag.
    """
    columns = zip(*to_xyz, strict=True)
    tags: dict[bytes, bytes] = {b"wtpt": _xyz(_D50)}
    tags.update(zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, columns), strict=True))
    tags.update(dict.fromkeys((b"rTRC", b"gTRC", b"bTRC"), curve))
    return _profile(b"RGB ", b"XYZ ", name, tags)


def table_profile(name: str, linear_srgb_of: Callable[[Colours], Colours]) -> bytes:
    """
    Return a profile for RGB pixels that are converted by a table.

    Args:
        name: Description of the profile, in ASCII.
        linear_srgb_of: Maps stored levels, 0 to 1, to the light of the primaries of sRGB.
    """
    axis = np.linspace(0, 1, _GRID)
    levels = np.stack(np.meshgrid(axis, axis, axis, indexing="ij"), axis=-1)
    lab = _lab_of(np.clip(linear_srgb_of(levels), 0, 1))
    identity = [0, 65535]
    table = struct.pack(">4s4x3Bx9iHH", b"mft2", 3, 3, _GRID, *_fixed((1, 0, 0, 0, 1, 0, 0, 0, 1)), 2, 2)
    table += struct.pack(">6H", *identity * 3) + _as_16_bits(lab) + struct.pack(">6H", *identity * 3)
    return _profile(b"RGB ", b"Lab ", name, {b"wtpt": _xyz(_D50), b"A2B0": table})


def rgb_to_xyz(
    red: Chromaticity, green: Chromaticity, blue: Chromaticity, white: Chromaticity
) -> Matrix | None:
    """Return the matrix from linear RGB to XYZ, adapted to D50; None if the chromaticities are impossible."""
    if min(red[1], green[1], blue[1], white[1]) <= 0:
        return None
    primaries = _transposed([_white_of(primary) for primary in (red, green, blue)])
    inverse = inverted(primaries)
    if inverse is None:
        return None
    white_xyz = _white_of(white)
    amounts = applied(inverse, white_xyz)
    if min(amounts) <= 0:
        return None
    unadapted = [[part * amount for part, amount in zip(row, amounts, strict=True)] for row in primaries]
    cones, wanted = applied(_BRADFORD, white_xyz), applied(_BRADFORD, _D50)
    if min(cones) <= 0:
        return None
    scaled = [
        [part * target / source for part in row]
        for row, target, source in zip(_BRADFORD, wanted, cones, strict=True)
    ]
    adaptation = product(inverted(_BRADFORD) or _BRADFORD, scaled)
    return product(adaptation, unadapted)


def applied(matrix: Matrix, vector: Sequence[float]) -> list[float]:
    """Return the product of a matrix and a column of three numbers."""
    return [sum(a * b for a, b in zip(row, vector, strict=True)) for row in matrix]


def inverted(matrix: Matrix) -> Matrix | None:
    """Return the inverse of a matrix; None if it has none."""
    (a, b, c), (d, e, f), (g, h, i) = matrix
    determinant = a * (e * i - f * h) - b * (d * i - f * g) + c * (d * h - e * g)
    if abs(determinant) < 1e-9:  # noqa: PLR2004 - all elements are of the order of 1
        return None
    adjugate = (
        (e * i - f * h, c * h - b * i, b * f - c * e),
        (f * g - d * i, a * i - c * g, c * d - a * f),
        (d * h - e * g, b * g - a * h, a * e - b * d),
    )
    return [[element / determinant for element in row] for row in adjugate]


def read_tags(profile: bytes) -> Mapping[bytes, bytes]:
    """Return the content of each tag of a profile; empty if it is damaged."""
    try:
        (count,) = struct.unpack_from(">I", profile, _HEADER_BYTES)
        entries = [
            _ENTRY.unpack_from(profile, _HEADER_BYTES + 4 + number * _ENTRY.size)
            for number in range(min(count, _MAX_TAGS))
        ]
    except struct.error:
        return {}
    return {name: profile[start : start + length] for name, start, length in entries}


def connects_by_lab(profile: bytes) -> bool:
    """Return whether a profile describes its colours in L*a*b*, so that the curve of grey is lightness."""
    return profile[20:24] == b"Lab "


def curve_light(curve: bytes, levels: Colours) -> Colours | None:
    """
    Return the light of levels, both 0 to 1, by the content of a curve tag; None if it cannot be read.

    LittleCMS samples curves at 4,096 points, which is too coarse for the dark levels of 16 bits.
    """
    try:
        if curve[:4] == b"curv":
            return _listed_light(curve, levels)
        if curve[:4] == b"para":
            return _parametric_light(curve, levels)
    except struct.error:
        return None
    return None


def _listed_light(curve: bytes, levels: Colours) -> Colours | None:
    (count,) = struct.unpack_from(">I", curve, 8)
    if count == 0:
        return levels
    if count == 1:
        return np.asarray(levels ** (struct.unpack_from(">H", curve, 12)[0] / 256))
    if len(curve) < 12 + 2 * count:
        return None
    table = np.frombuffer(curve, ">u2", count, 12) / 65535
    return np.interp(levels, np.linspace(0, 1, count), table)


def _parametric_light(curve: bytes, levels: Colours) -> Colours | None:
    """Return light by one of the five functions of ICC.1:2004-10, 10.15."""
    kind = int(struct.unpack_from(">H", curve, 8)[0])
    if kind >= len(_PARAMETERS):
        return None
    parameters = [part / 65536 for part in struct.unpack_from(f">{_PARAMETERS[kind]}i", curve, 12)]
    gamma, a, b, c, d, e, f = (*parameters, *(0.0,) * 7)[:7]
    if kind == 0:
        return np.asarray(levels**gamma)
    power = np.maximum(a * levels + b, 0) ** gamma
    match kind:
        case 1:
            light = np.where(a * levels + b >= 0, power, 0)
        case 2:
            light = np.where(a * levels + b >= 0, power + c, c)
        case 3:
            light = np.where(levels >= d, power, c * levels)
        case _:
            light = np.where(levels >= d, power + e, c * levels + f)
    return np.clip(light, 0, 1)


def read_matrix(tags: Mapping[bytes, bytes]) -> Matrix | None:
    """Return the matrix from linear RGB to XYZ of a profile's tags; None if it has none."""
    try:
        columns = [struct.unpack_from(">3i", tags[name], 8) for name in (b"rXYZ", b"gXYZ", b"bXYZ")]
    except (KeyError, struct.error):
        return None
    return _transposed([[part / 65536 for part in column] for column in columns])


def product(left: Matrix, right: Matrix) -> Matrix:
    """Return the product of two matrices."""
    return _transposed([applied(left, column) for column in _transposed(right)])


def _profile(space: bytes, connection: bytes, name: str, tags: Mapping[bytes, bytes]) -> bytes:
    text = name.encode("ascii", "replace")
    description = struct.pack(">4s4xI", b"desc", len(text) + 1) + text + bytes(79)
    table, content = struct.pack(">I", len(tags) + 1), b""
    start = _HEADER_BYTES + 4 + _ENTRY.size * (len(tags) + 1)
    for tag, data in {b"desc": description, **tags}.items():
        table += _ENTRY.pack(tag, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = start + len(content)
    header = _HEADER.pack(size, _VERSION, b"mntr", space, connection, b"acsp", *_fixed(_D50))
    return header + table + content


def _lab_of(linear_srgb: Colours) -> Colours:
    """Return CIE L*a*b* (D50) as ICC.1:2001-04 encodes it in 16 bits, scaled to 0 to 1."""
    xyz = np.stack(
        [sum(part * linear_srgb[..., band] for band, part in enumerate(row)) for row in SRGB_TO_XYZ], axis=-1
    ) / np.asarray(_D50)
    roots = np.where(xyz > (6 / 29) ** 3, np.cbrt(xyz), xyz / (3 * (6 / 29) ** 2) + 4 / 29)
    x, y, z = (roots[..., band] for band in range(3))
    lab = np.stack([(116 * y - 16) / 100, (500 * (x - y) + 128) / 255, (200 * (y - z) + 128) / 255], axis=-1)
    return np.asarray(lab * (0xFF00 / 0xFFFF))


def _as_16_bits(values: Colours) -> bytes:
    return np.round(np.clip(values, 0, 1) * 65535).astype(">u2").tobytes()


def _white_of(chromaticity: Chromaticity) -> list[float]:
    x, y = chromaticity
    return [x / y, 1.0, (1 - x - y) / y]


def _transposed(matrix: Matrix) -> Matrix:
    return [list(column) for column in zip(*matrix, strict=True)]


def _xyz(value: Sequence[float]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *_fixed(value))


def _fixed(values: Sequence[float]) -> list[int]:
    return [round(value * 65536) for value in values]
