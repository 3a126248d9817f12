"""Random interleavings of workers, duplicate messages, stale uploads, crashes and clock steps."""

import asyncio
from collections.abc import Callable, Coroutine
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from datetime import datetime, timedelta
from itertools import count
from typing import TYPE_CHECKING, Any, ClassVar, TypeVar

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    initialize,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from tests.contract.conftest import LedgerUnderTest, memory_ledger, table_ledger
from tests.support.builders import NOON, a_claimant, a_job, a_rendition, a_report
from tests.support.emulators import client, create_table, unique_settings
from tests.support.histories import image_moves
from worker.domain.claim import Claimed
from worker.domain.errors import LeaseLostError
from worker.domain.history import MAX_ENTRIES
from worker.domain.image import Failure, Image
from worker.domain.status import IMAGE_MOVES, ImageStatus, StepName
from worker.domain.transition import (
    Transition,
    current_step,
    image_completed,
    image_failed,
    image_released,
    step_ended,
    step_failed,
    step_started,
)

if TYPE_CHECKING:
    from worker.domain.job import SourceVersion

T = TypeVar("T")

USER = "user_1"
IMAGES = ("img_1", "img_2")
WORKERS = ("a", "b", "c")
LEASE_S = 60
ENDINGS = (ImageStatus.COMPLETED, ImageStatus.FAILED, ImageStatus.PENDING)
ENTRIES_UNDER_A_LEASE = 8
LEGAL_CHANGES = {(start, leads_to) for starts, leads_to in IMAGE_MOVES.values() for start in starts}


@dataclass
class Held:
    """A claimed image of a worker, which may have lost the lease without knowing."""

    worker: str
    image: Image


