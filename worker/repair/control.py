"""Pause or stop a repair between its batches."""

import asyncio
from typing import Final, Protocol

from worker.domain.errors import ImageWorkerError


class RepairStoppedError(ImageWorkerError):
    """Raised between two batches of a repair that was asked to stop; the finished batches stay finished."""


class Control(Protocol):
    """Decides between two batches whether a repair continues."""

    async def checkpoint(self) -> None:
        """
        Return when the repair may continue.

        Raises:
            RepairStoppedError: The repair ends here.
        """


class Uncontrolled:
    """Implements `Control` for a repair that always continues: a command ends by Ctrl-C."""

    async def checkpoint(self) -> None:
        """Return at once."""


UNCONTROLLED: Final = Uncontrolled()


class Switch:
    """Implements `Control` for a repair that can be paused, resumed and stopped."""

    def __init__(self) -> None:
        self._may_continue = asyncio.Event()
        self._may_continue.set()
        self._stop_reason: str | None = None

    @property
    def is_paused(self) -> bool:
        """Whether the repair waits, or will wait after its current batch."""
        return not self._may_continue.is_set()

    @property
    def is_stopped(self) -> bool:
        """Whether the repair has ended, or will end after its current batch."""
        return self._stop_reason is not None

    def pause(self) -> None:
        """Let the repair wait after its current batch."""
        if not self.is_stopped:
            self._may_continue.clear()

    def resume(self) -> None:
        """Let the repair continue."""
        self._may_continue.set()

    def stop(self, reason: str) -> None:
        """Let the repair end after its current batch."""
        self._stop_reason = self._stop_reason or reason
        self._may_continue.set()

    async def checkpoint(self) -> None:
        """Return when the repair may continue; raise `RepairStoppedError` if it ends."""
        await self._may_continue.wait()
        if self._stop_reason is not None:
            raise RepairStoppedError(self._stop_reason)
