"""Fakes for the pollers of live pages: readers of records, and time that passes when the test says so."""

import asyncio
from collections.abc import Iterable

from worker.domain.image import Image


class ManualTime:
    """
    Time that passes step by step.

    Attributes:
        sleeps: The waits so far, in seconds.
    """

    def __init__(self) -> None:
        self.sleeps: list[float] = []
        self._asleep = asyncio.Event()
        self._wake: list[asyncio.Future[None]] = []

    async def sleep(self, seconds: float) -> None:
        """Wait until the test calls `pass_on`."""
        self.sleeps.append(seconds)
        wake: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._wake.append(wake)
        self._asleep.set()
        await wake

    async def until_asleep(self) -> None:
        """Wait until something sleeps."""
        while not any(not wake.done() for wake in self._wake):
            self._asleep.clear()
            await self._asleep.wait()

    async def pass_on(self) -> None:
        """End the sleeps, and wait until something sleeps again."""
        await self.until_asleep()
        self.end_sleeps()
        await self.until_asleep()

    def end_sleeps(self) -> None:
        """End the sleeps."""
        for wake in self._wake:
            if not wake.done():
                wake.set_result(None)
        self._wake.clear()


class FakeImageReader:
    """Returns the images, or raises the errors, in `results` one after the other; the last one repeatedly."""

    def __init__(self, results: Iterable[Image | Exception | None] = (None,)) -> None:
        self.results = list(results)
        self.reads: list[tuple[str, str]] = []
        self.has_read = asyncio.Event()

    async def image(self, image_id: str, user_id: str, *, consistent: bool = False) -> Image | None:
        assert consistent, "a viewer must never see a state older than one that it has seen"
        self.reads.append((image_id, user_id))
        self.has_read.set()
        result = self.results.pop(0) if len(self.results) > 1 else self.results[0]
        if isinstance(result, Exception):
            raise result
        return result
