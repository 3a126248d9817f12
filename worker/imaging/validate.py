"""The validation step: check that the file is an allowed, undamaged image, and decode it."""

from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from PIL import AvifImagePlugin, Image, ImageFile, TiffImagePlugin

from worker.domain.errors import (
    CorruptError,
    FormatNotAllowedError,
    NotAnImageError,
    RejectedError,
    TooManyBytesError,
    TooManyFramesError,
    TooManyPixelsError,
    TooSmallError,
    TruncatedError,
)
from worker.domain.recipe import Animation, Limits, Size
from worker.imaging import image_file
from worker.imaging.apng import ApngFile
from worker.imaging.colour import profile_name
from worker.imaging.colour_description import described_profile
from worker.imaging.cost import (
    APNG_BYTES_PER_PIXEL,
    COEFFICIENT_BYTES_PER_PIXEL,
    DEEP_BYTES_PER_PIXEL,
    max_decoding_seconds,
    max_pixels_in_memory,
)
from worker.imaging.errors import rejected_error_for
from worker.imaging.exif import extract_credits, extract_metadata, read_exif, read_iptc, take_xmp
from worker.imaging.extras import read_extras
from worker.imaging.geometry import layout
from worker.imaging.headers import (
    MAX_PROFILE_BYTES,
    count_frames,
    find_damaged_png_chunk,
    has_oversized_profile,
    is_lossless_webp,
    is_truncated,
    webp_canvas,
)
from worker.imaging.orientation import UPRIGHT, read_orientation, turn_extent
from worker.imaging.picture import DecodedUpload, Extent, StepNote
from worker.imaging.png import PngFile
from worker.imaging.salvage import other_ends, salvaged
from worker.imaging.samples import correct_samples, has_deep_samples
from worker.imaging.signatures import ALLOWED_FORMATS, hint_for, identify
from worker.imaging.tiff import TiffFile
from worker.ipc.framing import Content

if TYPE_CHECKING:
    from worker.domain.step import Json

ANIMATED = frozenset({"gif", "webp", "png", "avif"})
"""Formats whose animations can be kept."""

_MAX_COUNTED_FRAMES = 10_000
"""Number of frames from which they are no longer counted, where only the first is decoded."""

_DRAFT_FACTOR = 2
"""A JPEG is decoded at no less than this multiple of the largest size; see `_draft`."""


def validate(
    content: Content,
    *,
    limits: Limits,
    sizes: tuple[Size, ...],
    animation: Animation = Animation.FIRST,
    keep_credits: bool = True,
    record_location: bool = False,
    limit_cpu_time: Callable[[int], None] = lambda _: None,
) -> tuple[DecodedUpload, StepNote]:
    """
    Check the file's format and header, then decode the frames that are processed.

    Args:
        content: Uploaded file.
        limits: Limits that are checked on the header, before anything is decoded.
        sizes: Sizes that will be made: a JPEG is not decoded much larger than they need.
        animation: Whether to process the first frame or all of them, or to reject animations.
        keep_credits: Whether renditions carry the artist and copyright.
        record_location: Whether the metadata includes the location.
        limit_cpu_time: Called before anything is decoded, with the seconds of CPU time that it may take.

    Raises:
        TooManyBytesError: The file is too large.
        NotAnImageError: The first bytes are not those of any image format.
        FormatNotAllowedError: The format is not decoded by this worker.
        TooManyPixelsError: The first frame has too many pixels, in the file or as it would be decoded.
        TooManyFramesError: There are too many frames to decode, or too many pixels in all of them together.
        TooManyScansError: A progressive JPEG has too many scans.
        TooSmallError: A side is too short.
        TruncatedError: The end of the file is missing.
        CorruptError: The file is damaged.
        DecodeOutOfMemoryError: Decoding needs more memory than the decoder may use.
    """
    if len(content) > limits.max_bytes:
        raise TooManyBytesError(size_bytes=len(content), limit_bytes=limits.max_bytes)
    image_format = _allowed_format(content)
    image: ImageFile.ImageFile | None = None
    try:
        _check_before_opening(content, image_format, limits, sizes)
        file = salvaged(content, image_format=image_format)
        is_kept = animation is Animation.KEEP and image_format in ANIMATED
        image = _opened(file, image_format, limits, is_kept=is_kept)
        stored = Extent(*image.size)
        _check_pixels(stored, replace(limits, max_pixels=max(limits.max_stored_pixels, limits.max_pixels)))
        _check_sides(stored, limits)
        xmp, exif, orientation, draft = b"", Image.Exif(), UPRIGHT, stored
        if image_format == "jpeg":  # a HEIC would be replaced by its embedded thumbnail
            xmp, exif, orientation = _read_metadata(image, image_format)
            draft = turn_extent(_required_extent(turn_extent(stored, orientation), sizes), orientation)
            _draft(image, draft)
        _check_pixels(Extent(*image.size), limits, stored=stored)
        _check_memory(image, content, image_format, limits, sizes, stored=stored)
        max_frames = _max_frames(stored, limits, animation=animation, is_kept=is_kept)
        frames = _checked_frames(file, image, image_format, max_frames)
        kept_frames = frames if is_kept else 1
        pixels = stored.pixels * kept_frames
        limit_cpu_time(max_decoding_seconds(pixels=pixels, size_bytes=len(content)))
        if image_format != "jpeg":
            xmp, exif, orientation = _read_metadata(image, image_format)
        original = turn_extent(stored, orientation)
        _load(image, frames=kept_frames)
        _check_decoded(image, file)
        for alternative in other_ends(content, file, image, image_format=image_format):
            _check_end(image, alternative, draft)
        profile = described_profile(file, image, image_format=image_format)
        mode, stated_profile = image.mode, profile
        whole = content if image_format == "png" else file  # without the chunks that decoding does not need
        extras = read_extras(whole, image, image_format=image_format, xmp=xmp, profile=profile)
        picture: Image.Image = image
        if kept_frames == 1:
            picture, profile = correct_samples(file, image, profile)
    except RejectedError:
        raise
    except Exception as error:
        raise rejected_error_for(error, is_truncated=_is_truncated(content, image_format, image)) from error
    decoded = DecodedUpload(
        image=picture,
        orientation=orientation,
        original=original,
        format=image_format,
        profile=profile,
        frames=kept_frames,
        credits=extract_credits(exif, xmp, read_iptc(image)) if keep_credits else b"",
        is_lossless=image_format == "webp" and is_lossless_webp(content),
    )
    detail: dict[str, Json] = {"result": "valid", "format": image_format, "mode": mode, "frames": frames}
    if orientation != UPRIGHT:
        detail["orientation"] = orientation
    if stated_profile:
        detail["profile"] = profile_name(stated_profile)
    detail |= extras
    return decoded, StepNote(detail=detail, metadata=extract_metadata(exif, with_location=record_location))


