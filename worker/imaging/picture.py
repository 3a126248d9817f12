"""The values that the steps hand to each other."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from PIL import Image

from worker.domain.status import StepMove
from worker.domain.step import Json


class Extent(NamedTuple):
    """The size of a picture, in pixels."""

    width: int
    height: int

    @property
    def pixels(self) -> int:
        """How many there are."""
        return self.width * self.height

    @property
    def turned(self) -> "Extent":
        """The extent after a quarter turn."""
        return Extent(self.height, self.width)

    @property
    def document(self) -> Json:
        """How the record writes it."""
        return {"width": self.width, "height": self.height}


@dataclass(frozen=True, slots=True)
class DecodedUpload:
    """
    An upload whose pixels have been read.

    Attributes:
        image: As stored: in any mode, perhaps lying on its side, perhaps decoded at a fraction of its size.
        orientation: What is still to be done to stand it upright, as EXIF counts: 1 (nothing) to 8.
        original: How large it would be displayed: upright, at full size.
        format: One of `signatures.ALLOWED_FORMATS`.
        profile: The ICC profile that its colours are meant in, if it brings one.
        frames: How many of its frames are wanted.
        credits: EXIF that holds its artist and copyright and nothing else; empty if there is none.
    """

    image: Image.Image
    orientation: int
    original: Extent
    format: str
    profile: bytes | None
    frames: int = 1
    credits: bytes = b""


@dataclass(frozen=True, slots=True)
class TimedImage:
    """A frame of an animation, and how long it is shown."""

    image: Image.Image
    duration_ms: int


@dataclass(frozen=True, slots=True)
class Picture:
    """
    One rendition in the making.

    Attributes:
        size: The name of the size in the recipe.
        image: Upright, RGB or RGBA, in sRGB, carrying no metadata; the first frame.
        source_format: What the upload was, which may decide what the rendition becomes.
        credits: EXIF to put into the rendition.
        frames: The further frames, alike.
        duration_ms: How long the first frame is shown.
        loop: How often the frames are played, 0 for ever; None where the upload says nothing.
    """

    size: str
    image: Image.Image
    source_format: str
    credits: bytes = b""
    frames: tuple[TimedImage, ...] = ()
    duration_ms: int = 0
    loop: int | None = None

    @property
    def images(self) -> tuple[Image.Image, ...]:
        """The images of all frames."""
        return (self.image, *(frame.image for frame in self.frames))

    def with_image(self, image: Image.Image) -> "Picture":
        """Return the same rendition as a still one of another image."""
        return replace(self, image=image, frames=())


@dataclass(frozen=True, slots=True, kw_only=True)
class StepNote:
    """What a step tells the record; see `worker.domain.step.StepReport`."""

    move: StepMove = StepMove.COMPLETED
    detail: Mapping[str, Json] = field(default_factory=dict)
    metadata: Mapping[str, str] = field(default_factory=dict)
