"""
Read what a file states about its colours other than by an ICC profile, and return it as an ICC profile.

PNG has the chunks cICP, gAMA and cHRM, AVIF and HEIC the box `colr` of type nclx, BMP a colour space in its
header. Code points are those of ITU-T H.273.
"""

import struct
from collections.abc import Mapping
from functools import lru_cache, partial
from typing import Final

import numpy as np
from PIL import Image

from worker.domain.errors import TruncatedError
from worker.imaging import icc
from worker.imaging.boxes import coded_colours
from worker.imaging.headers import png_chunk
from worker.imaging.icc import Chromaticity, Colours
from worker.ipc.framing import Content

Primaries = tuple[Chromaticity, Chromaticity, Chromaticity, Chromaticity]
"""Red, green, blue and white."""

_SRGB: Final[Primaries] = ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06), icc.D65)
_ILLUMINANT_C: Final = (0.310, 0.316)
_PRIMARIES: Final[Mapping[int, tuple[str, Primaries]]] = {
    1: ("BT.709", _SRGB),
    2: ("BT.709", _SRGB),  # unspecified
    4: ("BT.470 M", ((0.67, 0.33), (0.21, 0.71), (0.14, 0.08), _ILLUMINANT_C)),
    5: ("BT.470 BG", ((0.64, 0.33), (0.29, 0.60), (0.15, 0.06), icc.D65)),
    6: ("SMPTE 170M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), icc.D65)),
    7: ("SMPTE 240M", ((0.630, 0.340), (0.310, 0.595), (0.155, 0.070), icc.D65)),
    8: ("film", ((0.681, 0.319), (0.243, 0.692), (0.145, 0.049), _ILLUMINANT_C)),
    9: ("BT.2020", ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046), icc.D65)),
    11: ("DCI P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), (0.314, 0.351))),
    12: ("Display P3", ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060), icc.D65)),
    22: ("EBU 3213", ((0.630, 0.340), (0.295, 0.605), (0.155, 0.077), icc.D65)),
}
_SRGB_CURVES: Final = frozenset({1, 2, 6, 11, 12, 13, 14, 15})
"""
sRGB itself, unspecified, and the curves of video cameras.

Browsers show the latter with the curve of sRGB: most files with them are photographs that were prepared on a
screen, which the inverse of a camera's curve would brighten.
"""
_GAMMAS: Final[Mapping[int, float]] = {4: 2.2, 5: 2.8, 8: 1.0, 17: 2.6}
_SMPTE_240M, _LOG_100, _LOG_316, _PQ, _HLG = 7, 9, 10, 16, 18
_MIN_GAMMA, _MAX_GAMMA = 0.1, 10.0
_GAMMA_TOLERANCE: Final = 0.01
_CHROMATICITY_TOLERANCE: Final = 0.002

_WHITE_NITS, _PEAK_NITS = 203.0, 1000.0
"""Luminance of white paper and of the brightest highlights in high dynamic range (ITU-R BT.2408)."""

_DAMAGED_PROFILE: Final = b"damaged"
"""Stands for a profile that Pillow could not read from the file."""

_CALIBRATED, _EMBEDDED = 0, b"DEBM"
_BMP_V4_BYTES, _BMP_V5_BYTES = 108, 124


def described_profile(content: Content, image: Image.Image, *, image_format: str) -> bytes | None:
    """
    Return the ICC profile of the pixels: embedded, or made from the file's own description of its colours.

    In a PNG, cICP precedes an embedded profile, and this precedes sRGB, gAMA and cHRM, as its specification
    says. In AVIF and HEIC an embedded profile precedes nclx.

    Returns:
        None if the colours are those of sRGB, or nothing is known about them.
    """
    embedded = image.info.get("icc_profile", b"")
    embedded = (embedded or None) if isinstance(embedded, bytes) else _DAMAGED_PROFILE
    is_grey = image.mode in {"1", "L", "LA"} or image.mode.startswith("I;16")
    match image_format:
        case "png":
            return _png_profile(content, image, embedded, is_grey=is_grey)
        case "avif" | "heic" if not embedded:
            found = coded_colours(content)
            return _profile_of(found[0], found[1], is_grey=is_grey) if found else None
        case "bmp":
            return _bmp_profile(content)
    return embedded


def is_high_dynamic_range(content: Content, image_format: str) -> bool:
    """Return whether the code points of a PNG, AVIF or HEIC state the transfer PQ or HLG."""
    if image_format == "png":
        coded = png_chunk(content, b"cICP") or b""
        return len(coded) == 4 and coded[1] in {_PQ, _HLG}  # noqa: PLR2004 - its four bytes
    found = coded_colours(content)
    return found is not None and found[1] in {_PQ, _HLG}


