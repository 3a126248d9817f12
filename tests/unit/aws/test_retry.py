import asyncio
from dataclasses import asdict
from types import SimpleNamespace
from typing import Any

import pytest
from aiohttp import ClientResponseError
from botocore.exceptions import (
    ClientError,
    EndpointConnectionError,
    FlexibleChecksumError,
    HTTPClientError,
    NoCredentialsError,
)

from tests.support.aws_errors import client_error
from worker.aws.errors import UnreadableResponseError, error_code
from worker.aws.retry import (
    IS_RETRY,
    RetryPolicies,
    RetryPolicy,
    backoff_s,
    call_with_retry,
    retry_at_startup,
)
from worker.domain.errors import TransientError

REQUEST: Any = SimpleNamespace(real_url="http://nowhere")
NO_WAIT = RetryPolicy(attempts=4, timeout_s=60, attempt_timeout_s=60, wait_initial_s=0)


class Call:
    """A call that raises one error after the other and then succeeds."""

    def __init__(self, *errors: BaseException) -> None:
        self.errors = list(errors)
        self.attempts = 0
        self.retries = 0

    async def __call__(self) -> str:
        self.attempts += 1
        self.retries += IS_RETRY.get()
        if self.errors:
            raise self.errors.pop(0)
        return "done"


@pytest.mark.parametrize(
    "error",
    [
        client_error("ThrottlingException"),
        client_error("TransactionCanceledException", reasons=("None", "TransactionConflict")),
        client_error("WhoKnows", status=502),
        EndpointConnectionError(endpoint_url="http://nowhere"),
        ConnectionResetError(),
        TimeoutError(),
        FlexibleChecksumError(error_msg="checksum mismatch"),
        client_error("PermanentRedirect", status=301),
        client_error("TemporaryRedirect", status=307),
        UnreadableResponseError(error="null"),
    ],
    ids=error_code,
)
async def test_transient_errors_are_retried(error: Exception) -> None:
    call = Call(error, error)

    assert await call_with_retry(call, NO_WAIT, what="test") == "done"
    assert call.attempts == 3


async def test_only_retries_are_marked_as_such() -> None:
    call = Call(TimeoutError(), TimeoutError())

    await call_with_retry(call, NO_WAIT, what="test")
    await call_with_retry(call, NO_WAIT, what="test")

    assert (call.attempts, call.retries, IS_RETRY.get()) == (4, 2, False)


@pytest.mark.parametrize(
    "error",
    [
        client_error("ConditionalCheckFailedException"),
        client_error("PreconditionFailed", status=412),
        client_error("NoSuchKey", status=404),
        client_error("TransactionCanceledException", reasons=("ConditionalCheckFailed", "None")),
    ],
    ids=error_code,
)
@pytest.mark.parametrize("failures_before", [0, 1])
async def test_an_expected_error_is_raised_as_it_is_and_not_retried(
    error: ClientError, failures_before: int
) -> None:
    call = Call(*[TimeoutError()] * failures_before, error)

    with pytest.raises(ClientError) as raised:
        await call_with_retry(call, NO_WAIT, what="test")

    assert (raised.value, call.attempts) == (error, failures_before + 1)


@pytest.mark.parametrize(
    "error",
    [
        client_error("AccessDeniedException"),
        client_error("ValidationException"),
        client_error("ResourceNotFoundException"),
        NoCredentialsError(),
    ],
    ids=error_code,
)
@pytest.mark.parametrize("failures_before", [0, 1])
async def test_any_other_aws_error_becomes_a_transient_error_and_is_not_retried(
    error: Exception, failures_before: int
) -> None:
    call = Call(*[TimeoutError()] * failures_before, error)

    with pytest.raises(TransientError, match="could not record the step: ") as raised:
        await call_with_retry(call, NO_WAIT, what="record the step")

    assert (raised.value.__cause__, call.attempts) == (error, failures_before + 1)
    assert raised.value.is_dependency_failure is not isinstance(error, ClientError)


async def test_a_bug_is_raised_as_it_is() -> None:
    call = Call(KeyError("bug"))

    with pytest.raises(KeyError):
        await call_with_retry(call, NO_WAIT, what="test")

    assert call.attempts == 1


async def test_the_number_of_attempts_is_bounded_and_the_last_error_is_the_cause() -> None:
    errors = [client_error("ThrottlingException") for _ in range(9)]
    call = Call(*errors)

    with pytest.raises(
        TransientError, match="could not record the step in 4 attempts: ThrottlingException"
    ) as raised:
        await call_with_retry(call, NO_WAIT, what="record the step")

    assert (raised.value.__cause__, call.attempts) == (errors[3], 4)


