"""The consumer against fakes: slots, dispositions, drain, and an unavailable queue or dependency."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.builders import a_message
from tests.support.fakes.ports import FakeHeartbeat, FakeMessageQueue
from worker.delivery.consumer import Consumer
from worker.delivery.ports import Hold
from worker.domain.errors import ConfigurationError, TransientError
from worker.domain.message import Abandon, Delete, Disposition, Message, Release


@dataclass
class BlockingHandler:
    """Handles messages no further than the test's gate, and counts them."""

    in_flight: list[Message] = field(default_factory=list)
    max_in_flight: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[Message] = field(default_factory=list)
    done: list[Message] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    disposition: Disposition = field(default_factory=Delete)

    async def handle(self, message: Message, hold: Hold) -> Disposition:
        assert hold is not None
        self.in_flight.append(message)
        self.max_in_flight = max(self.max_in_flight, len(self.in_flight))
        self.changed.set()
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled.append(message)
            raise
        finally:
            self.in_flight.remove(message)
            asyncio.get_running_loop().call_soon(self.changed.set)
        self.done.append(message)
        return self.disposition

    async def until_done(self, count: int) -> None:
        while len(self.done) != count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), timeout=5)

    async def until_in_flight(self, count: int) -> None:
        while len(self.in_flight) != count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), timeout=5)


def no_backoff(failures: int) -> float:
    assert failures > 0
    return 0.0


class RecordedBackoff(list[int]):
    """A backoff of no time; the list of the numbers of failures that it was called with."""

    def __call__(self, failures: int) -> float:
        self.append(failures)
        return 0.0


@dataclass
class Scene:
    """A consumer and its fakes."""

    slots: int = 4
    drain_timeout_s: float = 5.0
    queue: FakeMessageQueue = field(default_factory=FakeMessageQueue)
    heartbeat: FakeHeartbeat = field(default_factory=FakeHeartbeat)
    handler: BlockingHandler = field(default_factory=BlockingHandler)
    background_tasks: dict[str, Callable[[], Coroutine[object, object, None]]] = field(default_factory=dict)
    in_flight_changes: list[int] = field(default_factory=list)
    backoff_s: Callable[[int], float] = no_backoff
    sent: int = 0

    @asynccontextmanager
    async def running(self) -> AsyncIterator[tuple[Consumer, asyncio.Task[None]]]:
        consumer = Consumer(
            queue=self.queue,
            heartbeat=self.heartbeat,
            handle=self.handler.handle,
            slots=self.slots,
            drain_timeout_s=self.drain_timeout_s,
            background_tasks=self.background_tasks,
            on_in_flight_change=self.in_flight_changes.append,
            last_poll_s=0.05,
            backoff_s=self.backoff_s,
        )
        task = asyncio.create_task(consumer.run())
        try:
            yield consumer, task
        finally:
            self.handler.gate.set()
            consumer.stop()
            await asyncio.wait([task])

    def send(self, count: int) -> list[Message]:
        messages = [a_message(message_id=f"message-{self.sent + number}") for number in range(count)]
        self.sent += count
        for message in messages:
            self.queue.waiting.put_nowait(message)
        return messages


async def test_no_more_messages_are_in_flight_than_there_are_slots() -> None:
    scene = Scene(slots=4)
    scene.send(9)

    async with scene.running():
        await scene.handler.until_in_flight(4)
        scene.handler.gate.set()
        await scene.handler.until_in_flight(0)

    assert scene.handler.max_in_flight == 4
    assert max(scene.queue.receive_limits) <= 4


async def test_a_poll_requests_as_many_messages_as_there_are_free_slots() -> None:
    scene = Scene(slots=4)
    scene.send(3)

    async with scene.running():
        await scene.handler.until_in_flight(3)
        while len(scene.queue.receive_limits) < 2:
            scene.queue.polled.clear()
            await scene.queue.polled.wait()

    assert scene.queue.receive_limits[:2] == [4, 1]


