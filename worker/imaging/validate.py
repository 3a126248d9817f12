"""The first step: whether it is a picture that this worker takes, and all of it is there."""

from typing import TYPE_CHECKING

from PIL import ImageFile, TiffImagePlugin

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
from worker.imaging.colour import profile_name
from worker.imaging.errors import rejected_error_for
from worker.imaging.exif import extract_credits, extract_metadata, read_exif
from worker.imaging.geometry import layout
from worker.imaging.headers import (
    count_frames,
    find_damaged_png_chunk,
    has_oversized_profile,
    is_truncated,
    webp_canvas,
)
from worker.imaging.orientation import UPRIGHT, read_orientation, turned
from worker.imaging.picture import DecodedUpload, Extent, StepNote
from worker.imaging.png import PngFile
from worker.imaging.signatures import ALLOWED_FORMATS, identify
from worker.ipc.framing import Content

if TYPE_CHECKING:
    from worker.domain.step import Json

ANIMATED = frozenset({"gif", "webp"})
"""The formats whose further frames can be kept."""

_DRAFT_FACTOR = 2
"""How much larger than the result a JPEG is decoded at the least; see `_draft`."""


def validate(
    content: Content,
    *,
    limits: Limits,
    sizes: tuple[Size, ...],
    animation: Animation = Animation.FIRST,
    keep_credits: bool = True,
    record_location: bool = False,
) -> tuple[DecodedUpload, StepNote]:
    """
    Check what the file is and what it announces, then decode all of it that is wanted.

    Args:
        content: The file.
        limits: Checked on the header, before anything is decoded.
        sizes: What will be made of it: a JPEG needs not be decoded much larger.
        animation: Whether further frames are wanted, or no reason for a picture at all.
        keep_credits: Whether renditions are to carry its artist and copyright.
        record_location: Whether the record is to learn where it was taken.

    Raises:
        TooManyBytesError: Of the file.
        NotAnImageError: The bytes begin like no picture.
        FormatNotAllowedError: They begin like a picture of another format.
        TooManyPixelsError: Of its first frame.
        TooManyFramesError: Too many, or too many pixels in all of them.
        TooSmallError: On either side.
        TruncatedError: The file ends before the picture does.
        CorruptError: The decoder cannot make sense of it.
        DecodeOutOfMemoryError: The decoder needs more memory than there is.
    """
    if len(content) > limits.max_bytes:
        raise TooManyBytesError(size_bytes=len(content), limit_bytes=limits.max_bytes)
    found = _known(content)
    image: ImageFile.ImageFile | None = None
    try:
        _check_before_opening(content, found, limits)
        image = image_file.open_picture(content, picture_format=found)
        stored = Extent(*image.size)
        _check_pixels(stored, limits)
        _check_sides(stored, limits)
        most = 1 if animation is Animation.REJECT else limits.max_frames
        frames = _checked_frames(content, image, found, most, limits)
        if found == "png":  # its EXIF may follow its pixels: asked for it, Pillow decodes them
            image_file.load(image)
        exif = read_exif(image)
        orientation = UPRIGHT if found == "tiff" else read_orientation(exif)  # Pillow turns TIFFs by itself
        original = turned(stored, orientation)
        if found == "jpeg":  # of a HEIC it would pick the thumbnail inside
            _draft(image, turned(_largest(original, sizes), orientation))
        wanted = frames if animation is Animation.KEEP and found in ANIMATED else 1
        _load(image, frames=wanted)
        if isinstance(image, PngFile) and not image.is_verified:
            _check_chunks(content)
        profile = image.info.get("icc_profile")
    except RejectedError:
        raise
    except Exception as error:
        raise rejected_error_for(error, is_cut_short=_is_cut_short(content, found, image)) from error
    decoded = DecodedUpload(
        image=image,
        orientation=orientation,
        original=original,
        format=found,
        profile=bytes(profile) if profile else None,
        frames=wanted,
        credits=extract_credits(exif) if keep_credits else b"",
    )
    facts: dict[str, Json] = {"result": "valid", "format": found, "mode": image.mode, "frames": frames}
    if orientation != UPRIGHT:
        facts["orientation"] = orientation
    if decoded.profile:
        facts["profile"] = profile_name(decoded.profile)
    return decoded, StepNote(detail=facts, metadata=extract_metadata(exif, with_location=record_location))


