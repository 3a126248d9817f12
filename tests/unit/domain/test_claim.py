from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from tests.support.builders import NOON, a_claimant, a_job, a_requester, after, all_transitions
from worker.domain.claim import (
    AlreadyDone,
    BeingDeleted,
    Claimed,
    ClaimResult,
    LeasedByAnother,
    Superseded,
    Suspect,
    decide,
    deletion_begun,
    has_killed,
    is_deleted,
    retention_set,
)
from worker.domain.errors import ImageBusyError
from worker.domain.history import taken_over_at
from worker.domain.image import Failure, HistoryEntry, Image, Lease, Leftover, StepRecord
from worker.domain.job import Job
from worker.domain.scan import ScanStatus
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.transition import Transition, apply_all, image_failed, image_released, step_failed

FAILURE = Failure(
    code="truncated", message="the file is incomplete", step=StepName.VALIDATION, retryable=False
)

OLDER, SAME, NEWER = (a_job(upload=number) for number in (1, 2, 3))


def claimed(result: ClaimResult) -> Image:
    assert isinstance(result, Claimed)
    return result.image


def processing() -> Image:
    return claimed(decide(None, SAME, a_claimant("worker-a/1", lease_s=60)))


def lease_expired() -> Image:
    return replace(processing(), lease=Lease(owner="worker-a/1", expires_at=after(10)))


def leased_by_a_fast_clock() -> Image:
    return claimed(decide(None, SAME, a_claimant("worker-a/1", now=after(3600), lease_s=60)))


def completed() -> Image:
    return apply_all(processing(), all_transitions())


def failed() -> Image:
    moves: list[Transition] = [
        step_failed(FAILURE, step=StepName.VALIDATION, at=after(1)),
        image_failed(FAILURE, at=after(1)),
    ]
    return apply_all(processing(), moves)


def pending() -> Image:
    return apply_all(processing(), [image_released(FAILURE, at=after(1))])


def expired(image: Image) -> Image:
    return replace(image, ttl=int(after(5).timestamp()))


NAMES = {Claimed: "claimed", AlreadyDone: "already done", LeasedByAnother: "leased", Superseded: "superseded"}


@pytest.mark.parametrize(
    ("existing", "older", "same", "newer"),
    [
        (None, "claimed", "claimed", "claimed"),
        (pending(), "superseded", "claimed", "claimed"),
        (processing(), "superseded", "leased", "claimed"),
        (lease_expired(), "superseded", "claimed", "claimed"),
        (leased_by_a_fast_clock(), "superseded", "claimed", "claimed"),
        (completed(), "superseded", "already done", "claimed"),
        (failed(), "superseded", "already done", "claimed"),
        (expired(pending()), "claimed", "claimed", "claimed"),
        (expired(processing()), "superseded", "leased", "claimed"),
        (expired(completed()), "claimed", "claimed", "claimed"),
        (expired(failed()), "claimed", "claimed", "claimed"),
    ],
    ids=[
        "absent",
        "pending",
        "processing",
        "processing, lease expired",
        "processing, leased by a fast clock",
        "completed",
        "failed",
        "pending, expired",
        "processing, expired",
        "completed, expired",
        "failed, expired",
    ],
)
def test_a_claim_depends_on_the_status_of_the_image_and_on_which_upload_is_newer(
    existing: Image | None, older: str, same: str, newer: str
) -> None:
    claimant = a_claimant("worker-b/1", now=after(10))

    results = [NAMES[type(decide(existing, job, claimant))] for job in (OLDER, SAME, NEWER)]

    assert results == [older, same, newer]


def test_an_absent_image_is_created_from_its_upload() -> None:
    image = claimed(decide(None, SAME, a_claimant("worker-a/1", recipe="recipe-hash")))

    started = HistoryEntry(at=NOON, attempt=1, worker="worker-a", status="processing")
    assert image == Image(
        image_id="img_1",
        user_id="user_1",
        bucket="image-uploads",
        key="uploads/user_1/img_1.jpg",
        version=SAME.version,
        status=ImageStatus.PROCESSING,
        created_at=SAME.created_at,
        updated_at=NOON,
        file_name="img_1.jpg",
        file_size=2_048_576,
        steps=image.steps,
        attempt=1,
        lease=Lease(owner="worker-a/1", expires_at=after(60)),
        recipe="recipe-hash",
        record_id=image.record_id,
        history=(
            HistoryEntry(at=SAME.created_at, status="pending", attempt=0),
            started,
            replace(started, step=StepName.VALIDATION),
        ),
    )


