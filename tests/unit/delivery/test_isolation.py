"""Deliveries that run alone: what they wait for, their order, and what happens when they are cancelled."""

import asyncio
from contextlib import suppress
from dataclasses import dataclass, field

import pytest

from tests.support.builders import a_message
from tests.support.fakes.ports import FakeHeartbeat, FakeMessageQueue
from worker.delivery.consumer import Consumer
from worker.delivery.isolation import Isolation
from worker.delivery.ports import Hold
from worker.domain.message import Delete, Disposition, Message


@dataclass
class Scene:
    """
    Deliveries that run until the test lets them end.

    Attributes:
        started: Names of the deliveries whose body has started, in order.
        running: Names of the deliveries whose body is running.
        gates: Ends the body of each delivery.
    """

    isolation: Isolation = field(default_factory=Isolation)
    started: list[str] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    gates: dict[str, asyncio.Event] = field(default_factory=dict)

    def start(self, name: str, *, order: int | None = None) -> asyncio.Task[None]:
        """Start a delivery; with an order, it has to be alone."""
        self.gates[name] = asyncio.Event()
        return asyncio.create_task(self._deliver(name, order))

    async def end(self, name: str) -> None:
        self.gates[name].set()
        await settle()

    async def _deliver(self, name: str, order: int | None) -> None:
        async with self.isolation.delivery():
            await asyncio.sleep(0)  # as the claim of the image would
            if order is None:
                await self.run(name)
            else:
                async with self.isolation.alone(order=order):
                    assert not self.running
                    await self.run(name)

    async def run(self, name: str) -> None:
        self.started.append(name)
        self.running.add(name)
        try:
            await self.gates[name].wait()
        finally:
            self.running.remove(name)


async def settle() -> None:
    """Let all tasks run until each waits for the test."""
    for _ in range(20):
        await asyncio.sleep(0)


async def test_a_delivery_is_alone_after_the_others_have_ended_and_new_ones_wait_for_its_end() -> None:
    scene = Scene()
    tasks = [scene.start("good"), scene.start("suspect", order=0)]
    await settle()
    tasks.append(scene.start("new"))
    await settle()
    assert scene.started == ["good"]

    await scene.end("good")
    assert scene.started == ["good", "suspect"]

    await scene.end("suspect")
    assert scene.started == ["good", "suspect", "new"]
    await scene.end("new")
    await asyncio.gather(*tasks)


async def test_those_that_wait_to_be_alone_run_one_after_another_the_lowest_order_first() -> None:
    scene = Scene()
    tasks = [scene.start("killer", order=2), scene.start("second", order=1), scene.start("first", order=0)]
    await settle()
    for name in ("first", "second", "killer"):
        assert scene.running == {name}
        await scene.end(name)

    await asyncio.gather(*tasks)
    assert scene.started == ["first", "second", "killer"]


@pytest.mark.parametrize("cancelled", ["waiting", "alone", "running"])
async def test_a_cancelled_delivery_holds_up_no_other(cancelled: str) -> None:
    scene = Scene()
    tasks = {"running": scene.start("running")}
    await settle()
    tasks["alone"] = scene.start("alone", order=0)
    tasks["waiting"] = scene.start("waiting", order=1)
    await settle()
    tasks["new"] = scene.start("new")
    if cancelled == "alone":
        await scene.end("running")
        assert scene.running == {"alone"}
    tasks[cancelled].cancel()
    with suppress(asyncio.CancelledError):
        await tasks[cancelled]

    for name in tasks:
        await scene.end(name)
    await asyncio.gather(*(task for name, task in tasks.items() if name != cancelled))
    assert set(scene.started) >= {"new"}
    assert scene.isolation.is_open