@pytest.mark.parametrize(
    ("disposition", "deleted", "visibility_s"),
    [(Delete(), 1, []), (Release(30.0), 0, [30.0]), (Abandon(), 0, [])],
)
async def test_each_disposition_is_applied_to_the_queue(
    disposition: Disposition, deleted: int, visibility_s: list[float]
) -> None:
    scene = Scene()
    scene.handler.disposition = disposition
    scene.handler.gate.set()
    scene.send(1)

    async with scene.running() as (consumer, task):
        await scene.handler.until_done(1)
        consumer.stop()
        await task

    assert len(scene.queue.deleted) == deleted
    assert [seconds for _, seconds in scene.queue.visibility_changes] == visibility_s


async def test_a_stopped_consumer_finishes_the_messages_in_flight_and_receives_no_more() -> None:
    scene = Scene(slots=2)
    (first, second) = scene.send(2)

    async with scene.running() as (consumer, task):
        await scene.handler.until_in_flight(2)
        consumer.stop()
        scene.send(1)
        scene.handler.gate.set()
        await task

    assert scene.queue.deleted == [first, second]
    assert scene.queue.waiting.qsize() == 1


async def test_a_message_that_does_not_finish_within_the_drain_timeout_is_released() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)

    async with scene.running() as (consumer, task):
        await scene.handler.until_in_flight(1)
        consumer.stop()
        await task

    assert scene.handler.cancelled == [message]
    assert scene.queue.visibility_changes == [(message, 0)]
    assert scene.heartbeat.held == []


async def test_a_second_stop_does_not_wait_for_the_drain_timeout() -> None:
    scene = Scene(drain_timeout_s=3600)
    (message,) = scene.send(1)

    async with scene.running() as (consumer, task):
        await scene.handler.until_in_flight(1)
        consumer.stop()
        consumer.stop()
        await asyncio.wait_for(task, timeout=10)

    assert scene.queue.visibility_changes == [(message, 0)]


async def test_messages_that_the_last_poll_receives_are_released() -> None:
    scene = Scene()

    async with scene.running() as (consumer, task):
        await scene.queue.polled.wait()
        consumer.stop()
        await asyncio.sleep(0)
        (message,) = scene.send(1)
        await task

    assert scene.queue.visibility_changes == [(message, 0)]
    assert scene.handler.max_in_flight == 0


async def test_after_the_first_response_an_unexpected_error_of_a_receive_is_retried_after_a_pause() -> None:
    pauses = RecordedBackoff()
    scene = Scene(backoff_s=pauses)
    scene.handler.gate.set()
    scene.send(1)
    async with scene.running() as (_, task):
        await scene.handler.until_done(1)
        scene.queue.waiting.put_nowait(AttributeError("'NoneType' object has no attribute 'get'"))
        scene.queue.waiting.put_nowait(ConfigurationError("the endpoint responds with a web page"))
        scene.send(1)
        await scene.handler.until_done(2)
        assert not task.done()

    assert pauses == [1, 2]


async def test_an_unexpected_error_of_the_first_receive_ends_the_worker() -> None:
    scene = Scene()
    scene.queue.waiting.put_nowait(AttributeError("'NoneType' object has no attribute 'get'"))
    async with scene.running() as (_, task):
        await asyncio.wait([task])

    assert isinstance(task.exception(), AttributeError)


async def test_an_unavailable_queue_is_polled_again_after_a_pause() -> None:
    scene = Scene()
    scene.queue.waiting.put_nowait(TransientError("the queue is unavailable"))
    scene.send(1)
    scene.handler.gate.set()

    async with scene.running() as (consumer, task):
        await scene.handler.until_done(1)
        consumer.stop()
        await task

    assert len(scene.queue.deleted) == 1
    assert scene.queue.receive_limits[:2] == [4, 4]