def _allowed_format(content: Content) -> str:
    if not content:
        raise NotAnImageError(is_empty=True)
    found = identify(content)
    if found is None:
        raise NotAnImageError
    if found not in ALLOWED_FORMATS:
        raise FormatNotAllowedError(found=found, allowed=ALLOWED_FORMATS, hint=hint_for(found))
    return found


def _opened(file: bytes, image_format: str, limits: Limits, *, is_kept: bool) -> ImageFile.ImageFile:
    """Open the file, with all of its frames if they are kept and not too many."""
    frames = count_frames(file, image_format=image_format, stop_after=limits.max_frames) if is_kept else 1
    return image_file.open_image(file, image_format=image_format, animated=1 < frames <= limits.max_frames)


def _read_metadata(image: ImageFile.ImageFile, image_format: str) -> tuple[bytes, Image.Exif, int]:
    """Return the XMP packet, the EXIF and the orientation that is left to be applied."""
    if image_format == "png":  # EXIF may follow the pixels: to read it, Pillow would decode them
        image_file.load(image)
    xmp = take_xmp(image)
    exif = read_exif(image)
    return xmp, exif, UPRIGHT if image_format == "tiff" else read_orientation(image, exif)


def _check_memory(
    image: ImageFile.ImageFile,
    content: Content,
    image_format: str,
    limits: Limits,
    sizes: tuple[Size, ...],
    *,
    stored: Extent,
) -> None:
    """Reject an image that would not fit into the memory of the decoder process."""
    extent, more = Extent(*image.size), 0.0
    if image.info.get("progressive"):
        more += COEFFICIENT_BYTES_PER_PIXEL * stored.pixels / extent.pixels
    if isinstance(image, ApngFile):
        more += APNG_BYTES_PER_PIXEL
    if "transparency" in image.info or has_deep_samples(content, image):
        more += DEEP_BYTES_PER_PIXEL
    fitted = _fitted(limits, content, image_format, image.mode, sizes, more_bytes_per_pixel=more)
    _check_pixels(extent, fitted, stored=stored)


def _fitted(
    limits: Limits,
    content: Content,
    image_format: str,
    mode: str,
    sizes: tuple[Size, ...],
    *,
    more_bytes_per_pixel: float = 0,
) -> Limits:
    """Return the limits with no more pixels than fit into the memory of the decoder process."""
    if limits.memory_mb is None:
        return limits
    fitting = max_pixels_in_memory(
        image_format,
        mode,
        memory_mb=limits.memory_mb,
        size_bytes=len(content),
        sizes=sizes,
        more_bytes_per_pixel=more_bytes_per_pixel,
    )
    return replace(limits, max_pixels=min(limits.max_pixels, fitting))