def _png_profile(
    content: Content, image: Image.Image, embedded: bytes | None, *, is_grey: bool
) -> bytes | None:
    if (coded := png_chunk(content, b"cICP")) and len(coded) == 4 and coded[2] == 0:  # noqa: PLR2004 - its four bytes
        primaries, transfer, _, is_full_range = coded
        if _is_known(primaries, transfer):
            return _profile_of(primaries, transfer, is_full_range=bool(is_full_range), is_grey=is_grey)
    if embedded or "srgb" in image.info:
        return embedded
    gamma = image.info.get("gamma") or 0.0
    if not _MIN_GAMMA <= gamma <= _MAX_GAMMA:
        gamma = None
    chromaticities = image.info.get("chromaticity")
    if not chromaticities or is_grey:
        return _gamma_profile(_SRGB, gamma, is_grey=is_grey)
    white, red, green, blue = (tuple(chromaticities[at : at + 2]) for at in range(0, 8, 2))
    return _gamma_profile((red, green, blue, white), gamma)


def _bmp_profile(content: Content) -> bytes | None:
    """Return the profile of a BMP with a header of version 4 or 5."""
    header = bytes(content[14 : 14 + _BMP_V5_BYTES])
    length = int.from_bytes(header[:4], "little")
    if length not in {_BMP_V4_BYTES, _BMP_V5_BYTES} or len(header) < length:
        return None
    space = header[56:60]
    if space == _EMBEDDED and length == _BMP_V5_BYTES:
        start, size = struct.unpack_from("<II", header, 112)
        if 14 + start + size > len(content):
            raise TruncatedError
        return bytes(content[14 + start : 14 + start + size]) or None
    if int.from_bytes(space, "little") != _CALIBRATED:
        return None
    ends = struct.unpack_from("<9i", header, 60)
    red, green, blue = (_chromaticity(ends[at : at + 3]) for at in range(0, 9, 3))
    if red is None or green is None or blue is None:
        return None
    exponent = struct.unpack_from("<I", header, 100)[0] / 65536
    if exponent < 1 and exponent > 0:
        exponent = 1 / exponent  # some programs store the inverse, as PNG does
    gamma = 1 / exponent if 1 / _MAX_GAMMA <= exponent <= _MAX_GAMMA else None
    return _gamma_profile((red, green, blue, icc.D65), gamma)


def _chromaticity(xyz: tuple[int, ...]) -> Chromaticity | None:
    whole = sum(xyz)
    return (xyz[0] / whole, xyz[1] / whole) if min(xyz) >= 0 and whole > 0 else None


@lru_cache(maxsize=8)
def _gamma_profile(primaries: Primaries, gamma: float | None, *, is_grey: bool = False) -> bytes | None:
    """
    Return the profile of primaries and of a gamma as PNG stores it, 1 / 2.2 for example.

    With the primaries of sRGB, such a gamma means its curve, since the curve is not a power.
    """
    has_srgb_primaries = all(
        abs(a - b) < _CHROMATICITY_TOLERANCE
        for found, expected in zip(primaries, _SRGB, strict=True)
        for a, b in zip(found, expected, strict=True)
    )
    has_srgb_curve = gamma is None or (has_srgb_primaries and abs(gamma * 2.2 - 1) < _GAMMA_TOLERANCE)
    if has_srgb_curve and has_srgb_primaries:
        return None
    curve = icc.SRGB_CURVE if gamma is None or has_srgb_curve else icc.gamma_curve(1 / gamma)
    name = "sRGB curve" if gamma is None or has_srgb_curve else f"gamma {1 / gamma:.2g}"
    if is_grey:
        return icc.grey_profile(name, curve)
    to_xyz = icc.rgb_to_xyz(*primaries)
    if to_xyz is None:
        return None
    space = "sRGB primaries" if has_srgb_primaries else "its own primaries"
    return icc.matrix_profile(f"{space}, {name}", to_xyz, curve)


def _is_known(primaries: int, transfer: int) -> bool:
    others = {_SMPTE_240M, _LOG_100, _LOG_316, _PQ, _HLG}
    return primaries in _PRIMARIES and (transfer in _SRGB_CURVES or transfer in _GAMMAS or transfer in others)