class Interleavings(RuleBasedStateMachine):
    """Calls a ledger as several workers with different clocks do."""

    open_ledger: ClassVar[Callable[[AsyncExitStack], Coroutine[Any, Any, LedgerUnderTest]]]

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.stack = AsyncExitStack()
        self.true_time = NOON
        self.clock_error = dict.fromkeys(WORKERS, timedelta())
        self.held: list[Held] = []
        self.completed: set[tuple[str, SourceVersion]] = set()
        self.deliveries = count()
        self.uploads = dict.fromkeys(IMAGES, 1)
        self.last_settled: tuple[Image, list[Transition]] | None = None
        self.stored_images: dict[str, Image] = {}

    def run(self, work: Coroutine[Any, Any, T]) -> T:
        return self.runner.run(work)

    @initialize()
    def open(self) -> None:
        opener = type(self).open_ledger
        self.under_test: LedgerUnderTest = self.run(opener(self.stack))

    def teardown(self) -> None:
        self.run(self.stack.aclose())
        self.runner.close()

    def now(self, worker: str) -> datetime:
        return self.true_time + self.clock_error[worker]

    @rule(worker=st.sampled_from(WORKERS), image_id=st.sampled_from(IMAGES), age=st.integers(-1, 1))
    def claims(self, worker: str, image_id: str, age: int) -> None:
        """Claim a new upload of the image (-1), the latest (0), or the one before it (1)."""
        if age < 0:
            self.uploads[image_id] += 1
        self.claim(worker, image_id, upload=max(1, self.uploads[image_id] - max(age, 0)))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), worker=st.sampled_from(WORKERS), is_newer=st.booleans())
    def another_takes_over(self, data: st.DataObject, worker: str, is_newer: bool) -> None:
        """Claim an image that is held: for a newer upload, or after its lease has expired."""
        image_id = data.draw(st.sampled_from(self.held)).image.image_id
        if is_newer:
            self.uploads[image_id] += 1
        else:
            self.true_time += timedelta(seconds=2 * LEASE_S)
        self.claim(worker, image_id, upload=self.uploads[image_id])

    def claim(self, worker: str, image_id: str, *, upload: int) -> None:
        owner = f"{worker}/{next(self.deliveries)}"
        job = a_job(image_id, USER, upload=upload)
        claimant = a_claimant(owner, now=self.now(worker), lease_s=LEASE_S)
        before = self.stored_images.get(image_id)
        result = self.run(self.under_test.ledger.claim(job, claimant))
        if isinstance(result, Claimed):
            assert before is None or result.image.attempt == before.attempt + 1
            assert (image_id, job.version) not in self.completed
            self.held.append(Held(worker, result.image))
        else:
            assert self.stored(image_id) == before

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def completes_a_step(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        step = current_step(held.image)
        if step is None:
            return
        at = max(held.image.updated_at, self.now(held.worker))
        moves: list[Transition] = [step_ended(a_report(step), at=at)]
        following = list(StepName)[list(StepName).index(step) + 1 :]
        moves += [step_started(step, at=at) for step in following[:1]]
        self.writes(held, lambda: self.under_test.ledger.record(held.image, moves))

    @precondition(lambda self: self.held)
    @rule(data=st.data(), outcome=st.sampled_from(ENDINGS), size_bytes=st.integers(1, 1000))
    def ends(self, data: st.DataObject, outcome: ImageStatus, size_bytes: int) -> None:
        """Complete, fail or release."""
        held = data.draw(st.sampled_from(self.held))
        at = max(held.image.updated_at, self.now(held.worker))
        step = current_step(held.image)
        failure = Failure(code="corrupt", message="damaged", step=step, retryable=False)
        moves: list[Transition]
        match outcome:
            case ImageStatus.COMPLETED:
                rendition = a_rendition(held.image.image_id, USER, size_bytes=size_bytes)
                moves = [image_completed({"medium": rendition}, main_size="medium", at=at)]
            case ImageStatus.FAILED:
                moves = [step_failed(failure, step=step, at=at)] if step else []
                moves.append(image_failed(failure, at=at))
            case _:
                moves = [image_released(failure, at=at)]
        before = held.image
        if not self.writes(held, lambda: self.under_test.ledger.settle(before, moves)):
            return
        self.held.remove(held)
        self.last_settled = (before, moves)
        if outcome is ImageStatus.COMPLETED:
            done = (before.image_id, before.version)
            assert done not in self.completed, "completed twice"
            self.completed.add(done)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def renews(self, data: st.DataObject) -> None:
        held = data.draw(st.sampled_from(self.held))
        until = self.now(held.worker) + timedelta(seconds=LEASE_S)

        async def renew() -> Image:
            await self.under_test.ledger.renew(held.image, until=until)
            return held.image

        self.writes(held, renew)

    @precondition(lambda self: self.held)
    @rule(data=st.data())
    def crashes(self, data: st.DataObject) -> None:
        self.held.remove(data.draw(st.sampled_from(self.held)))

    @precondition(lambda self: self.last_settled)
    @rule()
    def repeats_a_write_whose_response_was_lost(self) -> None:
        assert self.last_settled
        image, moves = self.last_settled
        before = self.stored_images.get(image.image_id)
        with suppress(LeaseLostError):  # if another worker has claimed the image since
            self.run(self.under_test.ledger.settle(image, moves))
        assert self.stored(image.image_id) == before

    @rule(worker=st.sampled_from(WORKERS), seconds=st.sampled_from([-60, 0, 60]))
    def a_clock_steps(self, worker: str, seconds: int) -> None:
        self.clock_error[worker] = timedelta(seconds=seconds)

    def writes(self, held: Held, write: Callable[[], Coroutine[Any, Any, Image]]) -> bool:
        """Write; return whether it was applied: if and only if the lease is held, or nothing changes."""
        before = self.stored_images[held.image.image_id]
        is_held = before.lease is not None and held.image.lease is not None
        is_held = is_held and before.lease.owner == held.image.lease.owner  # type: ignore[union-attr]  # a held image has a lease
        try:
            held.image = self.run(write())
        except LeaseLostError:
            assert not is_held, "a write by the holder of the lease was rejected"
            assert self.stored(held.image.image_id) == before, "a rejected write changed the record"
            self.held.remove(held)
            return False
        assert is_held, "a write without the lease was applied"
        return True

    def stored(self, image_id: str) -> Image | None:
        return self.run(self.under_test.image(image_id, USER))

    @precondition(lambda self: hasattr(self, "under_test"))
    @invariant()
    def the_record_is_consistent(self) -> None:
        """Read the record once after each rule, for the checks here and for the next rule to compare with."""
        images = map(self.stored, IMAGES)
        self.stored_images = {image.image_id: image for image in images if image is not None}
        self.every_history_is_legal()
        self.statistics_are_the_sum_of_the_counted_images()

    def every_history_is_legal(self) -> None:
        for image in self.stored_images.values():
            of_image = [entry.status for entry in image.history if entry.step is None]
            assert of_image[0] == ImageStatus.PENDING
            assert of_image[-1] == image.status
            assert image_moves(image.history) <= LEGAL_CHANGES
            assert len(image.history) <= MAX_ENTRIES + ENTRIES_UNDER_A_LEASE
            attempts = [entry.attempt for entry in image.history]
            assert attempts == sorted(attempts)
            assert image.attempt == attempts[-1]
            assert (image.lease is not None) == (image.status is ImageStatus.PROCESSING)

    def statistics_are_the_sum_of_the_counted_images(self) -> None:
        images = self.stored_images.values()
        counted = [image.counted_bytes for image in images if image.counted_bytes is not None]
        for image in images:
            if image.status is ImageStatus.COMPLETED:
                assert image.counted_bytes == image.total_bytes()
            if image.status is ImageStatus.FAILED:
                assert image.counted_bytes is None
        statistics = self.run(self.under_test.statistics(USER))
        assert (statistics.total_images, statistics.total_storage_used) == (len(counted), sum(counted))


def test_random_interleavings_leave_a_consistent_record_in_memory() -> None:
    async def open_ledger(_: AsyncExitStack) -> LedgerUnderTest:
        return memory_ledger()

    machine = type("InMemory", (Interleavings,), {"open_ledger": staticmethod(open_ledger)})
    run_state_machine_as_test(
        machine, settings=settings(max_examples=100, stateful_step_count=50, deadline=None)
    )


def test_random_interleavings_leave_a_consistent_record_on_ministack(ministack_endpoint: str) -> None:
    async def open_ledger(stack: AsyncExitStack) -> LedgerUnderTest:
        names = unique_settings(ministack_endpoint)
        dynamodb = await stack.enter_async_context(client("dynamodb", names))
        await create_table(dynamodb, names)
        return table_ledger(dynamodb, names)

    machine = type("OnMiniStack", (Interleavings,), {"open_ledger": staticmethod(open_ledger)})
    run_state_machine_as_test(
        machine,
        settings=settings(
            max_examples=8,
            stateful_step_count=40,
            deadline=None,
            suppress_health_check=[HealthCheck.too_slow],
        ),
    )