@pytest.mark.parametrize(
    "existing", [None, pending(), expired(completed())], ids=["absent", "pending", "expired"]
)
def test_a_claimed_image_is_in_validation_and_its_other_steps_are_pending(existing: Image | None) -> None:
    steps = claimed(decide(existing, SAME, a_claimant("worker-b/1", now=after(10)))).steps

    assert list(steps) == list(StepName)
    first, *others = steps.values()
    assert first == StepRecord(status=StepStatus.PROCESSING, started_at=after(10))
    assert all(record == StepRecord() for record in others)


@pytest.mark.parametrize(
    "existing",
    [pending(), replace(processing(), lease=None), completed(), failed(), expired(completed())],
    ids=["pending", "lease expired", "completed", "failed", "expired"],
)
def test_every_claim_increases_the_attempt_and_acquires_the_lease(existing: Image) -> None:
    image = claimed(decide(existing, NEWER, a_claimant("worker-b/1", now=after(10), recipe="recipe-b")))

    assert (image.attempt, image.lease) == (2, Lease(owner="worker-b/1", expires_at=after(70)))
    assert (image.status, image.updated_at, image.recipe) == (ImageStatus.PROCESSING, after(10), "recipe-b")


def test_a_repeated_claim_of_the_same_claimant_succeeds_unchanged() -> None:
    image = processing()

    assert decide(image, SAME, a_claimant("worker-a/1", now=after(1))) == Claimed(image)


def test_another_delivery_of_the_same_worker_is_another_claimant() -> None:
    result = decide(processing(), SAME, a_claimant("worker-a/2", now=after(1)))

    assert result == LeasedByAnother(after(60))


@pytest.mark.parametrize("existing", [completed(), failed()], ids=["completed", "failed"])
def test_a_completed_or_failed_image_is_not_claimed_for_the_same_upload(existing: Image) -> None:
    assert decide(existing, SAME, a_claimant("worker-b/1")) == AlreadyDone(existing)


@pytest.mark.parametrize(
    ("code", "scan", "is_claimed"),
    [
        ("not_scanned", ScanStatus.NO_THREATS_FOUND, True),
        ("scan_failed", ScanStatus.NO_THREATS_FOUND, True),
        ("not_scanned", ScanStatus.FAILED, False),
        ("not_scanned", None, False),
        ("threat_found", ScanStatus.NO_THREATS_FOUND, False),
        ("truncated", ScanStatus.NO_THREATS_FOUND, False),
    ],
)
def test_an_image_that_failed_for_want_of_a_scan_is_claimed_for_its_clean_result(
    code: str, scan: ScanStatus | None, *, is_claimed: bool
) -> None:
    existing = replace(failed(), error=replace(FAILURE, code=code))
    result = decide(existing, replace(SAME, scan=scan), a_claimant("worker-b/1"))
    assert isinstance(result, Claimed if is_claimed else AlreadyDone)
    if isinstance(result, Claimed):
        moved, *_ = result.image.history[len(existing.history) :]
        assert (moved.status, moved.detail) == (ImageStatus.PENDING, {"reason": "retried"})


def test_an_older_upload_is_superseded() -> None:
    assert decide(completed(), OLDER, a_claimant("worker-b/1")) == Superseded(completed())


def test_the_history_records_a_claim_over_an_expired_lease() -> None:
    existing = processing()

    image = claimed(decide(existing, SAME, a_claimant("worker-b/1", now=after(61))))

    started = HistoryEntry(at=after(61), status="processing", attempt=2, worker="worker-b")
    assert image.history == (
        *existing.history,
        HistoryEntry(at=after(61), status="pending", attempt=1, detail={"reason": "lease_expired"}),
        started,
        replace(started, step=StepName.VALIDATION),
    )


