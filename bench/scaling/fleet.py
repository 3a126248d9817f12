"""Simulation of a queue and the replicas that consume it, second by second."""

import math
from copy import deepcopy
from dataclasses import dataclass

import numpy as np

from bench.scaling.autoscaler import Autoscaler, Observation
from bench.scaling.traffic import Series


@dataclass(frozen=True, slots=True)
class Replica:
    """
    Capacity of one replica.

    CPU times were measured for 1920x1080 JPEGs of 0.4 MB on two shared cores with an embedded AWS: 13.1 ms in
    decoder processes and 9.1 ms in the worker process. The time for AWS requests is assumed.

    Attributes:
        decoder_s: CPU time per image in decoder processes.
        worker_s: CPU time per image in the worker process.
        aws_s: Waiting time per image for all requests to S3, DynamoDB and SQS together.
        cpus: Number of CPUs.
        processes: Number of decoder processes.
        slots: Images in flight at most.
        utilization: Share of the theoretical capacity that is reached, because images differ and arrive
            irregularly.
        startup_s: Time from the decision to the first image: scheduling, image pull, start. A new node takes
            longer.
    """

    decoder_s: float = 0.014
    worker_s: float = 0.010
    aws_s: float = 0.130
    cpus: float = 2
    processes: int = 2
    slots: int = 8
    utilization: float = 0.75
    startup_s: int = 90

    @property
    def latency_s(self) -> float:
        """Time to process an image that does not wait in the queue."""
        return self.decoder_s + self.worker_s + self.aws_s

    def cpu(self, per_s: float) -> float:
        """Return the share of the CPUs that so many images per second use."""
        return per_s * (self.decoder_s + self.worker_s) / self.cpus

    @property
    def per_s(self) -> float:
        """Images per second, limited by CPUs, decoder processes, the worker process or slots."""
        return self.utilization * min(
            self.cpus / (self.decoder_s + self.worker_s),
            self.processes / self.decoder_s,
            1 / self.worker_s,
            self.slots / self.latency_s,
        )


@dataclass(frozen=True, slots=True)
class Run:
    """
    Result of a simulation, with one value per second in each series.

    Attributes:
        arrived: Uploads.
        processed: Processed images.
        backlog: Messages in the queue.
        replicas: Replicas that are paid for, running or starting.
        latency_s: Time to process an image that does not wait in the queue.
    """

    arrived: Series
    processed: Series
    backlog: Series
    replicas: Series
    latency_s: float

    @property
    def replica_hours(self) -> float:
        """Hours that are paid for, over all replicas."""
        return float(self.replicas.sum()) / 3600

    def delays(self) -> Series:
        """
        Return the time from upload to completion of the uploads of each second, in a FIFO queue.

        It is measured for the middle upload of each second, between the cumulative curves of arrived and
        processed images. Uploads that are not processed at the end have waited until the end.
        """
        arrived, processed = np.cumsum(self.arrived), np.cumsum(self.processed)
        middle = arrived - self.arrived / 2
        second = np.minimum(np.searchsorted(processed, middle), len(processed) - 1)
        before = processed[second] - self.processed[second]
        fraction = (middle - before) / np.maximum(self.processed[second], 1e-9)
        waited = second + np.clip(fraction, 0, 1) - (np.arange(len(middle)) + 0.5)
        # Rounding would give seconds without uploads a small delay.
        return np.where(self.arrived > 0, np.maximum(waited, 0), 0) + self.latency_s


def simulate(
    arrived: Series, autoscaler: Autoscaler, replica: Replica, *, protected_after_s: float | None = None
) -> Run:
    """
    Run a fleet through the traffic.

    Args:
        arrived: Uploads in each second.
        autoscaler: Determines the size of the fleet.
        replica: Capacity of each replica.
        protected_after_s: Time without a pause after which a replica is protected from scaling in. With None,
            any replica can be stopped.
    """
    processed, backlog, replicas = (np.zeros(len(arrived)) for _ in range(3))
    autoscaler = deepcopy(autoscaler)  # its state belongs to this run
    desired = running = autoscaler.min_replicas
    starting: list[int] = []
    """Times at which the starting replicas will be running, earliest first."""
    queue = 0.0
    for now_s, arriving in enumerate(arrived.tolist()):
        while starting and starting[0] <= now_s:
            starting.pop(0)
            running += 1
        queue += arriving
        done = min(queue, running * replica.per_s)
        queue -= done
        processed[now_s], backlog[now_s], replicas[now_s] = done, queue, running + len(starting)
        observation = Observation(
            now_s=now_s,
            backlog=queue + done * replica.latency_s,
            sent=arriving,
            running=running,
            cpu=replica.cpu(done / running) if running else 0.0,
        )
        desired = autoscaler.decide(observation, desired)
        starting += [now_s + replica.startup_s] * (desired - running - len(starting))
        while starting and running + len(starting) > desired:
            starting.pop()
        if running > desired and (
            protected_after_s is None
            or _has_pauses(queue, done / running, replica.latency_s, within_s=protected_after_s)
        ):
            running = desired
    return Run(arrived, processed, backlog, replicas, replica.latency_s)


def _has_pauses(queue: float, per_s: float, latency_s: float, *, within_s: float) -> bool:
    """
    Return whether the mean busy period of a replica is shorter than `within_s`.

    For images that arrive at random and are in flight for a fixed time, the mean busy period is
    (exp(load) - 1) / rate, as in a queue with unlimited servers (M/G/infinity).
    """
    return queue == 0 and (per_s == 0 or math.expm1(per_s * latency_s) / per_s < within_s)
