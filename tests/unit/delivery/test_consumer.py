"""The loop, against fakes: slots, drain, and what it does when the queue is away."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest

from tests.support.builders import a_message
from tests.support.fakes.ports import FakeHeartbeat, FakeMessageQueue
from worker.delivery.consumer import Consumer
from worker.delivery.ports import Hold
from worker.domain.errors import TransientError
from worker.domain.message import Abandon, Delete, Disposition, Message, Release


@dataclass
class Desk:
    """Deliveries that wait until the test lets them go."""

    in_flight: list[Message] = field(default_factory=list)
    most_in_hand: int = 0
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    cancelled: list[Message] = field(default_factory=list)
    done: list[Message] = field(default_factory=list)
    changed: asyncio.Event = field(default_factory=asyncio.Event)
    disposition: Disposition = field(default_factory=Delete)

    async def handle(self, message: Message, hold: Hold) -> Disposition:
        assert hold
        self.in_flight.append(message)
        self.most_in_hand = max(self.most_in_hand, len(self.in_flight))
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

    async def until_in_hand(self, count: int) -> None:
        while len(self.in_flight) != count:
            self.changed.clear()
            await asyncio.wait_for(self.changed.wait(), timeout=5)


@dataclass
class Scene:
    """A consumer with fakes around it."""

    slots: int = 4
    drain_timeout_s: float = 5.0
    queue: FakeMessageQueue = field(default_factory=FakeMessageQueue)
    heartbeat: FakeHeartbeat = field(default_factory=FakeHeartbeat)
    desk: Desk = field(default_factory=Desk)
    beside: dict[str, Callable[[], Coroutine[object, object, None]]] = field(default_factory=dict)
    told: list[int] = field(default_factory=list)

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[tuple[Consumer, asyncio.Task[None]]]:
        consumer = Consumer(
            queue=self.queue,
            heartbeat=self.heartbeat,
            handle=self.desk.handle,
            slots=self.slots,
            drain_timeout_s=self.drain_timeout_s,
            beside=self.beside,
            on_in_flight_change=self.told.append,
            last_poll_s=0.05,
        )
        task = asyncio.create_task(consumer.run())
        try:
            yield consumer, task
        finally:
            self.desk.gate.set()
            consumer.stop()
            await asyncio.wait([task])

    def send(self, count: int) -> list[Message]:
        messages = [a_message(message_id=f"message-{number}") for number in range(count)]
        for message in messages:
            self.queue.waiting.put_nowait(message)
        return messages


async def test_no_more_messages_are_in_hand_than_there_are_slots() -> None:
    scene = Scene(slots=4)
    scene.send(9)

    async with scene.serving():
        await scene.desk.until_in_hand(4)
        scene.desk.gate.set()
        await scene.desk.until_in_hand(0)

    assert scene.desk.most_in_hand == 4
    assert max(scene.queue.receive_limits) <= 4


async def test_a_poll_asks_for_as_many_as_there_are_free_slots() -> None:
    scene = Scene(slots=4)
    scene.send(3)

    async with scene.serving():
        await scene.desk.until_in_hand(3)
        while len(scene.queue.receive_limits) < 2:
            scene.queue.polled.clear()
            await scene.queue.polled.wait()

    assert scene.queue.receive_limits[:2] == [4, 1]


@pytest.mark.parametrize(
    ("disposition", "deleted", "hidden"),
    [(Delete(), 1, []), (Release(30.0), 0, [30.0]), (Abandon(), 0, [])],
)
async def test_each_disposition_reaches_the_queue(
    disposition: Disposition, deleted: int, hidden: list[float]
) -> None:
    scene = Scene()
    scene.desk.disposition = disposition
    scene.desk.gate.set()
    scene.send(1)

    async with scene.serving() as (consumer, task):
        await scene.desk.until_done(1)
        consumer.stop()
        await task

    assert len(scene.queue.deleted) == deleted
    assert [seconds for _, seconds in scene.queue.hidden] == hidden


async def test_a_stopped_service_finishes_what_is_in_hand_and_takes_nothing_new() -> None:
    scene = Scene(slots=2)
    (first, second) = scene.send(2)

    async with scene.serving() as (consumer, task):
        await scene.desk.until_in_hand(2)
        consumer.stop()
        scene.send(1)
        scene.desk.gate.set()
        await task

    assert scene.queue.deleted == [first, second]
    assert scene.queue.waiting.qsize() == 1


async def test_what_does_not_finish_within_the_drain_time_is_given_back_at_once() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)

    async with scene.serving() as (consumer, task):
        await scene.desk.until_in_hand(1)
        consumer.stop()
        await task

    assert scene.desk.cancelled == [message]
    assert scene.queue.hidden == [(message, 0)]
    assert scene.heartbeat.held == []


async def test_a_second_stop_does_not_wait_for_the_drain_time() -> None:
    scene = Scene(drain_timeout_s=3600)
    (message,) = scene.send(1)

    async with scene.serving() as (consumer, task):
        await scene.desk.until_in_hand(1)
        consumer.stop()
        consumer.stop()
        await asyncio.wait_for(task, timeout=10)

    assert scene.queue.hidden == [(message, 0)]


async def test_messages_that_a_last_poll_brings_are_given_back() -> None:
    scene = Scene()

    async with scene.serving() as (consumer, task):
        await scene.queue.polled.wait()
        consumer.stop()
        await asyncio.sleep(0)
        (message,) = scene.send(1)
        await task

    assert scene.queue.hidden == [(message, 0)]
    assert scene.desk.most_in_hand == 0


async def test_a_queue_that_is_away_is_asked_again_after_a_pause() -> None:
    scene = Scene()
    scene.queue.waiting.put_nowait(TransientError("the queue is away"))
    scene.send(1)
    scene.desk.gate.set()

    async with scene.serving() as (consumer, task):
        await scene.desk.until_done(1)
        consumer.stop()
        await task

    assert len(scene.queue.deleted) == 1
    assert scene.queue.receive_limits[:2] == [4, 4]


async def test_a_dead_heartbeat_stops_the_service_and_gives_everything_back() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)

    async with scene.serving() as (_, task):
        await scene.desk.until_in_hand(1)
        scene.heartbeat.dies.set()
        with pytest.raises(RuntimeError, match="the heartbeat died"):
            await task

    assert scene.queue.hidden == [(message, 0)]


async def test_whatever_runs_beside_the_loop_runs_until_the_worker_is_drained() -> None:
    scene = Scene()
    scene.send(1)
    beside: list[str] = []

    async def run() -> None:
        try:
            await asyncio.Event().wait()
        finally:
            beside.append(f"ended with {len(scene.desk.in_flight)} in hand")

    scene.beside["probe"] = run
    async with scene.serving() as (consumer, task):
        await scene.desk.until_in_hand(1)
        consumer.stop()
        assert consumer.is_draining
        scene.desk.gate.set()
        await task

    assert beside == ["ended with 0 in hand"]


async def test_what_runs_beside_the_loop_and_dies_stops_the_service_and_gives_everything_back() -> None:
    scene = Scene(drain_timeout_s=0.01)
    (message,) = scene.send(1)
    dies = asyncio.Event()

    async def run() -> None:
        await dies.wait()
        message = "the probe died"
        raise RuntimeError(message)

    scene.beside["probe"] = run
    async with scene.serving() as (_, task):
        await scene.desk.until_in_hand(1)
        dies.set()
        with pytest.raises(RuntimeError, match="the probe died"):
            await task

    assert scene.queue.hidden == [(message, 0)]


async def test_each_change_of_what_is_in_hand_is_told() -> None:
    scene = Scene(slots=2)
    scene.send(2)

    async with scene.serving() as (consumer, task):
        await scene.desk.until_in_hand(2)
        assert consumer.in_flight == 2
        scene.desk.gate.set()
        await scene.desk.until_done(2)
        consumer.stop()
        await task

    assert scene.told == [1, 2, 1, 0]


async def test_a_message_given_back_is_no_longer_held_when_the_queue_is_told() -> None:
    scene = Scene()
    scene.desk.disposition = Release(900)
    held: list[list[Message]] = []
    tell = scene.queue.change_visibility

    async def change_visibility(message: Message, seconds: float) -> None:
        held.append(list(scene.heartbeat.held))
        await tell(message, seconds)

    scene.queue.change_visibility = change_visibility  # type: ignore[method-assign]
    scene.desk.gate.set()
    scene.send(1)
    async with scene.serving():
        await scene.desk.until_done(1)

    assert held == [[]]


async def test_while_something_outside_is_away_one_message_at_a_time_finds_out(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pauses: list[int] = []

    def no_pause(failures: int) -> float:
        pauses.append(failures)
        return 0.0

    monkeypatch.setattr("worker.delivery.consumer.backoff_s", no_pause)
    scene = Scene(slots=4)
    scene.desk.gate.set()
    scene.desk.disposition = Release(1, is_dependency_failure=True)
    async with scene.serving():
        for done in (1, 2, 3):
            scene.send(1)
            await scene.desk.until_done(done)
        scene.desk.disposition = Delete()
        scene.send(1)
        await scene.desk.until_done(4)
        asked_in_trouble = scene.queue.receive_limits[2:4]
        scene.send(1)
        await scene.desk.until_done(5)
        scene.send(1)
        await scene.desk.until_done(6)

    assert pauses[:3] == sorted(pauses[:3])
    assert asked_in_trouble == [1, 1]
    assert scene.queue.receive_limits[-1] > 1
