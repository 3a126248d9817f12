"""The second step: every size of the recipe, from one decode."""

from typing import Final

from cykooz_resizer import FilterType, ResizeAlg, ResizeOptions, Resizer
from PIL import Image

from worker.domain.recipe import Size
from worker.imaging.colour import scalable, to_srgb, without_needless_alpha
from worker.imaging.geometry import fitted
from worker.imaging.orientation import turned, upright
from worker.imaging.picture import Decoded, Extent, Note, Picture

_RESIZER: Final = Resizer()
_LANCZOS: Final = ResizeOptions(ResizeAlg.convolution(FilterType.lanczos3))
_RESIZER_MODES: Final = frozenset({"L", "RGB", "RGBA"})
_REUSE_FACTOR: Final = 2


def resize(decoded: Decoded, *, sizes: tuple[Size, ...]) -> tuple[tuple[Picture, ...], Note]:
    """
    Make each size of the recipe: fitted inside its box, upright, in sRGB, never larger than the original.

    Turning and converting colours come after scaling, when there are fewer pixels to touch: converting before
    gives the same to 52 dB, as close as the drafts of `validate`. The largest size is made first; a smaller
    one is made from it when it is at most half as large.

    Args:
        decoded: Any mode, any orientation.
        sizes: The boxes, in pixels of the picture as displayed; the main one first.

    Returns:
        One picture per size, in the order of `sizes`.
    """
    extents = {size.name: fitted(decoded.original, size) for size in sizes}
    made: dict[str, Image.Image] = {}
    base = scalable(decoded.image, decoded.profile)
    for name, extent in sorted(extents.items(), key=lambda item: -item[1].pixels):
        larger = [image for image in made.values() if _is_ample(image, extent)]
        if larger:
            made[name] = scale(larger[-1], extent)
        else:
            small = scale(base, turned(extent, decoded.orientation))
            coloured = to_srgb(upright(small, decoded.orientation), decoded.profile)
            made[name] = without_needless_alpha(coloured)
            made[name].info = {}  # profile, comment and thumbnail of the upload stay behind
    pictures = tuple(Picture(size.name, made[size.name], decoded.format) for size in sizes)
    dimensions = {
        "original": decoded.original.document,
        "processed": extents[sizes[0].name].document,
    }
    return pictures, Note(detail={"dimensions": dimensions})


def scale(image: Image.Image, extent: Extent) -> Image.Image:
    """
    Return a new picture, scaled to exactly this extent by Lanczos with a support of three.

    Transparency is premultiplied meanwhile, so that the colour of what cannot be seen does not bleed.

    Args:
        image: L, RGB or RGBA by SIMD code; other modes by Pillow's own, slower `resize`.
        extent: In pixels.
    """
    if image.size == extent:
        return image.copy()
    if image.mode not in _RESIZER_MODES:
        return image.resize(extent, Image.Resampling.LANCZOS)
    scaled = Image.new(image.mode, extent)
    _RESIZER.resize_pil(image, scaled, _LANCZOS)
    return scaled


def _is_ample(image: Image.Image, extent: Extent) -> bool:
    return image.width >= _REUSE_FACTOR * extent.width and image.height >= _REUSE_FACTOR * extent.height