async def test_a_delivery_cancelled_at_its_turn_passes_it_on() -> None:
    scene = Scene()
    running = scene.start("running")
    await settle()
    suspect = scene.start("suspect", order=0)
    await settle()
    scene.gates["running"].set()
    while not running.done():
        await asyncio.sleep(0)
    suspect.cancel()
    await asyncio.gather(suspect, return_exceptions=True)

    new = scene.start("new")
    await settle()
    assert scene.running == {"new"}
    await scene.end("new")
    await new


async def test_a_delivery_that_is_alone_already_does_not_wait_for_itself() -> None:
    isolation = Isolation()
    async with (
        asyncio.timeout(5),
        isolation.delivery(),
        isolation.alone(order=0),
        isolation.alone(order=0),
    ):
        assert not isolation.is_open
    assert isolation.is_open


@dataclass
class ConsumerScene:
    """A consumer whose messages named `suspect-…` have to be alone, and which the test lets end."""

    queue: FakeMessageQueue = field(default_factory=FakeMessageQueue)
    heartbeat: FakeHeartbeat = field(default_factory=FakeHeartbeat)
    deliveries: Scene = field(default_factory=Scene)
    drain_timeout_s: float = 5.0

    def consumer(self) -> Consumer:
        return Consumer(
            queue=self.queue,
            heartbeat=self.heartbeat,
            handle=self._handle,
            slots=4,
            drain_timeout_s=self.drain_timeout_s,
            isolation=self.deliveries.isolation,
            last_poll_s=0.05,
        )

    def send(self, *names: str) -> list[Message]:
        messages = [a_message(message_id=name) for name in names]
        for message in messages:
            self.deliveries.gates[message.message_id] = asyncio.Event()
            self.queue.waiting.put_nowait(message)
        return messages

    async def _handle(self, message: Message, _: Hold) -> Disposition:
        name = message.message_id
        if name.startswith("suspect"):
            async with self.deliveries.isolation.alone(order=0):
                await self.deliveries.run(name)
        else:
            await self.deliveries.run(name)
        return Delete()


async def test_the_consumer_receives_nothing_while_a_message_is_alone() -> None:
    scene = ConsumerScene()
    scene.send("good", "suspect-1", "suspect-2")
    consumer = scene.consumer()
    task = asyncio.create_task(consumer.run())
    await settle()
    polls = len(scene.queue.receive_limits)
    scene.send("later-1")  # by the poll under way
    await settle()
    scene.send("later-2")
    await settle()
    assert scene.deliveries.running == {"good"}
    assert len(scene.queue.receive_limits) == polls
    assert len(scene.heartbeat.held) == 4

    for name in ("good", "suspect-1", "suspect-2"):
        assert scene.deliveries.running == {name}
        await scene.deliveries.end(name)
    assert scene.deliveries.running == {"later-1", "later-2"}
    for name in ("later-1", "later-2"):
        await scene.deliveries.end(name)
    consumer.stop()
    await asyncio.wait_for(task, timeout=10)
    assert len(scene.queue.deleted) == 5


async def test_messages_that_wait_to_be_alone_finish_in_a_drain() -> None:
    scene = ConsumerScene()
    messages = scene.send("good", "suspect-1", "suspect-2")
    consumer = scene.consumer()
    task = asyncio.create_task(consumer.run())
    await settle()
    consumer.stop()
    for message in messages:
        await scene.deliveries.end(message.message_id)
    await asyncio.wait_for(task, timeout=10)

    assert scene.queue.deleted == messages


async def test_messages_that_wait_to_be_alone_are_released_when_the_drain_timeout_ends() -> None:
    scene = ConsumerScene(drain_timeout_s=0.01)
    messages = scene.send("good", "suspect-1", "suspect-2")
    consumer = scene.consumer()
    task = asyncio.create_task(consumer.run())
    await settle()
    consumer.stop()
    await asyncio.wait_for(task, timeout=10)

    assert scene.deliveries.started == ["good"]
    released = {message.message_id: seconds for message, seconds in scene.queue.visibility_changes}
    assert released == {message.message_id: 0 for message in messages}
    assert scene.heartbeat.held == []
