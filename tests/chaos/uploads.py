"""The images of a chaos run: several users, sizes and formats, some invalid, some replaced by others."""

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from hashlib import md5
from typing import Final

from PIL import Image, ImageStat

from tests.support.pictures import encoded, noise, opened

MAX_PIXELS: Final = 4_000_000
"""`WORKER_MAX_PIXELS` of the workers, so that an image with too many pixels can be small."""

_USERS: Final = ("ada", "ben", "cleo", "dan", "eve")
_BROKEN_SHARE: Final = 0.06
_REPLACED_SHARE: Final = 0.12
_COLOURS: Final = tuple(
    (red, green, blue) for red in (50, 128, 206) for green in (50, 128, 206) for blue in (50, 128, 206)
)
_TOLERANCE: Final = 12
"""Maximum difference of a result's mean colour from its upload's; different uploads differ by at least 60."""

Colour = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """
    One file to upload.

    Attributes:
        name: Description of the file.
        file: Content of the file.
        code: Expected error code; None if the image should be completed.
        colour: Mean colour of the upper left quarter, which identifies the result.
    """

    name: str
    file: bytes
    code: str | None = None
    colour: Colour = ()

    @property
    def e_tag(self) -> str:
        """The eTag that S3 gives the file."""
        return md5(self.file, usedforsecurity=False).hexdigest()

    def is_origin_of(self, result: Image.Image) -> bool:
        """Return whether a result was made from this file, judged by its colour."""
        made = _colour_of(result)
        return all(
            abs(actual - expected) <= _TOLERANCE for actual, expected in zip(made, self.colour, strict=True)
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class PlannedImage:
    """
    One key and the different files that are uploaded to it, one after the other.

    Attributes:
        image_id: Id of the image, and the file name of its key without the extension.
        user_id: Id of the user.
        versions: The files.
        metadata: Metadata of each object.
        is_hostile: Whether it is meant to harm other images.
    """

    image_id: str
    user_id: str
    versions: tuple[Content, ...]
    metadata: Mapping[str, str] = field(default_factory=dict)
    is_hostile: bool = False

    @property
    def key(self) -> str:
        """The upload key; its extension does not depend on the format."""
        return f"uploads/{self.user_id}/{self.image_id}.jpg"

    @property
    def newest(self) -> Content:
        """The version whose result must remain."""
        return self.versions[-1]


def plan(rng: random.Random, *, uploads: int) -> list[PlannedImage]:
    """Return images with this number of uploads in total."""
    planned_images: list[PlannedImage] = []
    left = uploads
    while left:
        count = min(left, 1 if rng.random() > _REPLACED_SHARE else rng.choice((2, 2, 3)))
        user_id = rng.choice(_USERS)
        image_id = f"img_{len(planned_images):04d}"
        planned_images.append(
            PlannedImage(image_id=image_id, user_id=user_id, versions=tuple(_different(rng, count)))
        )
        left -= count
    return planned_images


def _different(rng: random.Random, count: int) -> Sequence[Content]:
    """Choose contents that are all different, so that their results can be distinguished."""
    drawn: list[Content] = []
    while len(drawn) < count:
        content = rng.choice(broken() if rng.random() < _BROKEN_SHARE else valid_contents())
        if content not in drawn:
            drawn.append(content)
    return drawn


@cache
def valid_contents() -> tuple[Content, ...]:
    """Return one file of each format and size in different colours, with noise that takes work to decode."""
    kinds = [
        *(("JPEG", width, height) for width, height in ((1800, 1200), (900, 1350), (1024, 768), (320, 240))),
        *(("JPEG", width, height) for width, height in ((1600, 900), (1400, 1400), (1200, 800), (640, 480))),
        *(("PNG", 480, 320), ("PNG", 300, 400), ("WEBP", 800, 600), ("WEBP", 1200, 900)),
        *(("GIF", 320, 240), ("TIFF", 400, 300), ("BMP", 320, 200)),
    ]
    return tuple(
        _valid_content(picture_format, width, height, colour)
        for (picture_format, width, height), colour in zip(kinds, _COLOURS, strict=False)
    )


def _valid_content(picture_format: str, width: int, height: int, colour: tuple[int, int, int]) -> Content:
    grain = noise(width // 4, height // 4).resize((width, height), Image.Resampling.BICUBIC)
    planned = Image.blend(Image.new("RGB", (width, height), colour), grain, 0.2)
    file = encoded(planned, picture_format, **({"quality": 80} if picture_format in {"JPEG", "WEBP"} else {}))
    name = f"{picture_format} {width}x{height}"
    return Content(name=name, file=file, colour=_colour_of(opened(file)))


@cache
def broken() -> tuple[Content, ...]:
    """Return files that must be rejected, each with its code."""
    jpeg = encoded(noise(640, 480))
    png = bytearray(encoded(noise(64, 48), "PNG"))
    png[len(png) // 2] ^= 0xFF  # its checksum no longer fits
    return (
        Content(name="not an image", file=b"once upon a time", code="not_an_image"),
        Content(name="an empty file", file=b"", code="not_an_image"),
        Content(name="half a JPEG", file=jpeg[: len(jpeg) // 2], code="truncated"),
        Content(name="a damaged PNG", file=bytes(png), code="corrupt"),
        Content(
            name="too many pixels",
            file=encoded(Image.new("RGB", (2500, 2000)), "PNG"),
            code="too_many_pixels",
        ),
        Content(name="an unsupported format", file=encoded(noise(64, 48), "PPM"), code="format_not_allowed"),
    )


def _colour_of(planned: Image.Image) -> Colour:
    quarter = planned.crop((0, 0, planned.width // 2, planned.height // 2))
    return tuple(ImageStat.Stat(quarter.convert("RGB")).mean)
