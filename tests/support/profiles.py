"""ICC profiles made in memory: a matrix and a gamma, as displays embed them (ICC.1:2001-04, version 2)."""

import struct

Matrix = tuple[tuple[float, float, float], tuple[float, float, float], tuple[float, float, float]]

BT_2020: Matrix = ((0.67348, 0.27904, -0.00193), (0.16566, 0.67534, 0.02998), (0.12505, 0.04561, 0.79687))
DISPLAY_P3: Matrix = ((0.51512, 0.24120, -0.00105), (0.29198, 0.69225, 0.04189), (0.15710, 0.06657, 0.78407))
ADOBE_RGB: Matrix = ((0.60974, 0.31111, 0.01947), (0.20528, 0.62567, 0.06087), (0.14919, 0.06322, 0.74457))
SRGB: Matrix = ((0.43607, 0.22249, 0.01392), (0.38515, 0.71687, 0.09708), (0.14307, 0.06061, 0.71410))
"""XYZ of red, green and blue, adapted to D50, as their specifications give them."""

GAMMA = 2.2
_D50 = (0.9642, 1.0, 0.8249)


Bands = tuple[int, int, int]


def rgb_profile(colours: Matrix, *, gamma: float = GAMMA, name: str = "test") -> bytes:
    """Return a display profile with these primaries and this gamma."""
    curve = _curve(gamma)
    return _profile(
        b"RGB ",
        name,
        [
            *zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, colours), strict=True),
            *((tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC")),
        ],
    )


def grey_profile(gamma: float, *, name: str = "test") -> bytes:
    """Return a profile for grey pixels with this gamma."""
    return _profile(b"GRAY", name, [(b"kTRC", _curve(gamma))])


def srgb_profile(name: str) -> bytes:
    """Return a profile with the primaries of sRGB and its curve as a table, under any name."""
    table = [_light(level / 1023) for level in range(1024)]
    curve = struct.pack(">4s4xI1024H", b"curv", 1024, *(round(light * 65535) for light in table))
    curves = ((tag, curve) for tag in (b"rTRC", b"gTRC", b"bTRC"))
    primaries = zip((b"rXYZ", b"gXYZ", b"bXYZ"), map(_xyz, SRGB), strict=True)
    return _profile(b"RGB ", name, [*primaries, *curves])


def in_srgb(rgb: Bands, colours: Matrix, *, gamma: float = GAMMA, white: int = 255) -> tuple[int, ...]:
    """Return what a colour of that profile is in sRGB, by the definitions: clipped, 8 bits."""
    return linear_in_srgb([(value / white) ** gamma for value in rgb], colours)


def linear_in_srgb(light: list[float], colours: Matrix) -> tuple[int, ...]:
    """Return what an amount of light of each primary is in sRGB: clipped, 8 bits."""
    xyz = [sum(light[band] * colours[band][axis] for band in range(3)) for axis in range(3)]
    return tuple(_encoded(value) for value in _solved(SRGB, xyz))


def srgb_level(light: float) -> int:
    """Return the level of sRGB, 0 to 255, of an amount of light, 0 to 1."""
    return _encoded(light)


def srgb_light(level: float) -> float:
    """Return the light of a level of sRGB, both 0 to 1."""
    return _light(level)


def _profile(space: bytes, name: str, tags: list[tuple[bytes, bytes]]) -> bytes:
    text = name.encode()
    description = struct.pack(">4s4xI", b"desc", len(text) + 1) + text + b"\0" + bytes(78)
    tags = [(b"desc", description), (b"cprt", b"text" + bytes(4) + b"test\0"), (b"wtpt", _xyz(_D50)), *tags]
    table, content = struct.pack(">I", len(tags)), b""
    start = 128 + 4 + 12 * len(tags)
    for tag, data in tags:
        table += struct.pack(">4sII", tag, start + len(content), len(data))
        content += data + bytes(-len(data) % 4)
    size = start + len(content)
    header = struct.pack(">I4xI4s4s4s12x4s28x3i48x", size, 0x02200000, b"mntr", space, b"XYZ ", b"acsp",
                         *(round(value * 65536) for value in _D50))  # fmt: skip
    return header + table + content


def _curve(gamma: float) -> bytes:
    return struct.pack(">4s4xIH2x", b"curv", 1, round(gamma * 256))


def _light(level: float) -> float:
    return level / 12.92 if level <= 0.04045 else ((level + 0.055) / 1.055) ** 2.4


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
