"""Extend visibility timeouts and leases while messages are in flight."""

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Final

import structlog

from worker.aws.errors import is_timeout
from worker.domain.claim import RenewLease
from worker.domain.clock import Clock, utc_now
from worker.domain.errors import LeaseLostError, ReceiptLostError
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
        renewals: Functions that renew the leases held along with the message; when each last did, or None.
    """

    def __init__(self, message: Message, *, received_at: float) -> None:
        self.message = message
        self.received_at = self.extended_at = received_at
        self.reason_lost: str | None = None
        self._must_stop = False
        self.renewals: dict[RenewLease, float | None] = {}
        self._task: asyncio.Task[object] | None = None

    @property
    def is_lost(self) -> bool:
        """Whether the message may be visible to other workers."""
        return self.reason_lost is not None

    @contextmanager
    def leasing(self, renew: RenewLease) -> Iterator[None]:
        """Renew a lease along with the message while the body runs."""
        self.renewals[renew] = None
        try:
            yield
        finally:
            del self.renewals[renew]

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
        next_at = self._monotonic()
        while True:
            next_at = max(next_at + self._interval_s, self._monotonic())  # a beat may take a whole interval
            await asyncio.sleep(next_at - self._monotonic())
            await self.beat()

    async def beat(self) -> None:
        """Extend all messages in flight once, concurrently."""
        await asyncio.gather(*(self._extend(hold) for hold in list(self._holds)))

    async def _extend(self, hold: Hold) -> None:
        """Extend the visibility timeout of a message and its leases at the same time."""
        now = self._monotonic()
        left_s = MAX_IN_FLIGHT_S - (now - hold.received_at)
        if left_s <= 0:
            hold.lose("in flight for twelve hours, the limit of SQS")
            return
        extend_s = min(self._visibility_timeout_s, left_s)
        until = self._clock() + timedelta(seconds=extend_s)
        await asyncio.gather(
            self._extend_visibility(hold, extend_s, now=now),
            *(
                # A lease that has not been renewed is not older than the last extension of its message.
                self._renew(hold, renew, until=until, now=now, since=renewed_at or hold.extended_at)
                for renew, renewed_at in hold.renewals.items()
            ),
        )

    async def _extend_visibility(self, hold: Hold, extend_s: float, *, now: float) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await self._queue.change_visibility(hold.message, extend_s)
        except ReceiptLostError as error:
            if hold in self._holds:
                hold.lose(f"its receipt handle is no longer valid ({error})")
        except Exception as error:  # noqa: BLE001 - a response of any kind must not end the heartbeat
            self._tolerate(hold, error, since=hold.extended_at)
        else:
            hold.extended_at = now

    async def _renew(
        self, hold: Hold, renew: RenewLease, *, until: datetime, now: float, since: float
    ) -> None:
        try:
            async with asyncio.timeout(self._interval_s):
                await renew(until=until)
        except LeaseLostError as error:
            if renew in hold.renewals:  # otherwise the attempt has ended
                hold.lose_lease(str(error))
        except Exception as error:  # noqa: BLE001 - as above
            self._tolerate(hold, error, since=since)
        else:
            since = now
        if renew in hold.renewals:
            hold.renewals[renew] = since

    def _tolerate(self, hold: Hold, error: Exception, *, since: float) -> None:
        """
        Lose the message if it has not been extended for a visibility timeout.

        A request without a response may have been executed. It does not lose the message: even if another
        worker has received it by now, the lease decides which of the two may write.
        """
        log.warning("heartbeat.failed", message_id=hold.message.message_id, reason=repr(error))
        is_answered = not (is_timeout(error) or is_timeout(error.__cause__))
        if is_answered and self._monotonic() - since > self._visibility_timeout_s:
            hold.lose(f"could not be extended in time: {error}")
