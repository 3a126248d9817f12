"""The combinations of the matrix: formats, depths, colours, transparency, profiles, orientations, damage."""

import random
import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

PROFILES: Final = ("none", "sRGB", "Display P3", "Adobe RGB", "linear", "grey gamma", "CMYK", "broken")
ORIENTATIONS: Final = ("absent", "1", "2", "3", "4", "5", "6", "7", "8", "XMP only")
WHOLE: Final = "whole"
CUTS: Final = {"cut at 20 %": 0.2, "cut at 50 %": 0.5, "cut at 80 %": 0.8, "cut at 98 %": 0.98}
"""Truncation -> the share of the file that is left."""
NO_END, ANCILLARY = "no end marker", "damaged ancillary part"
DAMAGES: Final = (WHOLE, *CUTS, NO_END, ANCILLARY)

_COMBINED_SHARE: Final = 30
"""Of the combinations in which several properties differ at once, one in this many is tested."""


@dataclass(frozen=True, slots=True)
class Case:
    """
    A file of the matrix.

    Attributes:
        format: Format of the file.
        layout: Variant of the format: compression, order of the samples, scans.
        colours: What the samples mean, `grey` or `RGB` for example.
        depth: Bits of each sample.
        alpha: Kind of transparency; `none`, or one that `_VARIANTS` has for the format.
        profile: Name of the ICC profile, from `PROFILES`.
        orientation: EXIF orientation, `absent`, or `XMP only`.
        damage: What is missing or damaged, from `DAMAGES`.
    """

    format: str
    layout: str
    colours: str
    depth: int
    alpha: str = "none"
    profile: str = "none"
    orientation: str = "absent"
    damage: str = WHOLE

    def __str__(self) -> str:
        return (
            f"{self.format}, {self.layout}, {self.colours} {self.depth} bits, alpha {self.alpha}, "
            f"profile {self.profile}, orientation {self.orientation}, {self.damage}"
        )

    @property
    def undamaged(self) -> "Case":
        """The same file before it was damaged."""
        return replace(self, damage=WHOLE)


@dataclass(frozen=True, slots=True)
class _Variant:
    format: str
    layouts: tuple[str, ...]
    colours: str
    depths: tuple[int, ...]
    alphas: tuple[str, ...] = ("none",)


_PNG: Final = ("plain", "interlaced")
_TIFF_RGB: Final = ("uncompressed", "big-endian", "deflate", "predictor", "planes", "tiles")
_VARIANTS: Final = (
    _Variant("PNG", _PNG, "grey", (1, 2, 4, 8, 16), ("none", "key")),
    _Variant("PNG", _PNG, "RGB", (8, 16), ("none", "key")),
    _Variant("PNG", _PNG, "palette", (1, 2, 4, 8), ("none", "palette")),
    _Variant("PNG", _PNG, "grey", (8, 16), ("straight", "zero")),
    _Variant("PNG", _PNG, "RGB", (8, 16), ("straight", "zero")),
    _Variant("JPEG", ("baseline 4:2:0", "baseline 4:4:4", "progressive", "restarts"), "RGB", (8,)),
    _Variant("JPEG", ("baseline 4:4:4", "progressive"), "grey", (8,)),
    _Variant("JPEG", ("baseline 4:4:4", "progressive"), "CMYK", (8,)),
    _Variant("WebP", ("lossy", "lossless"), "RGB", (8,), ("none", "straight", "zero")),
    _Variant("GIF", ("plain", "interlaced"), "palette", (8,), ("none", "palette")),
    _Variant("TIFF", ("uncompressed", "big-endian", "deflate", "reversed bits"), "grey", (1, 2, 4, 8, 16)),
    _Variant("TIFF", ("uncompressed", "tiles"), "white-is-zero", (1, 2, 4, 8, 16)),
    _Variant("TIFF", ("uncompressed",), "grey", (12,)),
    _Variant("TIFF", ("uncompressed", "deflate"), "grey", (8, 16), ("straight", "associated", "zero")),
    _Variant("TIFF", ("uncompressed", "big-endian", "deflate"), "palette", (1, 2, 4, 8)),
    _Variant("TIFF", _TIFF_RGB, "RGB", (8, 16), ("none", "straight", "associated", "zero")),
    _Variant("TIFF", ("uncompressed", "planes"), "CMYK", (8, 16)),
    _Variant("AVIF", ("lossy 4:2:0", "lossy 4:4:4"), "RGB", (8,), ("none", "straight", "associated", "zero")),
    _Variant("AVIF", ("lossy 4:4:4",), "grey", (8,)),
    _Variant("HEIC", ("lossy 4:2:0", "lossy 4:4:4"), "RGB", (8,), ("none", "straight", "zero")),
    _Variant("BMP", ("plain",), "palette", (1, 4, 8)),
    _Variant("BMP", ("plain", "version 5"), "RGB", (8,), ("none",)),
    _Variant("BMP", ("version 5",), "RGB", (8,), ("straight", "zero")),
)


def all_cases() -> list[Case]:
    """
    Return the matrix.

    Each variant of a format is combined with each profile, orientation and damage by itself; of the other
    combinations, a fixed share is chosen by the checksum of their description.
    """
    return [case for case in _combinations() if _is_tested(case)]


def sampled_cases(count: int, *, seed: int) -> list[Case]:
    """Return a random part of the matrix."""
    return random.Random(seed).sample(all_cases(), count)


def _combinations() -> Iterator[Case]:
    for variant in _VARIANTS:
        for layout in variant.layouts:
            for depth in variant.depths:
                for alpha in variant.alphas:
                    base = Case(variant.format, layout, variant.colours, depth, alpha)
                    for profile in PROFILES:
                        for orientation in ORIENTATIONS:
                            for damage in DAMAGES:
                                yield replace(base, profile=profile, orientation=orientation, damage=damage)


def _is_tested(case: Case) -> bool:
    if not _exists(case):
        return False
    changed = (case.profile != "none") + (case.orientation != "absent") + (case.damage != WHOLE)
    return changed <= 1 or zlib.crc32(str(case).encode()) % _COMBINED_SHARE == 0


def _exists(case: Case) -> bool:
    """Return whether the format can have these properties."""
    match case.format:
        case "GIF":
            return case.profile == "none" and case.orientation in {"absent", "XMP only"}
        case "BMP":
            has_profile = case.layout == "version 5" or case.profile == "none"
            return has_profile and case.orientation == "absent" and case.damage not in {NO_END, ANCILLARY}
        case "HEIC":  # the encoder replaces the orientation of XMP by an image property
            return case.damage != NO_END and case.orientation != "XMP only"
        case "TIFF" | "AVIF":
            return case.damage != NO_END
    return True
