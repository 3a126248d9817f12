"""Three days of uploads, made up: a daily wave, a burst of a million, and a night without any."""

from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

HOUR_S: Final = 3600
DAY_S: Final = 24 * HOUR_S

Series = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Traffic:
    """How many uploads come, and when."""

    days: int = 3
    quietest_per_s: float = 5.0
    busiest_per_s: float = 200.0
    quietest_h: float = 4.0
    burst: int = 1_000_000
    burst_at_s: int = DAY_S + 10 * HOUR_S
    burst_lasts_s: int = 600
    silent_from_s: int = 2 * DAY_S
    silent_to_s: int = 2 * DAY_S + 6 * HOUR_S
    unrest: float = 0.15
    """Standard deviation of each minute's rate around the wave, as a share."""

    def rates(self) -> Series:
        """Return uploads a second for each second, before chance has its part."""
        seconds = np.arange(self.days * DAY_S)
        phase = 2 * np.pi * (seconds / HOUR_S - self.quietest_h) / 24
        wave = (0.5 - 0.5 * np.cos(phase)) ** 2
        rates = self.quietest_per_s + (self.busiest_per_s - self.quietest_per_s) * wave
        rates[self.silent_from_s : self.silent_to_s] = 0
        return rates

    def arrivals(self, seed: int) -> Series:
        """Draw how many uploads come in each second; the same seed draws the same."""
        chance = np.random.default_rng(seed)
        minutes = chance.lognormal(-(self.unrest**2) / 2, self.unrest, self.days * DAY_S // 60)
        arrivals = chance.poisson(self.rates() * np.repeat(minutes, 60)).astype(np.float64)
        spread = chance.multinomial(self.burst, np.full(self.burst_lasts_s, 1 / self.burst_lasts_s))
        arrivals[self.burst_at_s : self.burst_at_s + self.burst_lasts_s] += spread
        return arrivals