def _check_before_opening(
    content: Content, image_format: str, limits: Limits, sizes: tuple[Size, ...]
) -> None:
    """Reject files for which even opening them would use too much memory."""
    if image_format == "webp":
        # Pillow allocates the canvas on opening.
        _check_pixels(webp_canvas(content), _fitted(limits, content, image_format, "RGBA", sizes))
    if image_format == "png" and has_oversized_profile(content):
        raise CorruptError(reason=f"its colour profile is larger than {MAX_PROFILE_BYTES:,} bytes")


def _check_pixels(extent: Extent | None, limits: Limits, *, stored: Extent | None = None) -> None:
    """
    Reject an image with too many pixels.

    Args:
        extent: Extent at which the image is decoded.
        limits: Limits with the number of pixels that may be decoded.
        stored: Extent of the image in the file, in whose pixels the error is stated.
    """
    if extent is not None and extent.pixels > limits.max_pixels:
        stored = stored or extent
        limit = limits.max_pixels * stored.pixels // extent.pixels
        raise TooManyPixelsError(pixels=stored.pixels, limit=limit)


def _check_sides(extent: Extent, limits: Limits) -> None:
    if min(extent) < limits.min_side_px:
        raise TooSmallError(width=extent.width, height=extent.height, limit_px=limits.min_side_px)


def _max_frames(stored: Extent, limits: Limits, *, animation: Animation, is_kept: bool) -> int | None:
    """Return how many frames the file may have; None if only the first is decoded, whatever follows it."""
    if animation is Animation.REJECT:
        return 1
    return min(limits.max_frames, limits.max_pixels // max(1, stored.pixels)) if is_kept else None


def _checked_frames(
    content: Content, image: ImageFile.ImageFile, image_format: str, max_frames: int | None
) -> int:
    """Return the number of frames, or `_MAX_COUNTED_FRAMES`; reject more than `max_frames`."""
    if isinstance(image, AvifImagePlugin.AvifImageFile):
        frames = int(image.n_frames)
    else:
        stop_after = _MAX_COUNTED_FRAMES - 1 if max_frames is None else max_frames
        frames = count_frames(content, image_format=image_format, stop_after=stop_after)
    if max_frames is not None and frames > max_frames:
        raise TooManyFramesError(frames=frames, limit=max_frames)
    return frames


def _check_decoded(image: ImageFile.ImageFile, file: bytes) -> None:
    """Reject damage that the decoder does not report: a missing palette, a wrong checksum in a PNG."""
    if image.mode == "P" and image.palette is None:
        raise CorruptError(reason="its palette is missing")
    is_unchecked = isinstance(image, PngFile) and not image.is_verified
    if is_unchecked and (damaged := find_damaged_png_chunk(file)):
        raise CorruptError(reason=f"the checksum of a {damaged} chunk is wrong")


def _check_end(image: ImageFile.ImageFile, alternative: bytes, draft: Extent) -> None:
    """Reject a JPEG whose last pixels depend on what follows its image data."""
    other = image_file.open_image(alternative, image_format="jpeg")
    _draft(other, draft)
    image_file.load(other)
    if image.tobytes() != other.tobytes():
        raise TruncatedError


def _load(image: ImageFile.ImageFile, *, frames: int) -> None:
    """Decode all frames that are processed, so that damage is found here; return to the first."""
    image_file.load(image)
    for number in range(1, frames):
        image.seek(number)
        image_file.load(image)
    if frames > 1:
        image.seek(0)
        image_file.load(image)


def _required_extent(original: Extent, sizes: tuple[Size, ...]) -> Extent:
    """Return the smallest extent of the whole picture from which every size can be made."""
    uncropped = [layout(original, size).uncropped for size in sizes]
    return Extent(max(extent.width for extent in uncropped), max(extent.height for extent in uncropped))


def _draft(image: ImageFile.ImageFile, target: Extent) -> None:
    """
    Let libjpeg scale down by 2, 4 or 8 while decoding, to no less than twice the largest size.

    PSNR against a full decode scaled by Lanczos: 54 dB; with drafts down to the size itself, 40 to 47 dB.
    """
    image.draft(None, (_DRAFT_FACTOR * target.width, _DRAFT_FACTOR * target.height))


def _is_truncated(content: Content, image_format: str, image: ImageFile.ImageFile | None) -> bool:
    if isinstance(image, TiffFile):
        if image.is_cut:
            return True
        tags = image.tag_v2
        for offsets, lengths in (
            (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
            (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
        ):
            ends = [
                start + length
                for start, length in zip(tags.get(offsets, ()), tags.get(lengths, ()), strict=False)
            ]
            if ends and max(ends) > len(content):
                return True
    return is_truncated(content, image_format=image_format)
