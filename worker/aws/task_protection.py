"""
ECS task scale-in protection: a task that is busy is not the one that scaling in stops.

Stopping a busy worker loses nothing, for it drains; it only makes pictures wait for their turn again. The
protection spares that, and is set from inside through the agent's endpoint ("Task scale-in protection
endpoint", Amazon ECS developer guide).

Busy is who has had something in hand without a pause for a while. A queue hands its messages to all tasks, so
that in a fleet that has grown too large each has a picture now and then: were that enough, none could go.
"""

import asyncio
from typing import Final

import aiohttp
import structlog

log = structlog.get_logger(__name__)

_EXPIRES_MIN: Final = 10
_AGAIN_S: Final = _EXPIRES_MIN * 60 + 60.0
"""
When to ask for it again: a minute after it has expired. In that minute a deployment, or scaling in, can stop
even a worker that is never idle.
"""
_BUSY_S: Final = 5.0
"""How long something has to be in hand, without a pause, before the task is protected."""
_CALL_S: Final = 5.0


class ScaleInProtection:
    """
    Keeps the task protected while it is busy.

    Args:
        agent_uri: Of the ECS agent (`ECS_AGENT_URI`).
        busy_s: How long something has to be in hand, without a pause.
        again_s: When to ask for it again while busy.
    """

    def __init__(self, agent_uri: str, *, busy_s: float = _BUSY_S, again_s: float = _AGAIN_S) -> None:
        self._url = f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        self._busy_s, self._again_s = busy_s, again_s
        self._is_busy = self._is_protected = False
        self._changed = asyncio.Event()

    def in_flight(self, messages: int) -> None:
        """Hear how many messages are in hand."""
        if (messages > 0) != self._is_busy:
            self._is_busy = messages > 0
            self._changed.set()

    async def run(self) -> None:
        """Follow what is in hand until cancelled; then give the protection up."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_S)) as session:
            try:
                while True:
                    await self._until(busy=True)
                    if await self._is_idle_within(self._busy_s):
                        continue
                    await self._put(session, is_protected=True)
                    if await self._is_idle_within(self._again_s):
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
            async with session.put(self._url, json=request) as answer:
                told = await answer.json(content_type=None)
                # A refusal of the scheduler comes with 200.
                reason = None if answer.ok and not told.get("failure") else str(told)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = repr(error)
        if reason is not None:
            # The worker is right without it; whoever wonders why tasks are stopped at work finds this.
            log.warning("protection.refused", is_protected=is_protected, reason=reason)
