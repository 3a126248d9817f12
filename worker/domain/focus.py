"""The focal point of an image, which its uploader names in the object's metadata."""

import re
from typing import Final, NamedTuple

_NUMBER: Final = r"([01]|[01]?\.[0-9]{1,15}|[01]\.)"
_FOCUS: Final = re.compile(rf"\s*{_NUMBER}\s*,\s*{_NUMBER}\s*", re.ASCII)
_MAX_QUOTE_CHARACTERS: Final = 60
_DIGITS: Final = 4


class Focus(NamedTuple):
    """
    The point of an image that `cover` keeps in the middle, as far as the image's edges allow.

    Attributes:
        x: Share of the width of the upright image, from the left: 0 to 1.
        y: Share of its height, from the top.
    """

    x: float
    y: float

    def __str__(self) -> str:
        """Return the text of the metadata: `0.4,0.2`."""
        return f"{self.x:g},{self.y:g}"


def parse_focus(text: str) -> Focus:
    """
    Return the focal point that a text such as `0.4,0.2` names, rounded to four digits.

    Raises:
        ValueError: The text is anything else.
    """
    match = _FOCUS.fullmatch(text)
    point = Focus(*(round(float(number), _DIGITS) for number in match.groups())) if match else None
    if point is None or max(point) > 1:
        quoted = text[:_MAX_QUOTE_CHARACTERS]
        reason = f"{quoted!r} is not two numbers from 0 to 1, as in 0.4,0.2"
        raise ValueError(reason)
    return point
