"""
ECS task scale-in protection: a task that has messages in hand is not the one that scaling in stops.

Stopping a busy worker loses nothing, for it drains; it only makes pictures wait for their turn again. The
protection spares that, and is set from inside through the agent's endpoint ("Task scale-in protection
endpoint", Amazon ECS developer guide).
"""

import asyncio
from typing import Final

import aiohttp
import structlog

log = structlog.get_logger(__name__)

_EXPIRES_MIN: Final = 10
"""How long the protection outlives a worker that can no longer renew it; deployments wait for it, too."""
_RENEW_S: Final = _EXPIRES_MIN * 60 / 2
_QUIET_S: Final = 15.0
"""How long a worker is idle before it gives the protection up: gaps between two messages are no idleness."""
_CALL_S: Final = 5.0


class ScaleInProtection:
    """
    Keeps the task protected while messages are in hand.

    Args:
        agent_uri: Of the ECS agent (`ECS_AGENT_URI`).
        quiet_s: How long to be idle before the protection goes.
        renew_s: How often to ask for it again while busy.
    """

    def __init__(self, agent_uri: str, *, quiet_s: float = _QUIET_S, renew_s: float = _RENEW_S) -> None:
        self._url = f"{agent_uri.rstrip('/')}/task-protection/v1/state"
        self._quiet_s, self._renew_s = quiet_s, renew_s
        self._is_busy = self._is_protected = False
        self._changed = asyncio.Event()

    def in_hand(self, messages: int) -> None:
        """Hear how many messages are in hand."""
        if (messages > 0) != self._is_busy:
            self._is_busy = messages > 0
            self._changed.set()

    async def run(self) -> None:
        """Follow, until cancelled, what is in hand; then give the protection up."""
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_CALL_S)) as session:
            try:
                while True:
                    await self._until(busy=True)
                    await self._put(session, is_protected=True)
                    while not await self._is_quiet():
                        await self._put(session, is_protected=True)
                    await self._put(session, is_protected=False)
            finally:
                if self._is_protected:
                    await self._put(session, is_protected=False)

    async def _until(self, *, busy: bool) -> None:
        while self._is_busy is not busy:
            self._changed.clear()
            await self._changed.wait()

    async def _is_quiet(self) -> bool:
        """Wait until nothing was in hand for a while, or the protection has to be renewed."""
        try:
            async with asyncio.timeout(self._renew_s):
                while True:
                    await self._until(busy=False)
                    try:
                        async with asyncio.timeout(self._quiet_s):
                            await self._until(busy=True)
                    except TimeoutError:
                        return True
        except TimeoutError:
            return False

    async def _put(self, session: aiohttp.ClientSession, *, is_protected: bool) -> None:
        self._is_protected = is_protected
        request: dict[str, bool | int] = {"ProtectionEnabled": is_protected}
        if is_protected:
            request["ExpiresInMinutes"] = _EXPIRES_MIN
        try:
            async with session.put(self._url, json=request) as answer:
                told = await answer.json(content_type=None)
                reason = None if answer.ok else str(told)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            reason = repr(error)
        if reason is not None:
            # The worker is right without it; whoever wonders why tasks are stopped at work finds this.
            log.warning("protection.refused", is_protected=is_protected, reason=reason)
