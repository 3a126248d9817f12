"""Encode renditions: choose the format and quality, and write no metadata other than artist and copyright."""

import io
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final, NotRequired, TypedDict

from PIL import Image

from worker.domain.errors import TooManyFramesError
from worker.domain.recipe import Effort, OutputFormat, Size, Subsampling
from worker.domain.step import NONCE_BYTES, EncodedRendition
from worker.imaging.avif import with_plays
from worker.imaging.colour import flatten
from worker.imaging.drawing import FEW_COLOURS, is_drawing, is_flat, is_small, needs_full_chroma, with_palette
from worker.imaging.picture import Picture
from worker.ipc.messages import max_rendition_bytes

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
"""Format of the upload -> (format of an opaque rendition, format of a transparent one)."""

_DRAWING_FORMATS: Final = frozenset({"tiff", "bmp"})
"""Formats of uploads whose drawings become PNG: it is smaller than JPEG, and exact."""
_MIN_QUALITY: Final = 20
_ANIMATED: Final = frozenset({"gif", "webp", "png", "avif"})
_DRAWING_EFFORT, _PHOTOGRAPH_EFFORT = 75, 20
"""Effort of WebP without loss, up to 100: for photographs, more of it doubles the time and saves 1 %."""
_RESTORE_BACKGROUND: Final = 2
"""GIF disposal method: each frame is drawn on an empty canvas."""
_MAX_PLAYS: Final = 65_535
_LOSSLESS: Final = frozenset({"png", "gif"})


@dataclass(frozen=True, slots=True)
class _Effort:
    """Options of the encoders that make the same pixels smaller, or the same quality."""

    webp_method: int
    avif_speed: int
    png_level: int
    optimize_jpeg: bool


_EFFORTS: Final[Mapping[Effort, _Effort]] = {
    Effort.LOW: _Effort(webp_method=2, avif_speed=8, png_level=3, optimize_jpeg=False),
    Effort.MEDIUM: _Effort(webp_method=4, avif_speed=7, png_level=6, optimize_jpeg=True),
    Effort.HIGH: _Effort(webp_method=6, avif_speed=6, png_level=9, optimize_jpeg=True),
}


@dataclass(frozen=True, slots=True)
class _Encoder:
    """How a rendition is encoded, apart from its quality."""

    format: str
    size: Size
    effort: _Effort


class _ExifOptions(TypedDict):
    exif: NotRequired[bytes]


class _FrameOptions(TypedDict):
    save_all: NotRequired[bool]
    append_images: NotRequired[list[Image.Image]]
    duration: NotRequired[list[int]]
    loop: NotRequired[int]


