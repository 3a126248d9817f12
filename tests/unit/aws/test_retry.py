import asyncio
from collections.abc import Callable

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from worker.aws.retry import (
    BUCKET,
    CONFLICT_CODES,
    EXPECTED_CODES,
    QUEUE,
    TABLE,
    THROTTLING_CODES,
    TRANSIENT_CODES,
    Policy,
    call_with_retry,
    cancellation_reasons,
    error_code,
    is_expected_error,
    is_transient,
    pause_s,
    retry_at_startup,
)
from worker.domain.errors import TransientError

AT_ONCE = Policy(attempts=4, total_s=60, each_s=60, base_s=0)
"""Tries again without waiting."""


def a_refusal(code: str, *, status: int = 400, reasons: tuple[str, ...] = ()) -> ClientError:
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(response, "AnyCall")  # type: ignore[arg-type]


class Call:
    """A call that fails with one error after the other and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.attempts = 0

    async def __call__(self) -> str:
        self.attempts += 1
        if self.errors:
            raise self.errors.pop(0)
        return "done"


PASSING_ERRORS: dict[str, Callable[[], Exception]] = {
    "throttled": lambda: a_refusal("ThrottlingException"),
    "throttled table": lambda: a_refusal("ProvisionedThroughputExceededException"),
    "throttled bucket": lambda: a_refusal("SlowDown", status=503),
    "conflict": lambda: a_refusal("TransactionConflictException"),
    "conflict in a bucket": lambda: a_refusal("ConditionalRequestConflict", status=409),
    "rotated credentials": lambda: a_refusal("ExpiredTokenException"),
    "fault of the service": lambda: a_refusal("InternalServerError", status=500),
    "unknown fault of the service": lambda: a_refusal("WhoKnows", status=502),
    "cancelled by a conflict": lambda: a_refusal(
        "TransactionCanceledException", reasons=("None", "TransactionConflict")
    ),
    "cancelled by throttling": lambda: a_refusal(
        "TransactionCanceledException", reasons=("ThrottlingError", "ProvisionedThroughputExceeded")
    ),
    "nobody there": lambda: EndpointConnectionError(endpoint_url="http://nowhere"),
    "no connection in time": lambda: ConnectTimeoutError(endpoint_url="http://nowhere"),
    "no answer in time": lambda: ReadTimeoutError(endpoint_url="http://nowhere"),
    "body cut short": lambda: aiohttp.ClientPayloadError("cut"),
    "hung up": aiohttp.ServerDisconnectedError,
    "reset": ConnectionResetError,
    "time is up": TimeoutError,
}

REFUSALS: dict[str, Callable[[], Exception]] = {
    "condition": lambda: a_refusal("ConditionalCheckFailedException"),
    "precondition": lambda: a_refusal("PreconditionFailed", status=412),
    "missing": lambda: a_refusal("NoSuchKey", status=404),
    "cancelled by a condition": lambda: a_refusal(
        "TransactionCanceledException", reasons=("ConditionalCheckFailed", "None")
    ),
    "cancelled by a condition and a conflict": lambda: a_refusal(
        "TransactionCanceledException", reasons=("ConditionalCheckFailed", "TransactionConflict")
    ),
    "cancelled for no reason": lambda: a_refusal("TransactionCanceledException"),
}

FAULTS: dict[str, Callable[[], Exception]] = {
    "denied": lambda: a_refusal("AccessDeniedException"),
    "malformed": lambda: a_refusal("ValidationException"),
    "no table": lambda: a_refusal("ResourceNotFoundException"),
    "no credentials": NoCredentialsError,
}


@pytest.mark.parametrize("error", PASSING_ERRORS.values(), ids=PASSING_ERRORS.keys())
async def test_what_passes_by_itself_is_tried_again(error: Callable[[], Exception]) -> None:
    call = Call(error(), error())

    assert await call_with_retry(call, AT_ONCE, what="test") == "done"
    assert call.attempts == 3


@pytest.mark.parametrize("error", REFUSALS.values(), ids=REFUSALS.keys())
async def test_a_refusal_is_an_answer_and_asked_for_once(error: Callable[[], Exception]) -> None:
    refusal = error()
    call = Call(refusal)

    with pytest.raises(ClientError) as raised:
        await call_with_retry(call, AT_ONCE, what="test")

    assert (raised.value, call.attempts) == (refusal, 1)


@pytest.mark.parametrize("error", FAULTS.values(), ids=FAULTS.keys())
async def test_a_fault_of_the_set_up_is_no_pictures_and_is_not_tried_again(
    error: Callable[[], Exception],
) -> None:
    fault = error()
    call = Call(fault)

    with pytest.raises(TransientError, match="could not record the step: ") as raised:
        await call_with_retry(call, AT_ONCE, what="record the step")

    assert (raised.value.__cause__, call.attempts) == (fault, 1)


async def test_a_bug_is_raised_as_it_is() -> None:
    call = Call(KeyError("bug"))

    with pytest.raises(KeyError):
        await call_with_retry(call, AT_ONCE, what="test")

    assert call.attempts == 1


async def test_attempts_are_bounded_and_the_last_failure_is_the_cause() -> None:
    failures = [a_refusal("ThrottlingException") for _ in range(9)]
    call = Call(*failures)

    with pytest.raises(
        TransientError, match="could not record the step in 4 attempts: ThrottlingException"
    ) as raised:
        await call_with_retry(call, AT_ONCE, what="record the step")

    assert (raised.value.__cause__, call.attempts) == (failures[3], 4)


async def test_no_attempt_begins_after_the_total_time() -> None:
    call = Call(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(TransientError, match="in 1 attempts: ConnectionResetError"):
        await call_with_retry(call, Policy(attempts=9, total_s=0, each_s=60, base_s=0), what="test")

    assert call.attempts == 1


async def test_an_attempt_that_hangs_is_abandoned_and_tried_again() -> None:
    abandoned = 0

    async def call() -> str:
        nonlocal abandoned
        if abandoned == 2:
            return "done"
        try:
            await asyncio.Event().wait()
        finally:
            abandoned += 1
        return "never"

    assert (
        await call_with_retry(call, Policy(attempts=4, total_s=60, each_s=0.001, base_s=0), what="test")
        == "done"
    )


async def test_calls_that_always_hang_are_given_up_with_the_reason() -> None:
    with pytest.raises(TransientError, match="in 2 attempts: TimeoutError") as raised:
        await call_with_retry(
            asyncio.Event().wait, Policy(attempts=2, total_s=60, each_s=0.001, base_s=0), what="test"
        )

    assert isinstance(raised.value.__cause__, TimeoutError)


async def test_cancelling_the_caller_ends_the_attempt_at_once() -> None:
    begun = asyncio.Event()
    attempts = 0

    async def call() -> None:
        nonlocal attempts
        attempts += 1
        begun.set()
        await asyncio.Event().wait()

    persisting = asyncio.create_task(call_with_retry(call, AT_ONCE, what="test"))
    await begun.wait()
    persisting.cancel()
    await asyncio.wait([persisting])

    assert (persisting.cancelled(), attempts) == (True, 1)


@pytest.mark.parametrize("code", sorted(THROTTLING_CODES | CONFLICT_CODES | TRANSIENT_CODES))
def test_every_code_that_passes_is_known_by_itself(code: str) -> None:
    assert is_transient(a_refusal(code))
    assert not is_expected_error(a_refusal(code))


@pytest.mark.parametrize("code", sorted(EXPECTED_CODES))
def test_every_answer_is_known_and_never_tried_again(code: str) -> None:
    assert is_expected_error(a_refusal(code))
    assert not is_transient(a_refusal(code))


def test_no_code_is_of_two_kinds() -> None:
    assert (
        THROTTLING_CODES & CONFLICT_CODES
        == THROTTLING_CODES & TRANSIENT_CODES
        == CONFLICT_CODES & TRANSIENT_CODES
        == frozenset()
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (a_refusal("NoSuchKey"), "NoSuchKey"),
        (ClientError({}, "AnyCall"), "Unknown"),
        (NoCredentialsError(), "NoCredentialsError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_an_error_is_called_by_its_code_or_by_its_name(error: Exception, code: str) -> None:
    assert error_code(error) == code


def test_why_a_transaction_was_cancelled_is_told_item_by_item() -> None:
    error = a_refusal("TransactionCanceledException", reasons=("None", "ConditionalCheckFailed"))

    assert [reason["Code"] for reason in cancellation_reasons(error)] == ["None", "ConditionalCheckFailed"]
    assert cancellation_reasons(ClientError({}, "AnyCall")) == []


@pytest.mark.parametrize(("failures", "most"), [(0, 0.5), (1, 1), (2, 2), (5, 16), (6, 20), (10_000, 20)])
def test_the_pause_of_an_endless_loop_grows_to_a_bound_and_is_never_the_same(
    failures: int, most: float
) -> None:
    pauses = [pause_s(failures) for _ in range(50)]

    assert all(0 <= pause <= most for pause in pauses)
    assert len(set(pauses)) > 40
    assert max(pauses) > most / 2


@pytest.mark.parametrize("policy", [TABLE, BUCKET, QUEUE], ids=["table", "bucket", "queue"])
def test_a_named_policy_leaves_room_for_more_than_one_attempt(policy: Policy) -> None:
    assert policy.attempts > 1
    assert policy.each_s < policy.total_s
    assert 0 < policy.base_s <= policy.most_s


async def test_a_look_at_the_start_is_repeated_while_the_trouble_passes() -> None:
    call = Call(a_refusal("ThrottlingException"), a_refusal("InternalError", status=500))

    assert await retry_at_startup(lambda: call()) == "done"  # noqa: PLW0108 - as the checks call it
    assert call.attempts == 3


async def test_a_look_that_is_refused_or_goes_on_failing_raises_what_was_said_last() -> None:
    denied, away = Call(a_refusal("AccessDenied")), Call(*(a_refusal("InternalError") for _ in range(99)))

    with pytest.raises(ClientError, match="AccessDenied"):
        await retry_at_startup(denied)
    with pytest.raises(ClientError, match="InternalError"):
        await retry_at_startup(away)

    assert denied.attempts == 1
    assert 1 < away.attempts < 20
