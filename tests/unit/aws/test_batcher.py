import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from worker.aws.batcher import Batcher


class Post:
    """Where batches arrive: each waits to be let through, and fails for the entries named bad."""

    def __init__(self, *bad: str) -> None:
        self.batches: list[list[str]] = []
        self.arrived = asyncio.Semaphore(0)
        self.let_through = asyncio.Semaphore(0)
        self._bad = bad

    async def send(self, batch: Sequence[str]) -> Sequence[Exception | None]:
        self.batches.append(list(batch))
        self.arrived.release()
        await self.let_through.acquire()
        return [KeyError(entry) if entry in self._bad else None for entry in batch]

    def open(self) -> None:
        """Let everything through from now on."""
        for _ in range(1000):
            self.let_through.release()


def batcher_to(post: Post, *, max_entries: int = 10, linger_s: float = 0.0) -> Batcher[str]:
    return Batcher(post.send, max_entries=max_entries, name="test", linger_s=linger_s)


def submitted(batcher: Batcher[str], *entries: str) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(batcher.submit(entry), name=entry) for entry in entries]


async def outcomes(callers: Sequence[Awaitable[None]]) -> list[str | None]:
    results = await asyncio.gather(*callers, return_exceptions=True)
    return [None if result is None else repr(result) for result in results]


async def test_what_comes_while_a_batch_is_in_flight_goes_together_in_the_next_in_order() -> None:
    post = Post()
    batcher = batcher_to(post)
    first = submitted(batcher, "a")
    await post.arrived.acquire()
    others = submitted(batcher, "b", "c", "d")
    await asyncio.sleep(0)
    in_flight = [list(batch) for batch in post.batches]

    post.open()
    await asyncio.gather(*first, *others)

    assert (in_flight, post.batches) == ([["a"]], [["a"], ["b", "c", "d"]])


async def test_what_comes_at_the_same_time_goes_together() -> None:
    post = Post()
    post.open()

    await asyncio.gather(*submitted(batcher_to(post), "a", "b", "c"))

    assert post.batches == [["a", "b", "c"]]


@pytest.mark.parametrize(("linger_s", "expected"), [(0.05, [["a", "b"]]), (0.0, [["a"], ["b"]])])
async def test_an_entry_waits_as_long_as_it_should_for_company(
    linger_s: float, expected: list[list[str]]
) -> None:
    post = Post()
    post.open()
    batcher = batcher_to(post, linger_s=linger_s)
    first = submitted(batcher, "a")
    for _ in range(3):  # its caller, then the gatherer's own task have had their turn
        await asyncio.sleep(0)

    await asyncio.gather(*first, *submitted(batcher, "b"))

    assert post.batches == expected


async def test_a_full_batch_waits_for_nobody() -> None:
    post = Post()
    post.open()

    async with asyncio.timeout(10):
        await asyncio.gather(*submitted(batcher_to(post, max_entries=2, linger_s=60), "a", "b", "c", "d"))

    assert post.batches == [["a", "b"], ["c", "d"]]


async def test_no_batch_is_larger_than_the_most() -> None:
    post = Post()
    post.open()
    entries = [str(number) for number in range(25)]

    await asyncio.gather(*submitted(batcher_to(post), *entries))

    assert [len(batch) for batch in post.batches] == [10, 10, 5]
    assert [entry for batch in post.batches for entry in batch] == entries


