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
TRUNCATED = Failure(code="truncated", message="the file ends early", step=StepName.RESIZE, retryable=False)

DESCRIBED = source_described(a_description(), at=after(1))
VALIDATED = step_ended(a_report(), at=after(2))
RESIZING = step_started(StepName.RESIZE, at=after(2))
RESIZED = step_ended(a_report(StepName.RESIZE), at=after(3))
MARKING = step_started(StepName.WATERMARK, at=after(3))
MARKED = step_ended(a_report(StepName.WATERMARK), at=after(4))
COMPLETED = image_completed({"medium": a_rendition()}, main_size="medium", at=after(5))
RELEASED = image_released(STOPPED, at=after(5))


class SlowLedger(MemoryLedger):
    """A ledger whose writes can be held up, and can be made to fail."""

    def __init__(self) -> None:
        super().__init__()
        self.writes: list[tuple[str, tuple[Transition, ...]]] = []
        self.begun = asyncio.Semaphore(0)
        self.held = asyncio.Event()
        self.held.set()
        self.failures: list[Exception] = []

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        await self._begin("record", transitions)
        return await super().record(image, transitions)

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        await self._begin("settle", transitions)
        return await super().settle(image, transitions)

    async def _begin(self, name: str, transitions: Sequence[Transition]) -> None:
        self.writes.append((name, tuple(transitions)))
        self.begun.release()
        await self.held.wait()
        if self.failures:
            raise self.failures.pop(0)

    def stored(self) -> Image:
        (image,) = self.images.values()
        return image


async def a_recording(
    ledger: SlowLedger, *, delay_s: float = 0.0, times: Sequence[datetime] = (NOON,)
) -> StepWriter:
    """Return the recording of an image just claimed; its clock tells the times and stays at the last."""
    answer = await ledger.claim(a_job(), a_claimant())
    assert isinstance(answer, Claimed)
    ticks = list(times)
    return StepWriter(
        ledger,
        answer.image,
        delay_s=delay_s,
        clock=lambda: ticks.pop(0) if len(ticks) > 1 else ticks[0],
    )


async def written(ledger: SlowLedger) -> None:
    """Wait until another write has begun."""
    async with asyncio.timeout(5):
        await ledger.begun.acquire()


async def test_what_is_added_is_written_in_order_without_being_asked_for() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)

    recording.add(DESCRIBED)
    recording.add(VALIDATED, RESIZING)
    await written(ledger)

    assert ledger.writes == [("record", (DESCRIBED, VALIDATED, RESIZING))]
    await recording.close()
    assert ledger.stored().steps[StepName.RESIZE].status is StepStatus.PROCESSING


async def test_without_a_delay_each_outcome_is_written_as_it_comes() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger, delay_s=0)

    for batch in ((VALIDATED, RESIZING), (RESIZED, MARKING), (MARKED,)):
        recording.add(*batch)
        await written(ledger)
        await recording.close()

    assert ledger.writes == [
        ("record", (VALIDATED, RESIZING)),
        ("record", (RESIZED, MARKING)),
        ("record", (MARKED,)),
    ]


async def test_what_comes_while_a_write_is_in_flight_gathers_and_goes_together_in_the_next() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    recording.add(RESIZED, MARKING)
    recording.add(MARKED)
    in_flight = list(ledger.writes)

    ledger.held.set()
    await written(ledger)

    assert in_flight == [("record", (VALIDATED, RESIZING))]
    assert ledger.writes[1:] == [("record", (RESIZED, MARKING, MARKED))]


async def test_settling_takes_along_what_still_waits_in_one_write() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger, delay_s=3600)
    recording.add(DESCRIBED, VALIDATED, RESIZING)
    recording.add(RESIZED, MARKING)

    image = await recording.settle(MARKED, COMPLETED)

    assert ledger.writes == [
        ("settle", (DESCRIBED, VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED))
    ]
    assert image == ledger.stored()
    assert image.status is ImageStatus.COMPLETED


async def test_settling_lets_a_write_in_flight_land_first() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)

    settling = asyncio.create_task(recording.settle(RELEASED))
    await asyncio.sleep(0)
    begun_early = list(ledger.writes)
    ledger.held.set()
    image = await settling

    assert begun_early == [("record", (VALIDATED, RESIZING))]
    assert ledger.writes[1:] == [("settle", (RELEASED,))]
    assert image == ledger.stored()


async def test_settling_while_a_write_is_in_flight_loses_nothing_that_gathered_meanwhile() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    recording.add(RESIZED, MARKING)

    settling = asyncio.create_task(recording.settle(MARKED, COMPLETED))
    await asyncio.sleep(0)
    ledger.held.set()
    await settling

    landed = [transition for _, transitions in ledger.writes for transition in transitions]
    assert landed == [VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED]


async def test_settling_with_nothing_before_it_is_one_write() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)

    await recording.settle(RELEASED)

    assert ledger.writes == [("settle", (RELEASED,))]


async def test_a_settling_that_was_cancelled_waits_for_the_write_in_flight_when_it_is_asked_again() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    cancelled = asyncio.create_task(recording.settle(RESIZED, MARKING, MARKED, COMPLETED))
    await asyncio.sleep(0)
    cancelled.cancel()
    await asyncio.wait([cancelled])

    settling = asyncio.create_task(recording.settle(RELEASED))
    for _ in range(3):
        await asyncio.sleep(0)
    begun_early = ledger.writes[1:]
    ledger.held.set()
    (error,) = await asyncio.gather(settling, return_exceptions=True)

    assert begun_early == []
    assert not isinstance(error, BaseException)
    assert ledger.stored().status is ImageStatus.PENDING


