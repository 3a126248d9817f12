"""The contract of every ledger."""

from dataclasses import replace
from datetime import timedelta

import pytest

from tests.contract.conftest import LedgerUnderTest
from tests.support.builders import (
    a_claimant,
    a_description,
    a_job,
    a_rendition,
    a_report,
    after,
    all_transitions,
)
from worker.domain.claim import AlreadyDone, Claimant, Claimed, LeasedByAnother, Superseded
from worker.domain.errors import LeaseLostError
from worker.domain.image import Failure, Image, Leftover
from worker.domain.job import Job
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

UNAVAILABLE = Failure(code="unavailable", message="the bucket is unavailable", step=None, retryable=True)
TRUNCATED = Failure(
    code="truncated", message="the file ends early", step=StepName.VALIDATION, retryable=False
)


async def claimed(
    under_test: LedgerUnderTest, job: Job | None = None, claimant: Claimant | None = None
) -> Image:
    result = await under_test.ledger.claim(job or a_job(), claimant or a_claimant())
    assert isinstance(result, Claimed)
    return result.image


async def stored_image(under_test: LedgerUnderTest) -> Image:
    image = await under_test.image("img_1", "user_1")
    assert image
    return image


async def completed(under_test: LedgerUnderTest, job: Job | None = None, **sizes: int) -> Image:
    job = job or a_job()
    image = await claimed(under_test, job)
    return await under_test.ledger.settle(image, all_transitions(job.image_id, job.user_id, **sizes))


async def test_a_new_upload_is_claimed_by_attempt_1_which_starts_with_validation(
    under_test: LedgerUnderTest,
) -> None:
    image = await claimed(under_test)

    assert image == await under_test.image("img_1", "user_1")
    assert (image.status, image.attempt) == (ImageStatus.PROCESSING, 1)
    assert image.steps[StepName.VALIDATION].status is StepStatus.PROCESSING
    assert image.steps[StepName.RESIZE].status is StepStatus.PENDING
    assert image.created_at == a_job().version.uploaded_at


async def test_a_second_claim_of_a_leased_image_returns_the_end_of_the_lease(
    under_test: LedgerUnderTest,
) -> None:
    await claimed(under_test)

    result = await under_test.ledger.claim(a_job(), a_claimant("worker-b/1", now=after(10)))

    assert result == LeasedByAnother(after(60))


async def test_repeating_a_claim_returns_the_same_image(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)

    assert await under_test.ledger.claim(a_job(), a_claimant()) == Claimed(image)


async def test_an_expired_lease_is_taken_over_with_a_higher_attempt(under_test: LedgerUnderTest) -> None:
    await claimed(under_test)

    image = await claimed(under_test, claimant=a_claimant("worker-b/1", now=after(61)))

    assert (image.attempt, image.status) == (2, ImageStatus.PROCESSING)
    assert [entry.detail for entry in image.history if entry.detail] == [{"reason": "lease_expired"}]
    assert image == await under_test.image("img_1", "user_1")


async def test_a_completed_image_is_not_claimed_again_by_the_same_upload(under_test: LedgerUnderTest) -> None:
    image = await completed(under_test)

    assert await under_test.ledger.claim(a_job(), a_claimant("worker-b/1")) == AlreadyDone(image)


async def test_a_newer_upload_of_a_completed_image_is_claimed(under_test: LedgerUnderTest) -> None:
    await completed(under_test)

    image = await claimed(under_test, a_job(upload=2), a_claimant("worker-b/1", now=after(10)))

    assert (image.attempt, image.version) == (2, a_job(upload=2).version)
    assert image.created_at == a_job(upload=2).version.uploaded_at
    assert image == await under_test.image("img_1", "user_1")


async def test_claiming_a_newer_upload_ends_the_lease_of_the_older(
    under_test: LedgerUnderTest,
) -> None:
    older = await claimed(under_test)

    await claimed(under_test, a_job(upload=2), a_claimant("worker-b/1"))

    with pytest.raises(LeaseLostError):
        await under_test.ledger.settle(older, all_transitions())


async def test_an_older_upload_is_superseded(under_test: LedgerUnderTest) -> None:
    image = await completed(under_test, a_job(upload=2))

    assert await under_test.ledger.claim(a_job(upload=1), a_claimant("worker-b/1")) == Superseded(image)


