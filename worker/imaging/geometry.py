"""How large a picture becomes."""

from worker.domain.recipe import Size
from worker.imaging.picture import Extent


def fitted(original: Extent, box: Size) -> Extent:
    """Return the largest extent of this shape inside the box: never above the original, never below 1 px."""
    if original.width <= box.width and original.height <= box.height:
        return original
    if original.width * box.height >= original.height * box.width:
        return Extent(box.width, _scaled(original.height, box.width, original.width))
    return Extent(_scaled(original.width, box.height, original.height), box.height)


def _scaled(side: int, numerator: int, denominator: int) -> int:
    return max(1, (2 * side * numerator + denominator) // (2 * denominator))
