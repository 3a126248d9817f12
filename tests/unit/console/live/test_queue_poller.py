"""The depths of the queue over the last half hour."""

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

import pytest

from tests.support.builders import NOON
from tests.support.fakes.live import ManualTime
from worker.console.live.queue_poller import INTERVAL_S, WINDOW, QueuePoller
from worker.domain.errors import TransientError
from worker.sqs.queue_stats import QueueDepth


class Sqs:
    """Depths that the test sets, or an error; counts the reads."""

    def __init__(self) -> None:
        self.visible = 0
        self.error: Exception | None = None
        self.reads = 0

    async def read(self) -> tuple[QueueDepth, QueueDepth]:
        self.reads += 1
        if self.error:
            raise self.error
        return QueueDepth(self.visible, 1, 0), QueueDepth(2, 1, 0)


class Passing:
    """A clock that moves on by the interval with each look."""

    def __init__(self, step: timedelta = timedelta(seconds=INTERVAL_S)) -> None:
        self.now, self.step = NOON, step

    def __call__(self) -> datetime:
        self.now += self.step
        return self.now


@pytest.fixture
def sqs() -> Sqs:
    return Sqs()


async def polled(sqs: Sqs, times: int, *, change: Callable[[int], None], clock: Passing) -> QueuePoller:
    """Return a poller after so many reads; `change` is called before each."""
    time = ManualTime()
    poller = QueuePoller(sqs.read, clock=clock, sleep=time.sleep)
    task: asyncio.Task[None] | None = None
    for number in range(times):
        change(number)
        if task is None:
            task = asyncio.create_task(poller.run())
            await time.until_asleep()
        else:
            await time.pass_on()
    assert task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    return poller


async def test_the_history_has_the_depths_of_the_last_half_hour_only(sqs: Sqs) -> None:
    def change(number: int) -> None:
        sqs.visible = number

    poller = await polled(sqs, 400, change=change, clock=Passing())

    assert poller.latest.value
    samples = poller.latest.value.samples
    assert [sample.queue.visible for sample in samples] == list(range(40, 400))
    assert samples[0].at == samples[-1].at - WINDOW + timedelta(seconds=INTERVAL_S)
    assert {sample.dead_letters for sample in samples} == {3}
    assert poller.latest.value.count == 400


async def test_after_a_pause_older_depths_are_dropped_by_their_time(sqs: Sqs) -> None:
    poller = await polled(sqs, 40, change=lambda _: None, clock=Passing(timedelta(minutes=2)))

    assert poller.latest.value
    assert len(poller.latest.value.samples) == 15


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (TransientError("could not read the queue depth in 6 attempts: timeout"), "in 6 attempts: timeout"),
        (TimeoutError(), "did not respond within 4 s"),
        (RuntimeError("a bug"), "error in the console"),
    ],
)
async def test_while_sqs_is_unavailable_the_depths_stay_and_the_page_says_why(
    sqs: Sqs, error: Exception, reason: str
) -> None:
    def change(number: int) -> None:
        sqs.error = error if number else None

    poller = await polled(sqs, 3, change=change, clock=Passing())
    assert poller.latest.value
    assert reason in (poller.latest.value.problem or "")
    assert len(poller.latest.value.samples) == 1
    assert poller.latest.value.count == 3


async def test_the_queue_is_read_every_five_seconds(sqs: Sqs) -> None:
    time = ManualTime()
    task = asyncio.create_task(QueuePoller(sqs.read, sleep=time.sleep).run())
    for _ in range(3):
        await time.pass_on()
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    assert set(time.sleeps) == {5.0}
