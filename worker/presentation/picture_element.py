"""Write the HTML of an image's renditions: a `<picture>` element, from the record alone."""

import base64
import html
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final
from urllib.parse import quote

from worker.domain.image import Image, Rendition
from worker.domain.printable import printable
from worker.domain.status import StepName
from worker.domain.step import CONTENT_TYPES
from worker.presentation.placeholder import placeholder_png

_PREFERRED: Final = ("avif", "webp")
"""Formats that are offered in `<source>`, the smaller one first, to browsers that display them."""

_SHAPE_TOLERANCE: Final = 0.02
"""Relative difference of aspect ratios that comes from rounding, in renditions of more than 50 px."""

_OPAQUE_MODES: Final = frozenset({"1", "L", "RGB", "CMYK", "YCbCr", "LAB", "I;16"})
_COLOUR: Final = re.compile("#[0-9a-f]{6}")


def picture_element(image: Image, *, base_url: str, alt: str | None = None) -> str | None:
    """
    Return a `<picture>` element with the renditions of an image that show the same part as the main one.

    It has the dimensions of the main rendition, so that the page does not move while the image loads, and
    meanwhile shows its BlurHash, if the image is opaque.

    Args:
        image: An image with any status.
        base_url: What the keys of the renditions are appended to, without a slash at its end.
        alt: Alternative text; None for the description of the image.

    Returns:
        None if the image has no main rendition.
    """
    main = next((each for each in image.renditions.values() if each.key == image.processed_key), None)
    if main is None:
        return None
    shown = sorted(_of_same_shape(image.renditions.values(), main), key=lambda each: each.width)
    fallback = [each for each in shown if each.format == _fallback_format(shown, main)]
    sizes = f"(max-width: {shown[-1].width}px) 100vw, {shown[-1].width}px"

    def url(rendition: Rendition) -> str:
        return f"{base_url}/{quote(rendition.key, safe='/')}"

    sources = [
        _tag(
            "source",
            {"type": CONTENT_TYPES[kind], "srcset": _candidates(found, url), "sizes": sizes},
        )
        for kind in _PREFERRED
        if kind != fallback[0].format and (found := [each for each in shown if each.format == kind])
    ]
    several = len(fallback) > 1
    inner = main if main in fallback else fallback[-1]
    attributes = {
        "src": url(inner),
        "srcset": _candidates(fallback, url) if several else None,
        "sizes": sizes if several else None,
        "width": str(main.width),
        "height": str(main.height),
        "alt": printable(image.metadata.get("description", "") if alt is None else alt),
        "loading": "lazy",
        "decoding": "async",
        "style": _placeholder(image, main),
    }
    return "\n".join(
        ("<picture>", *(f"  {tag}" for tag in (*sources, _tag("img", attributes))), "</picture>")
    )


def _of_same_shape(renditions: Iterable[Rendition], main: Rendition) -> Iterable[Rendition]:
    """Yield the renditions that are not cropped or padded in another way than the main one."""
    for each in renditions:
        across, down = each.width * main.height, each.height * main.width
        rounding = main.height + main.width  # a pixel more or less on a side
        if abs(across - down) <= max(rounding, _SHAPE_TOLERANCE * down):
            yield each


def _fallback_format(shown: Sequence[Rendition], main: Rendition) -> str:
    """Return the format of `<img>`: one that every browser displays, if a rendition has it."""
    universal = [each.format for each in (main, *shown) if each.format not in _PREFERRED]
    return universal[0] if universal else main.format


def _candidates(renditions: Iterable[Rendition], url: Callable[[Rendition], str]) -> str:
    by_width = {each.width: each for each in renditions}
    return ", ".join(f"{url(each)} {width}w" for width, each in by_width.items())


def _placeholder(image: Image, main: Rendition) -> str | None:
    """Return the style that shows the dominant colour and the BlurHash until the image has loaded."""
    detail, mode = image.detail_of(StepName.RESIZE), image.detail_of(StepName.VALIDATION).get("mode")
    if main.format != "jpeg" and mode not in _OPAQUE_MODES:
        return None  # it would be visible through the image
    colour, blur_hash = detail.get("dominantColor"), detail.get("blurHash")
    parts = [colour] if isinstance(colour, str) and _COLOUR.fullmatch(colour) else []
    if isinstance(blur_hash, str) and (png := placeholder_png(blur_hash)):
        parts.append(f"url(data:image/png;base64,{base64.b64encode(png).decode()}) center / cover no-repeat")
    return f"background: {' '.join(parts)}" if parts else None


def _tag(name: str, attributes: Mapping[str, str | None]) -> str:
    written = (f'{key}="{html.escape(value)}"' for key, value in attributes.items() if value is not None)
    return f"<{name} {' '.join(written)}>"
