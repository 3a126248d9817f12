"""The autoscaler that `config/kubernetes` configures, as its documentation and source say that it decides."""

import math
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, Literal, Self

import yaml

from bench.common.paths import ROOT
from bench.scaling.autoscaler import Minutes, Observed

KUBERNETES: Final = ROOT / "config" / "kubernetes"

SYNC_S: Final = 15
"""How often the Horizontal Pod Autoscaler looks (`--horizontal-pod-autoscaler-sync-period`, its default)."""
TOLERANCE: Final = 0.1
"""How far the metric may be off before it acts (`--horizontal-pod-autoscaler-tolerance`, its default)."""


@dataclass(frozen=True, slots=True)
class Step:
    """One policy of the autoscaler's `behavior`: how much may change within a period."""

    kind: Literal["Pods", "Percent"]
    value: int
    period_s: int


@dataclass(frozen=True, slots=True)
class Rules:
    """The autoscaler's `behavior` in one direction."""

    window_s: int
    steps: Sequence[Step]
    select: Literal["Max", "Min", "Disabled"] = "Max"

    @classmethod
    def read(cls, rules: dict[str, Any]) -> Self:
        """Read `scaleUp` or `scaleDown`."""
        steps = tuple(Step(one["type"], one["value"], one["periodSeconds"]) for one in rules["policies"])
        return cls(rules["stabilizationWindowSeconds"], steps, rules["selectPolicy"])


@dataclass(slots=True)
class Keda:
    """
    KEDA and the Horizontal Pod Autoscaler that it makes: of all triggers, that which asks for most decides.

    Source: kubernetes/kubernetes, pkg/controller/podautoscaler (`GetExternalPerPodMetricReplicas`,
    `stabilizeRecommendationWithBehaviors`, `calculateScaleUpLimitWithScalingRules`).
    """

    backlog_each: float
    sent_each: float | None
    """Messages sent in a minute for each replica; None without such a trigger."""
    least: int
    most: int
    polling_s: int
    cooldown_s: int
    up: Rules
    down: Rules
    _recommended: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _changes: deque[tuple[int, int]] = field(default_factory=deque, init=False)
    _active_s: int = field(default=0, init=False)
    _sent: Minutes = field(default_factory=lambda: Minutes(1), init=False)
    _polled: float = field(default=0.0, init=False)
    """What CloudWatch said at the last poll; it is not asked in between (`useCachedMetrics`)."""

    @classmethod
    def shipped(cls, file: Path = KUBERNETES / "base" / "scaled-object.yaml") -> Self:
        """Read the policy that is deployed."""
        spec = yaml.safe_load(file.read_text())["spec"]
        triggers = {one["type"]: one["metadata"] for one in spec["triggers"]}
        behavior = spec["advanced"]["horizontalPodAutoscalerConfig"]["behavior"]
        return cls(
            backlog_each=float(triggers.pop("aws-sqs-queue")["queueLength"]),
            sent_each=_sent_each(triggers.pop("aws-cloudwatch", None), triggers),
            least=spec["minReplicaCount"],
            most=spec["maxReplicaCount"],
            polling_s=spec["pollingInterval"],
            cooldown_s=spec["cooldownPeriod"],
            up=Rules.read(behavior["scaleUp"]),
            down=Rules.read(behavior["scaleDown"]),
        )

    def decide(self, seen: Observed, desired: int) -> int:
        """Look every 15 s; from and to zero every polling interval."""
        self._sent.add(seen.now_s, seen.sent)
        if seen.now_s % self.polling_s == 0:
            (*_, self._polled) = self._sent.known(seen.now_s) or [0.0]
            if seen.backlog > 0:
                self._active_s = seen.now_s
            if desired == 0:
                return 1 if seen.backlog > 0 else 0
            if self.least == 0 and seen.now_s - self._active_s >= self.cooldown_s:
                return 0
        if seen.now_s % SYNC_S or desired == 0:
            return desired
        wanted = self._limited(seen.now_s, desired, self._stabilized(seen, desired))
        if wanted != desired:
            self._changes.append((seen.now_s, wanted - desired))
        return wanted

    def recommend(self, seen: Observed, replicas: int) -> int:
        """Return what the metrics alone ask for."""
        asked = [_for_average(seen.backlog, self.backlog_each, replicas)]
        if self.sent_each is not None:
            asked.append(_for_average(self._polled, self.sent_each, replicas))
        return max(asked)

    def _stabilized(self, seen: Observed, replicas: int) -> int:
        """Take the lowest recommendation of the window upwards, and the highest downwards."""
        now_s, recommended = seen.now_s, self.recommend(seen, replicas)
        self._recommended.append((now_s, recommended))
        while self._recommended[0][0] <= now_s - max(self.up.window_s, self.down.window_s, 1):
            self._recommended.popleft()
        lowest = min([n for at, n in self._recommended if at > now_s - self.up.window_s] or [recommended])
        highest = max([n for at, n in self._recommended if at > now_s - self.down.window_s] or [recommended])
        return min(max(replicas, lowest), highest)

    def _limited(self, now_s: int, replicas: int, wanted: int) -> int:
        """Keep to the steps that are allowed in their periods, and between the bounds."""
        if wanted > replicas:
            limit = max(replicas, self._limit(now_s, replicas, self.up, sign=1))
            return max(self._floor, min(wanted, limit, self.most))
        if wanted < replicas:
            limit = min(replicas, self._limit(now_s, replicas, self.down, sign=-1))
            return min(self.most, max(wanted, limit, self._floor))
        return min(self.most, max(self._floor, wanted))

    @property
    def _floor(self) -> int:
        return max(1, self.least)

    def _limit(self, now_s: int, replicas: int, rules: Rules, *, sign: Literal[1, -1]) -> int:
        if rules.select == "Disabled":
            return replicas
        limits = []
        for step in rules.steps:
            start = replicas - sum(change for at, change in self._changes if at > now_s - step.period_s)
            if step.kind == "Pods":
                limits.append(start + sign * step.value)
            else:
                exact = start * (100 + sign * step.value) / 100
                limits.append(math.ceil(exact) if sign == 1 else math.floor(exact))
        longest = max(step.period_s for rule in (self.up, self.down) for step in rule.steps)
        while self._changes and self._changes[0][0] <= now_s - longest:
            self._changes.popleft()
        farthest, nearest = (max, min) if sign == 1 else (min, max)
        return farthest(limits) if rules.select == "Max" else nearest(limits)


def _for_average(value: float, each: float, replicas: int) -> int:
    """Return the replicas that bring the metric's average to its target; the same if it is near enough."""
    return replicas if abs(1 - value / (each * replicas)) <= TOLERANCE else math.ceil(value / each)


def _sent_each(cloudwatch: dict[str, str] | None, others: dict[str, Any]) -> float | None:
    """Return the target of the trigger on what is sent; refuse triggers that are not modelled here."""
    if others or (cloudwatch and cloudwatch["metricName"] != "NumberOfMessagesSent"):
        message = f"the model knows no such trigger: {others or cloudwatch}"
        raise ValueError(message)
    return float(cloudwatch["targetMetricValue"]) if cloudwatch else None
