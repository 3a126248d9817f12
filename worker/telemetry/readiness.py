"""Whether queue, table and bucket have answered lately."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Final

import structlog

from worker.telemetry.metrics import Metrics

log = structlog.get_logger(__name__)

DEPENDENCIES: Final[Mapping[str, str]] = {"sqs": "queue", "dynamodb": "table", "s3": "bucket"}

_EVERY_S: Final = 10.0
_LATELY_S: Final = 45.0
"""Long enough for an idle worker to lose one probe."""
_PROBE_S: Final = 5.0


class Readiness:
    """
    Remembers when each dependency last answered, whatever it was asked; asks it when nobody else does.

    A refusal that means something (no such key, a failed condition) is an answer; a throttled call, a denied
    one and a time-out are none.

    Args:
        monotonic: Seconds that never run backwards.
    """

    def __init__(self, metrics: Metrics, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._metrics, self._monotonic = metrics, monotonic
        self._last: dict[str, float] = {}
        for service, dependency in DEPENDENCIES.items():
            metrics.ready.labels(dependency).set_function(partial(self._is_ready, service))

    def answered(self, service: str) -> None:
        """Note that a service has answered."""
        self._last[service] = self._monotonic()

    def why_unready(self) -> str | None:
        """Say which of them have not answered lately; None when all have."""
        silent = [
            f"the {dependency} has not answered for {self._age_s(service):.0f} s"
            if service in self._last
            else f"the {dependency} has not answered yet"
            for service, dependency in DEPENDENCIES.items()
            if not self._is_ready(service)
        ]
        return "; ".join(silent) or None

    async def probe(self, probes: Mapping[str, Callable[[], Awaitable[object]]]) -> None:
        """
        Ask, for ever, each service that nobody has heard of for a while.

        Args:
            probes: A cheap call for a service; how it ends is seen by whoever watches the calls.
        """
        while True:
            silent = [service for service in probes if self._age_s(service) >= _EVERY_S]
            await asyncio.gather(*(self._ask(service, probes[service]) for service in silent))
            await asyncio.sleep(_EVERY_S)

    async def _ask(self, service: str, probe: Callable[[], Awaitable[object]]) -> None:
        try:
            async with asyncio.timeout(_PROBE_S):
                await probe()
        except Exception as error:  # noqa: BLE001 - any failure means the same: it has not answered
            log.debug("dependency.silent", service=service, reason=repr(error))

    def _is_ready(self, service: str) -> bool:
        return self._age_s(service) < _LATELY_S

    def _age_s(self, service: str) -> float:
        return self._monotonic() - self._last.get(service, float("-inf"))
