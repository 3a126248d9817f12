"""The second step: every size of the recipe, from one decode."""

from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from cykooz_resizer import CropBox, FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from worker.domain.recipe import Fit, Size
from worker.imaging.canvas import pad_to_canvas
from worker.imaging.colour import drop_opaque_alpha, reason_profile_ignored, to_scalable_mode, to_srgb
from worker.imaging.geometry import WHOLE, Layout, layout
from worker.imaging.orientation import UPRIGHT, to_stored_coordinates, turned, upright
from worker.imaging.picture import DecodedUpload, Extent, Picture, StepNote, TimedImage
from worker.imaging.visual_summary import visual_summary

if TYPE_CHECKING:
    from worker.domain.step import Json

_RESIZER: Final = Resizer()
_LANCZOS: Final = ResizeAlg.convolution(FilterType.lanczos3)
_RESIZER_MODES: Final = frozenset({"L", "RGB", "RGBA"})
_REUSE_FACTOR: Final = 2

Box = tuple[float, float, float, float]


@dataclass(frozen=True, slots=True)
class _Source:
    """Something that sizes can be made from: the upload's frame, or a larger rendition of it."""

    image: Image.Image
    orientation: int = UPRIGHT
    profile: bytes | None = None


def resize(decoded: DecodedUpload, *, sizes: tuple[Size, ...]) -> tuple[tuple[Picture, ...], StepNote]:
    """
    Make each size of the recipe: upright, in sRGB, as its fit says, every frame that is wanted.

    Turning and converting colours come after scaling, when there are fewer pixels to touch: converting before
    gives the same to 52 dB, as close as the drafts of `validate`. The largest size is made first; a smaller
    one is made from it when it is at most half as large.

    Args:
        decoded: Any mode, any orientation.
        sizes: The boxes, in pixels of the picture as displayed; the main one first.

    Returns:
        One picture per size, in the order of `sizes`.
    """
    layouts = {size.name: layout(decoded.original, size) for size in sizes}
    ignored = reason_profile_ignored(decoded.profile, decoded.image.mode)
    first, first_ms = _frame(decoded, sizes, layouts), _duration_ms(decoded.image)
    loop = decoded.image.info.get("loop")
    further: dict[str, list[TimedImage]] = {size.name: [] for size in sizes}
    for number in range(1, decoded.frames):
        decoded.image.seek(number)
        for name, image in _frame(decoded, sizes, layouts).items():
            further[name].append(TimedImage(image, _duration_ms(decoded.image)))
    pictures = tuple(
        Picture(
            size.name,
            first[size.name],
            decoded.format,
            decoded.credits,
            tuple(further[size.name]),
            first_ms,
            loop if isinstance(loop, int) else None,
        )
        for size in sizes
    )
    dimensions: Json = {
        "original": decoded.original.document,
        "processed": layouts[sizes[0].name].canvas.document,
    }
    note = {"profileIgnored": ignored} if ignored else {}
    return pictures, StepNote(detail={"dimensions": dimensions, **note, **visual_summary(pictures[0].image)})


def scale(image: Image.Image, extent: Extent, *, box: Box | None = None) -> Image.Image:
    """
    Return a new picture, scaled to exactly this extent by Lanczos with a support of three.

    Transparency is premultiplied meanwhile, so that the colour of what cannot be seen does not bleed.

    Args:
        image: L, RGB or RGBA by SIMD code; other modes by Pillow's own, slower `resize`.
        extent: In pixels.
        box: Left, top, right and bottom of the part that is wanted; None for all of it.
    """
    if image.size == extent and box is None:
        return image.copy()
    if image.mode not in _RESIZER_MODES:
        return image.resize(extent, Image.Resampling.LANCZOS, box=box)
    scaled = Image.new(image.mode, extent)
    crop = CropBox(box[0], box[1], box[2] - box[0], box[3] - box[1]) if box else None
    _RESIZER.resize_pil(image, scaled, ResizeOptions(_LANCZOS, crop_box=crop))
    return scaled


def _frame(
    decoded: DecodedUpload, sizes: tuple[Size, ...], layouts: dict[str, Layout]
) -> dict[str, Image.Image]:
    """Return every size of the frame that is decoded now."""
    frame = _Source(to_scalable_mode(decoded.image, decoded.profile), decoded.orientation, decoded.profile)
    larger: list[Image.Image] = []
    made: dict[str, Image.Image] = {}
    for size in sorted(sizes, key=lambda size: -layouts[size.name].shown.pixels):
        plan = layouts[size.name]
        ample = [image for image in larger if _is_ample(image, plan)]
        source = _Source(ample[-1]) if ample else frame
        shown = _shown(source, plan, size)
        shown.info = {}  # profile, comment and thumbnail of the upload stay behind
        if plan.part == WHOLE:
            larger.append(shown)
        is_padded = size.fit is Fit.CONTAIN
        made[size.name] = pad_to_canvas(shown, plan.canvas, size) if is_padded else shown
    return made


def _shown(source: _Source, plan: Layout, size: Size) -> Image.Image:
    """Return the shown part of the picture, upright and in sRGB."""
    box = None
    if plan.part != WHOLE:
        shares = to_stored_coordinates(plan.part, source.orientation, is_place=False)
        place = to_stored_coordinates(size.gravity.point, source.orientation)
        width, height = source.image.width * shares[0], source.image.height * shares[1]
        left, top = (source.image.width - width) * place[0], (source.image.height - height) * place[1]
        box = (left, top, left + width, top + height)
    small = scale(source.image, turned(plan.shown, source.orientation), box=box)
    return drop_opaque_alpha(to_srgb(upright(small, source.orientation), source.profile))


def _duration_ms(image: Image.Image) -> int:
    duration = image.info.get("duration", 0)
    return int(duration) if isinstance(duration, int | float) else 0


def _is_ample(image: Image.Image, plan: Layout) -> bool:
    whole = plan.whole
    return image.width >= _REUSE_FACTOR * whole.width and image.height >= _REUSE_FACTOR * whole.height
