"""Encoding renditions: which format, how good, and with nothing in them but the picture and its credits."""

import io
from collections.abc import Mapping
from typing import Any, Final

from worker.domain.recipe import OutputFormat, Size
from worker.domain.step import NONCE_BYTES, EncodedRendition
from worker.imaging.colour import flattened
from worker.imaging.picture import Picture

_LIKE_SOURCE: Final[Mapping[str, tuple[str, str]]] = {
    "jpeg": ("jpeg", "png"),
    "png": ("png", "png"),
    "webp": ("webp", "webp"),
    "gif": ("png", "png"),
    "tiff": ("jpeg", "png"),
    "bmp": ("jpeg", "png"),
    "avif": ("avif", "avif"),
    "heic": ("jpeg", "png"),
}
"""Format of the upload -> (format of an opaque rendition, of one with transparency)."""

_DRAWING_COLOURS: Final = 256
_WORST_QUALITY: Final = 20
_ANIMATED: Final = frozenset({"gif", "webp"})
_AVIF_SPEED: Final = 8
_CLEAR_BETWEEN: Final = 2
"""How a GIF goes from frame to frame: each is drawn on nothing."""
_NO_QUALITY: Final = frozenset({"png", "gif"})


def encode(picture: Picture, *, size: Size, quality: int) -> EncodedRendition:
    """
    Encode a rendition in the format of its size, without any metadata but the credits.

    Args:
        picture: Its images carry no metadata; see `Picture`.
        size: Its format, quality, weight and background.
        quality: 1 to 100, for JPEG, WebP and AVIF, where the size has none of its own.
    """
    becomes = output_format(picture, size)
    if becomes == "jpeg" and picture.image.mode == "RGBA":
        picture = picture.with_image(flattened(picture.image, size.background))
    quality = size.quality or quality
    content = _encoded(picture, becomes, quality)
    target_bytes = size.target_bytes and max(0, size.target_bytes - NONCE_BYTES)
    if target_bytes and len(content) > target_bytes and becomes not in _NO_QUALITY:
        content = _within(picture, becomes, best=quality - 1, target_bytes=target_bytes)
    width, height = picture.image.size
    return EncodedRendition(
        size=picture.size, width=width, height=height, format=becomes, content=content.getbuffer()
    )


def output_format(picture: Picture, size: Size) -> str:
    """Return what the rendition is encoded as."""
    is_transparent = picture.image.mode == "RGBA"
    match size.format:
        case OutputFormat.SOURCE if picture.frames and picture.source_format in _ANIMATED:
            return picture.source_format
        case OutputFormat.SOURCE:
            return _LIKE_SOURCE[picture.source_format][is_transparent]
        case OutputFormat.AUTO if picture.frames:
            return "webp"
        case OutputFormat.AUTO if picture.image.getcolors(_DRAWING_COLOURS):
            return "png"
        case OutputFormat.AUTO:
            return "webp" if is_transparent else "jpeg"
        case named:
            return named.value


class _File(io.BytesIO):
    def __len__(self) -> int:
        return self.getbuffer().nbytes


def _within(picture: Picture, becomes: str, *, best: int, target_bytes: int) -> _File:
    """Return the best encoding that weighs no more; the lightest there is, when none does."""
    worst = min(_WORST_QUALITY, best)
    lightest = _encoded(picture, becomes, worst)
    while worst < best:
        quality = (worst + best + 1) // 2
        file = _encoded(picture, becomes, quality)
        if len(file) <= target_bytes:
            worst, lightest = quality, file
        else:
            best = quality - 1
    return lightest


def _encoded(picture: Picture, becomes: str, quality: int) -> _File:
    file = _File()
    options: dict[str, Any] = {"exif": picture.credits} if picture.credits and becomes != "gif" else {}
    match becomes:
        case "jpeg":
            picture.image.save(file, "JPEG", quality=quality, subsampling="4:2:0", **options)
        case "webp":
            picture.image.save(file, "WEBP", quality=quality, method=2, **options, **_frames(picture))
        case "avif":
            picture.image.save(
                file,
                "AVIF",
                quality=quality,
                speed=_AVIF_SPEED,
                max_threads=1,
                alpha_premultiplied=False,
                **options,
            )
        case "gif":
            picture.image.save(file, "GIF", **_frames(picture) | {"disposal": _CLEAR_BETWEEN})
        case _:
            picture.image.save(file, "PNG", compress_level=3, **options)
    return file


def _frames(picture: Picture) -> dict[str, Any]:
    """Return what Pillow needs to write the further frames."""
    if not picture.frames:
        return {}
    return {
        "save_all": True,
        "append_images": [frame.image for frame in picture.frames],
        "duration": [picture.duration_ms, *(frame.duration_ms for frame in picture.frames)],
        **({} if picture.loop is None else {"loop": picture.loop}),
    }
