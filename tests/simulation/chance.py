"""
Random numbers that depend on the seed, on a label, and on how often the label was used before.

A generator that is shared by everything would make each decision depend on all earlier ones. Here, dropping
one action from a schedule changes few decisions about others, so that a failing schedule can be shrunk.
"""

from collections.abc import Callable
from typing import Final
from zlib import crc32

_ALL: Final = 2**64
_MASK: Final = _ALL - 1
_STEP: Final = 0x9E3779B97F4A7C15


def mixed(number: int) -> int:
    """Return 64 well mixed bits (the finalizer of splitmix64)."""
    number = (number + _STEP) & _MASK
    number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
    number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
    return number ^ (number >> 31)


class Chance:
    """
    Decides by a seed.

    Args:
        seed: The seed of the run.
    """

    def __init__(self, seed: int) -> None:
        self._seed = mixed(seed)
        self._counters: dict[str, int] = {}

    def bits(self, label: str) -> int:
        """Return the next 64 random bits for a label."""
        number = self._counters.get(label)
        if number is None:
            number = mixed(self._seed ^ crc32(label.encode()))
        self._counters[label] = number = (number + _STEP) & _MASK
        # `mixed`, without the call: this runs several times for each event.
        number = (number + _STEP) & _MASK
        number = ((number ^ (number >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
        number = ((number ^ (number >> 27)) * 0x94D049BB133111EB) & _MASK
        return number ^ (number >> 31)

    def fraction(self, label: str) -> float:
        """Return the next number from 0 to 1 for a label."""
        return self.bits(label) / _ALL

    def fractions(self, label: str) -> Callable[[], float]:
        """Return a function that returns the next number from 0 to 1 for a label that only it uses."""
        number = mixed(self._seed ^ crc32(label.encode()))

        def following() -> float:
            nonlocal number
            number = mixes = (number + _STEP) & _MASK
            # `mixed`, without the call: this runs for each event.
            mixes = (mixes + _STEP) & _MASK
            mixes = ((mixes ^ (mixes >> 30)) * 0xBF58476D1CE4E5B9) & _MASK
            mixes = ((mixes ^ (mixes >> 27)) * 0x94D049BB133111EB) & _MASK
            return (mixes ^ (mixes >> 31)) / _ALL

        return following

    def between(self, low: float, high: float, label: str) -> float:
        """Return the next number of a range for a label."""
        return low + (high - low) * self.fraction(label)

    def happens(self, share: float, label: str) -> bool:
        """Return whether something that happens with this probability happens now."""
        return self.fraction(label) < share

    def index(self, length: int, label: str) -> int:
        """Return the next index into a sequence of this length for a label."""
        return self.bits(label) % length
