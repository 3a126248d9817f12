"""
ECS task scale-in protection: scaling in stops idle tasks first.

Stopping a busy worker loses nothing, because it drains, but its images wait for another worker. A task sets
its protection through the endpoint of the ECS agent ("Task scale-in protection endpoint", Amazon ECS
developer guide).

A worker is busy once it has had messages in flight without a pause for a while. SQS spreads messages over all
tasks, so that each task of an oversized fleet has one now and then; if that were enough, no task could be
stopped.
"""

import asyncio
from typing import Final

import aiohttp
import structlog

log = structlog.get_logger(__name__)

_EXPIRES_MIN: Final = 10
_RENEW_S: Final = _EXPIRES_MIN * 60 + 60.0
"""A minute after the protection has expired, in which a deployment or scaling in can stop a busy worker."""
_BUSY_S: Final = 5.0
_TIMEOUT_S: Final = 5.0


class ScaleInProtection:
    """
    Protects the ECS task from scale-in while the worker is busy.

    Args:
        agent_uri: URI of the ECS agent (`ECS_AGENT_URI`).
        busy_s: How long messages must be in flight, without a pause, before the task is protected.
        renew_s: Interval at which the protection is renewed while the worker is busy.
    """

    def __init__(self, agent_uri: str, *, busy_s: float = _BUSY_S, renew_s: float = _RENEW_S) -> None:
        self._url = f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        self._busy_s, self._renew_s = busy_s, renew_s
        self._is_busy = self._is_protected = False
        self._changed = asyncio.Event()

    def in_flight(self, messages: int) -> None:
        """Record the number of messages in flight."""
        if (messages > 0) != self._is_busy:
            self._is_busy = messages > 0
            self._changed.set()

    async def run(self) -> None:
        """Set and remove the protection until cancelled; then remove it."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_TIMEOUT_S)) as session:
            try:
                while True:
                    await self._until(busy=True)
                    if await self._is_idle_within(self._busy_s):
                        continue
                    await self._put(session, is_protected=True)
                    if await self._is_idle_within(self._renew_s):
                        await self._put(session, is_protected=False)
            finally:
                if self._is_protected:
                    await self._put(session, is_protected=False)

    async def _until(self, *, busy: bool) -> None:
        while self._is_busy is not busy:
            self._changed.clear()
            await self._changed.wait()

    async def _is_idle_within(self, seconds: float) -> bool:
        try:
            async with asyncio.timeout(seconds):
                await self._until(busy=False)
        except TimeoutError:
            return False
        return True

    async def _put(self, session: aiohttp.ClientSession, *, is_protected: bool) -> None:
        self._is_protected = is_protected
        request: dict[str, bool | int] = {"ProtectionEnabled": is_protected}
        if is_protected:
            request["ExpiresInMinutes"] = _EXPIRES_MIN
        try:
            async with session.put(self._url, json=request) as response:
                body = await response.json(content_type=None)
                # The scheduler rejects a request with status 200.
                reason = None if response.ok and not body.get("failure") else str(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = repr(error)
        if reason is not None:
            # The worker works without it; the event explains why busy tasks are stopped.
            log.warning("task_protection.update_failed", is_protected=is_protected, reason=reason)