async def test_a_failed_heartbeat_stops_the_consumer_and_releases_the_messages_in_flight() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)

    async with scene.running() as (_, task):
        await scene.handler.until_in_flight(1)
        scene.heartbeat.fails.set()
        with pytest.raises(RuntimeError, match="the heartbeat failed"):
            await task

    assert scene.queue.visibility_changes == [(message, 0)]


async def test_a_background_task_runs_until_the_consumer_has_drained() -> None:
    scene = Scene()
    scene.send(1)
    in_flight_at_the_end: list[int] = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            in_flight_at_the_end.append(len(scene.handler.in_flight))

    scene.background_tasks["probe"] = run
    async with scene.running() as (consumer, task):
        await scene.handler.until_in_flight(1)
        consumer.stop()
        assert consumer.is_draining
        scene.handler.gate.set()
        await task

    assert in_flight_at_the_end == [0]


async def test_a_failed_background_task_stops_the_consumer_and_releases_the_messages_in_flight() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)
    fails = asyncio.Event()

    async def run() -> None:
        await fails.wait()
        message = "the probe failed"
        raise RuntimeError(message)

    scene.background_tasks["probe"] = run
    async with scene.running() as (_, task):
        await scene.handler.until_in_flight(1)
        fails.set()
        with pytest.raises(RuntimeError, match="the probe failed"):
            await task

    assert scene.queue.visibility_changes == [(message, 0)]


async def test_each_change_of_the_number_in_flight_is_reported() -> None:
    scene = Scene(slots=2)
    scene.send(2)

    async with scene.running() as (consumer, task):
        await scene.handler.until_in_flight(2)
        assert consumer.in_flight == 2
        scene.handler.gate.set()
        await scene.handler.until_done(2)
        consumer.stop()
        await task

    assert scene.in_flight_changes == [1, 2, 1, 0]


async def test_a_message_is_no_longer_held_when_it_is_released() -> None:
    scene = Scene()
    scene.handler.disposition = Release(900)
    held: list[list[Message]] = []
    original = scene.queue.change_visibility

    async def change_visibility(message: Message, seconds: float) -> None:
        held.append(list(scene.heartbeat.held))
        await original(message, seconds)

    scene.queue.change_visibility = change_visibility  # type: ignore[method-assign] # a spy
    scene.handler.gate.set()
    scene.send(1)
    async with scene.running():
        await scene.handler.until_done(1)

    assert held == [[]]


async def test_one_message_that_fails_again_and_again_does_not_slow_down_the_others() -> None:
    pauses = RecordedBackoff()
    scene = Scene(slots=4, backoff_s=pauses)
    scene.handler.gate.set()
    scene.handler.disposition = Release(1, is_dependency_failure=True)
    async with scene.running():
        scene.send(1)
        for done in (1, 2, 3):
            await scene.handler.until_done(done)
            scene.queue.waiting.put_nowait(scene.handler.done[0])
        await scene.handler.until_done(4)

    assert pauses == []
    assert 1 not in scene.queue.receive_limits


async def test_while_a_dependency_is_unavailable_messages_are_received_one_at_a_time_after_pauses() -> None:
    pauses = RecordedBackoff()
    scene = Scene(slots=4, backoff_s=pauses)
    scene.handler.gate.set()
    scene.handler.disposition = Release(1, is_dependency_failure=True)
    async with scene.running():
        for done in (1, 2, 3, 4):
            scene.send(1)
            await scene.handler.until_done(done)
        scene.handler.disposition = Delete()
        scene.send(1)
        await scene.handler.until_done(5)
        limits_while_unavailable = scene.queue.receive_limits[3:5]
        scene.send(1)
        await scene.handler.until_done(6)
        scene.send(1)
        await scene.handler.until_done(7)

    assert pauses[:3] == sorted(pauses[:3])
    assert limits_while_unavailable == [1, 1]
    assert scene.queue.receive_limits[-1] > 1
