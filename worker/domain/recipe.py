"""Everything that determines what comes out of a picture."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property

IMAGING_REVISION = 2
"""Raised whenever the same recipe would come out differently than before."""


class Fit(StrEnum):
    """How a picture meets its box."""

    INSIDE = "inside"
    """As large as the box allows, all of it visible."""
    COVER = "cover"
    """As small as covers the box, what hangs over cut off."""
    CONTAIN = "contain"
    """Inside, on a canvas as large as the box."""
    FILL = "fill"
    """Exactly the box, stretched."""


class Anchor(StrEnum):
    """Nine places in a picture: what is kept of it, or where something stands on it."""

    TOP_LEFT = "top-left"
    TOP = "top"
    TOP_RIGHT = "top-right"
    LEFT = "left"
    CENTER = "center"
    RIGHT = "right"
    BOTTOM_LEFT = "bottom-left"
    BOTTOM = "bottom"
    BOTTOM_RIGHT = "bottom-right"

    @property
    def point(self) -> tuple[float, float]:
        """Where it is, as shares of width and height: (0, 0) is top left, (1, 1) bottom right."""
        across = 0.0 if "left" in self else 1.0 if "right" in self else 0.5
        down = 0.0 if "top" in self else 1.0 if "bottom" in self else 0.5
        return across, down


class OutputFormat(StrEnum):
    """What a rendition is encoded as."""

    SOURCE = "source"
    """As the upload, or as what browsers show in its place."""
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    AUTO = "auto"
    """PNG for drawings of few colours, JPEG for opaque photographs, WebP for transparent ones."""


class Animation(StrEnum):
    """What becomes of a picture with several frames."""

    FIRST = "first"
    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Size:
    """
    A named box that a rendition is made for.

    Attributes:
        name: In keys and in the record.
        width: In pixels.
        height: In pixels.
        fit: How the picture meets the box.
        gravity: What `cover` keeps, and where `contain` puts the picture.
        background: `#rrggbb` or `#rrggbbaa`: around a contained picture, and behind transparency where the
            output has none.
        enlarge: Whether a picture smaller than the box may be scaled up.
        format: What it is encoded as.
        quality: 1 to 100, for JPEG, WebP and AVIF; None leaves the recipe's.
        target_bytes: Quality is lowered until the file weighs no more; None leaves it.
    """

    name: str
    width: int
    height: int
    fit: Fit = Fit.INSIDE
    gravity: Anchor = Anchor.CENTER
    background: str = "#ffffff"
    enlarge: bool = False
    format: OutputFormat = OutputFormat.SOURCE
    quality: int | None = None
    target_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Logo:
    """
    A picture that marks pictures.

    Attributes:
        source: Where it lies: `s3://bucket/key`, or the path of a file.
        e_tag: What tells its content from others; empty until it has been fetched.
        content: The file; the hash of a recipe knows it by its eTag.
    """

    source: str
    e_tag: str = ""
    content: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Watermark:
    """
    What marks a picture: a text, or a logo with the text in its place where it cannot be used.

    Attributes:
        text: What it says.
        opacity: 0 (invisible) to 1 (solid).
        height_share: Height of the text as a share of the rendition's shorter side.
        logo: What is shown instead of the text.
        logo_share: The logo's longer side as a share of the rendition's shorter one.
        min_px: A text is no lower, a logo's longer side no shorter than this, while there is room.
        max_px: And no higher or longer than this.
        min_side_px: A rendition whose shorter side is below this stays unmarked.
        position: Where it stands.
        tiled: Whether it is repeated all over the picture.
        rotation_deg: Counterclockwise.
        colour: Of the letters, `#rrggbb`.
        outline: Around them, `#rrggbb`; None draws none.
        fonts: What tells the fonts from others; empty for those that come with the worker.
    """

    text: str
    opacity: float = 0.55
    height_share: float = 0.045
    logo: Logo | None = None
    logo_share: float = 0.2
    min_px: int = 1
    max_px: int = 10_000
    min_side_px: int = 1
    position: Anchor = Anchor.BOTTOM_RIGHT
    tiled: bool = False
    rotation_deg: int = 0
    colour: str = "#ffffff"
    outline: str | None = "#000000"
    fonts: str = ""


@dataclass(frozen=True, slots=True)
class Limits:
    """What a picture may be, before it is decoded."""

    max_bytes: int = 50 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_frames: int = 500
    min_side_px: int = 1


@dataclass(frozen=True)
class Recipe:
    """
    What to make of a picture.

    Attributes:
        sizes: The renditions, the main one first.
        watermark: None leaves the picture unmarked.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        animation: What becomes of frames.
        keep_credits: Whether renditions carry the upload's artist and copyright.
        record_location: Whether the record learns where a picture was taken; a rendition never does.
    """

    sizes: tuple[Size, ...]
    watermark: Watermark | None
    quality: int = 82
    animation: Animation = Animation.FIRST
    keep_credits: bool = True
    record_location: bool = False

    @property
    def main(self) -> Size:
        """The size whose result the record calls `processedS3Key`."""
        return self.sizes[0]

    @property
    def logo(self) -> Logo | None:
        """The logo of its watermark."""
        return self.watermark.logo if self.watermark else None

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that differ whenever the output would."""
        canonical = json.dumps(
            [IMAGING_REVISION, asdict(self)], sort_keys=True, separators=(",", ":"), default=_unwritten
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def with_text(self, text: str) -> "Recipe":
        """Return the same recipe with this text for its watermark, and no logo."""
        return replace(self, watermark=replace(self.watermark or Watermark(text=text), text=text, logo=None))

    def with_logo(self, logo: Logo | None) -> "Recipe":
        """Return the same recipe with this logo for its watermark; None leaves the text."""
        return replace(self, watermark=replace(self.watermark or Watermark(text=""), logo=logo))


def _unwritten(content: object) -> None:
    """Leave a logo's content out: its eTag stands for it."""
    if not isinstance(content, bytes):
        raise TypeError(content)
