"""ICC profiles made in memory: a matrix and a gamma, as displays embed them (ICC.1:2001-04, version 2)."""

import struct

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

DISPLAY_P3: Matrix = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB: Matrix = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB: Matrix = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""XYZ of red, green and blue, adapted to D50, as their specifications give them."""

GAMMA = 2.2
_D50 = (0.9642, 1.0, 0.8249)


def rgb_profile(colours: Matrix) -> bytes:
    """Return a display profile with these primaries and a gamma of 2.2."""
    curve = struct.pack(">4s4xIH2x", b"curv", 1, round(GAMMA * 256))
    text = b"test"
    description = struct.pack(">4s4xI", b"desc", len(text) + 1) + text + b"\0" + bytes(78)
    tags = [
        (b"desc", description),
        (b"cprt", b"text" + bytes(4) + text + b"\0"),
        (b"wtpt", _xyz(_D50)),
        *zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, colours), strict=True),
        *((name, curve) for name in (b"rTRC", b"gTRC", b"bTRC")),
    ]
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for name, data in tags:
        table += struct.pack(">4sII", name, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = start + len(content)
    header = struct.pack(">I4xI4s4s4s12x4s28x3i48x", size, 0x02200000, b"mntr", b"RGB ", b"XYZ ", b"acsp",
                         *(round(value * 65536) for value in _D50))  # fmt: skip
    return header + table + content


def in_srgb(rgb: tuple[int, int, int], colours: Matrix) -> tuple[int, ...]:
    """Return what a colour of that profile is in sRGB, by the definitions: clipped, 8 bits."""
    linear = [(value / 255) ** GAMMA for value in rgb]
    xyz = [sum(linear[band] * colours[band][axis] for band in range(3)) for axis in range(3)]
    return tuple(_encoded(value) for value in _solved(SRGB, xyz))


def _encoded(linear: float) -> int:
    linear = min(1.0, max(0.0, linear))
    value = 12.92 * linear if linear <= 0.0031308 else 1.055 * linear ** (1 / 2.4) - 0.055
    return round(value * 255)


def _solved(colours: Matrix, xyz: list[float]) -> list[float]:
    """Return how much of each primary makes the colour (Cramer's rule)."""
    red, green, blue = colours
    whole = _volume(red, green, blue)
    wanted = (xyz[0], xyz[1], xyz[2])
    return [
        _volume(wanted, green, blue) / whole,
        _volume(red, wanted, blue) / whole,
        _volume(red, green, wanted) / whole,
    ]


def _volume(*columns: tuple[float, float, float]) -> float:
    (a, b, c), (d, e, f), (g, h, i) = columns
    return a * (e * i - f * h) - d * (b * i - c * h) + g * (b * f - c * e)


def _xyz(value: tuple[float, float, float]) -> bytes:
    return struct.pack(">4s4x3i", b"XYZ ", *(round(part * 65536) for part in value))