def _known(content: Content) -> str:
    found = identify(content)
    if found is None:
        raise NotAnImageError
    if found not in ALLOWED_FORMATS:
        raise FormatNotAllowedError(found=found, allowed=ALLOWED_FORMATS)
    if extra := image_file.missing_extra(found):
        raise FormatNotAllowedError(
            found=found,
            allowed=tuple(name for name in ALLOWED_FORMATS if name != found),
            hint=f"this worker is installed without its extra: pip install 'image-worker[{extra}]'",
        )
    return found


def _check_before_opening(content: Content, found: str, limits: Limits) -> None:
    """Refuse what a decoder would already spend too much on when it opens the file."""
    if found == "webp":
        _check_pixels(webp_canvas(content), limits)  # Pillow reserves the canvas when it opens one
    if found == "png" and has_oversized_profile(content):
        raise CorruptError(reason="its colour profile unpacks to more than any profile has")


def _check_pixels(extent: Extent | None, limits: Limits) -> None:
    if extent is not None and extent.pixels > limits.max_pixels:
        raise TooManyPixelsError(pixels=extent.pixels, limit=limits.max_pixels)


def _check_sides(extent: Extent, limits: Limits) -> None:
    if min(extent) < limits.min_side_px:
        raise TooSmallError(width=extent.width, height=extent.height, limit_px=limits.min_side_px)


def _checked_frames(
    content: Content, image: ImageFile.ImageFile, found: str, most: int, limits: Limits
) -> int:
    """Count the frames; all of them together may have `max_pixels`."""
    limit = min(most, limits.max_pixels // max(1, Extent(*image.size).pixels))
    if found == "avif":
        frames = int(image.n_frames)  # type: ignore[attr-defined]
    else:
        frames = count_frames(content, picture_format=found, stop_after=limit)
    if frames > limit:
        raise TooManyFramesError(frames=frames, limit=limit)
    return frames


def _check_chunks(content: Content) -> None:
    """Refuse a PNG by its own marks: Pillow stops at the last pixel, and never looks at their checksums."""
    if is_truncated(content, picture_format="png"):
        raise TruncatedError
    if damaged := find_damaged_png_chunk(content):
        raise CorruptError(reason=f"the checksum of a {damaged} chunk is wrong")


def _load(image: ImageFile.ImageFile, *, frames: int) -> None:
    """Decode every wanted frame, so that what is wrong with it is found here; end at the first."""
    image_file.load(image)
    for number in range(1, frames):
        image.seek(number)
        image_file.load(image)
    if frames > 1:
        image.seek(0)
        image_file.load(image)


def _largest(original: Extent, sizes: tuple[Size, ...]) -> Extent:
    """Return the least extent of the whole picture from which every size can be made."""
    wholes = [layout(original, size).whole for size in sizes]
    return Extent(max(whole.width for whole in wholes), max(whole.height for whole in wholes))


def _draft(image: ImageFile.ImageFile, target: Extent) -> None:
    """
    Let libjpeg scale down by 2, 4 or 8 while decoding, to no less than twice the largest result.

    Measured against a full decode scaled by Lanczos: 54 dB down to twice the result, 40 to 47 down to once.
    """
    image.draft(None, (_DRAFT_FACTOR * target.width, _DRAFT_FACTOR * target.height))


def _is_cut_short(content: Content, found: str, image: ImageFile.ImageFile | None) -> bool:
    if isinstance(image, TiffImagePlugin.TiffImageFile):
        tags = image.tag_v2
        for starts, lengths in (
            (TiffImagePlugin.STRIPOFFSETS, TiffImagePlugin.STRIPBYTECOUNTS),
            (TiffImagePlugin.TILEOFFSETS, TiffImagePlugin.TILEBYTECOUNTS),
        ):
            ends = [
                start + length
                for start, length in zip(tags.get(starts, ()), tags.get(lengths, ()), strict=False)
            ]
            if ends and max(ends) > len(content):
                return True
    return is_truncated(content, picture_format=found)
