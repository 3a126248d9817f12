"""Draw a series of numbers as the points of an SVG polyline."""

from collections.abc import Sequence
from dataclasses import dataclass

WIDTH = 300
HEIGHT = 48


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparkline:
    """
    A line in a box of `WIDTH` by `HEIGHT`.

    Attributes:
        points: Value of the attribute `points` of a polyline.
        latest: The last value; None if there is none.
        highest: The highest value; None if there is none.
    """

    points: str
    latest: int | None
    highest: int | None


def sparkline(series: Sequence[tuple[float, int]], *, span: float) -> Sparkline:
    """
    Return the line of a series.

    Args:
        series: Each value with its age, in the unit of `span`, the oldest first.
        span: The age at the left edge.
    """
    values = [value for _, value in series]
    top = max(values, default=0)
    points = (
        f"{WIDTH * (1 - min(age, span) / span):.1f},{(HEIGHT - 2) * (1 - value / max(top, 1)) + 1:.1f}"
        for age, value in series
    )
    return Sparkline(
        points=" ".join(points),
        latest=values[-1] if values else None,
        highest=top if values else None,
    )
