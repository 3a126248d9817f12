"""
The tenacity policies, named, and which failures of AWS pass by themselves.

Every call is tried again with full jitter (each wait is drawn evenly between zero and an exponentially
growing bound, which spreads retrying workers best: "Exponential Backoff And Jitter", AWS Architecture
Blog, 2015), bounded both by attempts and by time. A refusal (a failed condition, access denied, a
malformed request) is never tried again.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextvars import ContextVar
from dataclasses import dataclass, replace
from typing import Any, Final, TypeVar

import aiohttp
from botocore.exceptions import BotoCoreError, ClientError, HTTPClientError
from botocore.exceptions import ConnectionError as BotoConnectionError
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from worker.domain.errors import TransientError

T = TypeVar("T")

THROTTLING_CODES: Final = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The service asks us to slow down."""

CONFLICT_CODES: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "OperationAborted",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Somebody else writes the same thing at this moment: neither of us is refused."""

TRANSIENT_CODES: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestExpired",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
    }
)
"""A fault of the service, or credentials that are just being rotated."""

_THROTTLED_ITEMS: Final = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
_TRANSIENT_REASONS: Final = _THROTTLED_ITEMS | {"TransactionConflict"}
"""Reasons of a cancelled transaction that pass by themselves."""

NO_SUCH_QUEUE: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
"""There is no queue of that name."""

_SERVER_ERROR = 500

ATTEMPT: Final = ContextVar("ATTEMPT", default=1)
"""Which attempt at a call is under way in this task: who counts calls can tell the first from the others."""


@dataclass(frozen=True, slots=True)
class Policy:
    """
    How long to go on trying.

    Attributes:
        attempts: At the most.
        total_s: No new attempt starts after so many seconds.
        each_s: One attempt is abandoned after so many seconds.
        base_s: The first wait is between zero and this.
        most_s: No wait is longer.
    """

    attempts: int
    total_s: float
    each_s: float
    base_s: float = 0.05
    most_s: float = 2.0


TABLE: Final = Policy(attempts=10, total_s=20.0, each_s=5.0)
"""Reads and writes of the record."""

BUCKET: Final = Policy(attempts=6, total_s=40.0, each_s=30.0, base_s=0.1)
"""Reads and writes of whole pictures."""

QUEUE: Final = Policy(attempts=6, total_s=15.0, each_s=5.0)
"""Deletes and changes of visibility; receiving has its own, endless loop."""

START: Final = Policy(attempts=5, total_s=5.0, each_s=5.0, base_s=0.1, most_s=1.0)
"""Looks at what has to be there, before the work begins."""


def error_code(error: BaseException) -> str:
    """Return the code that AWS gave its refusal; the exception's name where there is none."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def cancellation_reasons(error: ClientError) -> Sequence[Mapping[str, Any]]:
    """Return why a transaction was cancelled: one reason for each of its items, in their order."""
    reasons: Sequence[Mapping[str, Any]] = error.response.get("CancellationReasons", [])
    return reasons


def is_transient(error: BaseException) -> bool:
    """Tell whether the same call may well succeed a moment later."""
    if isinstance(error, ClientError):
        if error_code(error) == "TransactionCanceledException":
            codes = {str(reason.get("Code")) for reason in cancellation_reasons(error)} - {"None"}
            return bool(codes) and codes <= _TRANSIENT_REASONS
        status = error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)
        return (
            error_code(error) in THROTTLING_CODES | CONFLICT_CODES | TRANSIENT_CODES
            or status >= _SERVER_ERROR
        )
    return isinstance(
        error, (BotoConnectionError, HTTPClientError, aiohttp.ClientError, TimeoutError, ConnectionError)
    )


def is_throttled(error: BaseException) -> bool:
    """Tell whether the service asks us to slow down."""
    if isinstance(error, ClientError):
        reasons = {str(reason.get("Code")) for reason in cancellation_reasons(error)}
        return error_code(error) in THROTTLING_CODES or bool(reasons & _THROTTLED_ITEMS)
    return False


def pause_s(failures: int) -> float:
    """Draw the pause after so many failures in a row, for a loop that never gives up: full jitter."""
    return random.uniform(0, min(20.0, 0.5 * 2.0 ** min(failures, 10)))  # noqa: S311 - spreads load only


async def call_with_retry(call: Callable[[], Awaitable[T]], policy: Policy, *, what: str) -> T:
    """
    Make the call until it succeeds, is refused, or the policy is exhausted.

    Args:
        call: Makes one attempt.
        policy: One of the named ones above.
        what: Names the call in the error: `record the step`.

    Raises:
        TransientError: The policy is exhausted; its cause is the last failure.
    """
    try:
        return await _persist(call, policy, what=what)
    except (ClientError, BotoCoreError) as error:
        if is_expected_error(error):
            raise
        message = f"could not {what}: {error}"
        raise TransientError(message) from error


async def _persist(call: Callable[[], Awaitable[T]], policy: Policy, *, what: str) -> T:
    began = time.monotonic()
    try:
        async with asyncio.timeout(policy.each_s):
            return await call()
    except Exception as error:
        if not is_transient(error):
            raise
        failures = [error]

    # tenacity hears of the first attempt only when it has failed: most succeed, and need not pay for it.
    def give_up(state: RetryCallState) -> T:
        cause = state.outcome.exception() if state.outcome else None
        message = f"could not {what} in {state.attempt_number} attempts: {cause and error_code(cause)}"
        raise TransientError(message) from cause

    async def attempt() -> T:
        if failures:
            raise failures.pop()
        former = ATTEMPT.set(retrying.statistics["attempt_number"])
        try:
            async with asyncio.timeout(policy.each_s):
                return await call()
        finally:
            ATTEMPT.reset(former)

    left_s = policy.total_s - (time.monotonic() - began)
    retrying = _retrying(replace(policy, total_s=left_s), retry_error_callback=give_up)
    return await retrying(attempt)


async def retry_at_startup(call: Callable[[], Awaitable[T]]) -> T:
    """Make the call until it succeeds or is refused, for a few seconds; then raise what it raised last."""

    async def attempt() -> T:
        return await call()

    return await _retrying(START, reraise=True)(attempt)


def _retrying(policy: Policy, **ending: Any) -> AsyncRetrying:  # noqa: ANN401 - as tenacity takes it
    return AsyncRetrying(
        wait=wait_random_exponential(multiplier=policy.base_s, max=policy.most_s),
        stop=stop_after_attempt(policy.attempts) | stop_after_delay(policy.total_s),
        retry=retry_if_exception(is_transient),
        **ending,
    )


EXPECTED_CODES: Final = frozenset(
    {
        "404",
        "412",
        "ConditionalCheckFailedException",
        "NoSuchKey",
        "NoSuchVersion",
        "NotFound",
        "PreconditionFailed",
        "ReceiptHandleIsInvalid",
        "TransactionCanceledException",
    }
)
"""Refusals that mean something to the caller; any other is a fault of the set-up, and no picture's."""


def is_expected_error(error: BaseException) -> bool:
    """Tell whether a refusal is one that the caller asked to hear."""
    return error_code(error) in EXPECTED_CODES
