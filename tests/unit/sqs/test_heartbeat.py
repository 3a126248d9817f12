import asyncio
from datetime import datetime
from typing import Any

import pytest

from tests.support.builders import a_message, after
from worker.domain.errors import ConfigurationError, LeaseLostError, ReceiptLostError, TransientError
from worker.domain.message import Message
from worker.sqs.heartbeat import MAX_IN_FLIGHT_S, Heartbeat, Hold

LEASE_LOST = LeaseLostError(image_id="img_1", attempt=1)
RECEIPT_LOST = ReceiptLostError("ReceiptHandleIsInvalid")
UNAVAILABLE = TransientError("the queue is unreachable")


class FakeQueue:
    """Records the changes of visibility; they can fail or hang, by message id."""

    def __init__(self) -> None:
        self.hidden: list[tuple[str, float]] = []
        self.errors: dict[str, Exception] = {}
        self.stalled: set[str] = set()
        self.beaten = asyncio.Event()

    async def change_visibility(self, message: Message, seconds: float) -> None:
        self.hidden.append((message.message_id, seconds))
        self.beaten.set()
        if message.message_id in self.stalled:
            await asyncio.Event().wait()
        if error := self.errors.get(message.message_id):
            raise error


class Lease:
    """A lease that records its renewals, and can be lost."""

    def __init__(self) -> None:
        self.renewed: list[datetime] = []
        self.error: Exception | None = None

    async def __call__(self, *, until: datetime) -> None:
        self.renewed.append(until)
        if self.error:
            raise self.error


class Beats:
    """A heartbeat with a clock that the test advances."""

    def __init__(self, *, visibility_timeout_s: float = 60) -> None:
        self.seconds = 0.0
        self.queue = FakeQueue()
        self.heartbeat = Heartbeat(
            self.queue,  # type: ignore[arg-type]  # a fake
            visibility_timeout_s=visibility_timeout_s,
            clock=lambda: after(self.seconds),
            monotonic=lambda: 1000 + self.seconds,
        )

    def holding(self, message_id: str = "message-1") -> Any:
        return self.heartbeat.holding(a_message(message_id=message_id))

    async def beat(self, *, at: float) -> None:
        self.seconds = at
        await self.heartbeat.beat()


async def guarded(hold: Hold, body: asyncio.Event, *, entered: asyncio.Event | None = None) -> str:
    """Run a guarded body until the event is set; return how it ended."""
    try:
        with hold.guarding(image_id="img_1", attempt=1):
            if entered:
                entered.set()
            await body.wait()
    except LeaseLostError as error:
        return str(error)
    return "done"


def a_set_event() -> asyncio.Event:
    """Return an event that is set."""
    event = asyncio.Event()
    event.set()
    return event


async def at_work(hold: Hold, body: asyncio.Event) -> asyncio.Task[str]:
    """Return the task of a guarded body that has started."""
    entered = asyncio.Event()
    working = asyncio.create_task(guarded(hold, body, entered=entered))
    await entered.wait()
    return working


async def test_a_beat_extends_the_visibility_and_the_lease_to_the_same_moment() -> None:
    beats, lease = Beats(), Lease()

    with beats.holding() as hold, hold.leasing(lease):
        await beats.beat(at=20)

    assert (beats.queue.hidden, lease.renewed) == ([("message-1", 60)], [after(80)])


async def test_a_message_without_a_lease_is_extended() -> None:
    beats = Beats()

    with beats.holding():
        await beats.beat(at=20)

    assert beats.queue.hidden == [("message-1", 60)]


async def test_a_lease_is_renewed_only_while_its_body_runs() -> None:
    beats, first, second = Beats(), Lease(), Lease()

    with beats.holding() as hold:
        with hold.leasing(first):
            await beats.beat(at=20)
        with hold.leasing(second):
            await beats.beat(at=40)
        await beats.beat(at=60)

    assert (first.renewed, second.renewed) == ([after(80)], [after(100)])


async def test_only_messages_in_flight_are_extended() -> None:
    beats = Beats()

    with beats.holding("a"), beats.holding("b"):
        with beats.holding("c"):
            pass
        await beats.beat(at=20)

    assert sorted(beats.queue.hidden) == [("a", 60), ("b", 60)]
    await beats.beat(at=40)
    assert len(beats.queue.hidden) == 2


async def test_a_lost_message_does_not_affect_others() -> None:
    beats, proceed = Beats(), asyncio.Event()
    with beats.holding("a") as lost, beats.holding("b") as kept:
        losing, keeping = await at_work(lost, proceed), await at_work(kept, proceed)
        beats.queue.errors["a"] = RECEIPT_LOST

        await beats.beat(at=20)
        ended = await losing
        proceed.set()

        assert (ended, await keeping) == (str(LEASE_LOST), "done")
        assert (lost.reason_lost is None, kept.reason_lost) == (False, None)


