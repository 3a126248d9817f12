"""Write an attempt's transitions to the record: in order, in the background and in batches."""

import asyncio
from datetime import datetime

from worker.delivery.ports import Ledger
from worker.domain.clock import Clock
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image
from worker.domain.status import StepName
from worker.domain.transition import Transition, apply_all, attempt_raised, current_step


class StepWriter:
    """
    Writes an image's transitions in order, as they happen.

    A transition waits at most `delay_s` for others to be written with it, or until the write in flight is
    done. The last write, which ends the attempt, includes every pending transition. None is lost: those of a
    failed write are written with the next one.

    Args:
        ledger: Write side of the image records.
        image: The image as claimed.
        delay_s: Maximum delay of a transition in seconds.
        clock: Returns the current time.
    """

    def __init__(self, ledger: Ledger, image: Image, *, delay_s: float, clock: Clock) -> None:
        self._ledger, self._image, self._delay_s, self._clock = ledger, image, delay_s, clock
        self._latest = image.updated_at
        self._pending: list[Transition] = []
        self._in_flight: list[Transition] = []
        self._write_lock = asyncio.Lock()
        self._task: asyncio.Task[None] | None = None
        self._lease_error: LeaseLostError | None = None

    @property
    def image(self) -> Image:
        """The image after all transitions so far, including those that are not written yet."""
        return apply_all(self._image, [*self._in_flight, *self._pending])

    @property
    def current_step(self) -> StepName | None:
        """The step that is processing."""
        return current_step(self.image)

    def now(self) -> datetime:
        """Return the current time, or the latest time of this attempt if the clock was set back."""
        self._latest = max(self._latest, self._clock())
        return self._latest

    def add(self, *transitions: Transition) -> None:
        """
        Add transitions to be written in the background.

        Raises:
            LeaseLostError: An earlier write has found that another worker owns the image.
        """
        if self._lease_error is not None:
            raise self._lease_error
        self._pending += transitions
        if self._task is None:
            self._task = asyncio.create_task(
                self._write_in_background(), name=f"write steps of {self._image.image_id}"
            )

    async def raise_attempt(self, *, above: int) -> None:
        """
        Raise the attempt's number above another one, with the pending transitions, if the lease is held.

        Raises:
            LeaseLostError: Another worker owns the image.
            TransientError: The table is unavailable, even after retries.
        """
        async with self._write_lock:
            if self._lease_error is not None:
                raise self._lease_error
            self._pending.append(attempt_raised(above=above, at=self.now()))
            await self._write()

    async def renew(self, *, until: datetime) -> None:
        """Extend the lease; raises what `Ledger.renew` does."""
        image = self._image
        try:
            await self._ledger.renew(image, until=until)
        except LeaseLostError:
            async with self._write_lock:  # the write in flight may raise the attempt's number
                if self._image.attempt == image.attempt:
                    raise
            await self._ledger.renew(self._image, until=until)

    async def settle(self, *transitions: Transition) -> Image:
        """
        End the attempt: write the pending transitions and these in one write; return the image.

        Raises:
            LeaseLostError: Another worker owns the image.
            RecordRejectedError: The table rejects what the transitions contain.
            TransientError: The table is unavailable, even after retries.
        """
        await self.close()
        if self._lease_error is not None:
            raise self._lease_error
        self._image = await self._ledger.settle(self._image, [*self._pending, *transitions])
        self._pending = []
        return self._image

    def discard(self) -> None:
        """Discard the pending transitions: the table rejects what they contain."""
        self._pending = []

    async def close(self) -> None:
        """Stop writing in the background, after the write in flight if there is one."""
        task = self._task
        if task is None:
            return
        if not self._write_lock.locked():
            task.cancel()
        await asyncio.wait([task])  # if this is cancelled, the next call waits for the same task
        self._task = None
        if not task.cancelled():
            task.result()

    async def _write_in_background(self) -> None:
        await asyncio.sleep(self._delay_s)
        async with self._write_lock:
            while self._pending and self._lease_error is None:
                try:
                    await self._write()
                except LeaseLostError:
                    break  # kept for the next call
                except TransientError:
                    break  # the next write includes them, and reports the error if it persists
        self._task = None

    async def _write(self) -> None:
        """Write the pending transitions; they stay pending if that fails."""
        self._in_flight, self._pending = self._pending, []
        try:
            self._image = await self._ledger.record(self._image, self._in_flight)
            self._in_flight = []
        except LeaseLostError as error:
            self._lease_error = error
            raise
        finally:
            self._pending = self._in_flight + self._pending
            self._in_flight = []
