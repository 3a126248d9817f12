"""The values that the steps pass to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from PIL import Image

from worker.domain.status import StepMove
from worker.domain.step import Json


class Extent(NamedTuple):
    """Width and height in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.width * self.height

    @property
    def turned(self) -> "Extent":
        """The extent after a quarter turn."""
        return Extent(self.height, self.width)

    @property
    def document(self) -> Json:
        """The extent as a map in the record."""
        return {"width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class DecodedUpload:
    """
    An upload whose pixels have been decoded.

    Attributes:
        image: Picture as stored: any mode, not yet upright, possibly decoded at a fraction of its size.
        orientation: EXIF orientation that still has to be applied, 1 (upright) to 8.
        original: Extent as displayed: upright, at full size.
        format: Format of the file, from `signatures.ALLOWED_FORMATS`.
        profile: ICC profile of the pixels, if the file has one.
        frames: Number of frames to process.
        credits: EXIF with only the artist and copyright; empty if there is neither.
        is_lossless: Whether the file is a WebP without loss.
    """

    image: Image.Image
    orientation: int
    original: Extent
    format: str
    profile: bytes | None
    frames: int = 1
    credits: bytes = b""
    is_lossless: bool = False


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A frame of an animation and how long it is shown, in milliseconds."""

    image: Image.Image
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """
    The pixels of a rendition before it is encoded.

    Attributes:
        size: Name of the size in the recipe.
        image: First frame: upright, RGB or RGBA in sRGB, without metadata.
        source_format: Format of the upload, which may decide the format of the rendition.
        credits: EXIF to write into the rendition; may be empty.
        frames: Frames after the first, in the same form.
        duration_ms: How long the first frame is shown.
        plays: How often the animation is played, 0 for forever.
        is_lossless: Whether the upload is a WebP without loss.
    """

    size: str
    image: Image.Image
    source_format: str
    credits: bytes = b""
    frames: tuple[TimedImage, ...] = ()
    duration_ms: int = 0
    plays: int = 0
    is_lossless: bool = False

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images of all frames."""
        return (self.image, *(frame.image for frame in self.frames))

    def with_image(self, image: Image.Image) -> "Picture":
        """Return a still picture with another image."""
        return replace(self, image=image, frames=())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNote:
    """
    What the record keeps of a step; see `worker.domain.step.StepReport`.

    Attributes:
        move: Whether the step completed or was skipped.
        detail: Attributes of the step in the record.
        metadata: Metadata of the image; only validation sets it.
    """

    move: StepMove = StepMove.COMPLETED
    detail: Mapping[str, Json] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
