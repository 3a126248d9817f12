"""Extend visibility timeouts and leases while messages are in flight."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Final

import structlog

from worker.domain.claim import RenewLease
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import LeaseLostError, ReceiptLostError, TransientError
from worker.domain.message import Message
from worker.sqs.queue import Queue

log = structlog.get_logger(__name__)

MAX_IN_FLIGHT_S: Final = 12 * 3600
"""Quota of SQS: how long a message can stay invisible after it was received, extensions included."""


class Hold:
    """
    A message in flight, from its receive to its disposition.

    When the message is lost, or the lease of the current image, the task that processes it is cancelled. A
    lost lease stops that image only: a message may contain several jobs.

    Attributes:
        message: The message.
        received_at: When it was received, by the heartbeat's monotonic clock.
        extended_at: When its visibility timeout was last extended.
        reason_lost: Why the message is lost; None while it is held.
        renewals: Functions that renew the leases held along with the message.
    """

    def __init__(self, message: Message, *, received_at: float) -> None:
        self.message = message
        self.received_at = self.extended_at = received_at
        self.reason_lost: str | None = None
        self._must_stop = False
        self.renewals: list[RenewLease] = []
        self._task: asyncio.Task[object] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the message may be visible to other workers."""
        return self.reason_lost is not None

    @contextmanager
    def leasing(self, renew: RenewLease) -> Iterator[None]:
        """Renew a lease along with the message while the body runs."""
        self.renewals.append(renew)
        try:
            yield
        finally:
            self.renewals.remove(renew)

    @contextmanager
    def guarding(self, *, image_id: str, attempt: int) -> Iterator[None]:
        """
        Cancel the body when the message or its lease is lost.

        Raises:
            LeaseLostError: The message or its lease is lost.
        """
        self._task = asyncio.current_task()
        try:
            if self.is_lost:
                raise LeaseLostError(image_id=image_id, attempt=attempt)
            yield
        except asyncio.CancelledError:
            # Only if the cancellation comes from `_stop`, and not also from a shutdown at the same time.
            if self._must_stop and self._task is not None and self._task.uncancel() == 0:
                raise LeaseLostError(image_id=image_id, attempt=attempt) from None
            raise
        finally:
            self._task, self._must_stop = None, False

    def lose(self, reason: str) -> None:
        """Mark the message as lost, and cancel the task that processes it."""
        if not self.is_lost:
            self.reason_lost = reason
            log.warning("message.lost", message_id=self.message.message_id, reason=reason)
            self._stop()

    def lose_lease(self, reason: str) -> None:
        """Cancel the task that processes the current image, whose lease is lost."""
        log.warning("lease.lost", message_id=self.message.message_id, reason=reason)
        self._stop()

    def _stop(self) -> None:
        if self._task is not None and not self._must_stop:
            self._must_stop = True
            self._task.cancel()


class Heartbeat:
    """
    Extends all messages in flight, and their leases, three times per visibility timeout.

    Args:
        queue: Queue of the messages.
        visibility_timeout_s: Visibility timeout in seconds that each extension sets.
        clock: Returns the current time, from which the expiry of leases is computed.
        monotonic: Monotonic clock, in seconds.
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
        """Keep a message invisible to other workers while the body runs."""
        hold = Hold(message, received_at=self._monotonic())
        self._holds.add(hold)
        try:
            yield hold
        finally:
            self._holds.discard(hold)

    async def run(self) -> None:
        """Extend all messages in flight periodically until cancelled."""
        while True:
            await asyncio.sleep(self._interval_s)
            await self.beat()

    async def beat(self) -> None:
        """Extend all messages in flight once, concurrently."""
        await asyncio.gather(*(self._extend(hold) for hold in list(self._holds)))

    async def _extend(self, hold: Hold) -> None:
        now = self._monotonic()
        left_s = MAX_IN_FLIGHT_S - (now - hold.received_at)
        if left_s <= 0:
            hold.lose("in flight for twelve hours, the limit of SQS")
            return
        extend_s = min(self._visibility_timeout_s, left_s)
        until = self._clock() + timedelta(seconds=extend_s)
        renew: RenewLease | None = None
        try:
            # At most until the next extension, which waits for this one, and with it all other messages.
            async with asyncio.timeout(self._interval_s):
                await self._queue.change_visibility(hold.message, extend_s)
                for renew in list(hold.renewals):
                    await renew(until=until)
        except ReceiptLostError as error:
            if hold in self._holds:
                hold.lose(f"its receipt handle is no longer valid ({error})")
        except LeaseLostError as error:
            if renew in hold.renewals:  # otherwise the attempt has ended
                hold.lose_lease(str(error))
        except (TransientError, TimeoutError) as error:
            if self._monotonic() - hold.extended_at > self._visibility_timeout_s:
                hold.lose(f"could not be extended in time: {error}")
        else:
            hold.extended_at = now