async def test_transitions_are_recorded_in_order_each_with_its_time(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)

    image = await under_test.ledger.record(
        image,
        [
            source_described(a_description(), at=after(1)),
            step_ended(a_report(), at=after(2)),
            step_started(StepName.RESIZE, at=after(2)),
        ],
    )

    stored = await stored_image(under_test)
    assert stored == image
    assert stored.steps[StepName.VALIDATION].completed_at == stored.steps[StepName.RESIZE].started_at
    assert [(entry.step, entry.status) for entry in stored.history][-2:] == [
        (StepName.VALIDATION, "completed"),
        (StepName.RESIZE, "processing"),
    ]
    assert stored.metadata == {"description": "Family vacation photo", "camera": "iPhone 12"}
    assert stored.tags == ("vacation", "family")


async def test_a_completed_image_is_stored_as_it_was_returned_and_counted_once(
    under_test: LedgerUnderTest,
) -> None:
    image = await completed(under_test, file_size=1000, result_bytes=100)

    assert image == await under_test.image("img_1", "user_1")
    assert (image.status, image.processed_key) == (
        ImageStatus.COMPLETED,
        "processed/user_1/img_1.jpg",
    )
    counted = await under_test.statistics("user_1")
    assert (counted.total_images, counted.total_storage_used) == (1, 1100)
    assert counted.last_upload_at == image.created_at


async def test_a_newer_upload_changes_the_statistics_by_the_difference(under_test: LedgerUnderTest) -> None:
    await completed(under_test, file_size=1000, result_bytes=100)

    await completed(under_test, a_job(upload=2), file_size=500, result_bytes=50)

    counted = await under_test.statistics("user_1")
    assert (counted.total_images, counted.total_storage_used) == (1, 550)
    assert counted.last_upload_at == a_job(upload=2).version.uploaded_at


async def test_an_image_whose_newer_upload_fails_is_no_longer_counted(under_test: LedgerUnderTest) -> None:
    await completed(under_test)
    image = await claimed(under_test, a_job(upload=2), a_claimant("worker-b/1", now=after(10)))

    moves: list[Transition] = [
        step_failed(TRUNCATED, step=StepName.VALIDATION, at=after(20)),
        image_failed(TRUNCATED, at=after(20)),
    ]
    await under_test.ledger.settle(image, moves)

    counted = await under_test.statistics("user_1")
    assert (counted.total_images, counted.total_storage_used) == (0, 0)


async def test_the_last_upload_never_moves_back(under_test: LedgerUnderTest) -> None:
    later = a_job("img_2", uploaded_at=after(100))
    await completed(under_test, later)

    await completed(under_test, a_job("img_1", uploaded_at=after(50)))

    counted = await under_test.statistics("user_1")
    assert (counted.total_images, counted.last_upload_at) == (2, after(100))


async def test_a_failed_image_has_an_error_and_no_lease(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)

    moves: list[Transition] = [
        step_failed(TRUNCATED, step=StepName.VALIDATION, at=after(2)),
        image_failed(TRUNCATED, at=after(2)),
    ]
    await under_test.ledger.settle(image, moves)

    stored = await stored_image(under_test)
    assert (stored.status, stored.error, stored.lease) == (ImageStatus.FAILED, TRUNCATED, None)
    assert stored.steps[StepName.VALIDATION].status is StepStatus.FAILED
    assert (await under_test.statistics("user_1")).total_images == 0


async def test_a_released_image_can_be_claimed_at_once_by_another_worker(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)
    await under_test.ledger.settle(image, [image_released(UNAVAILABLE, at=after(2))])
    stored = await stored_image(under_test)
    assert (stored.status, stored.lease, stored.error) == (ImageStatus.PENDING, None, UNAVAILABLE)

    again = await claimed(under_test, claimant=a_claimant("worker-b/1", now=after(3)))

    assert again.attempt == 2


@pytest.mark.parametrize("write", ["record", "settle", "renew"])
async def test_a_worker_that_lost_its_lease_changes_nothing(under_test: LedgerUnderTest, write: str) -> None:
    lost = await claimed(under_test)
    await claimed(under_test, claimant=a_claimant("worker-b/1", now=after(61)))
    before = await under_test.image("img_1", "user_1")

    late_writes = {
        "record": lambda: under_test.ledger.record(lost, [step_ended(a_report(), at=after(62))]),
        "settle": lambda: under_test.ledger.settle(lost, all_transitions()),
        "renew": lambda: under_test.ledger.renew(lost, until=after(120)),
    }
    with pytest.raises(LeaseLostError):
        await late_writes[write]()

    assert before == await under_test.image("img_1", "user_1")
    assert (await under_test.statistics("user_1")).total_images == 0


async def test_a_renewed_lease_ends_later_and_the_worker_can_continue(
    under_test: LedgerUnderTest,
) -> None:
    image = await claimed(under_test)

    await under_test.ledger.renew(image, until=after(90))

    result = await under_test.ledger.claim(a_job(), a_claimant("worker-b/1", now=after(80)))
    assert result == LeasedByAnother(after(90))
    await under_test.ledger.settle(image, all_transitions())
    assert (await under_test.statistics("user_1")).total_images == 1


