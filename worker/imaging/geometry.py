"""How large a picture becomes, and which part of it is shown."""

from typing import Final, NamedTuple

from worker.domain.recipe import Fit, Size
from worker.imaging.picture import Extent

WHOLE: Final = (1.0, 1.0)


class Layout(NamedTuple):
    """
    How a picture meets a box.

    Attributes:
        shown: How large the shown part of the picture becomes.
        part: The shown part, as shares of the picture's width and height.
        canvas: How large the rendition is.
    """

    shown: Extent
    part: tuple[float, float]
    canvas: Extent

    @property
    def whole(self) -> Extent:
        """How large all of the picture would become at the same scale."""
        return Extent(round(self.shown.width / self.part[0]), round(self.shown.height / self.part[1]))


def layout(original: Extent, size: Size) -> Layout:
    """Return how a picture of this extent meets the box of a size; never larger than the box."""
    match size.fit:
        case Fit.COVER:
            return _covering(original, size)
        case Fit.FILL:
            box = Extent(size.width, size.height)
            shown = box if size.enlarge else Extent(*map(min, original, box))
            return Layout(shown, WHOLE, shown)
        case Fit.CONTAIN:
            return Layout(fit_inside(original, size), WHOLE, Extent(size.width, size.height))
        case _:
            shown = fit_inside(original, size)
            return Layout(shown, WHOLE, shown)


def fit_inside(original: Extent, box: Size) -> Extent:
    """
    Return the largest extent of this shape inside the box, never below 1 px.

    Never above the original either, unless the size may enlarge.
    """
    if original.width <= box.width and original.height <= box.height and not box.enlarge:
        return original
    if original.width * box.height >= original.height * box.width:
        return Extent(box.width, _scaled(original.height, box.width, original.width))
    return Extent(_scaled(original.width, box.height, original.height), box.height)


def offset(outer: Extent, inner: Extent, anchor: tuple[float, float]) -> tuple[int, int]:
    """Return where the inner extent begins when it stands at the anchor of the outer one."""
    return round((outer.width - inner.width) * anchor[0]), round((outer.height - inner.height) * anchor[1])


def _covering(original: Extent, size: Size) -> Layout:
    scale = max(size.width / original.width, size.height / original.height)
    if not size.enlarge:
        scale = min(1.0, scale)
    whole = (original.width * scale, original.height * scale)
    shown = Extent(
        max(1, min(size.width, round(whole[0]))),
        max(1, min(size.height, round(whole[1]))),
    )
    part = (min(1.0, shown.width / whole[0]), min(1.0, shown.height / whole[1]))
    return Layout(shown, part, shown)


def _scaled(side: int, numerator: int, denominator: int) -> int:
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
