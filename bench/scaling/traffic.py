"""Synthetic traffic of three days: a daily wave, a burst of a million uploads, and a period without any."""

from dataclasses import dataclass
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

Series: TypeAlias = NDArray[np.float64]
"""One value per second."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """
    Number of uploads over time.

    Attributes:
        days: Number of days.
        min_per_s: Lowest rate of the daily wave.
        max_per_s: Highest rate of the daily wave.
        min_at_h: Hour of the lowest rate.
        burst: Uploads of the burst.
        burst_start_s: Start of the burst.
        burst_duration_s: Duration of the burst.
        silent_from_s: Start of the period without uploads.
        silent_until_s: End of the period without uploads.
        variation: Standard deviation of each minute's rate, relative to the wave.
    """

    days: int = 3
    min_per_s: float = 5.0
    max_per_s: float = 200.0
    min_at_h: float = 4.0
    burst: int = 1_000_000
    burst_start_s: int = DAY_S + 10 * HOUR_S
    burst_duration_s: int = 600
    silent_from_s: int = 2 * DAY_S
    silent_until_s: int = 2 * DAY_S + 6 * HOUR_S
    variation: float = 0.15

    @property
    def burst_end_s(self) -> int:
        """End of the burst."""
        return self.burst_start_s + self.burst_duration_s

    def rates(self) -> Series:
        """Return the expected uploads in each second, without the burst."""
        seconds = np.arange(self.days * DAY_S)
        phase = 2 * np.pi * (seconds / HOUR_S - self.min_at_h) / 24
        wave = (0.5 - 0.5 * np.cos(phase)) ** 2
        rates = self.min_per_s + (self.max_per_s - self.min_per_s) * wave
        rates[self.silent_from_s : self.silent_until_s] = 0
        return rates

    def arrivals(self, seed: int) -> Series:
        """Return random uploads in each second; the same seed gives the same uploads."""
        rng = np.random.default_rng(seed)
        minutes = rng.lognormal(-(self.variation**2) / 2, self.variation, self.days * DAY_S // 60)
        arrivals = rng.poisson(self.rates() * np.repeat(minutes, 60)).astype(np.float64)
        shares = np.full(self.burst_duration_s, 1 / self.burst_duration_s)
        arrivals[self.burst_start_s : self.burst_end_s] += rng.multinomial(self.burst, shares)
        return arrivals
