"""The named sizes: those that come with the worker, and the shape of those that are configured."""

from typing import Annotated, Final, Literal, Required

from pydantic import Field
from typing_extensions import TypedDict

SIZES: Final[dict[str, tuple[int, int]]] = {
    "thumbnail": (150, 150),
    "small": (400, 400),
    "medium": (800, 600),
    "large": (1920, 1920),
}
"""Name -> (width, height) in pixels of the box that a rendition is fitted inside."""

Anchor = Literal[
    "top-left", "top", "top-right", "left", "center", "right", "bottom-left", "bottom", "bottom-right"
]
Colour = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}$")]
Background = Annotated[str, Field(pattern="^#[0-9a-fA-F]{6}([0-9a-fA-F]{2})?$")]
Side = Annotated[int, Field(ge=1, le=16_384)]


class SizeSettings(TypedDict, total=False):
    """One named size; whatever is left out is as for the sizes that come with the worker."""

    width: Required[Side]
    height: Required[Side]
    fit: Literal["inside", "cover", "contain", "fill"]
    gravity: Anchor
    background: Background
    enlarge: bool
    format: Literal["source", "jpeg", "png", "webp", "avif", "auto"]
    quality: Annotated[int, Field(ge=1, le=100)]
    target_bytes: Annotated[int, Field(ge=1000)]