async def test_a_lost_receipt_cancels_the_body() -> None:
    beats = Beats()
    with beats.holding() as hold:
        working = await at_work(hold, asyncio.Event())
        beats.queue.errors["message-1"] = RECEIPT_LOST

        await beats.beat(at=20)

        assert await working == str(LEASE_LOST)
        assert hold.reason_lost == "its receipt handle is no longer valid (ReceiptHandleIsInvalid)"


async def test_a_lost_lease_cancels_the_body_and_the_message_stays_held() -> None:
    beats, lease = Beats(), Lease()
    lease.error = LEASE_LOST
    with beats.holding() as hold, hold.leasing(lease):
        working = await at_work(hold, asyncio.Event())

        await beats.beat(at=20)

        assert await working == str(LEASE_LOST)
        assert not hold.is_lost
        assert await guarded(hold, body=a_set_event()) == "done"


async def test_the_body_does_not_start_when_the_message_is_already_lost() -> None:
    beats = Beats()
    with beats.holding() as hold:
        beats.queue.errors["message-1"] = RECEIPT_LOST
        await beats.beat(at=20)

        assert await guarded(hold, asyncio.Event()) == str(LEASE_LOST)


async def test_a_loss_after_the_guard_has_no_effect() -> None:
    beats, proceed = Beats(), asyncio.Event()
    proceed.set()
    with beats.holding() as hold:
        assert await guarded(hold, proceed) == "done"

        beats.queue.errors["message-1"] = RECEIPT_LOST
        await beats.beat(at=20)
        await asyncio.sleep(0)  # a cancellation would be delivered here


async def test_a_cancelled_task_is_not_reported_as_a_loss() -> None:
    with Beats().holding() as hold:
        working = await at_work(hold, asyncio.Event())

        working.cancel()
        await asyncio.wait([working])

        assert working.cancelled()


@pytest.mark.parametrize("first", ["the cancellation", "the loss"])
async def test_a_task_cancelled_at_the_moment_of_a_loss_is_cancelled(first: str) -> None:
    with Beats().holding() as hold:
        working = await at_work(hold, asyncio.Event())

        if first == "the cancellation":
            working.cancel()
            hold.lose("test")
        else:
            hold.lose("test")
            working.cancel()
        await asyncio.wait([working])

        assert working.cancelled()


async def test_a_task_that_survived_a_loss_can_be_guarded_and_cancelled_again() -> None:
    beats, again = Beats(), asyncio.Event()

    async def work() -> None:
        with beats.holding() as hold:
            beats.queue.errors["message-1"] = RECEIPT_LOST
            asyncio.get_running_loop().call_soon(hold.lose, "test")
            assert await guarded(hold, asyncio.Event()) == str(LEASE_LOST)
        with beats.holding("another") as hold:
            await guarded(hold, asyncio.Event(), entered=again)

    working = asyncio.create_task(work())
    await again.wait()
    working.cancel()
    await asyncio.wait([working])

    assert working.cancelled()


async def test_an_exception_in_the_body_is_raised_as_it_is() -> None:
    with Beats().holding() as hold, pytest.raises(KeyError), hold.guarding(image_id="img_1", attempt=1):
        raise KeyError


@pytest.mark.parametrize(("at", "is_lost"), [(20, False), (40, False), (60, False), (61, True)])
async def test_an_unreachable_queue_is_tolerated_until_the_visibility_timeout_has_passed(
    at: float, *, is_lost: bool
) -> None:
    beats = Beats()
    with beats.holding() as hold:
        beats.queue.errors["message-1"] = UNAVAILABLE

        await beats.beat(at=at)

        assert (hold.reason_lost is not None) is is_lost


async def test_a_successful_beat_restarts_the_tolerance() -> None:
    beats = Beats()
    with beats.holding() as hold:
        await beats.beat(at=40)
        beats.queue.errors["message-1"] = UNAVAILABLE

        await beats.beat(at=100)
        before = hold.reason_lost
        await beats.beat(at=101)

        assert (before, hold.reason_lost) == (None, "could not be extended in time: the queue is unreachable")


async def test_an_unreachable_table_is_tolerated_no_longer_than_the_visibility_timeout() -> None:
    beats, lease = Beats(), Lease()
    lease.error = TransientError("the table is unreachable")
    with beats.holding() as hold, hold.leasing(lease):
        await beats.beat(at=60)
        before = hold.reason_lost
        await beats.beat(at=61)

        assert (before, hold.reason_lost) == (None, "could not be extended in time: the table is unreachable")


async def test_the_last_extension_ends_at_the_limit_of_twelve_hours() -> None:
    beats, lease = Beats(), Lease()

    with beats.holding() as hold, hold.leasing(lease):
        await beats.beat(at=MAX_IN_FLIGHT_S - 60)
        await beats.beat(at=MAX_IN_FLIGHT_S - 20)

        assert beats.queue.hidden == [("message-1", 60), ("message-1", 20)]
        assert lease.renewed == [after(MAX_IN_FLIGHT_S), after(MAX_IN_FLIGHT_S)]
        assert hold.reason_lost is None