async def test_renewing_after_settling_changes_nothing_and_raises_nothing(
    under_test: LedgerUnderTest,
) -> None:
    image = await claimed(under_test)
    settled = await under_test.ledger.settle(image, all_transitions())

    await under_test.ledger.renew(image, until=after(90))

    assert await under_test.image("img_1", "user_1") == settled


async def test_settling_twice_after_a_lost_response_counts_once(
    under_test: LedgerUnderTest,
) -> None:
    image = await claimed(under_test)

    first = await under_test.ledger.settle(image, all_transitions())
    second = await under_test.ledger.settle(image, all_transitions())

    assert first == second == await under_test.image("img_1", "user_1")
    assert (await under_test.statistics("user_1")).total_images == 1


async def test_a_completed_image_cannot_fail_afterwards(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)
    await under_test.ledger.settle(image, all_transitions())

    with pytest.raises(LeaseLostError):
        await under_test.ledger.settle(image, [image_failed(TRUNCATED, at=after(9))])

    assert (await under_test.statistics("user_1")).total_images == 1


async def test_the_history_holds_all_attempts(under_test: LedgerUnderTest) -> None:
    image = await claimed(under_test)
    await under_test.ledger.settle(image, [image_released(UNAVAILABLE, at=after(2))])
    image = await claimed(under_test, claimant=a_claimant("worker-b/1", now=after(3)))

    shift = timedelta(seconds=10)
    moves = [step_ended(a_report(), at=after(3) + shift), step_started(StepName.RESIZE, at=after(3) + shift)]
    image = await under_test.ledger.record(image, moves)

    assert [(entry.attempt, entry.step, entry.status) for entry in image.history] == [
        (0, None, "pending"),
        (1, None, "processing"),
        (1, StepName.VALIDATION, "processing"),
        (1, None, "pending"),
        (2, None, "processing"),
        (2, StepName.VALIDATION, "processing"),
        (2, StepName.VALIDATION, "completed"),
        (2, StepName.RESIZE, "processing"),
    ]
    assert [entry.worker for entry in image.history][-2:] == ["worker-b", "worker-b"]
    assert image == await under_test.image("img_1", "user_1")


def moved_to(key: str) -> list[Transition]:
    """Return all transitions of an image whose result is stored under a key."""
    rendition = replace(a_rendition(), key=key)
    return [
        *all_transitions()[:-1],
        image_completed({"medium": rendition}, main_size="medium", at=after(5)),
    ]


async def completed_twice(under_test: LedgerUnderTest) -> Image:
    """Return an image whose second result has another key than its first."""
    await completed(under_test)
    image = await claimed(under_test, a_job(upload=2), a_claimant("worker-b/1", now=after(10)))
    return await under_test.ledger.settle(image, moved_to("processed/user_1/img_1.png"))


async def test_a_result_under_another_key_is_left_over_until_it_is_cleared(
    under_test: LedgerUnderTest,
) -> None:
    image = await completed_twice(under_test)
    leftover = Leftover(key=a_rendition().key, e_tag=a_rendition().e_tag)
    assert (image.leftovers, image) == ((leftover,), await stored_image(under_test))

    await under_test.ledger.clear_leftovers(image)
    await under_test.ledger.clear_leftovers(image)

    assert await stored_image(under_test) == replace(image, leftovers=())


async def test_leftovers_of_an_image_that_was_claimed_again_stay_for_its_next_end(
    under_test: LedgerUnderTest,
) -> None:
    image = await completed_twice(under_test)
    later = await claimed(under_test, a_job(upload=3), a_claimant("worker-c/1", now=after(20)))

    await under_test.ledger.clear_leftovers(image)

    assert await stored_image(under_test) == later
    ended = await under_test.ledger.settle(later, moved_to("processed/user_1/img_1.webp"))
    assert [leftover.key for leftover in ended.leftovers] == [
        "processed/user_1/img_1.jpg",
        "processed/user_1/img_1.png",
    ]


async def test_a_result_that_gets_the_key_of_a_leftover_replaces_it(under_test: LedgerUnderTest) -> None:
    await completed_twice(under_test)
    later = await claimed(under_test, a_job(upload=3), a_claimant("worker-c/1", now=after(20)))

    ended = await under_test.ledger.settle(later, moved_to(a_rendition().key))

    assert [leftover.key for leftover in ended.leftovers] == ["processed/user_1/img_1.png"]
