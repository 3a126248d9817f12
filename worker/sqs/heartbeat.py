"""Keeping what is in hand: the message's visibility and the image's lease move together."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta

import structlog

from worker.domain.claim import RenewLease
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import LeaseLostError, ReceiptLostError, TransientError
from worker.domain.message import Message
from worker.sqs.queue import Queue

log = structlog.get_logger(__name__)

LONGEST_S = 12 * 3600
"""SQS hides no message longer than this after it was received, however often its visibility is changed."""


class Hold:
    """
    One message in hand, from its receipt to its disposition.

    When the message is lost, or the lease of the image under way, the task that works on it is cancelled. A
    lost lease stops that image alone: a message may ask for several.
    """

    def __init__(self, message: Message, *, received_at: float) -> None:
        self.message = message
        self.received_at = self.kept_at = received_at
        self.reason_lost: str | None = None
        self._must_stop = False
        self.renewals: list[RenewLease] = []
        self._task: asyncio.Task[object] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the message is no longer ours; `reason_lost` says why."""
        return self.reason_lost is not None

    @contextmanager
    def leasing(self, renew: RenewLease) -> Iterator[None]:
        """Keep a lease along with the message while the body runs."""
        self.renewals.append(renew)
        try:
            yield
        finally:
            self.renewals.remove(renew)

    @contextmanager
    def guarding(self, *, image_id: str, attempt: int) -> Iterator[None]:
        """
        Stop the body when the message or its lease is lost.

        Raises:
            LeaseLostError: It was lost.
        """
        self._task = asyncio.current_task()
        try:
            if self.is_lost:
                raise LeaseLostError(image_id=image_id, attempt=attempt)
            yield
        except asyncio.CancelledError:
            # Cancelled by the loss alone, not by somebody who stops the worker at the same time.
            if self._must_stop and self._task is not None and self._task.uncancel() == 0:
                raise LeaseLostError(image_id=image_id, attempt=attempt) from None
            raise
        finally:
            self._task, self._must_stop = None, False

    def lose(self, reason: str) -> None:
        """Note that the message is lost and stop the work, once."""
        if not self.is_lost:
            self.reason_lost = reason
            log.warning("message.lost", message_id=self.message.message_id, reason=reason)
            self._stop()

    def lose_lease(self, reason: str) -> None:
        """Stop the work on the image under way, whose lease is lost."""
        log.warning("lease.lost", message_id=self.message.message_id, reason=reason)
        self._stop()

    def _stop(self) -> None:
        if self._task is not None and not self._must_stop:
            self._must_stop = True
            self._task.cancel()


class Heartbeat:
    """
    Extends everything in hand, three times in each visibility timeout.

    Args:
        queue: Where visibilities are changed.
        visibility_timeout_s: How far each beat extends.
        clock: For the ends of leases.
        monotonic: Seconds that never run backwards.
    """

    def __init__(
        self,
        queue: Queue,
        *,
        visibility_timeout_s: float,
        clock: Clock = utc_now,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._queue, self._visibility_timeout_s = queue, visibility_timeout_s
        self._interval_s = visibility_timeout_s / 3
        self._clock, self._monotonic = clock, monotonic
        self._holds: set[Hold] = set()

    @contextmanager
    def holding(self, message: Message) -> Iterator[Hold]:
        """Keep the message in hand while the body runs."""
        hold = Hold(message, received_at=self._monotonic())
        self._holds.add(hold)
        try:
            yield hold
        finally:
            self._holds.discard(hold)

    async def run(self) -> None:
        """Beat until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.beat()

    async def beat(self) -> None:
        """Extend everything in hand, all at once."""
        await asyncio.gather(*(self._keep(hold) for hold in list(self._holds)))

    async def _keep(self, hold: Hold) -> None:
        now = self._monotonic()
        left_s = LONGEST_S - (now - hold.received_at)
        if left_s <= 0:
            hold.lose("in hand for twelve hours, longer than SQS hides a message")
            return
        extend_s = min(self._visibility_timeout_s, left_s)
        until = self._clock() + timedelta(seconds=extend_s)
        renew: RenewLease | None = None
        try:
            # No longer than until the next beat, which would wait for this one and keep nothing else.
            async with asyncio.timeout(self._interval_s):
                await self._queue.change_visibility(hold.message, extend_s)
                for renew in list(hold.renewals):
                    await renew(until=until)
        except ReceiptLostError as error:
            if hold in self._holds:
                hold.lose(f"the queue no longer accepts its receipt ({error})")
        except LeaseLostError as error:
            if renew in hold.renewals:  # else it has ended meanwhile
                hold.lose_lease(str(error))
        except (TransientError, TimeoutError) as error:
            if self._monotonic() - hold.kept_at > self._visibility_timeout_s:
                hold.lose(f"could not be kept in time: {error}")
        else:
            hold.kept_at = now
