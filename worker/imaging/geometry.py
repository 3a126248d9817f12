"""Compute how large a rendition becomes and which part of the picture it shows."""

from typing import Final, NamedTuple

from worker.domain.recipe import Fit, Size
from worker.imaging.picture import Extent

WHOLE: Final = (1.0, 1.0)


class Layout(NamedTuple):
    """
    How a picture is scaled, cropped and padded.

    Attributes:
        visible: Extent of the visible part of the picture after scaling.
        visible_share: The visible part, as shares of the picture's width and height.
        canvas: Extent of the rendition.
    """

    visible: Extent
    visible_share: tuple[float, float]
    canvas: Extent

    @property
    def uncropped(self) -> Extent:
        """Extent of the whole picture at the same scale."""
        return Extent(
            round(self.visible.width / self.visible_share[0]),
            round(self.visible.height / self.visible_share[1]),
        )


def layout(original: Extent, size: Size) -> Layout:
    """Return the layout of a picture of this extent in the box of a size; never larger than the box."""
    match size.fit:
        case Fit.COVER:
            return _cover(original, size)
        case Fit.FILL:
            box = Extent(size.width, size.height)
            visible = box if size.enlarge else Extent(*map(min, original, box))
            return Layout(visible, WHOLE, visible)
        case Fit.CONTAIN:
            return Layout(fit_inside(original, size), WHOLE, Extent(size.width, size.height))
        case _:
            visible = fit_inside(original, size)
            return Layout(visible, WHOLE, visible)


def fit_inside(original: Extent, box: Size) -> Extent:
    """
    Return the largest extent of the same aspect ratio inside the box, at least 1 px on each side.

    It is never larger than the original unless the size allows enlarging.
    """
    if original.width <= box.width and original.height <= box.height and not box.enlarge:
        return original
    if original.width * box.height >= original.height * box.width:
        return Extent(box.width, _scale_side(original.height, box.width, original.width))
    return Extent(_scale_side(original.width, box.height, original.height), box.height)


def offset(outer: Extent, inner: Extent, anchor: tuple[float, float]) -> tuple[int, int]:
    """Return the left and top offset of the inner extent, aligned with the outer one at an anchor."""
    return round((outer.width - inner.width) * anchor[0]), round((outer.height - inner.height) * anchor[1])


def window_at(side: int, share: float, anchor: float) -> tuple[float, float]:
    """
    Return the start and end of a window that is aligned with a side at an anchor.

    Args:
        side: Length of the side in pixels.
        share: Length of the window as a share of the side: above 0, to 1.
        anchor: 0 aligns their starts, 0.5 their middles, 1 their ends.
    """
    length = side * share
    start = (side - length) * anchor
    return start, start + length


def window_around(side: int, share: float, focus: float) -> tuple[float, float]:
    """Return the start and end of a window whose middle is as close to a point as the side's ends allow."""
    length = side * share
    start = min(max(0.0, side * focus - length / 2), side - length)
    return start, start + length


def _cover(original: Extent, size: Size) -> Layout:
    scale = max(size.width / original.width, size.height / original.height)
    if not size.enlarge:
        scale = min(1.0, scale)
    uncropped = (original.width * scale, original.height * scale)
    visible = Extent(
        max(1, min(size.width, round(uncropped[0]))),
        max(1, min(size.height, round(uncropped[1]))),
    )
    share = (min(1.0, visible.width / uncropped[0]), min(1.0, visible.height / uncropped[1]))
    return Layout(visible, share, visible)


def _scale_side(side: int, numerator: int, denominator: int) -> int:
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
