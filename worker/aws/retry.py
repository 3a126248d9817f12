"""
Retry AWS calls with tenacity.

Waits have full jitter: each is drawn uniformly between zero and an exponentially growing bound, which spreads
competing clients best ("Exponential Backoff And Jitter", AWS Architecture Blog, 2015). botocore's own retries
are off.
"""

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Final, TypeVar

from botocore.exceptions import BotoCoreError, ClientError
from tenacity import AsyncRetrying, RetryError, retry_if_exception, stop_after_attempt, stop_after_delay
from tenacity.wait import wait_random_exponential

from worker.aws.errors import UnreadableResponseError, error_code, is_expected_error, is_outage, is_transient
from worker.domain.errors import TransientError

T = TypeVar("T")

IS_RETRY: Final = ContextVar("IS_RETRY", default=False)
"""Whether the current task is retrying a call, as opposed to making the first attempt."""


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicy:
    """
    How often and for how long a call is retried.

    Attributes:
        attempts: Maximum number of attempts, the first included.
        timeout_s: No attempt starts later than this after the first.
        attempt_timeout_s: Time limit of one attempt; None leaves it to the client's own timeouts.
        wait_initial_s: Upper bound of the first wait; it doubles with each attempt.
        wait_max_s: Upper bound of any wait.
    """

    attempts: int
    timeout_s: float
    attempt_timeout_s: float | None = None
    wait_initial_s: float = 0.05
    wait_max_s: float = 2.0


@dataclass(frozen=True, slots=True, kw_only=True)
class RetryPolicies:
    """
    Retry policies of all AWS calls; the code that makes a call takes its policy as an argument.

    Attributes:
        table: DynamoDB, CloudFormation and CloudWatch requests.
        bucket: S3 requests, which may transfer whole images.
        queue: SQS requests, except receives: `Queue.receive` is called in an endless loop.
        startup: Requests that check the resources before the worker starts.
    """

    table: RetryPolicy = RetryPolicy(attempts=10, timeout_s=20.0, attempt_timeout_s=5.0)
    bucket: RetryPolicy = RetryPolicy(attempts=6, timeout_s=40.0, attempt_timeout_s=30.0, wait_initial_s=0.1)
    queue: RetryPolicy = RetryPolicy(attempts=6, timeout_s=15.0, attempt_timeout_s=5.0)
    startup: RetryPolicy = RetryPolicy(attempts=5, timeout_s=5.0, wait_initial_s=0.1, wait_max_s=1.0)


def backoff_s(failures: int) -> float:
    """Return a random wait in seconds after a number of consecutive failures: full jitter."""
    return random.uniform(0, min(20.0, 0.5 * 2.0 ** min(failures, 10)))  # noqa: S311 - not for cryptography


async def call_with_retry(call: Callable[[], Awaitable[T]], policy: RetryPolicy, *, what: str) -> T:
    """
    Make an AWS call, and retry it while its errors are transient.

    Args:
        call: Makes one attempt.
        policy: How often and for how long to retry.
        what: What the call does, for the error message: `store the image`.

    Raises:
        ClientError: AWS returned an error that callers handle (`is_expected_error`).
        TransientError: The call failed in any other way; its cause is the last error.
    """
    try:
        return await _call(call, policy)
    except RetryError as exhausted:
        attempts, error = exhausted.last_attempt.attempt_number, exhausted.last_attempt.exception()
        message = f"could not {what} in {attempts} attempts: {_reason(error)}"
        raise TransientError(message, is_dependency_failure=is_outage(error)) from error
    except (ClientError, BotoCoreError) as error:
        if is_expected_error(error):
            raise
        # AWS responded: whatever it rejected, requests for other images may succeed.
        message = f"could not {what}: {error}"
        raise TransientError(message, is_dependency_failure=not isinstance(error, ClientError)) from error


def _reason(error: BaseException | None) -> str:
    if isinstance(error, UnreadableResponseError):
        return "the response is not one of AWS; check AWS_ENDPOINT_URL and the proxy settings"
    return error_code(error)


async def retry_at_startup(call: Callable[[], Awaitable[T]], policy: RetryPolicy) -> T:
    """Make an AWS call, and retry it while its errors are transient; raise the last error as it is."""
    try:
        return await _call(call, policy)
    except RetryError as exhausted:
        exhausted.reraise()


async def _call(call: Callable[[], Awaitable[T]], policy: RetryPolicy) -> T:
    """
    Make the first attempt, and have tenacity make the others if it fails.

    Most calls succeed at once. They do without tenacity, which costs several times as much as all the rest.

    Raises:
        RetryError: The policy is exhausted.
    """
    started = time.monotonic()
    try:
        async with asyncio.timeout(policy.attempt_timeout_s):
            return await call()
    except Exception as error:
        if not is_transient(error):
            raise
        first_error = error

    retrying = AsyncRetrying(
        wait=wait_random_exponential(multiplier=policy.wait_initial_s, max=policy.wait_max_s),
        stop=stop_after_attempt(policy.attempts)
        | stop_after_delay(policy.timeout_s - (time.monotonic() - started)),
        retry=retry_if_exception(is_transient),
    )
    token = IS_RETRY.set(True)
    try:
        async for attempt in retrying:
            with attempt:
                if attempt.retry_state.attempt_number == 1:
                    raise first_error  # tenacity decides whether and when there is a second attempt
                async with asyncio.timeout(policy.attempt_timeout_s):
                    result = await call()
        return result
    finally:
        IS_RETRY.reset(token)
