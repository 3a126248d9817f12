"""Interface of the simulated autoscalers, and the metrics that they observe."""

from collections import deque
from dataclasses import dataclass
from typing import Final, Protocol

PERIOD_S: Final = 60
"""Resolution of the metrics that SQS and Container Insights send to CloudWatch."""
METRIC_DELAY_S: Final = 60
"""Assumed time from the end of a minute until its metrics can be read."""


@dataclass(frozen=True, slots=True)
class Observation:
    """
    State of the queue and the fleet in one second.

    Attributes:
        now_s: Time since the start of the simulation.
        backlog: Messages visible and in flight.
        sent: Messages that arrived in this second.
        running: Replicas that have started.
        cpu: CPU that a running replica uses on average, as a share of its CPUs.
    """

    now_s: int
    backlog: float
    sent: float
    running: int
    cpu: float = 0.0


class MinuteMetric:
    """CloudWatch metric: the sum of each minute, which can be read after a delay."""

    def __init__(self, keep: int) -> None:
        self._sum = 0.0
        self._minutes: deque[tuple[int, float]] = deque(maxlen=keep + METRIC_DELAY_S // PERIOD_S + 1)

    def add(self, now_s: int, value: float) -> None:
        """Add the value of a second."""
        self._sum += value
        if now_s % PERIOD_S == PERIOD_S - 1:
            self._minutes.append((now_s + 1 + METRIC_DELAY_S, self._sum))
            self._sum = 0.0

    def readable(self, now_s: int) -> list[float]:
        """Return the sums of the latest minutes that can be read, oldest first."""
        return [value for readable_s, value in self._minutes if readable_s <= now_s]


class Autoscaler(Protocol):
    """Determines the number of replicas."""

    min_replicas: int

    def decide(self, observation: Observation, desired: int) -> int:
        """Return the desired number of replicas; called every second with the current one."""
        ...


@dataclass(slots=True)
class Fixed:
    """A fleet of constant size."""

    min_replicas: int

    def decide(self, observation: Observation, desired: int) -> int:  # noqa: ARG002 - required by the protocol
        """Return the constant size."""
        return self.min_replicas