async def test_one_batch_is_in_flight_at_a_time() -> None:
    in_flight, most_in_flight = 0, 0

    async def send(batch: Sequence[str]) -> Sequence[None]:
        nonlocal in_flight, most_in_flight
        in_flight += 1
        most_in_flight = max(most_in_flight, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return [None] * len(batch)

    await asyncio.gather(*submitted(Batcher(send, max_entries=3, name="test"), *map(str, range(20))))

    assert most_in_flight == 1


async def test_an_entrys_error_reaches_its_caller_and_nobody_else() -> None:
    post = Post("b", "d")
    post.open()

    results = await outcomes(submitted(batcher_to(post), "a", "b", "c", "d"))

    assert results == [None, "KeyError('b')", None, "KeyError('d')"]


async def test_a_batch_that_fails_as_a_whole_fails_for_all_its_callers_and_the_next_one_goes() -> None:
    batches = 0

    async def send(batch: Sequence[str]) -> Sequence[None]:
        nonlocal batches
        batches += 1
        if batches == 1:
            raise ConnectionError
        return [None] * len(batch)

    batcher = Batcher(send, max_entries=2, name="test")

    results = await outcomes(submitted(batcher, "a", "b", "c"))

    assert results == ["ConnectionError()", "ConnectionError()", None]


async def test_a_caller_cancelled_before_its_batch_leaves_takes_its_entry_back() -> None:
    post = Post()
    batcher = batcher_to(post)
    first = submitted(batcher, "a")
    await post.arrived.acquire()
    waiting = submitted(batcher, "b", "c", "d")
    await asyncio.sleep(0)

    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    post.open()

    assert await outcomes([*first, waiting[0], waiting[2]]) == [None, None, None]
    assert post.batches == [["a"], ["b", "d"]]


async def test_a_caller_cancelled_while_its_batch_is_in_flight_disturbs_no_other() -> None:
    post = Post("b")
    batcher = batcher_to(post)
    callers = submitted(batcher, "a", "b", "c")
    await post.arrived.acquire()

    callers[0].cancel()
    await asyncio.wait([callers[0]])
    post.open()

    assert await outcomes(callers[1:]) == ["KeyError('b')", None]
    assert post.batches == [["a", "b", "c"]]


async def test_when_all_waiting_callers_are_cancelled_nothing_is_sent_for_them() -> None:
    post = Post()
    batcher = batcher_to(post)
    first = submitted(batcher, "a")
    await post.arrived.acquire()
    waiting = submitted(batcher, "b", "c")
    await asyncio.sleep(0)

    for caller in waiting:
        caller.cancel()
    post.open()
    await asyncio.gather(*first)
    await batcher.close()

    assert post.batches == [["a"]]


async def test_close_waits_for_what_is_in_flight_and_for_what_waits() -> None:
    post = Post()
    batcher = batcher_to(post, max_entries=1)
    callers = submitted(batcher, "a", "b")
    await post.arrived.acquire()

    closing = asyncio.create_task(batcher.close())
    post.let_through.release()
    await post.arrived.acquire()
    closed_early = closing.done()
    post.open()
    await closing

    assert not closed_early
    assert [caller.done() for caller in callers] == [True, True]
    assert batcher.is_idle


async def test_closing_an_idle_gatherer_returns_at_once_and_it_can_be_used_again() -> None:
    post = Post()
    post.open()
    batcher = batcher_to(post)

    await batcher.close()
    await batcher.submit("a")
    await batcher.close()

    assert (batcher.is_idle, post.batches) == (True, [["a"]])


@pytest.mark.parametrize("when", ["idle", "busy"])
async def test_batcher_to_tells_whether_it_is_idle(when: str) -> None:
    post = Post()
    batcher = batcher_to(post)
    if when == "busy":
        callers = submitted(batcher, "a")
        await post.arrived.acquire()

    assert batcher.is_idle is (when == "idle")
    post.open()
    if when == "busy":
        await asyncio.gather(*callers)


async def test_a_batch_belongs_to_none_of_those_who_wait_for_it() -> None:
    spoken_for: list[object] = []

    async def send(entries: Sequence[int]) -> Sequence[None]:
        spoken_for.append(get_contextvars().get("image_id"))
        return [None] * len(entries)

    batcher = Batcher(send, max_entries=1, name="send")
    with bound_contextvars(image_id="img_1"):
        await batcher.submit(1)

    assert spoken_for == [None]
