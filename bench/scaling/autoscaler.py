"""What an autoscaler is: it sees the queue and the fleet, and says how many replicas there should be."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

PERIOD_S: Final = 60
"""Resolution of the metrics that SQS and Container Insights send to CloudWatch."""
METRIC_DELAY_S: Final = 60
"""Assumed: how long after the end of a minute its figures can be read."""


@dataclass(frozen=True, slots=True)
class Observed:
    """What an autoscaler can see."""

    now_s: int
    backlog: float
    """Messages visible and in flight."""
    sent: float
    """Messages that came in this second."""
    running: int
    """Replicas that work."""


class Minutes:
    """What CloudWatch knows: a figure for each minute, some time after its end."""

    def __init__(self, keep: int) -> None:
        self._sum = 0.0
        self._figures: deque[tuple[int, float]] = deque(maxlen=keep + METRIC_DELAY_S // PERIOD_S + 1)

    def add(self, now_s: int, value: float) -> None:
        """Add what happened in a second."""
        self._sum += value
        if now_s % PERIOD_S == PERIOD_S - 1:
            self._figures.append((now_s + 1 + METRIC_DELAY_S, self._sum))
            self._sum = 0.0

    def known(self, now_s: int) -> list[float]:
        """Return the sums of the last minutes that can be read, the newest last."""
        return [figure for at, figure in self._figures if at <= now_s]


class Autoscaler(Protocol):
    """Decides how many replicas there should be."""

    least: int

    def decide(self, seen: Observed, desired: int) -> int:
        """Hear of every second; return how many replicas are wanted, `desired` if nothing is to change."""
        ...


@dataclass(slots=True)
class Fixed:
    """A fleet of one size."""

    least: int

    def decide(self, seen: Observed, desired: int) -> int:  # noqa: ARG002 - the protocol's
        """Return its size."""
        return self.least
