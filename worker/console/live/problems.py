"""Read what a live page shows, or find out why it cannot be read at present."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import TypeVar

import structlog

from worker.domain.errors import ImageWorkerError, UnreadableRecordError
from worker.domain.mask import mask_secrets

T = TypeVar("T")

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Problem:
    """Why something cannot be read at present, as a sentence."""

    sentence: str


async def read_or_problem(read: Callable[[], Awaitable[T]], *, what: str, timeout_s: float) -> T | Problem:
    """
    Return what a function reads, or why it failed: a live page goes on after every error.

    Args:
        read: Reads it.
        what: The dependency, at the start of a sentence: `The table`.
        timeout_s: Shorter than all retries of a request, so that viewers soon see that it is unavailable.
    """
    try:
        async with asyncio.timeout(timeout_s):
            return await read()
    except UnreadableRecordError as error:
        return Problem(f"{error}.")
    except TimeoutError:
        reason = f"it did not respond within {timeout_s:g} s"
    except ImageWorkerError as error:
        reason = mask_secrets(str(error))
    except Exception:
        log.exception("console.poll_failed", what=what)
        return Problem(f"{what} could not be read because of an error in the console; see its log.")
    return Problem(f"{what} is unavailable ({reason}). This page continues when it is available again.")
