"""Model of the autoscaler that `config/cloudformation/service.yaml` configures, from AWS documentation."""

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from bench.scaling.autoscaler import PERIOD_S, MinuteMetric, Observation
from tests.support.templates import resolved, template

HIGH_ALARM_MINUTES: Final = 3
LOW_ALARM_MINUTES: Final = 15
LOW_ALARM_SHARE: Final = 0.9
"""Alarms of target tracking: 3 minutes above the target, or 15 minutes below 0.9 of it."""


@dataclass(slots=True)
class TargetTracking:
    """
    Application Auto Scaling of an ECS service by target tracking.

    AWS documents the alarms and cooldowns and that it scales out in proportion, but not how far it scales in
    at once. This model scales in in proportion, too, which is the worst case for the delay.

    Attributes:
        target: Target of work per replica.
        min_replicas: Minimum number of replicas.
        max_replicas: Maximum number of replicas.
        out_cooldown_s: Cooldown after scaling out.
        in_cooldown_s: Cooldown after scaling in.
        counts_sent: Whether the messages sent in the last minute count as work, in addition to the backlog.
        cpu_target: Target of a second policy, which only scales out: the CPU of the service, as a share; None
            without it.
    """

    target: float
    min_replicas: int
    max_replicas: int
    out_cooldown_s: int
    in_cooldown_s: int
    counts_sent: bool
    cpu_target: float | None = None
    _cpu: MinuteMetric = field(default_factory=lambda: MinuteMetric(HIGH_ALARM_MINUTES), init=False)
    _work: MinuteMetric = field(default_factory=lambda: MinuteMetric(LOW_ALARM_MINUTES), init=False)
    _running: MinuteMetric = field(default_factory=lambda: MinuteMetric(LOW_ALARM_MINUTES), init=False)
    _scaled_out_s: int = field(default=-(10**9), init=False)
    _scaled_out_to: int = field(default=0, init=False)
    _scaled_in_s: int = field(default=-(10**9), init=False)
    _cpu_out_s: int = field(default=-(10**9), init=False)

    @classmethod
    def shipped(cls) -> Self:
        """
        Read the policy from the template.

        Raises:
            ValueError: The template has a metric that is not modelled.
        """
        service = template("service.yaml")
        resources = resolved(service["Resources"], service)
        scalable_target = resources["ScalableTarget"]["Properties"]
        policy = resources["BacklogPolicy"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        return cls(
            target=policy["TargetValue"],
            min_replicas=scalable_target["MinCapacity"],
            max_replicas=scalable_target["MaxCapacity"],
            out_cooldown_s=policy["ScaleOutCooldown"],
            in_cooldown_s=policy["ScaleInCooldown"],
            counts_sent=_counts_sent(policy["CustomizedMetricSpecification"]["Metrics"]),
        )

    def decide(self, observation: Observation, desired: int) -> int:
        """Evaluate the alarms every minute, with the metrics that can be read by then."""
        now_s = observation.now_s
        arrivals = PERIOD_S * observation.sent if self.counts_sent else 0
        self._work.add(now_s, observation.backlog + arrivals)
        self._running.add(now_s, observation.running)
        self._cpu.add(now_s, observation.cpu)
        if now_s % PERIOD_S:
            return desired
        minutes = zip(self._work.readable(now_s), self._running.readable(now_s), strict=True)
        # Both are sums over a minute. While no task runs, the template's expression divides by one.
        metric = [work / max(running, PERIOD_S) for work, running in minutes]
        wanted = max(self._tracked(now_s, desired, metric), self._for_cpu(now_s, desired))
        return min(self.max_replicas, max(self.min_replicas, wanted))

    def _for_cpu(self, now_s: int, desired: int) -> int:
        """Return the number of replicas that the policy on the CPU sets; 0 if it sets none."""
        cpu = [total / PERIOD_S for total in self._cpu.readable(now_s)]
        if self.cpu_target is None or len(cpu) < HIGH_ALARM_MINUTES:
            return 0
        if min(cpu[-HIGH_ALARM_MINUTES:]) <= self.cpu_target or now_s - self._cpu_out_s < self.out_cooldown_s:
            return 0
        self._cpu_out_s = now_s
        return math.ceil(desired * cpu[-1] / self.cpu_target)

    def _tracked(self, now_s: int, desired: int, metric: Sequence[float]) -> int:
        """Return the number of replicas that target tracking sets, before minimum and maximum."""
        if len(metric) >= HIGH_ALARM_MINUTES and min(metric[-HIGH_ALARM_MINUTES:]) > self.target:
            wanted = min(self.max_replicas, math.ceil(desired * metric[-1] / self.target))
            # A larger scale-out than the one that started the cooldown does not wait for its end.
            if now_s - self._scaled_out_s >= self.out_cooldown_s or wanted > self._scaled_out_to:
                if wanted > desired:
                    self._scaled_out_s, self._scaled_out_to = now_s, wanted
                return max(desired, wanted)
        is_low = len(metric) >= LOW_ALARM_MINUTES and (
            max(metric[-LOW_ALARM_MINUTES:]) < LOW_ALARM_SHARE * self.target
        )
        if is_low and now_s - self._scaled_in_s >= self.in_cooldown_s:
            wanted = math.ceil(desired * metric[-1] / self.target)
            if wanted < desired:
                self._scaled_in_s = now_s
            return min(desired, wanted)
        return desired


def _counts_sent(metrics: Sequence[Mapping[str, Any]]) -> bool:
    """Return whether the metric includes messages sent; raise for expressions that are not modelled."""
    (expression,) = (metric["Expression"] for metric in metrics if "Expression" in metric)
    filled = re.sub(r"FILL\((\w+), 0\)", r"\1", expression)  # a missing metric counts as 0 here, too
    modelled = {
        "(visible + inFlight) / IF(running > 0, running, 1)": False,
        "(visible + inFlight + sent) / IF(running > 0, running, 1)": True,
    }
    if filled not in modelled:
        message = f"bench.scaling does not model this metric: {expression}"
        raise ValueError(message)
    return modelled[filled]