def test_a_processing_image_without_a_lease_can_be_claimed() -> None:
    image = claimed(decide(replace(processing(), lease=None), SAME, a_claimant("worker-b/1")))

    assert image.attempt == 2


def test_a_newer_upload_replaces_the_attributes_and_keeps_the_results_until_they_are_replaced() -> None:
    existing = replace(completed(), counted_bytes=1100)
    job = replace(NEWER, key="uploads/user_1/img_1.png", size_bytes=77)

    image = claimed(decide(existing, job, a_claimant("worker-b/1", now=after(10))))

    assert (image.key, image.version, image.created_at) == (job.key, job.version, job.created_at)
    assert (image.file_name, image.file_size, image.file_type) == ("img_1.png", 77, None)
    assert (image.tags, image.metadata, image.error, image.processed_at) == ((), {}, None, None)
    assert (image.renditions, image.processed_key) == (existing.renditions, existing.processed_key)
    assert image.counted_bytes == 1100
    assert image.history[: len(existing.history)] == existing.history
    assert image.history[len(existing.history)].detail == {"reason": "uploaded_again"}


def test_a_retry_keeps_the_tags_metadata_and_history() -> None:
    existing = replace(pending(), tags=("beach",), metadata={"location": "Beach Resort"})

    image = claimed(decide(existing, SAME, a_claimant("worker-b/1", now=after(10))))

    assert (image.tags, image.metadata) == (("beach",), {"location": "Beach Resort"})
    assert image.history[: len(existing.history)] == existing.history


def test_an_expired_item_is_replaced_but_keeps_its_fencing_token_and_counted_bytes() -> None:
    existing = expired(replace(completed(), counted_bytes=1100, tags=("beach",)))

    image = claimed(decide(existing, SAME, a_claimant("worker-b/1", now=after(10))))

    assert (image.attempt, image.counted_bytes, image.renditions) == (2, 1100, existing.renditions)
    assert (image.ttl, image.tags, image.error, image.processed_key) == (None, (), None, None)


@pytest.mark.parametrize(
    "existing", [None, completed(), expired(completed())], ids=["absent", "completed", "expired"]
)
def test_the_ttl_is_the_retention_after_the_first_claim(existing: Image | None) -> None:
    claimant = replace(a_claimant("worker-b/1", now=after(10)), retention=timedelta(days=30))

    image = claimed(decide(existing, NEWER, claimant))

    assert image.ttl == int((after(10) + timedelta(days=30)).timestamp())


def test_a_retry_keeps_the_ttl() -> None:
    existing = replace(pending(), ttl=2**40)

    assert claimed(decide(existing, SAME, a_claimant("worker-b/1", now=after(10)))).ttl == 2**40


@pytest.mark.parametrize("seconds", [59.999, 60])
def test_a_lease_is_respected_until_it_expires(seconds: float) -> None:
    result = decide(processing(), SAME, a_claimant("worker-b/1", now=after(seconds)))

    assert isinstance(result, Claimed if seconds == 60 else LeasedByAnother)


def test_a_claimant_advances_to_the_write_that_made_its_claim_fail() -> None:
    claimant = a_claimant(now=after(10))

    moved = claimant.not_before(after(10.2), passed=timedelta(seconds=0.5))

    assert moved.now == after(10.2)
    assert moved.lease_until - moved.now == claimant.lease_until - claimant.now


@pytest.mark.parametrize(("moment", "now"), [(after(9), after(10)), (after(60), after(10.5))])
def test_a_claimant_does_not_go_back_or_beyond_its_own_clock(moment: datetime, now: datetime) -> None:
    assert a_claimant(now=after(10)).not_before(moment, passed=timedelta(seconds=0.5)).now == now


@pytest.mark.parametrize("leaves_suspects", [True, False])
def test_an_image_whose_lease_has_expired_is_claimed_only_by_a_delivery_that_takes_suspects(
    leaves_suspects: bool,
) -> None:
    claimant = replace(a_claimant("worker-b/1", now=after(61)), leaves_suspects=leaves_suspects)
    result = decide(lease_expired(), SAME, claimant)

    if leaves_suspects:
        assert result == Suspect(lease_expired())
    else:
        assert isinstance(result, Claimed)
        assert has_killed(result.image)


