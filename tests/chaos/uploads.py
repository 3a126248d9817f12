"""What is uploaded: pictures of several users, sizes and formats, some broken, some replaced by others."""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from hashlib import md5
from typing import Final

from PIL import Image, ImageStat

from tests.support.pictures import encoded, noise, opened

MOST_PIXELS: Final = 4_000_000
"""`WORKER_MAX_PIXELS` of the workers, so that a picture with too many needs no hundred megapixels."""

_USERS: Final = ("ada", "ben", "cleo", "dan", "eve")
_BROKEN_SHARE: Final = 0.06
_REPLACED_SHARE: Final = 0.12
_COLOURS: Final = tuple(
    (red, green, blue) for red in (50, 128, 206) for green in (50, 128, 206) for blue in (50, 128, 206)
)
_TOLERANCE: Final = 12
"""Levels of 255 by which a result's colour may miss its upload's; different uploads are 60 apart or more."""

Colour = tuple[float, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    """
    One file.

    Attributes:
        name: What it is.
        file: Its bytes.
        code: What it fails with; None if it is to be completed.
        colour: By which its result is known again: the mean of the upper left quarter.
    """

    name: str
    file: bytes
    code: str | None = None
    colour: Colour = ()

    @property
    def e_tag(self) -> str:
        """What S3 calls the file."""
        return md5(self.file, usedforsecurity=False).hexdigest()

    def is_origin_of(self, result: Image.Image) -> bool:
        """Tell whether a result was made from this file, by its colour."""
        made = _colour_of(result)
        return all(abs(one - other) <= _TOLERANCE for one, other in zip(made, self.colour, strict=True))


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One key, and what is uploaded under it, one after the other; no two files of one key are equal."""

    image_id: str
    user_id: str
    versions: tuple[Content, ...]

    @property
    def key(self) -> str:
        """Where it is uploaded; the name says nothing of the format."""
        return f"uploads/{self.user_id}/{self.image_id}.jpg"

    @property
    def newest(self) -> Content:
        """What must win."""
        return self.versions[-1]


def plan(dice: random.Random, *, uploads: int) -> list[Picture]:
    """Choose pictures that make so many uploads together."""
    pictures: list[Picture] = []
    left = uploads
    while left:
        count = min(left, 1 if dice.random() > _REPLACED_SHARE else dice.choice((2, 2, 3)))
        user_id = dice.choice(_USERS)
        image_id = f"img_{len(pictures):04d}"
        pictures.append(Picture(image_id=image_id, user_id=user_id, versions=tuple(_different(dice, count))))
        left -= count
    return pictures


def _different(dice: random.Random, count: int) -> Sequence[Content]:
    """Draw contents that are all different, so that their results can be told apart."""
    drawn: list[Content] = []
    while len(drawn) < count:
        content = dice.choice(broken() if dice.random() < _BROKEN_SHARE else whole())
        if content not in drawn:
            drawn.append(content)
    return drawn


@cache
def whole() -> tuple[Content, ...]:
    """Make a file of each kind, each in a colour of its own; soft noise, so that it is work to decode."""
    kinds = [
        *(("JPEG", width, height) for width, height in ((1800, 1200), (900, 1350), (1024, 768), (320, 240))),
        *(("JPEG", width, height) for width, height in ((1600, 900), (1400, 1400), (1200, 800), (640, 480))),
        *(("PNG", 480, 320), ("PNG", 300, 400), ("WEBP", 800, 600), ("WEBP", 1200, 900)),
        *(("GIF", 320, 240), ("TIFF", 400, 300), ("BMP", 320, 200)),
    ]
    return tuple(
        _whole(picture_format, width, height, colour)
        for (picture_format, width, height), colour in zip(kinds, _COLOURS, strict=False)
    )


def _whole(picture_format: str, width: int, height: int, colour: tuple[int, int, int]) -> Content:
    grain = noise(width // 4, height // 4).resize((width, height), Image.Resampling.BICUBIC)
    picture = Image.blend(Image.new("RGB", (width, height), colour), grain, 0.2)
    file = encoded(picture, picture_format, **({"quality": 80} if picture_format in {"JPEG", "WEBP"} else {}))
    name = f"{picture_format} {width}x{height}"
    return Content(name=name, file=file, colour=_colour_of(opened(file)))


@cache
def broken() -> tuple[Content, ...]:
    """Make files that must fail, each with its code."""
    jpeg = encoded(noise(640, 480))
    png = bytearray(encoded(noise(64, 48), "PNG"))
    png[len(png) // 2] ^= 0xFF  # its checksum no longer fits
    return (
        Content(name="no picture", file=b"once upon a time", code="not_an_image"),
        Content(name="an empty file", file=b"", code="not_an_image"),
        Content(name="half a JPEG", file=jpeg[: len(jpeg) // 2], code="truncated"),
        Content(name="a damaged PNG", file=bytes(png), code="corrupt"),
        Content(
            name="too many pixels",
            file=encoded(Image.new("RGB", (2500, 2000))),
            code="too_many_pixels",
        ),
        Content(name="a format not taken", file=encoded(noise(64, 48), "PPM"), code="format_not_allowed"),
    )


def _colour_of(picture: Image.Image) -> Colour:
    quarter = picture.crop((0, 0, picture.width // 2, picture.height // 2))
    return tuple(ImageStat.Stat(quarter.convert("RGB")).mean)