async def test_a_lost_lease_surfaces_when_the_next_outcome_is_added_and_when_settling() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    await ledger.claim(a_job(), a_claimant("worker-b/1", now=after(61)))
    before = ledger.stored()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    await recording.close()

    with pytest.raises(LeaseLostError):
        recording.add(RESIZED, MARKING)
    with pytest.raises(LeaseLostError):
        await recording.settle(COMPLETED)

    assert (ledger.writes, ledger.stored()) == ([("record", (VALIDATED, RESIZING))], before)


async def test_after_the_lease_was_lost_what_waits_is_not_written() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    await ledger.claim(a_job(), a_claimant("worker-b/1", now=after(61)))
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    recording.add(RESIZED, MARKING)
    ledger.held.set()

    with pytest.raises(LeaseLostError):
        await recording.settle(MARKED, COMPLETED)

    assert ledger.writes == [("record", (VALIDATED, RESIZING))]


async def test_what_a_write_that_failed_carried_goes_with_the_next_in_order() -> None:
    ledger = SlowLedger()
    ledger.failures = [TransientError("the table is away")]
    recording = await a_recording(ledger)
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    await recording.close()

    recording.add(RESIZED, MARKING)
    await written(ledger)
    await recording.close()

    assert ledger.writes[1:] == [("record", (VALIDATED, RESIZING, RESIZED, MARKING))]
    assert ledger.stored().steps[StepName.WATERMARK].status is StepStatus.PROCESSING


async def test_what_no_write_carried_is_settled_in_order() -> None:
    ledger = SlowLedger()
    ledger.failures = [TransientError("the table is away")]
    recording = await a_recording(ledger)
    recording.add(VALIDATED, RESIZING)
    await written(ledger)

    await recording.settle(RESIZED, MARKING, MARKED, COMPLETED)

    assert ledger.writes[1:] == [("settle", (VALIDATED, RESIZING, RESIZED, MARKING, MARKED, COMPLETED))]


async def test_settling_reports_that_the_table_is_away_and_can_be_tried_again() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger, delay_s=3600)
    recording.add(VALIDATED, RESIZING)
    ledger.failures = [TransientError("the table is away")]

    with pytest.raises(TransientError):
        await recording.settle(RESIZED, MARKING, MARKED, COMPLETED)
    await recording.settle(RELEASED)

    assert ledger.writes[1:] == [("settle", (VALIDATED, RESIZING, RELEASED))]
    assert ledger.stored().status is ImageStatus.PENDING


async def test_closing_drops_the_timer_and_writes_nothing() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger, delay_s=3600)
    recording.add(VALIDATED, RESIZING)
    await asyncio.sleep(0)

    async with asyncio.timeout(5):
        await recording.close()

    assert ledger.writes == []
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_closing_what_never_began_is_nothing() -> None:
    ledger = SlowLedger()

    await (await a_recording(ledger)).close()

    assert ledger.writes == []


async def test_the_clock_of_an_attempt_never_runs_backwards() -> None:
    times = (after(3), after(1), after(2), after(4), after(-100))
    recording = await a_recording(SlowLedger(), times=times)

    assert [recording.now() for _ in times] == [after(3), after(3), after(3), after(4), after(4)]


async def test_the_clock_of_an_attempt_does_not_begin_before_its_claim() -> None:
    recording = await a_recording(SlowLedger(), times=(after(-5),))

    assert recording.now() == NOON


async def test_the_step_under_way_is_that_of_what_has_been_added() -> None:
    recording = await a_recording(SlowLedger(), delay_s=3600)

    seen = [recording.current_step]
    for batch in ((DESCRIBED, VALIDATED, RESIZING), (RESIZED, MARKING), (MARKED,)):
        recording.add(*batch)
        seen.append(recording.current_step)
    await recording.close()

    assert seen == [StepName.VALIDATION, StepName.RESIZE, StepName.WATERMARK, None]


async def test_the_step_under_way_is_known_after_its_start_was_written() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    await recording.close()

    assert recording.current_step is StepName.RESIZE


@pytest.mark.parametrize("waiting", [(), (RESIZED, MARKING)], ids=["nothing waits", "more waits"])
async def test_the_step_under_way_is_known_while_its_start_is_being_written(
    waiting: tuple[Transition, ...],
) -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)
    recording.add(*waiting)

    try:
        current_step = recording.current_step
    finally:
        ledger.held.set()
        await recording.close()

    assert current_step is (StepName.WATERMARK if waiting else StepName.RESIZE)


async def test_a_picture_refused_while_the_step_before_is_being_written_fails_in_its_own_step() -> None:
    ledger = SlowLedger()
    recording = await a_recording(ledger)
    ledger.held.clear()
    recording.add(VALIDATED, RESIZING)
    await written(ledger)

    step = recording.current_step
    assert step is not None
    settling = asyncio.create_task(
        recording.settle(step_failed(TRUNCATED, step=step, at=after(4)), image_failed(TRUNCATED, at=after(4)))
    )
    await asyncio.sleep(0)
    ledger.held.set()
    image = await settling

    assert (image.status, image.steps[StepName.RESIZE].status) == (ImageStatus.FAILED, StepStatus.FAILED)
