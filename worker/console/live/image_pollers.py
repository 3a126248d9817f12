"""Poll the records of watched images: one poller for each image, shared by all who watch it."""

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Final, Protocol

from worker.console.live.latest import Latest
from worker.console.live.owned_tasks import OwnedTasks
from worker.console.live.problems import Problem, read_or_problem
from worker.console.live.shared_poller import SharedPoller
from worker.domain.history import entry_count
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES, ImageStatus

INTERVAL_S: Final = 0.3
"""Time between two reads of an image that is processing, or that has just changed."""

_MAX_INTERVAL_S: Final = 2.0
"""Time between two reads of an image that waits in the queue for long."""

_GROWTH: Final = 1.2

_ERROR_INTERVAL_S: Final = 3.0
"""Time between two reads while the table is unavailable, or the record cannot be read."""

_READ_TIMEOUT_S: Final = 5.0

_READS_AFTER_REQUEST: Final = 10
"""Reads of an ended image after an action on it, until one finds it changed."""


class TooManyWatchedError(Exception):
    """Raised when an image cannot be watched, because as many as the limit are watched already."""


class ImageReader(Protocol):
    """Reads the record of an image; `worker.dynamodb.queries.Queries` implements it."""

    def image(self, image_id: str, user_id: str, *, consistent: bool = False) -> Awaitable[Image | None]:
        """Return the image; None if it has no record. Raises `TransientError`, `UnreadableRecordError`."""
        ...


@dataclass(frozen=True, slots=True)
class Watched:
    """
    What is known of an image.

    Attributes:
        image: Its record when it was last read; None if it has none, as before its first claim.
        problem: Why the record cannot be read at present, as a sentence; None if it can.
    """

    image: Image | None
    problem: str | None = None

    @property
    def position(self) -> int:
        """Number of entries that its history ever had: it grows even when some are dropped."""
        return entry_count(self.image.history) if self.image else 0

    @property
    def has_ended(self) -> bool:
        """Whether it is completed or failed."""
        return self.image is not None and self.image.status in TERMINAL_STATUSES


class ImagePollers:
    """
    Polls watched images: often while one is processing, and not at all after it has ended.

    Args:
        reader: Reads the records.
        tasks: Owner of the pollers' tasks.
        max_images: How many images can be watched at once.
        sleep: Waits between two reads.
    """

    def __init__(
        self,
        reader: ImageReader,
        *,
        tasks: OwnedTasks,
        max_images: int = 500,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._reader, self._tasks, self._sleep = reader, tasks, sleep
        self._max_images = max_images
        self._pollers: dict[tuple[str, str], SharedPoller[Watched]] = {}
        self._requested: dict[tuple[str, str], asyncio.Event] = {}

    @contextmanager
    def watching(self, image_id: str, user_id: str) -> Iterator[Latest[Watched]]:
        """
        Poll an image while the body runs.

        Raises:
            TooManyWatchedError: The limit of watched images is reached.
        """
        key = image_id, user_id
        if (poller := self._pollers.get(key)) is None:
            if len(self._pollers) >= self._max_images:
                message = f"{self._max_images:,} images are watched already; close other pages, then reload"
                raise TooManyWatchedError(message)
            self._requested[key] = asyncio.Event()
            poller = self._pollers[key] = SharedPoller(
                partial(self._poll, key),
                tasks=self._tasks,
                name=f"poll image {image_id!r}",
                on_idle=partial(self._forget, key),
            )
        with poller.reading() as latest:
            yield latest

    def requeued(self, image_id: str, user_id: str) -> None:
        """Poll an image again, which an action has moved to pending, if it is watched."""
        if (requested := self._requested.get((image_id, user_id))) is not None:
            requested.set()

    def _forget(self, key: tuple[str, str]) -> None:
        del self._pollers[key], self._requested[key]

    async def _poll(self, key: tuple[str, str], latest: Latest[Watched]) -> None:
        requested, interval_s, reads_left = self._requested[key], INTERVAL_S, 0
        while True:
            watched = await self._read(key, latest.value)
            if latest.publish(watched):
                interval_s, reads_left = INTERVAL_S, 0
            if watched.problem:
                interval_s = _ERROR_INTERVAL_S
            elif watched.image is not None and watched.image.status is ImageStatus.PROCESSING:
                interval_s = INTERVAL_S
            elif watched.has_ended:
                interval_s = INTERVAL_S
                if reads_left == 0:
                    await requested.wait()
                    requested.clear()
                    reads_left = _READS_AFTER_REQUEST
                reads_left -= 1
            else:
                interval_s = min(interval_s * _GROWTH, _MAX_INTERVAL_S)
            await self._sleep(interval_s)

    async def _read(self, key: tuple[str, str], before: Watched | None) -> Watched:
        """Return the image as it is now; the one read before, with the problem, if it cannot be read."""
        found = await read_or_problem(
            partial(self._reader.image, *key, consistent=True),
            what="The table",
            timeout_s=_READ_TIMEOUT_S,
        )
        if isinstance(found, Problem):
            return replace(before or Watched(None), problem=found.sentence)
        return Watched(found)