@pytest.mark.parametrize(
    ("error", "is_outage"),
    [
        (client_error("SlowDown", status=503), True),
        (client_error("InternalError", status=500), True),
        (client_error("RequestTimeout"), True),
        (client_error("ExpiredToken"), True),
        (client_error("TransactionCanceledException", reasons=("ThrottlingError", "None")), True),
        (ConnectionResetError(), True),
        (TimeoutError(), True),
        (EndpointConnectionError(endpoint_url="http://nowhere"), True),
        (HTTPClientError(error=OSError("no route to host")), True),
        (HTTPClientError(error=ClientResponseError(REQUEST, (), message="too many headers")), False),
        (UnreadableResponseError(error="null"), False),
        (FlexibleChecksumError(error_msg="checksum mismatch"), False),
        (client_error("PermanentRedirect", status=301), False),
        (client_error("TransactionCanceledException", reasons=("TransactionConflict", "None")), False),
    ],
    ids=error_code,
)
async def test_only_an_unavailable_or_throttling_service_is_a_dependency_failure(
    error: Exception, is_outage: bool
) -> None:
    with pytest.raises(TransientError) as raised:
        await call_with_retry(Call(*[error] * 9), NO_WAIT, what="test")

    assert raised.value.is_dependency_failure is is_outage


async def test_no_attempt_starts_after_the_timeout() -> None:
    call = Call(*[ConnectionResetError() for _ in range(9)])

    with pytest.raises(TransientError, match="in 1 attempts: ConnectionResetError"):
        await call_with_retry(call, RetryPolicy(attempts=9, timeout_s=0, wait_initial_s=0), what="test")

    assert call.attempts == 1


async def test_the_first_attempt_counts_towards_the_timeout() -> None:
    attempts = 0

    async def call() -> None:
        nonlocal attempts
        attempts += 1
        await asyncio.sleep(0.02)
        raise ConnectionResetError

    with pytest.raises(TransientError, match="in 1 attempts"):
        await call_with_retry(call, RetryPolicy(attempts=9, timeout_s=0.01, wait_initial_s=0), what="test")

    assert attempts == 1


async def test_an_attempt_that_hangs_is_cancelled_and_retried() -> None:
    cancelled = 0

    async def call() -> str:
        nonlocal cancelled
        if cancelled == 2:
            return "done"
        try:
            await asyncio.Event().wait()
        finally:
            cancelled += 1
        return "never"

    policy = RetryPolicy(attempts=4, timeout_s=60, attempt_timeout_s=0.001, wait_initial_s=0)

    assert await call_with_retry(call, policy, what="test") == "done"


async def test_a_call_that_always_hangs_fails_with_a_timeout_as_cause() -> None:
    policy = RetryPolicy(attempts=2, timeout_s=60, attempt_timeout_s=0.001, wait_initial_s=0)

    with pytest.raises(TransientError, match="in 2 attempts: TimeoutError") as raised:
        await call_with_retry(asyncio.Event().wait, policy, what="test")

    assert isinstance(raised.value.__cause__, TimeoutError)


@pytest.mark.parametrize("failures_before", [0, 1])
async def test_cancelling_the_caller_cancels_the_attempt_and_ends_retrying(failures_before: int) -> None:
    hanging = asyncio.Event()
    failing = Call(*[TimeoutError()] * failures_before)
    attempts = 0

    async def call() -> None:
        nonlocal attempts
        attempts += 1
        await failing()
        hanging.set()
        await asyncio.Event().wait()

    calling = asyncio.create_task(call_with_retry(call, NO_WAIT, what="test"))
    await hanging.wait()
    calling.cancel()
    await asyncio.wait([calling])

    assert (calling.cancelled(), attempts) == (True, failures_before + 1)


@pytest.mark.parametrize(("failures", "limit"), [(0, 0.5), (1, 1), (2, 2), (5, 16), (6, 20), (10_000, 20)])
def test_the_backoff_of_an_endless_loop_is_random_and_grows_to_a_limit(failures: int, limit: float) -> None:
    waits = [backoff_s(failures) for _ in range(50)]

    assert all(0 <= wait <= limit for wait in waits)
    assert len(set(waits)) > 40
    assert max(waits) > limit / 2


@pytest.mark.parametrize("name", list(asdict(RetryPolicies())))
def test_a_policy_has_time_for_more_than_one_attempt(name: str) -> None:
    policy: RetryPolicy = getattr(RetryPolicies(), name)

    assert policy.attempts > 1
    assert policy.attempt_timeout_s is None or policy.attempt_timeout_s < policy.timeout_s
    assert 0 < policy.wait_initial_s <= policy.wait_max_s


async def test_transient_errors_are_retried_at_startup() -> None:
    call = Call(client_error("ThrottlingException"), client_error("InternalError", status=500))

    assert await retry_at_startup(call, NO_WAIT) == "done"
    assert call.attempts == 3


async def test_the_last_error_is_raised_as_it_is_at_startup() -> None:
    denied, failing = Call(client_error("AccessDenied")), Call(*[client_error("InternalError")] * 9)

    with pytest.raises(ClientError, match="AccessDenied"):
        await retry_at_startup(denied, NO_WAIT)
    with pytest.raises(ClientError, match="InternalError"):
        await retry_at_startup(failing, NO_WAIT)

    assert (denied.attempts, failing.attempts) == (1, 4)
