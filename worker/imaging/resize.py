"""The resize step: make every size of the recipe from a single decode."""

from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from PIL import Image

from worker.domain.focus import Focus
from worker.domain.recipe import Fit, Gravity, Size
from worker.imaging.attention import attention, focus_of_attention
from worker.imaging.canvas import pad_to_canvas
from worker.imaging.colour import drop_opaque_alpha, reason_profile_ignored, to_scalable_mode, to_srgb
from worker.imaging.geometry import WHOLE, Layout, layout, window_around, window_at
from worker.imaging.orientation import (
    UPRIGHT,
    point_as_stored,
    shares_as_stored,
    turn_extent,
    turn_upright,
)
from worker.imaging.picture import DecodedUpload, Extent, Picture, StepNote, TimedImage
from worker.imaging.resampling import Box, Resample, with_pillow
from worker.imaging.visual_summary import visual_summary

if TYPE_CHECKING:
    from worker.domain.step import Json

_REUSE_FACTOR: Final = 2


def _installed_resampling() -> Resample:
    """
    Return the faster function if `cykooz-resizer` is installed; it has no wheel for Linux on arm64.

    If it is installed and cannot be imported, that is an error: scaling would silently take eight times as
    long.
    """
    if find_spec("cykooz_resizer") is None:
        return with_pillow
    from worker.imaging.simd_resampling import with_simd

    return with_simd


INSTALLED_RESAMPLING: Final = _installed_resampling()


@dataclass(frozen=True, slots=True)
class _Source:
    """A picture to scale: a frame of the upload, or a larger size that has been made from it."""

    image: Image.Image
    orientation: int = UPRIGHT
    profile: bytes | None = None


def resize(
    decoded: DecodedUpload,
    *,
    sizes: tuple[Size, ...],
    focus: Focus | None = None,
    resample: Resample = INSTALLED_RESAMPLING,
) -> tuple[tuple[Picture, ...], StepNote]:
    """
    Make each size of the recipe, upright and in sRGB, for every frame that is processed.

    Pictures are rotated and colours converted after scaling, when there are fewer pixels; compared with
    converting first, the PSNR is 52 dB. The largest size is made first; a smaller
    size is made from it if it is at most half as large.

    Args:
        decoded: Upload in any mode and orientation.
        sizes: Sizes of the recipe, in pixels as displayed; the main size first.
        focus: Point of the upright picture that crops are centred on, in place of the sizes' gravity.
        resample: Function that scales.

    Returns:
        A picture for each size, in the order of `sizes`.
    """
    layouts = {size.name: layout(decoded.original, size) for size in sizes}
    reason_ignored = reason_profile_ignored(decoded.profile, decoded.image.mode)
    frame = _frame(decoded)
    focuses = _focuses(frame, sizes, layouts, focus)
    resize_frame = partial(_resize_frame, sizes=sizes, layouts=layouts, focuses=focuses, resample=resample)
    first, first_ms = resize_frame(frame), _duration_ms(decoded.image)
    plays = _plays(decoded)
    later_frames: dict[str, list[TimedImage]] = {size.name: [] for size in sizes}
    for number in range(1, decoded.frames):
        decoded.image.seek(number)
        for name, image in resize_frame(_frame(decoded)).items():
            later_frames[name].append(TimedImage(image, _duration_ms(decoded.image)))
    pictures = tuple(
        Picture(
            size.name,
            first[size.name],
            decoded.format,
            decoded.credits,
            tuple(later_frames[size.name]),
            first_ms,
            plays,
            decoded.is_lossless,
        )
        for size in sizes
    )
    dimensions: Json = {
        "original": decoded.original.document,
        "processed": layouts[sizes[0].name].canvas.document,
    }
    profile = {"profileIgnored": reason_ignored} if reason_ignored else {}
    return pictures, StepNote(
        detail={"dimensions": dimensions, **profile, **visual_summary(pictures[0].image)}
    )


