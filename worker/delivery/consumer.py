"""The loop: receive no more than there are free slots, deliver each message, drain when told to stop."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import suppress

import structlog
from structlog.contextvars import bound_contextvars

from worker.aws.retry import backoff_s
from worker.delivery.outcome import wait_s
from worker.delivery.ports import Heartbeat, Hold, MessageQueue
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.message import Delete, Disposition, Message, Release

log = structlog.get_logger(__name__)

_RELEASE_S = 10.0
"""How long the deliveries that the drain cut short may take to give their images back."""


class Consumer:
    """
    Consumes the queue until it is told to stop.

    Args:
        queue: The queue.
        heartbeat: Keeps what is in hand.
        handle: Takes one message to its end.
        slots: Messages in hand at the most.
        drain_timeout_s: How long, once stopped, deliveries may take to finish by themselves.
        beside: What runs beside the loop until the worker is drained, each by its name; none may end.
        tell_in_hand: Hears how many messages are in hand, whenever that changes.
        last_poll_s: How long a poll under way may still answer once stopped; what it brings is given back.
    """

    def __init__(
        self,
        *,
        queue: MessageQueue,
        heartbeat: Heartbeat,
        handle: Callable[[Message, Hold], Awaitable[Disposition]],
        slots: int,
        drain_timeout_s: float,
        beside: Mapping[str, Callable[[], Coroutine[object, object, None]]] | None = None,
        on_in_flight_change: Callable[[int], None] | None = None,
        last_poll_s: float = 1.0,
    ) -> None:
        self._queue, self._heartbeat, self._handle_message = queue, heartbeat, handle
        self._slots, self._drain_timeout_s, self._last_poll_s = slots, drain_timeout_s, last_poll_s
        self._beside = {"heartbeat": heartbeat.run, **(beside or {})}
        self._tell_in_hand = on_in_flight_change or (lambda _: None)
        self._free = asyncio.Semaphore(slots)
        self._deliveries: set[asyncio.Task[None]] = set()
        self._troubles = 0
        self._stopping = asyncio.Event()
        self._hurrying = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """How many messages are in hand."""
        return len(self._deliveries)

    @property
    def is_draining(self) -> bool:
        """Whether it has been told to stop."""
        return self._stopping.is_set()

    def stop(self) -> None:
        """Stop receiving and drain; told a second time, give back at once what is in hand."""
        if self._stopping.is_set():
            self._hurrying.set()
        self._stopping.set()

    async def run(self) -> None:
        """
        Consume until `stop`; return when everything in hand is settled or given back.

        Raises:
            Exception: The loop died, or what runs beside it, such as the heartbeat: a worker that cannot keep
                what it has must not go on.
        """
        beside = {asyncio.create_task(run(), name=name) for name, run in self._beside.items()}
        receiving = asyncio.create_task(self._receive(), name="receive")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop")
        try:
            await asyncio.wait({*beside, receiving, stopping}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stopping.set()
            await self._drain(receiving)
            for task in (*beside, stopping):
                task.cancel()
            results = await asyncio.gather(receiving, *beside, stopping, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def _receive(self) -> None:
        failures = 0
        while not self._stopping.is_set():
            if self._troubles:
                # The table or the bucket is away. Each message received now would spend a try on finding that
                # out again, so they are received one at a time, with pauses, until one goes through.
                await self._pause(self._troubles)
            free = await self._take_slots(most=1 if self._troubles else self._slots)
            if self._stopping.is_set():
                return
            messages: list[Message] = []
            try:
                messages = await self._poll(free)
                failures = 0
            except TransientError as error:
                failures += 1
                log.warning("queue.unavailable", reason=str(error), failures=failures)
            finally:
                for _ in range(free - len(messages)):
                    self._free.release()
            for message in messages:
                self._start(message)
            if failures:
                await self._pause(failures)

    async def _take_slots(self, *, most: int) -> int:
        """Wait for a free slot, and take along others that are free."""
        await self._free.acquire()
        taken = 1
        while taken < most and not self._free.locked():
            await self._free.acquire()
            taken += 1
        return taken

    async def _poll(self, free: int) -> list[Message]:
        """
        Receive; when the worker stops meanwhile, wait a moment and give back what comes.

        A poll that is simply dropped could have taken messages along, which would then stay hidden from
        everybody for a whole visibility timeout.
        """
        poll = asyncio.create_task(self._queue.receive(free), name="poll")
        stopping = asyncio.create_task(self._stopping.wait(), name="stop polling")
        try:
            await asyncio.wait({poll, stopping}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stopping.is_set():
                return await poll
            await asyncio.wait({poll}, timeout=self._last_poll_s)
            if poll.done() and not poll.exception():
                await asyncio.gather(*(self._dispose(message, Release(0)) for message in poll.result()))
            return []
        finally:
            poll.cancel()
            stopping.cancel()
            await asyncio.gather(poll, stopping, return_exceptions=True)

    async def _pause(self, failures: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(backoff_s(failures)):
                await self._stopping.wait()

    def _start(self, message: Message) -> None:
        task = asyncio.create_task(self._handle(message), name=f"deliver {message.message_id}")
        self._deliveries.add(task)
        self._tell_in_hand(self.in_flight)
        task.add_done_callback(self._finished)

    def _finished(self, task: asyncio.Task[None]) -> None:
        self._deliveries.discard(task)
        self._tell_in_hand(self.in_flight)
        self._free.release()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery.crashed", task=task.get_name(), exc_info=error)

    async def _handle(self, message: Message) -> None:
        with bound_contextvars(message_id=message.message_id, receive_count=message.receive_count):
            try:
                # Disposed of only when it is no longer held: a beat would undo the wait of one given back.
                with self._heartbeat.holding(message) as hold:
                    disposition = await self._handle_message(message, hold)
            except asyncio.CancelledError:
                await self._dispose(message, Release(0))
                raise
            except Exception:  # a bug of ours must cost the message a try, and nothing else
                log.exception("delivery.crashed")
                disposition = Release(wait_s(message.receive_count))
            self._note_trouble(disposition)
            await self._dispose(message, disposition)

    def _note_trouble(self, disposition: Disposition) -> None:
        """Count the deliveries in a row that failed because something outside did."""
        is_dependency_failure = isinstance(disposition, Release) and disposition.is_dependency_failure
        self._troubles = self._troubles + 1 if is_dependency_failure else 0

    async def _dispose(self, message: Message, disposition: Disposition) -> None:
        """Tell the queue; when it cannot be told, the message comes again and finds its work done."""
        try:
            match disposition:
                case Delete():
                    await self._queue.delete(message)
                case Release(after_s=after_s):
                    await self._queue.change_visibility(message, after_s)
        except (TransientError, ReceiptLostError) as error:
            log.warning("message.disposition_failed", message_id=message.message_id, reason=str(error))

    async def _drain(self, receiving: asyncio.Task[None]) -> None:
        """Finish what can be finished in time, and give back the rest."""
        hurrying = asyncio.create_task(self._hurrying.wait(), name="hurry")
        deadline = asyncio.get_running_loop().time() + self._drain_timeout_s
        await asyncio.wait(
            {receiving, hurrying}, return_when=asyncio.FIRST_COMPLETED, timeout=2 * self._last_poll_s
        )
        receiving.cancel()
        log.info("service.draining", in_flight=len(self._deliveries))
        while self._deliveries and not self._hurrying.is_set():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(
                {*self._deliveries, hurrying}, return_when=asyncio.FIRST_COMPLETED, timeout=left_s
            )
        hurrying.cancel()
        await asyncio.gather(hurrying, return_exceptions=True)
        if cut_short := list(self._deliveries):
            log.warning("service.giving_back", in_flight=len(cut_short))
            for task in cut_short:
                task.cancel()
            await asyncio.wait(cut_short, timeout=_RELEASE_S)
        log.info("service.drained", left=len(self._deliveries))
