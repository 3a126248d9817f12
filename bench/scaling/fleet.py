"""A queue and the replicas that work on it, second by second."""

import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from bench.scaling.autoscaler import Autoscaler, Observed
from bench.scaling.traffic import Series


@dataclass(frozen=True, slots=True)
class Replica:
    """
    What one replica does a second.

    The times were measured on two shared cores with an embedded AWS, for 1920x1080 JPEGs of 0.4 MB: 13.1 ms
    of the children and 9.1 ms of the parent. How long a picture waits for AWS is assumed.
    """

    child_s: float = 0.014
    parent_s: float = 0.010
    waiting_s: float = 0.130
    """For S3, DynamoDB and SQS, all calls of one picture together."""
    cpus: float = 2
    processes: int = 2
    slots: int = 8
    share: float = 0.75
    """How much of what is possible is reached: pictures differ, and their arrival is no march."""
    starts_in_s: int = 90
    """From the decision to the first picture: place, image, start; a new node takes longer."""

    @property
    def latency_s(self) -> float:
        """How long a picture takes that needs not wait for its turn."""
        return self.child_s + self.parent_s + self.waiting_s

    @property
    def per_s(self) -> float:
        """Pictures a second: whatever runs out first, of CPUs, children, the parent and slots."""
        return self.share * min(
            self.cpus / (self.child_s + self.parent_s),
            self.processes / self.child_s,
            1 / self.parent_s,
            self.slots / self.latency_s,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """What came of it: one figure for each second."""

    arrived: Series
    served: Series
    waiting: Series
    replicas: Series
    """All that are paid for: those that work and those that start."""
    latency_s: float

    @property
    def replica_hours(self) -> float:
        """How long replicas were paid for."""
        return float(self.replicas.sum()) / 3600

    def delays(self) -> Series:
        """
        Return how long what arrived in each second waited until it was done, first come, first served.

        The middle of what arrived in a second, between the curves of all arrived and all served. What is not
        done at the end has waited at least until then.
        """
        arrived, served = np.cumsum(self.arrived), np.cumsum(self.served)
        middle = arrived - self.arrived / 2
        done = np.minimum(np.searchsorted(served, middle), len(served) - 1)
        into = (middle - (served[done] - self.served[done])) / np.maximum(self.served[done], 1e-9)
        waited = done + np.clip(into, 0, 1) - (np.arange(len(middle)) + 0.5)
        # Where nothing came there is no delay, and rounding would find one.
        return np.where(self.arrived > 0, np.maximum(waited, 0), 0) + self.latency_s


def simulate(
    arrived: Series, autoscaler: Autoscaler, replica: Replica, *, busy_s: float | None = None
) -> Run:
    """
    Run the fleet through the traffic.

    Args:
        arrived: Uploads in each second.
        autoscaler: Decides on the size of the fleet.
        replica: What its replicas do.
        busy_s: How long a replica has to have something in hand, without a pause, before scaling in leaves it
            alone; None stops any.
    """
    served, waiting, replicas = (np.zeros(len(arrived)) for _ in range(3))
    autoscaler = deepcopy(autoscaler)  # what it remembers belongs to this run
    desired = ready = autoscaler.least
    starting: list[int] = []
    """When each of those that start will be ready, the soonest first."""
    queue = 0.0
    for now_s, come in enumerate(arrived.tolist()):
        while starting and starting[0] <= now_s:
            starting.pop(0)
            ready += 1
        queue += come
        done = min(queue, ready * replica.per_s)
        queue -= done
        served[now_s], waiting[now_s], replicas[now_s] = done, queue, ready + len(starting)
        seen = Observed(now_s=now_s, backlog=queue + done * replica.latency_s, sent=come, running=ready)
        desired = autoscaler.decide(seen, desired)
        starting += [now_s + replica.starts_in_s] * (desired - ready - len(starting))
        while starting and ready + len(starting) > desired:
            starting.pop()
        if ready > desired and (busy_s is None or _is_idle(queue, done / ready, replica.latency_s, busy_s)):
            ready = desired
    return Run(arrived, served, waiting, replicas, replica.latency_s)


def _is_idle(queue: float, per_s: float, latency_s: float, busy_s: float) -> bool:
    """
    Return whether a replica has pauses that come soon enough, as a mean.

    Pictures that come by chance, each in hand for a fixed time, make busy periods of (exp(load) - 1) / rate:
    those of a queue with as many servers as customers (M/G/infinity).
    """
    return queue == 0 and (per_s == 0 or math.expm1(per_s * latency_s) / per_s < busy_s)
