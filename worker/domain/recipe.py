"""A recipe: everything that determines the renditions of an image."""

import hashlib
import json
from dataclasses import asdict, dataclass, field, replace
from enum import StrEnum
from functools import cached_property

IMAGING_REVISION = 2
"""Increased whenever the output of an unchanged recipe changes."""


class Fit(StrEnum):
    """How an image is fitted into the box of a size."""

    INSIDE = "inside"
    """As large as fits into the box, uncropped."""
    COVER = "cover"
    """As small as covers the box, cropped to it."""
    CONTAIN = "contain"
    """Like inside, on a canvas of the size of the box."""
    FILL = "fill"
    """Stretched to the box."""


class Anchor(StrEnum):
    """A position in an image: of the part kept when cropping, or of the watermark."""

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
        """Position as fractions of width and height: (0, 0) is top left, (1, 1) bottom right."""
        x = 0.0 if "left" in self else 1.0 if "right" in self else 0.5
        y = 0.0 if "top" in self else 1.0 if "bottom" in self else 0.5
        return x, y


class Gravity(StrEnum):
    """Which part `cover` keeps, and where `contain` places the image: an anchor, or by the content."""

    TOP_LEFT = Anchor.TOP_LEFT.value
    TOP = Anchor.TOP.value
    TOP_RIGHT = Anchor.TOP_RIGHT.value
    LEFT = Anchor.LEFT.value
    CENTER = Anchor.CENTER.value
    RIGHT = Anchor.RIGHT.value
    BOTTOM_LEFT = Anchor.BOTTOM_LEFT.value
    BOTTOM = Anchor.BOTTOM.value
    BOTTOM_RIGHT = Anchor.BOTTOM_RIGHT.value
    SMART = "smart"
    """The part that draws the eye: contrast, edges and skin. `contain` centres the image."""

    @property
    def point(self) -> tuple[float, float]:
        """Position as fractions of width and height; of `smart`, where the content does not decide."""
        return Anchor.CENTER.point if self is Gravity.SMART else Anchor(self).point


class OutputFormat(StrEnum):
    """Format of a rendition."""

    SOURCE = "source"
    """Format of the upload, or the closest one that browsers display."""
    JPEG = "jpeg"
    PNG = "png"
    WEBP = "webp"
    AVIF = "avif"
    AUTO = "auto"
    """PNG for graphics with few colours, JPEG for opaque photographs, WebP for transparent ones."""


class Subsampling(StrEnum):
    """Resolution of the colours of a JPEG or AVIF."""

    AUTO = "auto"
    """Full for drawings, text and small images, half for photographs."""
    FULL = "4:4:4"
    HALF_ACROSS = "4:2:2"
    HALF = "4:2:0"


class Effort(StrEnum):
    """How much time encoders take to make files smaller."""

    LOW = "low"
    MEDIUM = "medium"
    HIGH = "high"


class Animation(StrEnum):
    """How an image with several frames is handled."""

    FIRST = "first"
    KEEP = "keep"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class Size:
    """
    A named size, whose rendition is fitted into a box.

    Attributes:
        name: Name in keys and in the record.
        width: Width of the box in pixels.
        height: Height of the box in pixels.
        fit: How the image is fitted into the box.
        gravity: Part that `cover` keeps, unless the image has a focal point, and position with `contain`.
        background: `#rrggbb` or `#rrggbbaa`: around an image fitted with `contain`, and behind transparent
            pixels in formats without transparency.
        enlarge: Whether an image smaller than the box is scaled up.
        format: Format of the rendition.
        quality: 1 to 100, for JPEG, WebP and AVIF; None for the recipe's quality.
        target_bytes: Maximum file size, to which the quality is lowered; None for no maximum.
        progressive: Whether a JPEG is shown whole, and then finer, while it arrives.
        subsampling: Resolution of the colours of a JPEG or AVIF.
    """

    name: str
    width: int
    height: int
    fit: Fit = Fit.INSIDE
    gravity: Gravity = Gravity.CENTER
    background: str = "#ffffff"
    enlarge: bool = False
    format: OutputFormat = OutputFormat.SOURCE
    quality: int | None = None
    target_bytes: int | None = None
    progressive: bool = False
    subsampling: Subsampling = Subsampling.AUTO


