import asyncio
from collections.abc import Sequence
from datetime import datetime

import pytest

from tests.support.builders import NOON, a_claimant, a_description, a_job, a_rendition, a_report, after
from tests.support.fakes.ledger import MemoryLedger
from worker.delivery.step_writer import StepWriter
from worker.domain.claim import Claimed
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Failure, Image
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.transition import (
    Transition,
    image_completed,
    image_failed,
    image_released,
    source_described,
    step_ended,
    step_failed,
    step_started,
)

STOPPED = Failure(code="worker_stopped", message="the worker was shut down", step=None, retryable=True)
TRUNCATED = Failure(code="truncated", message="the file is incomplete", step=StepName.RESIZE, retryable=False)

DESCRIBED = source_described(a_description(), at=after(1))
VALIDATED = step_ended(a_report(), at=after(2))
RESIZING = step_started(StepName.RESIZE, at=after(2))
RESIZED = step_ended(a_report(StepName.RESIZE), at=after(3))
MARKING = step_started(StepName.WATERMARK, at=after(3))
MARKED = step_ended(a_report(StepName.WATERMARK), at=after(4))
COMPLETED = image_completed({"medium": a_rendition()}, main_size="medium", at=after(5))
RELEASED = image_released(STOPPED, at=after(5))


class SlowLedger(MemoryLedger):
    """A ledger whose writes the test can block and make fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[str, tuple[Transition, ...]]] = []
        self.started = asyncio.Semaphore(0)
        self.unblocked = asyncio.Event()
        self.unblocked.set()
        self.failures: list[Exception] = []

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        await self._start("record", transitions)
        return await super().record(image, transitions)

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        await self._start("settle", transitions)
        return await super().settle(image, transitions)

    async def _start(self, name: str, transitions: Sequence[Transition]) -> None:
        self.writes.append((name, tuple(transitions)))
        self.started.release()
        await self.unblocked.wait()
        if self.failures:
            raise self.failures.pop(0)

    def stored(self) -> Image:
        (image,) = self.images.values()
        return image


async def a_step_writer(
    ledger: SlowLedger, *, delay_s: float = 0.0, times: Sequence[datetime] = (NOON,)
) -> StepWriter:
    """Return the step writer of a claimed image, with a clock that returns the times and repeats the last."""
    result = await ledger.claim(a_job(), a_claimant())
    assert isinstance(result, Claimed)
    ticks = list(times)
    return StepWriter(
        ledger,
        result.image,
        delay_s=delay_s,
        clock=lambda: ticks.pop(0) if len(ticks) > 1 else ticks[0],
    )


async def write_started(ledger: SlowLedger) -> None:
    """Wait until another write has started."""
    async with asyncio.timeout(5):
        await ledger.started.acquire()


async def test_added_transitions_are_written_in_order_in_the_background() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)

    writer.add(DESCRIBED)
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)

    assert ledger.writes == [("record", (DESCRIBED, VALIDATED, RESIZING))]
    await writer.close()
    assert ledger.stored().steps[StepName.RESIZE].status is StepStatus.PROCESSING


async def test_without_a_delay_each_step_is_written_at_once() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger, delay_s=0)

    for batch in ((VALIDATED, RESIZING), (RESIZED, MARKING), (MARKED,)):
        writer.add(*batch)
        await write_started(ledger)
        await writer.close()

    assert ledger.writes == [
        ("record", (VALIDATED, RESIZING)),
        ("record", (RESIZED, MARKING)),
        ("record", (MARKED,)),
    ]


async def test_transitions_added_while_a_write_is_in_flight_are_batched_in_the_next_write() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    writer.add(RESIZED, MARKING)
    writer.add(MARKED)
    in_flight = list(ledger.writes)

    ledger.unblocked.set()
    await write_started(ledger)

    assert in_flight == [("record", (VALIDATED, RESIZING))]
    assert ledger.writes[1:] == [("record", (RESIZED, MARKING, MARKED))]


async def test_settling_writes_pending_transitions_in_the_same_write() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger, delay_s=3600)
    writer.add(DESCRIBED, VALIDATED, RESIZING)
    writer.add(RESIZED, MARKING)

    image = await writer.settle(MARKED, COMPLETED)

    assert ledger.writes == [
        ("settle", (DESCRIBED, VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED))
    ]
    assert image == ledger.stored()
    assert image.status is ImageStatus.COMPLETED


async def test_settling_waits_for_the_write_in_flight() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)

    settling = asyncio.create_task(writer.settle(RELEASED))
    await asyncio.sleep(0)
    started_early = list(ledger.writes)
    ledger.unblocked.set()
    image = await settling

    assert started_early == [("record", (VALIDATED, RESIZING))]
    assert ledger.writes[1:] == [("settle", (RELEASED,))]
    assert image == ledger.stored()


async def test_settling_while_a_write_is_in_flight_loses_no_pending_transition() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    writer.add(RESIZED, MARKING)

    settling = asyncio.create_task(writer.settle(MARKED, COMPLETED))
    await asyncio.sleep(0)
    ledger.unblocked.set()
    await settling

    landed = [transition for _, transitions in ledger.writes for transition in transitions]
    assert landed == [VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED]


async def test_settling_without_pending_transitions_is_one_write() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)

    await writer.settle(RELEASED)

    assert ledger.writes == [("settle", (RELEASED,))]


async def test_settling_again_after_a_cancelled_settling_waits_for_the_write_in_flight() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    cancelled = asyncio.create_task(writer.settle(RESIZED, MARKING, MARKED, COMPLETED))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])

    settling = asyncio.create_task(writer.settle(RELEASED))
    for _ in range(3):
        await asyncio.sleep(0)
    started_early = ledger.writes[1:]
    ledger.unblocked.set()
    (error,) = await asyncio.gather(settling, return_exceptions=True)

    assert started_early == []
    assert not isinstance(error, BaseException)
    assert ledger.stored().status is ImageStatus.PENDING


async def test_a_lost_lease_is_raised_when_the_next_step_is_added_and_when_settling() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    await ledger.claim(a_job(), a_claimant("worker-b/1", now=after(61)))
    before = ledger.stored()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    await writer.close()

    with pytest.raises(LeaseLostError):
        writer.add(RESIZED, MARKING)
    with pytest.raises(LeaseLostError):
        await writer.settle(COMPLETED)

    assert (ledger.writes, ledger.stored()) == ([("record", (VALIDATED, RESIZING))], before)


async def test_pending_transitions_are_not_written_after_the_lease_was_lost() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    await ledger.claim(a_job(), a_claimant("worker-b/1", now=after(61)))
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    writer.add(RESIZED, MARKING)
    ledger.unblocked.set()

    with pytest.raises(LeaseLostError):
        await writer.settle(MARKED, COMPLETED)

    assert ledger.writes == [("record", (VALIDATED, RESIZING))]


async def test_the_transitions_of_a_failed_write_are_written_in_order_with_the_next_one() -> None:
    ledger = SlowLedger()
    ledger.failures = [TransientError("the table is unavailable")]
    writer = await a_step_writer(ledger)
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    await writer.close()

    writer.add(RESIZED, MARKING)
    await write_started(ledger)
    await writer.close()

    assert ledger.writes[1:] == [("record", (VALIDATED, RESIZING, RESIZED, MARKING))]
    assert ledger.stored().steps[StepName.WATERMARK].status is StepStatus.PROCESSING


async def test_settling_includes_the_transitions_of_a_failed_write_in_order() -> None:
    ledger = SlowLedger()
    ledger.failures = [TransientError("the table is unavailable")]
    writer = await a_step_writer(ledger)
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)

    await writer.settle(RESIZED, MARKING, MARKED, COMPLETED)

    assert ledger.writes[1:] == [("settle", (VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED))]


async def test_settling_raises_an_error_when_the_table_is_unavailable_and_can_be_repeated() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger, delay_s=3600)
    writer.add(VALIDATED, RESIZING)
    ledger.failures = [TransientError("the table is unavailable")]

    with pytest.raises(TransientError):
        await writer.settle(RESIZED, MARKING, MARKED, COMPLETED)
    await writer.settle(RELEASED)

    assert ledger.writes[1:] == [("settle", (VALIDATED, RESIZING, RELEASED))]
    assert ledger.stored().status is ImageStatus.PENDING


async def test_closing_cancels_the_delay_and_writes_nothing() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger, delay_s=3600)
    writer.add(VALIDATED, RESIZING)
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await writer.close()

    assert ledger.writes == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_an_unused_writer_writes_nothing() -> None:
    ledger = SlowLedger()

    await (await a_step_writer(ledger)).close()

    assert ledger.writes == []


async def test_the_times_of_an_attempt_never_decrease() -> None:
    times = (after(3), after(1), after(2), after(4), after(-100))
    writer = await a_step_writer(SlowLedger(), times=times)

    assert [writer.now() for _ in times] == [after(3), after(3), after(3), after(4), after(4)]


async def test_the_times_of_an_attempt_are_not_before_its_claim() -> None:
    writer = await a_step_writer(SlowLedger(), times=(after(-5),))

    assert writer.now() == NOON


async def test_the_current_step_follows_from_the_added_transitions() -> None:
    writer = await a_step_writer(SlowLedger(), delay_s=3600)

    seen = [writer.current_step]
    for batch in ((DESCRIBED, VALIDATED, RESIZING), (RESIZED, MARKING), (MARKED,)):
        writer.add(*batch)
        seen.append(writer.current_step)
    await writer.close()

    assert seen == [StepName.VALIDATION, StepName.RESIZE, StepName.WATERMARK, None]


async def test_the_current_step_is_known_after_its_start_was_written() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    await writer.close()

    assert writer.current_step is StepName.RESIZE


@pytest.mark.parametrize("pending", [(), (RESIZED, MARKING)], ids=["nothing pending", "more pending"])
async def test_the_current_step_is_known_while_its_start_is_being_written(
    pending: tuple[Transition, ...],
) -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)
    writer.add(*pending)

    try:
        current_step = writer.current_step
    finally:
        ledger.unblocked.set()
        await writer.close()

    assert current_step is (StepName.WATERMARK if pending else StepName.RESIZE)


async def test_an_image_rejected_while_the_previous_step_is_being_written_fails_in_its_own_step() -> None:
    ledger = SlowLedger()
    writer = await a_step_writer(ledger)
    ledger.unblocked.clear()
    writer.add(VALIDATED, RESIZING)
    await write_started(ledger)

    step = writer.current_step
    assert step is not None
    settling = asyncio.create_task(
        writer.settle(step_failed(TRUNCATED, step=step, at=after(4)), image_failed(TRUNCATED, at=after(4)))
    )
    await asyncio.sleep(0)
    ledger.unblocked.set()
    image = await settling

    assert (image.status, image.steps[StepName.RESIZE].status) == (ImageStatus.FAILED, StepStatus.FAILED)