async def test_after_twelve_hours_the_body_is_cancelled() -> None:
    beats = Beats()
    with beats.holding() as hold:
        working = await at_work(hold, asyncio.Event())

        await beats.beat(at=MAX_IN_FLIGHT_S)

        assert await working == str(LEASE_LOST)
        assert beats.queue.hidden == []


async def test_the_twelve_hours_count_for_each_message_separately() -> None:
    beats = Beats()
    with beats.holding("old") as old:
        beats.seconds = 100
        with beats.holding("young") as young:
            await beats.beat(at=MAX_IN_FLIGHT_S)

            assert (old.reason_lost is None, young.reason_lost) == (False, None)
            assert beats.queue.hidden == [("young", 60)]


@pytest.mark.parametrize("error", [RECEIPT_LOST, LEASE_LOST], ids=["receipt", "lease"])
async def test_a_message_that_ends_during_its_beat_is_not_lost(error: Exception) -> None:
    beats = Beats()
    in_progress, response = asyncio.Event(), asyncio.Event()

    async def renew(*, until: datetime) -> None:
        in_progress.set()
        await response.wait()
        raise error

    with beats.holding() as hold, hold.leasing(renew):
        beating = asyncio.create_task(beats.beat(at=20))
        await in_progress.wait()
    response.set()
    await beating

    assert hold.reason_lost is None


async def test_a_lease_that_ends_during_its_renewal_does_not_cancel_the_next_job() -> None:
    beats, next_lease = Beats(), Lease()
    in_progress, response, proceed = asyncio.Event(), asyncio.Event(), asyncio.Event()

    async def renew(*, until: datetime) -> None:
        in_progress.set()
        await response.wait()
        raise LEASE_LOST

    with beats.holding() as hold:
        with hold.leasing(renew):
            beating = asyncio.create_task(beats.beat(at=20))
            await in_progress.wait()
        with hold.leasing(next_lease):
            working = await at_work(hold, proceed)
            response.set()
            await beating
            proceed.set()

            assert await working == "done"


async def test_a_heartbeat_beats_three_times_in_each_visibility_timeout_until_it_is_cancelled() -> None:
    beats = Beats(visibility_timeout_s=0.03)
    loop = asyncio.get_running_loop()
    with beats.holding():
        started = loop.time()
        running = asyncio.create_task(beats.heartbeat.run())
        async with asyncio.timeout(10):
            await beats.queue.beaten.wait()
        took_s = loop.time() - started
        running.cancel()
        await asyncio.wait([running])

    assert running.cancelled()
    assert took_s >= 0.009
    assert beats.queue.hidden[0] == ("message-1", 0.03)


@pytest.mark.parametrize(
    "error", [KeyError("Id"), ConfigurationError("a web page responded")], ids=["odd response", "web page"]
)
async def test_no_response_ends_the_heartbeat(error: Exception) -> None:
    beats = Beats()
    beats.queue.errors["odd"] = error

    with beats.holding("odd") as odd, beats.holding("good") as good:
        for at in (20, 40, 60, 61):
            await beats.beat(at=at)

        assert (odd.is_lost, good.is_lost) == (True, False)
        assert [name for name, _ in beats.queue.hidden].count("good") == 4


NO_RESPONSE = TransientError("could not change visibilities in 3 attempts: TimeoutError")
NO_RESPONSE.__cause__ = TimeoutError()


@pytest.mark.parametrize("error", [TimeoutError(), NO_RESPONSE], ids=["slow", "retries exhausted"])
@pytest.mark.parametrize("slow", ["queue", "table"])
async def test_responses_that_are_always_late_do_not_keep_an_image_from_ending(
    slow: str, error: Exception
) -> None:
    beats, lease, proceed = Beats(), Lease(), asyncio.Event()
    with beats.holding() as hold, hold.leasing(lease):
        working = await at_work(hold, proceed)
        if slow == "queue":
            beats.queue.errors["message-1"] = error
        else:
            lease.error = error

        for at in range(20, 400, 20):
            await beats.beat(at=at)
        proceed.set()

        assert await working == "done"
        assert len(lease.renewed) == len(beats.queue.hidden) == 19


async def test_a_queue_that_hangs_does_not_delay_the_renewal_of_the_lease() -> None:
    beats, lease = Beats(visibility_timeout_s=0.03), Lease()
    beats.queue.stalled.add("message-1")

    with beats.holding() as hold, hold.leasing(lease):
        await beats.beat(at=0.01)

    assert len(lease.renewed) == 1


async def test_a_renewal_that_hangs_does_not_delay_the_beats_of_other_messages() -> None:
    beats = Beats(visibility_timeout_s=0.06)
    beats.queue.stalled.add("slow")

    with beats.holding("slow"), beats.holding("quick"):
        async with asyncio.timeout(5):
            await beats.beat(at=0.02)
            await beats.beat(at=0.04)

    assert [name for name, _ in beats.queue.hidden].count("quick") == 2
