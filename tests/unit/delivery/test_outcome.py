import asyncio

import pytest

from worker.delivery.outcome import Ending, Verdict, outcome_of, wait_s
from worker.domain.errors import (
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
SUPERSEDED = SupersededError(image_id="img_1")


def verdict(error: BaseException, *, receive_count: int = 1) -> Verdict:
    return outcome_of(error, step=StepName.RESIZE, receive_count=receive_count, max_receives=5)


def a_failure(code: str, message: str, *, retryable: bool = True) -> Failure:
    return Failure(code=code, message=message, step=StepName.RESIZE, retryable=retryable)


@pytest.mark.parametrize("receive_count", [1, 4, 5, 6])
@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (
            TRUNCATED,
            Verdict(
                ending=Ending.FAIL,
                failure=a_failure("truncated", str(TRUNCATED), retryable=False),
                disposition=Delete(),
            ),
        ),
        (
            DecodeTimeoutError(limit_s=30),
            Verdict(
                ending=Ending.FAIL,
                failure=a_failure("decode_timeout", "the step took longer than 30 s and was stopped"),
                disposition=Delete(),
            ),
        ),
        (
            SUPERSEDED,
            Verdict(
                ending=Ending.RELEASE,
                failure=a_failure("superseded", str(SUPERSEDED)),
                disposition=Delete(),
            ),
        ),
        (
            LeaseLostError(image_id="img_1", attempt=1),
            Verdict(ending=Ending.NOTHING, failure=None, disposition=Abandon()),
        ),
    ],
    ids=["rejected", "rejected, retryable", "superseded", "lease lost"],
)
def test_some_verdicts_are_the_same_at_every_receive(
    error: BaseException, expected: Verdict, receive_count: int
) -> None:
    assert verdict(error, receive_count=receive_count) == expected


def test_a_worker_that_stops_gives_everything_back_at_once() -> None:
    assert verdict(asyncio.CancelledError()) == Verdict(
        ending=Ending.RELEASE,
        failure=a_failure("worker_stopped", "the worker stopped"),
        disposition=Release(0),
    )


TRANSIENT = {
    "transient": (TransientError("the bucket is away"), a_failure("unavailable", "the bucket is away")),
    "a bug of ours": (KeyError("size"), a_failure("internal_error", "KeyError: 'size'")),
    "an illegal move": (
        IllegalMoveError(what="the image", move="completed", status="pending"),
        a_failure("internal_error", "IllegalMoveError: the image is pending: it cannot be completed"),
    ),
}


@pytest.mark.parametrize("receive_count", [1, 2, 3, 4])
@pytest.mark.parametrize(("error", "failure"), TRANSIENT.values(), ids=TRANSIENT.keys())
def test_what_may_pass_is_released_and_comes_again_after_a_while(
    error: Exception, failure: Failure, receive_count: int
) -> None:
    found = verdict(error, receive_count=receive_count)

    assert (found.ending, found.failure, found.is_dead) == (Ending.RELEASE, failure, False)
    assert isinstance(found.disposition, Release)
    assert 0 <= found.disposition.after_s <= 5 * 2 ** (receive_count - 1)


@pytest.mark.parametrize("receive_count", [5, 6, 100])
@pytest.mark.parametrize(("error", "failure"), TRANSIENT.values(), ids=TRANSIENT.keys())
def test_what_has_not_passed_by_the_last_receive_fails_with_the_reason_among_the_dead_letters(
    error: Exception, failure: Failure, receive_count: int
) -> None:
    assert verdict(error, receive_count=receive_count) == Verdict(
        ending=Ending.FAIL, failure=failure, disposition=Delete(), is_dead=True
    )


def test_a_transient_error_may_bring_its_own_code() -> None:
    error = TransientError("slow down")
    error.code = "throttled"

    assert verdict(error).failure == a_failure("throttled", "slow down")


def test_an_error_between_the_steps_names_none() -> None:
    found = outcome_of(TransientError("away"), step=None, receive_count=1, max_receives=5)

    assert found.failure == Failure(code="unavailable", message="away", step=None, retryable=True)


def test_with_a_single_receive_the_first_is_the_last() -> None:
    found = outcome_of(TransientError("away"), step=None, receive_count=1, max_receives=1)

    assert (found.ending, found.is_dead) == (Ending.FAIL, True)


@pytest.mark.parametrize(
    ("receive_count", "most"), [(1, 5), (2, 10), (3, 20), (8, 640), (9, 900), (1000, 900), (10**9, 900)]
)
def test_the_wait_doubles_with_each_receive_up_to_a_bound_and_is_never_the_same(
    receive_count: int, most: float
) -> None:
    waits = [wait_s(receive_count) for _ in range(50)]

    assert all(0 <= wait <= most for wait in waits)
    assert len(set(waits)) > 40
    assert max(waits) > most / 2
