"""Model of the autoscaler that `config/kubernetes` configures, from its documentation and source."""

import math
from collections import deque
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml

from bench.common.paths import ROOT
from bench.scaling.autoscaler import MinuteMetric, Observation

KUBERNETES: Final = ROOT / "config" / "kubernetes"

SYNC_PERIOD_S: Final = 15
"""Default of `--horizontal-pod-autoscaler-sync-period`."""
TOLERANCE: Final = 0.1
"""Default of `--horizontal-pod-autoscaler-tolerance`, the deviation of the metric that is ignored."""


@dataclass(frozen=True, slots=True)
class Policy:
    """A scaling policy of the autoscaler's `behavior`: the maximum change within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The autoscaler's `behavior` in one direction."""

    window_s: int
    policies: Sequence[Policy]
    select: Literal["Max", "Min", "Disabled"] = "Max"

    @classmethod
    def parse(cls, rules: Mapping[str, Any]) -> Self:
        """Parse `scaleUp` or `scaleDown`."""
        policies = tuple(
            Policy(policy["type"], policy["value"], policy["periodSeconds"]) for policy in rules["policies"]
        )
        return cls(rules["stabilizationWindowSeconds"], policies, rules["selectPolicy"])


@dataclass(slots=True)
class Keda:
    """
    KEDA and the Horizontal Pod Autoscaler that it creates; the trigger with the highest demand decides.

    Source: kubernetes/kubernetes, pkg/controller/podautoscaler (`GetExternalPerPodMetricReplicas`,
    `stabilizeRecommendationWithBehaviors`, `calculateScaleUpLimitWithScalingRules`).

    Attributes:
        backlog_per_replica: Target of the trigger on the backlog.
        sent_per_replica: Target of the trigger on the messages sent in a minute; None without it.
        min_replicas: Minimum number of replicas.
        max_replicas: Maximum number of replicas.
        polling_s: Interval at which KEDA polls its triggers.
        cooldown_s: Time without work before the fleet is scaled to zero.
        up: Rules for scaling up.
        down: Rules for scaling down.
        fallback_replicas: While the messages sent cannot be read, their trigger demands the current replicas,
            and at least this number; with None it demands nothing, and the backlog alone decides.
        unreadable: First and last second in which they cannot be read.
    """

    backlog_per_replica: float
    sent_per_replica: float | None
    min_replicas: int
    max_replicas: int
    polling_s: int
    cooldown_s: int
    up: Rules
    down: Rules
    fallback_replicas: int | None = None
    unreadable: tuple[int, int] | None = None
    _recommendations: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _changes: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _active_s: int = field(default=0, init=False)
    _sent: MinuteMetric = field(default_factory=lambda: MinuteMetric(1), init=False)
    _sent_at_last_poll: float = field(default=0.0, init=False)
    """Cached between polls (`useCachedMetrics`)."""

    @classmethod
    def shipped(cls, file: Path = KUBERNETES / "base" / "scaled-object.yaml") -> Self:
        """
        Read the policy from the manifest.

        Raises:
            ValueError: The manifest has a trigger or a fallback that is not modelled.
        """
        spec = yaml.safe_load(file.read_text())["spec"]
        triggers = {trigger["type"]: trigger["metadata"] for trigger in spec["triggers"]}
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            backlog_per_replica=float(triggers.pop("aws-sqs-queue")["queueLength"]),
            sent_per_replica=_sent_per_replica(triggers.pop("aws-cloudwatch", None), triggers),
            min_replicas=spec["minReplicaCount"],
            max_replicas=spec["maxReplicaCount"],
            polling_s=spec["pollingInterval"],
            cooldown_s=spec["cooldownPeriod"],
            up=Rules.parse(behavior["scaleUp"]),
            down=Rules.parse(behavior["scaleDown"]),
            fallback_replicas=_fallback_replicas(spec["fallback"]),
        )

    def decide(self, observation: Observation, desired: int) -> int:
        """Evaluate the metrics every 15 s; scale to and from zero at each poll."""
        now_s = observation.now_s
        self._sent.add(now_s, observation.sent)
        if now_s % self.polling_s == 0:
            (*_, self._sent_at_last_poll) = self._sent.readable(now_s) or [0.0]
            if observation.backlog > 0:
                self._active_s = now_s
            if desired == 0:
                return 1 if observation.backlog > 0 else 0
            if self.min_replicas == 0 and now_s - self._active_s >= self.cooldown_s:
                return 0
        if now_s % SYNC_PERIOD_S or desired == 0:
            return desired
        wanted = self._limited(now_s, desired, self._stabilized(observation, desired))
        if wanted != desired:
            self._changes.append((now_s, wanted - desired))
        return wanted

    def recommend(self, observation: Observation, replicas: int) -> int:
        """Return the number of replicas that the metrics demand, without stabilization and limits."""
        demands = [_for_average(observation.backlog, self.backlog_per_replica, replicas)]
        if self.sent_per_replica is not None and not self._is_unreadable(observation.now_s):
            demands.append(_for_average(self._sent_at_last_poll, self.sent_per_replica, replicas))
        elif self.sent_per_replica is not None and self.fallback_replicas is not None:
            demands.append(max(replicas, self.fallback_replicas))
        return max(demands)

    def _is_unreadable(self, now_s: int) -> bool:
        return self.unreadable is not None and self.unreadable[0] <= now_s <= self.unreadable[1]

    def _stabilized(self, observation: Observation, replicas: int) -> int:
        """Scale up to the lowest and down to the highest recommendation of the stabilization window."""
        now_s, current = observation.now_s, self.recommend(observation, replicas)
        self._recommendations.append((now_s, current))
        while self._recommendations[0][0] <= now_s - max(self.up.window_s, self.down.window_s, 1):
            self._recommendations.popleft()
        lowest = min(self._since(now_s - self.up.window_s) or [current])
        highest = max(self._since(now_s - self.down.window_s) or [current])
        return min(max(replicas, lowest), highest)

    def _since(self, start_s: int) -> list[int]:
        return [recommendation for at_s, recommendation in self._recommendations if at_s > start_s]

    def _limited(self, now_s: int, replicas: int, wanted: int) -> int:
        """Apply the scaling policies, and the minimum and maximum number of replicas."""
        floor = max(1, self.min_replicas)
        if wanted > replicas:
            limit = max(replicas, self._limit(now_s, replicas, self.up, sign=1))
            return max(floor, min(wanted, limit, self.max_replicas))
        if wanted < replicas:
            limit = min(replicas, self._limit(now_s, replicas, self.down, sign=-1))
            return min(self.max_replicas, max(wanted, limit, floor))
        return min(self.max_replicas, max(floor, wanted))

    def _limit(self, now_s: int, replicas: int, rules: Rules, *, sign: Literal[1, -1]) -> int:
        """Return the number of replicas up or down to which the policies allow scaling now."""
        if rules.select == "Disabled":
            return replicas
        limits = []
        for policy in rules.policies:
            start = replicas - sum(change for at_s, change in self._changes if at_s > now_s - policy.period_s)
            if policy.kind == "Pods":
                limits.append(start + sign * policy.value)
            else:
                exact = start * (100 + sign * policy.value) / 100
                limits.append(math.ceil(exact) if sign == 1 else math.floor(exact))
        longest_s = max(policy.period_s for rule in (self.up, self.down) for policy in rule.policies)
        while self._changes and self._changes[0][0] <= now_s - longest_s:
            self._changes.popleft()
        farthest, nearest = (max, min) if sign == 1 else (min, max)
        return farthest(limits) if rules.select == "Max" else nearest(limits)


def _for_average(value: float, target: float, replicas: int) -> int:
    """Return the number of replicas that brings the average to the target; the same within the tolerance."""
    return replicas if abs(1 - value / (target * replicas)) <= TOLERANCE else math.ceil(value / target)


def _fallback_replicas(fallback: Mapping[str, Any]) -> int:
    """Return the minimum while a trigger cannot be read; raise for behaviors that are not modelled."""
    if fallback["behavior"] != "currentReplicasIfHigher":
        message = f"bench.scaling does not model this fallback: {fallback}"
        raise ValueError(message)
    return int(fallback["replicas"])


def _sent_per_replica(cloudwatch: Mapping[str, str] | None, others: Mapping[str, object]) -> float | None:
    """Return the target of the trigger on messages sent; raise for triggers that are not modelled."""
    if others or (cloudwatch and cloudwatch["metricName"] != "NumberOfMessagesSent"):
        message = f"bench.scaling does not model this trigger: {others or cloudwatch}"
        raise ValueError(message)
    return float(cloudwatch["targetMetricValue"]) if cloudwatch else None
