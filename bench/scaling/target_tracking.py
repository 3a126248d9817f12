"""The autoscaler that `config/cloudformation/service.yaml` configures, as far as AWS says how it decides."""

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Self

from bench.scaling.autoscaler import PERIOD_S, Minutes, Observed
from tests.support.templates import resolved, template

HIGH_POINTS: Final = 3
LOW_POINTS: Final = 15
LOW_SHARE: Final = 0.9
"""The alarms of target tracking: above the target for 3 minutes, below 0.9 of it for 15."""


@dataclass(slots=True)
class TargetTracking:
    """
    Application Auto Scaling of an ECS service by target tracking.

    AWS documents its alarms and cooldowns, and that it scales in proportion, but not how far it scales in at
    once; here that is in proportion, too, which is the worst for the delay.
    """

    target: float
    least: int
    most: int
    out_cooldown_s: int
    in_cooldown_s: int
    counts_sent: bool
    """Whether what was sent in the last minute counts as work, beside what waits."""
    _work: Minutes = field(default_factory=lambda: Minutes(LOW_POINTS), init=False)
    _running: Minutes = field(default_factory=lambda: Minutes(LOW_POINTS), init=False)
    _out_s: int = field(default=-(10**9), init=False)
    _out_to: int = field(default=0, init=False)
    _in_s: int = field(default=-(10**9), init=False)

    @classmethod
    def shipped(cls) -> Self:
        """Read the policy that is deployed."""
        service = template("service.yaml")
        parts = resolved(service["Resources"], service)
        bounds = parts["ScalableTarget"]["Properties"]
        tracking = parts["BacklogPolicy"]["Properties"]["TargetTrackingScalingPolicyConfiguration"]
        return cls(
            target=tracking["TargetValue"],
            least=bounds["MinCapacity"],
            most=bounds["MaxCapacity"],
            out_cooldown_s=tracking["ScaleOutCooldown"],
            in_cooldown_s=tracking["ScaleInCooldown"],
            counts_sent=_counts_sent(tracking["CustomizedMetricSpecification"]["Metrics"]),
        )

    def decide(self, seen: Observed, desired: int) -> int:
        """Look every minute at the figures that CloudWatch has by then."""
        self._work.add(seen.now_s, seen.backlog + (PERIOD_S * seen.sent if self.counts_sent else 0))
        self._running.add(seen.now_s, seen.running)
        if seen.now_s % PERIOD_S:
            return desired
        minutes = zip(self._work.known(seen.now_s), self._running.known(seen.now_s), strict=True)
        # Averages of a minute both; while no task runs, one is taken for running, as the template says.
        known = [work / max(running, PERIOD_S) for work, running in minutes]
        return min(self.most, max(self.least, self._tracked(seen.now_s, desired, known)))

    def _tracked(self, now_s: int, desired: int, known: Sequence[float]) -> int:
        if len(known) >= HIGH_POINTS and min(known[-HIGH_POINTS:]) > self.target:
            wanted = min(self.most, math.ceil(desired * known[-1] / self.target))
            # A larger scale-out than the one that began the cooldown need not wait for its end.
            if now_s - self._out_s >= self.out_cooldown_s or wanted > self._out_to:
                if wanted > desired:
                    self._out_s, self._out_to = now_s, wanted
                return max(desired, wanted)
        is_low = len(known) >= LOW_POINTS and max(known[-LOW_POINTS:]) < LOW_SHARE * self.target
        if is_low and now_s - self._in_s >= self.in_cooldown_s:
            wanted = math.ceil(desired * known[-1] / self.target)
            if wanted < desired:
                self._in_s = now_s
            return min(desired, wanted)
        return desired


def _counts_sent(metrics: Sequence[dict[str, Any]]) -> bool:
    """Return whether the metric counts what is sent; refuse expressions that are not modelled here."""
    (expression,) = (one["Expression"] for one in metrics if "Expression" in one)
    filled = re.sub(r"FILL\((\w+), 0\)", r"\1", expression)  # what sends no figures counts as none here, too
    known = {
        "(visible + inFlight) / IF(running > 0, running, 1)": False,
        "(visible + inFlight + sent) / IF(running > 0, running, 1)": True,
    }
    if filled not in known:
        message = f"the model knows no such metric: {expression}"
        raise ValueError(message)
    return known[filled]
