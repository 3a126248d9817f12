"""Keep the failure groups for the views that show them, so that a page does not wait for their queries."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final

import structlog

from worker.domain.errors import TransientError
from worker.repair.failures import Failures

log = structlog.get_logger(__name__)

FRESH_S: Final = 3.0
"""Age below which groups are shown without reading them again: many open pages cost one query."""

STALE_S: Final = 30.0
"""Age above which a page waits for new groups."""

_WAIT_S: Final = 0.15
"""How long a page waits for new groups before it shows those that it has."""


@dataclass(frozen=True, slots=True)
class Loaded:
    """Failure groups, and when they were read, by the monotonic clock."""

    failures: Failures
    at_s: float


class FailureGroups:
    """
    Reads the failure groups, at most once at a time.

    Args:
        load: Reads them.
        monotonic: Clock, in seconds.
        wait_s: How long `get` waits for new groups while those that it has are not too old.
    """

    def __init__(
        self,
        load: Callable[[], Awaitable[Failures]],
        *,
        monotonic: Callable[[], float] = time.monotonic,
        wait_s: float = _WAIT_S,
    ) -> None:
        self._load, self._monotonic, self._wait_s = load, monotonic, wait_s
        self._loaded: Loaded | None = None
        self._loading: asyncio.Task[Loaded] | None = None

    async def get_soon(self) -> tuple[Failures, float] | None:
        """
        Return what `get` does; None if there are no groups that are recent enough within the time to wait.

        Raises:
            TransientError: The table was unavailable.
        """
        try:
            async with asyncio.timeout(1.5 * self._wait_s):  # the reading itself goes on
                return await self.get()
        except TimeoutError:
            return None

    async def get(self) -> tuple[Failures, float]:
        """
        Return the groups, and their age in seconds.

        Raises:
            TransientError: The table was unavailable, and there are no groups that are recent enough.
        """
        loaded = self._loaded
        age_s = self._monotonic() - loaded.at_s if loaded else STALE_S
        if loaded is not None and age_s < FRESH_S:
            return loaded.failures, age_s
        loading = self._loading or self._start()
        if loaded is not None and age_s < STALE_S:
            await asyncio.wait({loading}, timeout=self._wait_s)
            loaded = self._loaded or loaded
        else:
            loaded = await asyncio.shield(loading)  # cancelling one request must not cancel the others
        return loaded.failures, self._monotonic() - loaded.at_s

    async def close(self) -> None:
        """Cancel the reading."""
        if self._loading is not None:
            self._loading.cancel()
            await asyncio.gather(self._loading, return_exceptions=True)

    def _start(self) -> "asyncio.Task[Loaded]":
        self._loading = asyncio.create_task(self._read(), name="read the failure groups")
        self._loading.add_done_callback(self._done)
        return self._loading

    async def _read(self) -> Loaded:
        at_s = self._monotonic()
        self._loaded = Loaded(await self._load(), at_s)
        return self._loaded

    def _done(self, task: "asyncio.Task[Loaded]") -> None:
        self._loading = None
        if task.cancelled() or (error := task.exception()) is None:
            return
        if isinstance(error, TransientError):
            log.warning("failures.not_read", reason=str(error))
        else:
            log.error("failures.not_read", exc_info=error)