@dataclass(frozen=True, slots=True)
class Logo:
    """
    An image used as a watermark.

    Attributes:
        source: `s3://bucket/key`, or the path of a file.
        e_tag: ETag of its content, which represents it in the recipe's hash; empty until it is fetched.
        content: Content of the file.
    """

    source: str
    e_tag: str = ""
    content: bytes = field(default=b"", repr=False, compare=False)


@dataclass(frozen=True, slots=True)
class Watermark:
    """
    A watermark: a text, or a logo with the text as its fallback.

    Attributes:
        text: Text to draw.
        opacity: 0 (invisible) to 1 (opaque).
        height_share: Height of the text as a fraction of the rendition's shorter side.
        logo: Image to draw instead of the text.
        logo_share: Longer side of the logo as a fraction of the rendition's shorter side.
        min_px: Minimum height of the text or length of the logo's longer side, if it fits.
        max_px: Maximum height of the text or length of the logo's longer side.
        min_side_px: Renditions whose shorter side is below this get no watermark.
        position: Position on the rendition.
        tiled: Whether it is repeated over the whole rendition.
        rotation_deg: Counterclockwise rotation.
        colour: Colour of the text, `#rrggbb`.
        outline: Colour of the text's outline, `#rrggbb`; None for no outline.
        fonts: Hash of the configured font files; empty for the bundled font.
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
    """
    Limits that an image must satisfy before it is decoded.

    Attributes:
        max_bytes: Size of the file.
        max_pixels: Number of pixels that are decoded, over all frames; of a JPEG, as it is scaled down.
        max_stored_pixels: Number of pixels of a frame in the file, if it is above `max_pixels`.
        max_frames: Number of frames that are decoded.
        min_side_px: Shortest side in pixels.
        memory_mb: Address space of the decoder process in mebibytes, into which the pixels must fit; None if
            it is not limited.
    """

    max_bytes: int = 80 * 1024 * 1024
    max_pixels: int = 100_000_000
    max_stored_pixels: int = 300_000_000
    max_frames: int = 500
    min_side_px: int = 1
    memory_mb: int | None = None


@dataclass(frozen=True)
class Recipe:
    """
    How an image is processed.

    Attributes:
        sizes: Sizes of the renditions, the main one first.
        watermark: The watermark; None for no watermark.
        quality: 1 to 100, for JPEG, WebP and AVIF.
        effort: How much time encoders take to make files smaller.
        animation: How animations are handled.
        keep_credits: Whether renditions keep the artist and copyright of the upload.
        record_location: Whether the record includes where a photo was taken; renditions never do.
        cache_control: `Cache-Control` header of the renditions; empty for none. Part of the hash, because a
            header changes only when the rendition is stored again.
    """

    sizes: tuple[Size, ...]
    watermark: Watermark | None
    quality: int = 82
    effort: Effort = Effort.LOW
    animation: Animation = Animation.FIRST
    keep_credits: bool = True
    record_location: bool = False
    cache_control: str = ""

    @property
    def main(self) -> Size:
        """Size of the result that the record names as `processedS3Key`."""
        return self.sizes[0]

    @property
    def logo(self) -> Logo | None:
        """Logo of the watermark."""
        return self.watermark.logo if self.watermark else None

    @cached_property
    def hash(self) -> str:
        """Sixteen hexadecimal digits that change whenever the output does."""
        canonical = json.dumps(
            [IMAGING_REVISION, asdict(self)], sort_keys=True, separators=(",", ":"), default=_omit_content
        )
        return hashlib.sha256(canonical.encode()).hexdigest()[:16]

    def with_text(self, text: str) -> "Recipe":
        """Return the recipe with this text as its watermark, without a logo."""
        return replace(self, watermark=replace(self.watermark or Watermark(text=text), text=text, logo=None))

    def with_logo(self, logo: Logo | None) -> "Recipe":
        """Return the recipe with this logo as its watermark; None for the text."""
        return replace(self, watermark=replace(self.watermark or Watermark(text=""), logo=logo))


def _omit_content(content: object) -> None:
    """Omit the content of a logo, which its ETag represents."""
    if not isinstance(content, bytes):
        raise TypeError(content)
