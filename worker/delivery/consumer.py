"""The consumer: receive a message for each free slot, handle them concurrently, drain when stopped."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Mapping
from contextlib import AsyncExitStack, suppress
from typing import Final

import structlog
from structlog.contextvars import bound_contextvars

from worker.aws.retry import backoff_s
from worker.delivery.isolation import Isolation
from worker.delivery.outcome import retry_delay_s
from worker.delivery.ports import Heartbeat, Hold, MessageQueue
from worker.domain.errors import ReceiptLostError, TransientError
from worker.domain.message import Delete, Disposition, Message, Release

log = structlog.get_logger(__name__)

RELEASE_TIMEOUT_S: Final = 10.0
"""How long the messages still in flight at the end of a drain may take to release their images."""


_OUTAGE_MESSAGES: Final = 2
"""Different messages that fail without a success in between before a dependency counts as unavailable."""


class Consumer:
    """
    Consumes the queue until it is stopped.

    Args:
        queue: The queue.
        heartbeat: Keeps messages in flight invisible to other workers.
        handle: Handles one message and returns its disposition.
        slots: Maximum number of messages in flight.
        drain_timeout_s: How long messages in flight may take to finish after a stop.
        isolation: Lets a delivery run alone; shared with the handler.
        background_tasks: Functions to run, by task name, until the consumer has drained. If one returns or
            raises, the consumer stops.
        on_in_flight_change: Called with the number of messages in flight whenever it changes.
        last_poll_s: How long a receive request may still take after a stop; its messages are released.
        backoff_s: Returns the pause in seconds after a number of consecutive failures.
    """

    def __init__(  # noqa: PLR0913 - dependencies and limits, all by keyword
        self,
        *,
        queue: MessageQueue,
        heartbeat: Heartbeat,
        handle: Callable[[Message, Hold], Awaitable[Disposition]],
        slots: int,
        drain_timeout_s: float,
        isolation: Isolation | None = None,
        background_tasks: Mapping[str, Callable[[], Coroutine[object, object, None]]] | None = None,
        on_in_flight_change: Callable[[int], None] | None = None,
        last_poll_s: float = 1.0,
        backoff_s: Callable[[int], float] = backoff_s,
    ) -> None:
        self._queue, self._heartbeat, self._handle = queue, heartbeat, handle
        self._slots, self._drain_timeout_s, self._last_poll_s = slots, drain_timeout_s, last_poll_s
        self._isolation = isolation or Isolation()
        self._background_tasks = {"heartbeat": heartbeat.run, **(background_tasks or {})}
        self._on_in_flight_change = on_in_flight_change or (lambda _: None)
        self._backoff_s = backoff_s
        self._free_slots = asyncio.Semaphore(slots)
        self._in_flight: set[asyncio.Task[None]] = set()
        self._failed_messages: set[str] = set()  # by a dependency, since the last success
        self._stop = asyncio.Event()
        self._force_stop = asyncio.Event()

    @property
    def in_flight(self) -> int:
        """Number of messages in flight."""
        return len(self._in_flight)

    @property
    def is_draining(self) -> bool:
        """Whether `stop` has been called."""
        return self._stop.is_set()

    def stop(self) -> None:
        """Stop receiving and drain; when called again, release the messages in flight at once."""
        if self._stop.is_set():
            self._force_stop.set()
        self._stop.set()

    async def run(self) -> None:
        """
        Consume until `stop` is called; return when every message in flight is settled or released.

        Raises:
            Exception: Receiving or a background task failed. Without its heartbeat, for example, a worker
                would lose its messages, so it must not continue.
        """
        background = {asyncio.create_task(run(), name=name) for name, run in self._background_tasks.items()}
        receiving = asyncio.create_task(self._receive(), name="receive")
        stopped = asyncio.create_task(self._stop.wait(), name="stop")
        try:
            await asyncio.wait({*background, receiving, stopped}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            self._stop.set()
            await self._drain(receiving)
            for task in (*background, stopped):
                task.cancel()
            results = await asyncio.gather(receiving, *background, stopped, return_exceptions=True)
        for result in results:
            if isinstance(result, Exception):
                raise result

    async def process(self, message: Message) -> None:
        """Handle one message and apply its disposition to the queue."""
        async with AsyncExitStack() as delivery:  # it ends after the disposition is applied
            delivery.enter_context(
                bound_contextvars(message_id=message.message_id, receive_count=message.receive_count)
            )
            try:
                # The disposition is applied after the hold: a heartbeat would overwrite a release's delay.
                with self._heartbeat.holding(message) as hold:
                    await delivery.enter_async_context(self._isolation.delivery())
                    disposition = await self._handle(message, hold)
            except asyncio.CancelledError:
                await self._apply(Release(0), message)
                raise
            except Exception:  # a bug must cost this message a receive, and not stop the consumer
                log.exception("delivery.crashed")
                disposition = Release(retry_delay_s(message.receive_count))
            self._count_dependency_failure(disposition, message)
            await self._apply(disposition, message)

    async def _receive(self) -> None:
        receive_failures, has_received = 0, False
        while not self._stop.is_set():
            is_outage = len(self._failed_messages) >= _OUTAGE_MESSAGES
            if is_outage:
                # DynamoDB or S3 is unavailable. Each message received now would spend a receive to find that
                # out again, so they are received one at a time, with pauses, until one succeeds.
                await self._pause(len(self._failed_messages))
            await self._isolation.until_open()
            slots = await self._acquire_slots(limit=1 if is_outage else self._slots)
            if self._stop.is_set():
                return
            messages: list[Message] = []
            try:
                messages = await self._poll(slots)
                receive_failures, has_received = 0, True
            except TransientError as error:
                receive_failures += 1
                log.warning("queue.receive_failed", reason=str(error), failures=receive_failures)
            except Exception as error:
                if not has_received:  # a fault of the set-up or a bug: the worker has to report it and end
                    raise
                receive_failures += 1
                log.warning("queue.receive_failed", failures=receive_failures, exc_info=error)
            finally:
                for _ in range(slots - len(messages)):
                    self._free_slots.release()
            for message in messages:
                self._start(message)
            if receive_failures:
                await self._pause(receive_failures)

    async def _acquire_slots(self, *, limit: int) -> int:
        """Wait for a free slot; acquire it and further free ones up to the limit, and return their number."""
        await self._free_slots.acquire()
        acquired = 1
        while acquired < limit and not self._free_slots.locked():
            await self._free_slots.acquire()
            acquired += 1
        return acquired

    async def _poll(self, max_messages: int) -> list[Message]:
        """
        Receive messages; after a stop, wait briefly for the request under way and release its messages.

        Cancelling the request could leave messages that SQS has already delivered invisible for a whole
        visibility timeout.
        """
        poll = asyncio.create_task(self._queue.receive(max_messages), name="poll")
        stopped = asyncio.create_task(self._stop.wait(), name="stop polling")
        try:
            await asyncio.wait({poll, stopped}, return_when=asyncio.FIRST_COMPLETED)
            if not self._stop.is_set():
                return await poll
            await asyncio.wait({poll}, timeout=self._last_poll_s)
            if poll.done() and not poll.exception():
                await asyncio.gather(*(self._apply(Release(0), message) for message in poll.result()))
            return []
        finally:
            poll.cancel()
            stopped.cancel()
            await asyncio.gather(poll, stopped, return_exceptions=True)

    async def _pause(self, failures: int) -> None:
        with suppress(TimeoutError):
            async with asyncio.timeout(self._backoff_s(failures)):
                await self._stop.wait()

    def _start(self, message: Message) -> None:
        task = asyncio.create_task(self.process(message), name=f"process {message.message_id}")
        self._in_flight.add(task)
        self._on_in_flight_change(self.in_flight)
        task.add_done_callback(self._on_done)

    def _on_done(self, task: asyncio.Task[None]) -> None:
        self._in_flight.discard(task)
        self._on_in_flight_change(self.in_flight)
        self._free_slots.release()
        if not task.cancelled() and (error := task.exception()):
            log.error("delivery.crashed", task=task.get_name(), exc_info=error)

    def _count_dependency_failure(self, disposition: Disposition, message: Message) -> None:
        if isinstance(disposition, Release) and disposition.is_dependency_failure:
            self._failed_messages.add(message.message_id)
        else:
            self._failed_messages.clear()

    async def _apply(self, disposition: Disposition, message: Message) -> None:
        """Delete or release the message; if that fails, it is received again, and its work is found done."""
        try:
            match disposition:
                case Delete():
                    await self._queue.delete(message)
                case Release(after_s=after_s):
                    await self._queue.change_visibility(message, after_s)
        except (TransientError, ReceiptLostError) as error:
            log.warning("message.disposition_failed", message_id=message.message_id, reason=str(error))

    async def _drain(self, receiving: asyncio.Task[None]) -> None:
        """Wait for the messages in flight until the drain timeout, then cancel and so release the others."""
        forced = asyncio.create_task(self._force_stop.wait(), name="force stop")
        deadline = asyncio.get_running_loop().time() + self._drain_timeout_s
        await asyncio.wait(
            {receiving, forced}, return_when=asyncio.FIRST_COMPLETED, timeout=2 * self._last_poll_s
        )
        receiving.cancel()
        log.info("service.drain_started", in_flight=len(self._in_flight))
        while self._in_flight and not self._force_stop.is_set():
            left_s = deadline - asyncio.get_running_loop().time()
            if left_s <= 0:
                break
            await asyncio.wait(
                {*self._in_flight, forced}, return_when=asyncio.FIRST_COMPLETED, timeout=left_s
            )
        forced.cancel()
        await asyncio.gather(forced, return_exceptions=True)
        if unfinished := list(self._in_flight):
            log.warning("service.messages_cancelled", in_flight=len(unfinished))
            for task in unfinished:
                task.cancel()
            await asyncio.wait(unfinished, timeout=RELEASE_TIMEOUT_S)
        log.info("service.drained", in_flight=len(self._in_flight))