@lru_cache(maxsize=8)
def _profile_of(
    primaries: int, transfer: int, *, is_full_range: bool = True, is_grey: bool = False
) -> bytes | None:
    """Return the profile of code points; None if they mean sRGB or are unknown."""
    if not _is_known(primaries, transfer):
        return None
    space, chromaticities = _PRIMARIES[primaries]
    if transfer in _SRGB_CURVES and chromaticities == _SRGB and is_full_range:
        return None
    to_xyz = icc.rgb_to_xyz(*chromaticities)
    if to_xyz is None:
        return None
    widen = _keep if is_full_range else _widen
    if transfer in {_PQ, _HLG}:
        name = f"{space}, {'PQ' if transfer == _PQ else 'HLG'}"
        light_of = partial(_tone_mapped, transfer=transfer, to_xyz=to_xyz)
        if is_grey:
            return icc.grey_profile(
                name, icc.sampled_curve(lambda levels: light_of(_as_grey(widen(levels)))[..., 1])
            )
        return icc.table_profile(name, lambda levels: light_of(widen(levels)))
    name, curve = _curve(transfer, is_full_range=is_full_range)
    if is_grey:
        return icc.grey_profile(name, curve)
    return icc.matrix_profile(f"{space}, {name}", to_xyz, curve)


def _curve(transfer: int, *, is_full_range: bool) -> tuple[str, bytes]:
    """Return the name and the curve of a transfer characteristic other than PQ and HLG."""
    widen = _keep if is_full_range else _widen
    if transfer in _SRGB_CURVES:
        curve = (
            icc.SRGB_CURVE if is_full_range else icc.sampled_curve(lambda levels: _srgb_light(widen(levels)))
        )
        return "sRGB curve", curve
    if transfer in _GAMMAS:
        exponent = _GAMMAS[transfer]
        name = "linear" if exponent == 1 else f"gamma {exponent}"
        if is_full_range:
            return name, icc.gamma_curve(exponent)
        return name, icc.sampled_curve(lambda levels: widen(levels) ** exponent)
    if transfer == _SMPTE_240M:
        return "SMPTE 240M curve", icc.sampled_curve(lambda levels: _smpte_240m_light(widen(levels)))
    decades = 2.0 if transfer == _LOG_100 else 2.5
    return "logarithmic", icc.sampled_curve(lambda levels: 10 ** ((widen(levels) - 1) * decades))


def _keep(levels: Colours) -> Colours:
    return levels


def _widen(levels: Colours) -> Colours:
    """Map the narrow range of video, 16 to 235 of 255, to 0 to 1."""
    return np.clip((levels * 255 - 16) / 219, 0, 1)


def _as_grey(levels: Colours) -> Colours:
    return np.stack([levels] * 3, axis=-1)


def _srgb_light(levels: Colours) -> Colours:
    return np.where(levels <= 0.04045, levels / 12.92, ((levels + 0.055) / 1.055) ** 2.4)  # noqa: PLR2004 - IEC 61966-2-1


def _smpte_240m_light(levels: Colours) -> Colours:
    return np.where(levels < 0.0913, levels / 4, ((levels + 0.1115) / 1.1115) ** (1 / 0.45))  # noqa: PLR2004 - SMPTE 240M


def _tone_mapped(levels: Colours, *, transfer: int, to_xyz: icc.Matrix) -> Colours:
    """
    Return high-dynamic-range colours as the light of the primaries of sRGB, white paper being below 1.

    Brightness is compressed as Chrome does it for such a picture on an ordinary screen: by a curve through
    the brightest channel that keeps the ratios of red, green and blue, and maps 1,000 nits to white.
    """
    light = (_pq_nits(levels) if transfer == _PQ else _hlg_nits(levels)) / _WHITE_NITS
    peak = _PEAK_NITS / _WHITE_NITS
    brightest = light.max(axis=-1, keepdims=True)
    mapped = np.clip(light * (1 + brightest / peak**2) / (1 + brightest), 0, 1)
    from_xyz = icc.inverted(icc.SRGB_TO_XYZ) or icc.SRGB_TO_XYZ
    red, green, blue = (np.asarray(icc.applied(from_xyz, column)) for column in zip(*to_xyz, strict=True))
    return np.asarray(mapped[..., :1] * red + mapped[..., 1:2] * green + mapped[..., 2:] * blue)


def _pq_nits(levels: Colours) -> Colours:
    """Return the luminance of PQ levels (SMPTE ST 2084)."""
    m1, m2, c1, c2, c3 = 2610 / 16384, 2523 / 32, 3424 / 4096, 2413 / 128, 2392 / 128
    power = np.asarray(levels) ** (1 / m2)
    return np.asarray(10_000 * (np.maximum(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def _hlg_nits(levels: Colours) -> Colours:
    """Return the luminance of HLG levels on a display of 1,000 nits (ITU-R BT.2100)."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = np.where(levels <= 0.5, levels**2 / 3, (np.exp((levels - c) / a) + b) / 12)  # noqa: PLR2004 - BT.2100
    luminance = 0.2627 * scene[..., :1] + 0.6780 * scene[..., 1:2] + 0.0593 * scene[..., 2:]
    return np.asarray(_PEAK_NITS * scene * luminance**0.2)
