"""Failure groups are read once for many pages, and no page waits long for new ones."""

import asyncio

import pytest

from worker.console.failure_groups import FRESH_S, STALE_S, FailureGroups
from worker.domain.errors import TransientError
from worker.repair.failures import Failures


class Table:
    """Returns other groups at each read, when it is released; fails while it is unavailable."""

    def __init__(self) -> None:
        self.reads, self.now_s, self.is_available = 0, 1000.0, True
        self.released = asyncio.Event()
        self.released.set()

    async def read(self) -> Failures:
        self.reads += 1
        number = self.reads
        await self.released.wait()
        if not self.is_available:
            message = "the table is unavailable"
            raise TransientError(message)
        return Failures(groups=(), has_more=False, unreadable=number)

    def groups(self) -> FailureGroups:
        return FailureGroups(self.read, monotonic=lambda: self.now_s, wait_s=0.01)


async def number_and_age(groups: FailureGroups) -> tuple[int, float]:
    found, age_s = await groups.get()
    return found.unreadable, age_s


async def test_pages_at_the_same_time_share_one_read_and_its_groups_are_kept_for_some_seconds() -> None:
    table = Table()
    groups = table.groups()
    assert await asyncio.gather(*(number_and_age(groups) for _ in range(5))) == [(1, 0.0)] * 5
    table.now_s += FRESH_S - 1
    assert await number_and_age(groups) == (1, FRESH_S - 1)
    table.now_s += 1
    assert await number_and_age(groups) == (2, 0.0)


async def test_a_page_shows_the_groups_that_it_has_while_new_ones_are_read_slowly() -> None:
    table = Table()
    groups = table.groups()
    await groups.get()
    table.released.clear()
    table.now_s += STALE_S - 1
    assert await number_and_age(groups) == (1, STALE_S - 1)
    assert await number_and_age(groups) == (1, STALE_S - 1)
    table.released.set()
    assert await number_and_age(groups) == (2, 0.0)
    assert table.reads == 2
    await groups.close()


async def test_a_page_waits_for_new_groups_when_those_that_it_has_are_too_old() -> None:
    table = Table()
    groups = table.groups()
    await groups.get()
    table.now_s += STALE_S
    assert await number_and_age(groups) == (2, 0.0)


async def test_the_first_page_does_not_wait_for_a_slow_read_that_goes_on() -> None:
    table = Table()
    table.released.clear()
    groups = table.groups()
    assert await groups.get_soon() is None
    assert await groups.get_soon() is None
    table.released.set()
    assert await number_and_age(groups) == (1, 0.0)
    assert table.reads == 1
    table.now_s += STALE_S
    assert await groups.get_soon() is not None
    await groups.close()


async def test_a_failed_read_leaves_recent_groups_and_is_raised_without_any() -> None:
    table = Table()
    groups = table.groups()
    await groups.get()
    table.is_available = False
    table.now_s += FRESH_S
    assert await number_and_age(groups) == (1, FRESH_S)
    table.now_s += STALE_S
    with pytest.raises(TransientError):
        await groups.get()
    table.is_available = True
    assert await number_and_age(groups) == (4, 0.0)


async def test_closing_ends_the_read_in_flight() -> None:
    table = Table()
    table.released.clear()
    groups = table.groups()
    page = asyncio.create_task(groups.get())
    while not table.reads:
        await asyncio.sleep(0)
    await groups.close()
    with pytest.raises(asyncio.CancelledError):
        await page