def scale(
    image: Image.Image, extent: Extent, *, box: Box | None = None, resample: Resample = INSTALLED_RESAMPLING
) -> Image.Image:
    """
    Return a new picture, scaled to exactly this extent with a Lanczos filter of three lobes.

    Colours are multiplied by alpha before and divided after, so that invisible pixels do not bleed.

    Args:
        image: Picture of any mode whose pixels can be averaged.
        extent: Width and height of the result in pixels.
        box: Left, top, right and bottom of the part to scale; None for the whole picture.
        resample: Function that scales.
    """
    if image.size == extent and box is None:
        return image.copy()
    return resample(image, extent, box)


def _frame(decoded: DecodedUpload) -> _Source:
    """Return the current frame of the upload."""
    image, profile = to_scalable_mode(decoded.image, decoded.profile)
    return _Source(image, decoded.orientation, profile)


def _focuses(
    frame: _Source, sizes: tuple[Size, ...], layouts: dict[str, Layout], focus: Focus | None
) -> dict[str, Focus]:
    """
    Return the point that each cropped size is centred on, by the name of the size; for all frames.

    A size that is cropped at an anchor has none.
    """
    cropped = [size for size in sizes if layouts[size.name].visible_share != WHOLE]
    if focus is not None:
        return {size.name: focus for size in cropped}
    smart = [size for size in cropped if size.gravity is Gravity.SMART]
    if not smart:
        return {}
    found = attention(frame.image, frame.orientation)
    return {size.name: focus_of_attention(found, layouts[size.name].visible_share) for size in smart}


def _resize_frame(
    frame: _Source,
    *,
    sizes: tuple[Size, ...],
    layouts: dict[str, Layout],
    focuses: dict[str, Focus],
    resample: Resample,
) -> dict[str, Image.Image]:
    """Return every size of a frame, by the name of the size."""
    larger: list[Image.Image] = []
    results: dict[str, Image.Image] = {}
    for size in sorted(sizes, key=lambda size: -layouts[size.name].visible.pixels):
        plan = layouts[size.name]
        large_enough = [image for image in larger if _is_large_enough(image, plan)]
        source = _Source(large_enough[-1]) if large_enough else frame
        visible = _visible_part(source, plan, size, focuses.get(size.name), resample)
        visible.info = {}  # drop profile, comment and thumbnail of the upload
        if plan.visible_share == WHOLE:
            larger.append(visible)
        is_padded = size.fit is Fit.CONTAIN
        results[size.name] = pad_to_canvas(visible, plan.canvas, size) if is_padded else visible
    return results


def _visible_part(
    source: _Source, plan: Layout, size: Size, focus: Focus | None, resample: Resample
) -> Image.Image:
    """Return the visible part of the picture, scaled, upright and in sRGB."""
    box = None
    if plan.visible_share != WHOLE:
        shares = shares_as_stored(plan.visible_share, source.orientation)
        point = point_as_stored(focus or size.gravity.point, source.orientation)
        window = window_around if focus else window_at
        (left, right), (top, bottom) = (
            window(side, share, at) for side, share, at in zip(source.image.size, shares, point, strict=True)
        )
        box = (left, top, right, bottom)
    extent = turn_extent(plan.visible, source.orientation)
    scaled = scale(source.image, extent, box=box, resample=resample)
    return drop_opaque_alpha(to_srgb(turn_upright(scaled, source.orientation), source.profile))


def _plays(decoded: DecodedUpload) -> int:
    """Return how often an animation is played, 0 for forever. GIF states repeats, others plays."""
    stated = decoded.image.info.get("loop")
    if not isinstance(stated, int):
        return 1
    return stated + 1 if decoded.format == "gif" and stated else stated


def _duration_ms(image: Image.Image) -> int:
    duration = image.info.get("duration", 0)
    return int(duration) if isinstance(duration, int | float) else 0


def _is_large_enough(image: Image.Image, plan: Layout) -> bool:
    uncropped = plan.uncropped
    return image.width >= _REUSE_FACTOR * uncropped.width and image.height >= _REUSE_FACTOR * uncropped.height