def test_a_newer_upload_is_no_suspect() -> None:
    claimant = replace(a_claimant("worker-b/1", now=after(61)), leaves_suspects=True)
    result = decide(lease_expired(), NEWER, claimant)

    assert isinstance(result, Claimed)
    assert result.image.error is None


def test_a_claim_that_only_fails_the_image_keeps_the_steps_of_the_attempt_that_killed_its_worker() -> None:
    seen = lease_expired()
    claimant = replace(a_claimant("worker-b/1", now=after(61)), fails_attempt=seen.attempt)
    result = decide(seen, SAME, claimant)

    assert isinstance(result, Claimed)
    assert result.image.steps == seen.steps
    assert result.image.attempt == seen.attempt + 1


@pytest.mark.parametrize("image", [pending(), processing(), lease_expired(), completed(), failed()])
def test_no_upload_is_claimed_while_the_image_is_deleted_and_a_newer_one_waits(image: Image) -> None:
    marked = deletion_begun(image, requester=a_requester(), at=after(3))
    late = a_claimant("worker-b/1", now=after(86_400))

    assert decide(marked, OLDER, late) == AlreadyDone(marked)
    assert decide(marked, SAME, late) == AlreadyDone(marked)
    assert decide(marked, NEWER, late) == BeingDeleted(marked)
    tied = replace(SAME, version=replace(SAME.version, e_tag="another", sequencer=None))
    assert decide(marked, tied, late) == BeingDeleted(marked)


def test_the_mark_of_a_deletion_takes_the_lease_away_and_outlasts_the_retention() -> None:
    image = replace(processing(), ttl=1)

    marked = deletion_begun(image, requester=a_requester(), at=after(3))

    assert (marked.status, marked.lease, marked.ttl) == (ImageStatus.PENDING, None, None)
    assert marked.attempt == image.attempt + 1
    assert marked.deletion
    assert marked.deletion.lease == image.lease
    assert marked.history[-1].detail["reason"] == "deletion_begun"
    assert marked.history[-1].detail["by"] == a_requester().by


def test_a_newer_upload_takes_an_image_over_only_from_a_worker_that_is_processing_it() -> None:
    late = a_claimant("worker-b/1", now=after(20))

    assert taken_over_at(claimed(decide(processing(), NEWER, late)).history) == after(20)
    for image in (pending(), completed(), failed()):
        assert taken_over_at(claimed(decide(image, NEWER, late)).history) is None


def test_the_times_of_a_deletion_increase_although_the_clock_was_set_back() -> None:
    image = completed()

    marked = deletion_begun(image, requester=a_requester(), at=NOON - timedelta(days=1))

    assert marked.updated_at > image.updated_at


def test_the_retention_of_an_image_that_is_being_deleted_cannot_be_set() -> None:
    marked = deletion_begun(completed(), requester=a_requester(), at=after(3))

    with pytest.raises(ImageBusyError, match="is being deleted"):
        retention_set(marked, ttl=1, requester=a_requester(), at=after(4))


def test_a_record_is_deleted_if_it_is_gone_marked_or_another_one() -> None:
    image = processing()

    assert not is_deleted(image, image)
    assert not is_deleted(replace(image, attempt=7), image)
    assert is_deleted(None, image)
    assert is_deleted(deletion_begun(image, requester=a_requester(), at=after(3)), image)
    assert is_deleted(replace(image, record_id="another"), image)


@pytest.mark.parametrize("job", [SAME, NEWER], ids=["the same upload", "a newer upload"])
@pytest.mark.parametrize("is_expired", [False, True], ids=["kept", "expired"])
def test_results_that_are_left_over_stay_in_the_record_until_the_next_end(
    job: Job, *, is_expired: bool
) -> None:
    leftovers = (Leftover(key="processed/user_1/img_1.png", e_tag="older"),)
    image = replace(pending(), leftovers=leftovers)

    after_claim = claimed(decide(expired(image) if is_expired else image, job, a_claimant("worker-b/1")))

    assert after_claim.leftovers == leftovers