def encode(picture: Picture, *, size: Size, quality: int, effort: Effort = Effort.LOW) -> EncodedRendition:
    """
    Encode a rendition.

    Args:
        picture: Its images have no metadata; see `Picture`.
        size: Size with the format, background and target weight, and optionally a quality of its own.
        quality: Quality of JPEG, WebP and AVIF, 1 to 100, if the size has none.
        effort: How much time to take to make the file smaller.

    Raises:
        TooManyFramesError: An animation is larger than the worker process accepts.
    """
    chosen_format = output_format(picture, size)
    encoder = _Encoder(chosen_format, size, _EFFORTS[effort])
    if chosen_format == "jpeg" and picture.image.mode == "RGBA":
        picture = picture.with_image(flatten(picture.image, size.background))
    if size.format is not OutputFormat.SOURCE:
        picture = replace(picture, is_lossless=False)
    quality = size.quality or quality
    file = _encode(picture, encoder, quality)
    target_bytes = size.target_bytes and max(0, size.target_bytes - NONCE_BYTES)
    if target_bytes and len(file) > target_bytes and chosen_format not in _LOSSLESS:
        picture = replace(picture, is_lossless=False)
        file = _encode_within(picture, encoder, max_quality=quality - 1, target_bytes=target_bytes)
    width, height = picture.image.size
    frames = len(picture.images)
    limit = max_rendition_bytes(size, frames=frames)
    if frames > 1 and len(file) > limit:
        raise TooManyFramesError(frames=frames, limit=frames * limit // len(file))
    return EncodedRendition(
        size=picture.size, width=width, height=height, format=chosen_format, content=file.getbuffer()
    )


def output_format(picture: Picture, size: Size) -> str:
    """Return the format in which the rendition is encoded."""
    is_transparent = picture.image.mode == "RGBA"
    match size.format:
        case OutputFormat.SOURCE if picture.frames and picture.source_format in _ANIMATED:
            return picture.source_format
        case OutputFormat.SOURCE if picture.source_format in _DRAWING_FORMATS and is_drawing(picture.image):
            return "png"
        case OutputFormat.SOURCE:
            return _LIKE_SOURCE[picture.source_format][is_transparent]
        case OutputFormat.AUTO if picture.frames:
            return "webp"
        case OutputFormat.AUTO if is_drawing(picture.image):
            return "png"
        case OutputFormat.AUTO:
            return "webp" if is_transparent else "jpeg"
        case fixed:
            return fixed.value


class _File(io.BytesIO):
    def __len__(self) -> int:
        return self.getbuffer().nbytes


def _encode_within(picture: Picture, encoder: _Encoder, *, max_quality: int, target_bytes: int) -> _File:
    """Return the encoding of the highest quality within the target, or of the lowest quality at least."""
    low = min(_MIN_QUALITY, max_quality)
    best = _encode(picture, encoder, low)
    while low < max_quality:
        quality = (low + max_quality + 1) // 2
        file = _encode(picture, encoder, quality)
        if len(file) <= target_bytes:
            low, best = quality, file
        else:
            max_quality = quality - 1
    return best


def _encode(picture: Picture, encoder: _Encoder, quality: int) -> _File:
    file = _File()
    exif = _exif(picture)
    effort = encoder.effort
    match encoder.format:
        case "jpeg":
            picture.image.save(
                file,
                "JPEG",
                quality=quality,
                subsampling=_subsampling(picture.image, encoder.size),
                progressive=encoder.size.progressive,
                optimize=effort.optimize_jpeg,
                **exif,
            )
        case "webp" if picture.is_lossless:
            return _encode_lossless_webp(picture, effort)
        case "webp":
            picture.image.save(
                file,
                "WEBP",
                quality=quality,
                method=effort.webp_method,
                **exif,
                **_frame_options(picture, "webp"),
            )
            return _smaller_webp(file, picture, effort)
        case "avif":
            picture = _with_equal_modes(picture)
            picture.image.save(
                file,
                "AVIF",
                quality=quality,
                subsampling=_subsampling(picture.image, encoder.size),
                speed=effort.avif_speed,
                max_threads=1,
                alpha_premultiplied=False,
                **exif,
                **_frame_options(picture, "avif"),
            )
            return (
                _File(with_plays(file.getvalue(), picture.plays))
                if picture.frames and picture.plays
                else file
            )
        case "gif":
            picture.image.save(file, "GIF", disposal=_RESTORE_BACKGROUND, **_frame_options(picture, "gif"))
        case _ if picture.frames:
            options = _frame_options(picture, "png")
            picture.image.save(file, "PNG", compress_level=effort.png_level, **exif, **options)
        case _:
            return _encode_png(picture, effort)
    return file


def _with_equal_modes(picture: Picture) -> Picture:
    """Return an animation with all frames in RGBA, if one of them is: the encoder of AVIF takes no others."""
    if not picture.frames or len({image.mode for image in picture.images}) == 1:
        return picture
    frames = tuple(replace(frame, image=frame.image.convert("RGBA")) for frame in picture.frames)
    return replace(picture, image=picture.image.convert("RGBA"), frames=frames)


def _exif(picture: Picture) -> _ExifOptions:
    return {"exif": picture.credits} if picture.credits else {}


def _subsampling(image: Image.Image, size: Size) -> str:
    if size.subsampling is not Subsampling.AUTO:
        return size.subsampling.value
    return Subsampling.FULL.value if needs_full_chroma(image) else Subsampling.HALF.value


def _encode_lossless_webp(picture: Picture, effort: _Effort) -> _File:
    file = _File()
    quality = _DRAWING_EFFORT if needs_full_chroma(picture.image) else _PHOTOGRAPH_EFFORT
    options = {**_exif(picture), **_frame_options(picture, "webp")}
    picture.image.save(file, "WEBP", lossless=True, quality=quality, method=effort.webp_method, **options)
    return file


def _smaller_webp(lossy: _File, picture: Picture, effort: _Effort) -> _File:
    """Return a drawing without loss if that is smaller, or if it is small: WebP with loss blurs colours."""
    is_drawn = is_drawing(picture.image)
    if picture.frames or not (is_drawn or is_flat(picture.image)):
        return lossy
    lossless = _encode_lossless_webp(picture, effort)
    is_exact = is_drawn and is_small(picture.image)
    return lossless if is_exact or len(lossless) <= len(lossy) else lossy


def _encode_png(picture: Picture, effort: _Effort) -> _File:
    """Encode at most 256 colours with a palette or as grey, if that is smaller."""
    image = with_palette(picture.image)
    file = None if image is None else _save_png(image, picture, effort)
    is_certain = image is not None and (image.mode == "L" or image.getcolors(FEW_COLOURS))
    if file is not None and is_certain and not is_small(picture.image):
        return file
    full = _save_png(picture.image, picture, effort)
    return full if file is None or len(full) < len(file) else file


def _save_png(image: Image.Image, picture: Picture, effort: _Effort) -> _File:
    file = _File()
    image.save(file, "PNG", compress_level=effort.png_level, **_exif(picture))
    return file


def _frame_options(picture: Picture, chosen_format: str) -> _FrameOptions:
    """Return Pillow's options to write all frames of an animation; empty for a still picture."""
    if not picture.frames:
        return {}
    options: _FrameOptions = {
        "save_all": True,
        "append_images": [frame.image for frame in picture.frames],
        "duration": [picture.duration_ms, *(frame.duration_ms for frame in picture.frames)],
    }
    if chosen_format != "gif":
        options["loop"] = min(picture.plays, _MAX_PLAYS)
    elif picture.plays != 1:  # a GIF without a number of repeats is played once
        options["loop"] = max(0, picture.plays - 1)
    return options
