"""Everything that determines what comes out of a picture."""

import hashlib
import json
from dataclasses import asdict, dataclass, replace
from functools import cached_property

IMAGING_REVISION = 1
"""Raised whenever the same recipe would come out differently than before."""


@dataclass(frozen=True, slots=True)
class Size:
    """A named box that a rendition is fitted inside, in pixels."""

    name: str
    width: int
    height: int


@dataclass(frozen=True, slots=True)
class Watermark:
    """
    The text that marks a picture.

    Attributes:
        text: What it says.
        opacity: 0 (invisible) to 1 (solid).
        height_share: Height of the text as a share of the rendition's shorter side.
    """

    text: str
    opacity: float = 0.55
    height_share: float = 0.045


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be at the most, before it is decoded."""

    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_frames: int = 500


@dataclass(frozen=True)
class Recipe:
    """
    What to make of a picture.

    Attributes:
        sizes: The renditions, the main one first.
        watermark: None leaves the picture unmarked.
        quality: 1 to 100, for JPEG and WebP.
    """

    sizes: tuple[Size, ...]
    watermark: Watermark | None
    quality: int = 82

    @property
    def main(self) -> Size:
        """The size whose result the record calls `processedS3Key`."""
        return self.sizes[0]

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that differ whenever the output would."""
        canonical = json.dumps([IMAGING_REVISION, asdict(self)], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def with_text(self, text: str) -> "Recipe":
        """Return the same recipe with another text in its watermark."""
        return replace(self, watermark=replace(self.watermark or Watermark(text=text), text=text))
