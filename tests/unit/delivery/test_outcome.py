import asyncio

import pytest

from worker.delivery.outcome import (
    Failed,
    LeaseLost,
    Outcome,
    Released,
    RetriesExhausted,
    outcome_of,
    retry_delay_s,
)
from worker.domain.errors import (
    DecoderKilledError,
    DecodeTimeoutError,
    IllegalMoveError,
    LeaseLostError,
    SupersededError,
    TransientError,
    TruncatedError,
)
from worker.domain.image import Failure
from worker.domain.message import Abandon, Delete, Release
from worker.domain.status import StepName

TRUNCATED = TruncatedError()
TIMEOUT = DecodeTimeoutError(limit_s=30)
SUPERSEDED = SupersededError(image_id="img_1")


def outcome(error: BaseException, *, receive_count: int = 1) -> Outcome:
    return outcome_of(error, step=StepName.RESIZE, receive_count=receive_count, max_receives=5)


def test_an_image_whose_decoder_was_killed_is_released_and_alone_it_fails() -> None:
    error = DecoderKilledError()
    alone = outcome_of(error, step=StepName.RESIZE, receive_count=2, max_receives=5, is_alone=True)

    released = outcome(error)
    assert isinstance(released, Released)
    assert released.failure == a_failure("decoder_killed", str(error))
    assert isinstance(released.disposition, Release)
    assert not released.disposition.is_dependency_failure
    assert alone == Failed(a_failure("decoder_killed", str(error)))


def a_failure(code: str, message: str, *, retryable: bool = True) -> Failure:
    return Failure(code=code, message=message, step=StepName.RESIZE, retryable=retryable)


@pytest.mark.parametrize("receive_count", [1, 4, 5, 6])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (TRUNCATED, Failed(a_failure("truncated", str(TRUNCATED), retryable=False))),
        (TIMEOUT, Failed(a_failure("decode_timeout", str(TIMEOUT)))),
        (SUPERSEDED, Released(a_failure("superseded", str(SUPERSEDED)), Delete())),
        (LeaseLostError(image_id="img_1", attempt=1), LeaseLost()),
    ],
    ids=["rejected", "rejected, retryable", "superseded", "lease lost"],
)
def test_some_outcomes_are_the_same_at_every_receive(
    error: BaseException, expected: Outcome, receive_count: int
) -> None:
    assert outcome(error, receive_count=receive_count) == expected


@pytest.mark.parametrize(
    ("found", "disposition"),
    [
        (Failed(a_failure("truncated", "")), Delete()),
        (RetriesExhausted(a_failure("unavailable", "")), Delete()),
        (LeaseLost(), Abandon()),
    ],
)
def test_an_outcome_decides_the_disposition_of_the_message(
    found: Outcome, disposition: Delete | Abandon
) -> None:
    assert found.disposition == disposition


def test_a_worker_that_shuts_down_releases_the_image_and_the_message_without_a_delay() -> None:
    assert outcome(asyncio.CancelledError()) == Released(
        a_failure("worker_stopped", "the worker was shut down"), Release(0)
    )


RETRYABLE = {
    "transient": (
        TransientError("the bucket is unavailable"),
        a_failure("unavailable", "the bucket is unavailable"),
    ),
    "a bug": (KeyError("size"), a_failure("internal_error", "KeyError: 'size'")),
    "an illegal move": (
        IllegalMoveError(what="the image", move="completed", status="pending"),
        a_failure("internal_error", "IllegalMoveError: the image is pending: it cannot be completed"),
    ),
}


@pytest.mark.parametrize("receive_count", [1, 2, 3, 4])
@pytest.mark.parametrize(("error", "failure"), RETRYABLE.values(), ids=RETRYABLE.keys())
def test_a_transient_error_or_a_bug_releases_the_image_and_the_message_after_a_delay(
    error: Exception, failure: Failure, receive_count: int
) -> None:
    found = outcome(error, receive_count=receive_count)

    assert isinstance(found, Released)
    assert found.failure == failure
    assert isinstance(found.disposition, Release)
    assert 0 <= found.disposition.after_s <= 5 * 2 ** (receive_count - 1)


@pytest.mark.parametrize("receive_count", [5, 6, 100])
@pytest.mark.parametrize(("error", "failure"), RETRYABLE.values(), ids=RETRYABLE.keys())
def test_a_transient_error_or_a_bug_on_the_last_receive_exhausts_the_retries(
    error: Exception, failure: Failure, receive_count: int
) -> None:
    assert outcome(error, receive_count=receive_count) == RetriesExhausted(failure)


def test_a_transient_error_may_have_a_code_of_its_own() -> None:
    error = TransientError("slow down")
    error.code = "throttled"

    found = outcome(error)

    assert isinstance(found, Released)
    assert found.failure == a_failure("throttled", "slow down")


def test_an_error_between_two_steps_names_no_step() -> None:
    found = outcome_of(TransientError("unavailable"), step=None, receive_count=1, max_receives=5)

    assert isinstance(found, Released)
    assert found.failure == Failure(code="unavailable", message="unavailable", step=None, retryable=True)


def test_with_a_maximum_of_one_receive_the_first_is_the_last() -> None:
    found = outcome_of(TransientError("unavailable"), step=None, receive_count=1, max_receives=1)

    assert isinstance(found, RetriesExhausted)


@pytest.mark.parametrize(
    ("receive_count", "limit_s"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (1000, 900), (10**9, 900)]
)
def test_the_retry_delay_is_random_and_its_bound_doubles_with_each_receive_up_to_a_limit(
    receive_count: int, limit_s: float
) -> None:
    delays_s = [retry_delay_s(receive_count) for _ in range(50)]

    assert all(0 <= delay_s <= limit_s for delay_s in delays_s)
    assert len(set(delays_s)) > 40
    assert max(delays_s) > limit_s / 2
