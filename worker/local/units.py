"""Format file sizes and image dimensions."""

from typing import Final

_STEP: Final = 1000
_TWO_DIGITS: Final = 9.95
"""From here on, an amount rounds to two digits before the decimal point, and is shown without decimals."""


def human_bytes(count: int) -> str:
    """Return a number of bytes with its unit, in powers of 1000: `515 B`, `82 kB`, `2.1 MB`."""
    amount = float(count)
    for unit in ("B", "kB", "MB", "GB"):
        if amount < _STEP - 0.5:
            decimals = 1 if amount < _TWO_DIGITS and unit != "B" else 0
            return f"{amount:.{decimals}f} {unit}"
        amount /= _STEP
    return f"{amount:.1f} TB"


def human_shape(size: tuple[int, int]) -> str:
    """Return (width, height) as `4032x3024`."""
    return f"{size[0]}x{size[1]}"
