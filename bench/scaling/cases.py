"""Fleets that are simulated: the autoscaling policies as shipped, and variants for comparison."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench.scaling.autoscaler import Autoscaler, Fixed
from bench.scaling.fleet import Replica
from bench.scaling.keda import Keda
from bench.scaling.target_tracking import TargetTracking
from bench.scaling.traffic import HOUR_S

BUSY_S: Final = 5.0
"""Time without a pause after which an ECS task protects itself (`worker.aws.task_protection`)."""

MEASURED: Final = Replica()
SLOW: Final = Replica(decoder_s=0.050, worker_s=0.015, aws_s=0.400)
"""For photographs of 12 megapixels in several sizes, and an AWS that takes three times as long."""
CPU_BOUND: Final = Replica(decoder_s=0.100, worker_s=0.015)
"""For images of which each takes seven times the CPU: the CPUs are the limit, and not the slots."""
CPU_TARGET: Final = 0.6
"""Target of a second policy on ECS, which only scales out: 80 % of the CPU that `CPU_BOUND` reaches."""

UNREADABLE: Final = (6 * HOUR_S, 18 * HOUR_S)
"""Half a day, from the rise of the daily wave to its fall, in which CloudWatch cannot be read."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fleet to simulate; for the parameters see `simulate`."""

    autoscaler: Autoscaler
    replica: Replica = MEASURED
    protected_after_s: float | None = None


def cases() -> Mapping[str, Case]:
    """Return the simulated fleets by name."""
    keda, ecs = Keda.shipped(), TargetTracking.shipped()
    per_minute = 0.75 * 60 * SLOW.per_s
    keda_for_slow = replace(
        keda, backlog_per_replica=15 * SLOW.per_s, sent_per_replica=per_minute, max_replicas=60
    )
    ecs_for_slow = replace(ecs, target=per_minute, max_replicas=60)
    backlog_only = replace(ecs, counts_sent=False, target=15 * MEASURED.per_s)
    return {
        "Kubernetes, as shipped": Case(keda),
        "ECS, as shipped": Case(ecs, protected_after_s=BUSY_S),
        "7 replicas, constant": Case(Fixed(7)),
        "20 replicas, constant": Case(Fixed(20)),
        "Kubernetes, backlog only": Case(replace(keda, sent_per_replica=None)),
        "Kubernetes, minimum 0": Case(replace(keda, min_replicas=0)),
        "Kubernetes, maximum 40": Case(replace(keda, max_replicas=40)),
        "Kubernetes, CloudWatch unreadable": Case(replace(keda, unreadable=UNREADABLE)),
        "the same, by queue depth alone": Case(replace(keda, unreadable=UNREADABLE, fallback_replicas=None)),
        "Kubernetes, 4 minutes to start": Case(keda, replace(MEASURED, startup_s=240)),
        "ECS, without task protection": Case(ecs),
        "ECS, backlog only": Case(backlog_only, protected_after_s=BUSY_S),
        "ECS, 4 minutes to start": Case(ecs, replace(MEASURED, startup_s=240), protected_after_s=BUSY_S),
        "CPU-bound: ECS, as shipped": Case(ecs, CPU_BOUND, protected_after_s=BUSY_S),
        "CPU-bound: ECS, with a CPU policy": Case(
            replace(ecs, cpu_target=CPU_TARGET), CPU_BOUND, protected_after_s=BUSY_S
        ),
        "CPU-bound: ECS, adjusted": Case(
            replace(ecs, target=0.75 * 60 * CPU_BOUND.per_s, max_replicas=60),
            CPU_BOUND,
            protected_after_s=BUSY_S,
        ),
        "slow replicas: Kubernetes, as shipped": Case(keda, SLOW),
        "slow replicas: Kubernetes, adjusted": Case(keda_for_slow, SLOW),
        "slow replicas: ECS, as shipped": Case(ecs, SLOW, protected_after_s=BUSY_S),
        "slow replicas: ECS, adjusted": Case(ecs_for_slow, SLOW, protected_after_s=BUSY_S),
    }
