"""One attempt's writes: in order, behind the computing, gathered where they come faster than they land."""

import asyncio
from datetime import datetime

from worker.delivery.ports import Ledger
from worker.domain.clock import Clock
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image
from worker.domain.status import StepName
from worker.domain.transition import Transition, apply_all, current_step


class StepWriter:
    """
    Takes an image's transitions as they happen and writes them in order.

    A transition waits at most `delay_s` for others to go with it in one write; while a write is in flight
    more may gather. The last write, which ends the attempt, takes along what is still waiting. Nothing is
    dropped: what a failed write carried goes with the next.

    Args:
        ledger: The record.
        image: As claimed.
        delay_s: How long a transition may wait.
        clock: Tells when things happen; the recording never lets it run backwards.
    """

    def __init__(self, ledger: Ledger, image: Image, *, delay_s: float, clock: Clock) -> None:
        self._ledger, self._image, self._delay_s, self._clock = ledger, image, delay_s, clock
        self._latest = image.updated_at
        self._waiting: list[Transition] = []
        self._in_flight: list[Transition] = []
        self._writing = asyncio.Lock()
        self._writer: asyncio.Task[None] | None = None
        self._lost: LeaseLostError | None = None

    @property
    def current_step(self) -> StepName | None:
        """The step that is processing now."""
        return current_step(apply_all(self._image, [*self._in_flight, *self._waiting]))

    def now(self) -> datetime:
        """Return the present moment, never before one that this attempt has recorded."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def add(self, *transitions: Transition) -> None:
        """
        Take transitions, to be written soon.

        Raises:
            LeaseLostError: An earlier write showed that the image is another's now.
        """
        if self._lost is not None:
            raise self._lost
        self._waiting += transitions
        if self._writer is None:
            self._writer = asyncio.create_task(self._write_behind(), name=f"record {self._image.image_id}")

    async def settle(self, *transitions: Transition) -> Image:
        """
        End the attempt: write what waits and these transitions together.

        Raises:
            LeaseLostError: The image is another's now.
            TransientError: The table cannot be reached within its retries.
        """
        await self.close()
        if self._lost is not None:
            raise self._lost
        self._image = await self._ledger.settle(self._image, [*self._waiting, *transitions])
        self._waiting = []
        return self._image

    async def close(self) -> None:
        """Stop writing behind; a write that has begun is finished first."""
        writer = self._writer
        if writer is None:
            return
        if not self._writing.locked():
            writer.cancel()
        await asyncio.wait([writer])  # if this is cancelled, the next to close waits for the same writer
        self._writer = None
        if not writer.cancelled():
            writer.result()

    async def _write_behind(self) -> None:
        await asyncio.sleep(self._delay_s)
        async with self._writing:
            while self._waiting and self._lost is None:
                self._in_flight, self._waiting = self._waiting, []
                try:
                    self._image = await self._ledger.record(self._image, self._in_flight)
                    self._in_flight = []
                except LeaseLostError as error:
                    self._lost = error
                except TransientError:
                    break  # the next write takes them along, and reports if the table stays away
                finally:
                    self._waiting = self._in_flight + self._waiting
                    self._in_flight = []
        self._writer = None
