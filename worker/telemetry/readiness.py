"""Track whether queue, table and bucket have responded recently."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from worker.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEPENDENCIES: Final[Mapping[str, str]] = {"sqs": "queue", "dynamodb": "table", "s3": "bucket"}
"""AWS service -> the dependency that it provides."""

_PROBE_INTERVAL_S: Final = 10.0
_PROBE_TIMEOUT_S: Final = 5.0
_MAX_AGE_S: Final = 45.0
"""Long enough that one failed probe of an idle worker does not matter."""


class Readiness:
    """
    Records when each dependency last responded, and probes those that no other call has reached.

    An error that callers handle (no such key, a failed condition) counts as a response; a throttled or denied
    call and a timeout do not.

    Args:
        metrics: Metrics with a gauge for each dependency.
        monotonic: Monotonic clock, in seconds.
        sleep: Waits for this many seconds.
    """

    def __init__(
        self,
        metrics: Metrics,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._monotonic, self._sleep = monotonic, sleep
        self._last_response_at: dict[str, float] = {}
        for service, dependency in DEPENDENCIES.items():
            metrics.ready.labels(dependency).set_function(partial(self._is_ready, service))

    def record_response(self, service: str) -> None:
        """Record that an AWS service (`sqs`, `dynamodb`, `s3`) has responded."""
        self._last_response_at[service] = self._monotonic()

    def why_unready(self) -> str | None:
        """Return which dependencies have not responded recently; None when all have."""
        reasons = [
            f"the {dependency} has not responded for {self._age_s(service):.0f} s"
            if service in self._last_response_at
            else f"the {dependency} has not responded yet"
            for service, dependency in DEPENDENCIES.items()
            if not self._is_ready(service)
        ]
        return "; ".join(reasons) or None

    async def probe(self, probes: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        """
        Call, until cancelled, each service that has not responded within the probe interval.

        Args:
            probes: A cheap call of each service; `watch_calls` records whether it responds.
        """
        while True:
            due = [service for service in probes if self._age_s(service) >= _PROBE_INTERVAL_S]
            await asyncio.gather(*(self._probe(service, probes[service]) for service in due))
            await self._sleep(_PROBE_INTERVAL_S)

    async def _probe(self, service: str, call: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_PROBE_TIMEOUT_S):
                await call()
        except Exception as error:  # noqa: BLE001 - whatever the error, there was no response
            log.debug("dependency.unreachable", service=service, reason=repr(error))

    def _is_ready(self, service: str) -> bool:
        return self._age_s(service) < _MAX_AGE_S

    def _age_s(self, service: str) -> float:
        return self._monotonic() - self._last_response_at.get(service, float("-inf"))
