"""The fleets that are simulated."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Final

from bench.scaling.autoscaler import Autoscaler, Fixed
from bench.scaling.fleet import Replica
from bench.scaling.keda import Keda
from bench.scaling.target_tracking import TargetTracking

MEASURED: Final = Replica()
PESSIMISTIC: Final = Replica(child_s=0.050, parent_s=0.015, waiting_s=0.400)
"""Photographs of 12 megapixels in several sizes, and an AWS three times as slow."""

BUSY_S: Final = 5.0
"""How long an ECS task is busy without a pause before it protects itself (`worker.aws.task_protection`)."""


@dataclass(frozen=True, slots=True)
class Case:
    """One fleet to put through the traffic."""

    autoscaler: Autoscaler
    replica: Replica = MEASURED
    busy_s: float | None = None


def cases() -> Mapping[str, Case]:
    """Return the policies as shipped, and what they are compared with."""
    keda, ecs = Keda.shipped(), TargetTracking.shipped()
    per_minute = 0.75 * 60 * PESSIMISTIC.per_s
    retuned = replace(keda, backlog_each=15 * PESSIMISTIC.per_s, sent_each=per_minute, most=60)
    backlog_alone = replace(ecs, counts_sent=False, target=15 * MEASURED.per_s)
    return {
        "Kubernetes, as shipped": Case(keda),
        "ECS, as shipped": Case(ecs, busy_s=BUSY_S),
        "7 replicas, always": Case(Fixed(7)),
        "20 replicas, always": Case(Fixed(20)),
        "Kubernetes, backlog alone": Case(replace(keda, sent_each=None)),
        "Kubernetes, from 0": Case(replace(keda, least=0)),
        "Kubernetes, up to 40": Case(replace(keda, most=40)),
        "Kubernetes, 4 minutes to start": Case(keda, replace(MEASURED, starts_in_s=240)),
        "ECS, any task may be stopped": Case(ecs),
        "ECS, backlog alone": Case(backlog_alone, busy_s=BUSY_S),
        "ECS, 4 minutes to start": Case(ecs, replace(MEASURED, starts_in_s=240), busy_s=BUSY_S),
        "slow replicas: Kubernetes, as shipped": Case(keda, PESSIMISTIC),
        "slow replicas: Kubernetes, numbers for them": Case(retuned, PESSIMISTIC),
        "slow replicas: ECS, as shipped": Case(ecs, PESSIMISTIC, busy_s=BUSY_S),
        "slow replicas: ECS, numbers for them": Case(
            replace(ecs, target=per_minute, most=60), PESSIMISTIC, busy_s=BUSY_S
        ),
    }
