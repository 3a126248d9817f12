import asyncio
from collections.abc import Awaitable, Sequence

import pytest
from structlog.contextvars import bound_contextvars, get_contextvars

from worker.aws.batcher import Batcher


class FakeSender:
    """Records batches; each waits until it is let through, and fails for the entries in `bad`."""

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
        """Let all batches through from now on."""
        for _ in range(1000):
            self.let_through.release()


def batcher_to(sender: FakeSender, *, max_entries: int = 10, linger_s: float = 0.0) -> Batcher[str]:
    return Batcher(sender.send, max_entries=max_entries, name="test", linger_s=linger_s)


def submitted(batcher: Batcher[str], *entries: str) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(batcher.submit(entry), name=entry) for entry in entries]


async def outcomes(callers: Sequence[Awaitable[None]]) -> list[str | None]:
    results = await asyncio.gather(*callers, return_exceptions=True)
    return [None if result is None else repr(result) for result in results]


async def test_entries_submitted_while_a_batch_is_in_flight_form_the_next_in_order() -> None:
    sender = FakeSender()
    batcher = batcher_to(sender)
    first = submitted(batcher, "a")
    await sender.arrived.acquire()
    others = submitted(batcher, "b", "c", "d")
    await asyncio.sleep(0)
    in_flight = [list(batch) for batch in sender.batches]

    sender.open()
    await asyncio.gather(*first, *others)

    assert (in_flight, sender.batches) == ([["a"]], [["a"], ["b", "c", "d"]])


async def test_concurrent_entries_form_one_batch() -> None:
    sender = FakeSender()
    sender.open()

    await asyncio.gather(*submitted(batcher_to(sender), "a", "b", "c"))

    assert sender.batches == [["a", "b", "c"]]


@pytest.mark.parametrize(("linger_s", "expected"), [(0.05, [["a", "b"]]), (0.0, [["a"], ["b"]])])
async def test_an_incomplete_batch_lingers_for_more_entries(
    linger_s: float, expected: list[list[str]]
) -> None:
    sender = FakeSender()
    sender.open()
    batcher = batcher_to(sender, linger_s=linger_s)
    first = submitted(batcher, "a")
    for _ in range(3):  # lets the caller and then the batcher's task run
        await asyncio.sleep(0)

    await asyncio.gather(*first, *submitted(batcher, "b"))

    assert sender.batches == expected


async def test_a_full_batch_does_not_linger() -> None:
    sender = FakeSender()
    sender.open()

    async with asyncio.timeout(10):
        await asyncio.gather(*submitted(batcher_to(sender, max_entries=2, linger_s=60), "a", "b", "c", "d"))

    assert sender.batches == [["a", "b"], ["c", "d"]]


async def test_no_batch_exceeds_the_maximum() -> None:
    sender = FakeSender()
    sender.open()
    entries = [str(number) for number in range(25)]

    await asyncio.gather(*submitted(batcher_to(sender), *entries))

    assert [len(batch) for batch in sender.batches] == [10, 10, 5]
    assert [entry for batch in sender.batches for entry in batch] == entries


async def test_one_batch_is_in_flight_at_a_time() -> None:
    in_flight, max_in_flight = 0, 0

    async def send(batch: Sequence[str]) -> Sequence[None]:
        nonlocal in_flight, max_in_flight
        in_flight += 1
        max_in_flight = max(max_in_flight, in_flight)
        await asyncio.sleep(0)
        in_flight -= 1
        return [None] * len(batch)

    await asyncio.gather(*submitted(Batcher(send, max_entries=3, name="test"), *map(str, range(20))))

    assert max_in_flight == 1


async def test_the_error_of_an_entry_is_raised_for_its_caller_only() -> None:
    sender = FakeSender("b", "d")
    sender.open()

    results = await outcomes(submitted(batcher_to(sender), "a", "b", "c", "d"))

    assert results == [None, "KeyError('b')", None, "KeyError('d')"]


async def test_a_failed_batch_fails_for_all_its_callers_and_the_next_is_sent() -> None:
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


async def test_the_entry_of_a_caller_cancelled_before_its_batch_is_not_sent() -> None:
    sender = FakeSender()
    batcher = batcher_to(sender)
    first = submitted(batcher, "a")
    await sender.arrived.acquire()
    waiting = submitted(batcher, "b", "c", "d")
    await asyncio.sleep(0)

    waiting[1].cancel()
    await asyncio.wait([waiting[1]])
    sender.open()

    assert await outcomes([*first, waiting[0], waiting[2]]) == [None, None, None]
    assert sender.batches == [["a"], ["b", "d"]]


async def test_a_caller_cancelled_while_its_batch_is_in_flight_does_not_affect_others() -> None:
    sender = FakeSender("b")
    batcher = batcher_to(sender)
    callers = submitted(batcher, "a", "b", "c")
    await sender.arrived.acquire()

    callers[0].cancel()
    await asyncio.wait([callers[0]])
    sender.open()

    assert await outcomes(callers[1:]) == ["KeyError('b')", None]
    assert sender.batches == [["a", "b", "c"]]


async def test_when_all_waiting_callers_are_cancelled_no_batch_is_sent() -> None:
    sender = FakeSender()
    batcher = batcher_to(sender)
    first = submitted(batcher, "a")
    await sender.arrived.acquire()
    waiting = submitted(batcher, "b", "c")
    await asyncio.sleep(0)

    for caller in waiting:
        caller.cancel()
    sender.open()
    await asyncio.gather(*first)
    await batcher.close()

    assert sender.batches == [["a"]]


async def test_close_waits_for_entries_in_flight_and_waiting() -> None:
    sender = FakeSender()
    batcher = batcher_to(sender, max_entries=1)
    callers = submitted(batcher, "a", "b")
    await sender.arrived.acquire()

    closing = asyncio.create_task(batcher.close())
    sender.let_through.release()
    await sender.arrived.acquire()
    closed_early = closing.done()
    sender.open()
    await closing

    assert not closed_early
    assert [caller.done() for caller in callers] == [True, True]
    assert batcher.is_idle


async def test_closing_an_idle_batcher_returns_at_once_and_it_can_be_used_again() -> None:
    sender = FakeSender()
    sender.open()
    batcher = batcher_to(sender)

    await batcher.close()
    await batcher.submit("a")
    await batcher.close()

    assert (batcher.is_idle, sender.batches) == (True, [["a"]])


@pytest.mark.parametrize("when", ["idle", "busy"])
async def test_a_batcher_is_idle_without_entries(when: str) -> None:
    sender = FakeSender()
    batcher = batcher_to(sender)
    if when == "busy":
        callers = submitted(batcher, "a")
        await sender.arrived.acquire()

    assert batcher.is_idle is (when == "idle")
    sender.open()
    if when == "busy":
        await asyncio.gather(*callers)


async def test_a_batch_has_no_context_of_its_callers() -> None:
    image_ids: list[object] = []

    async def send(entries: Sequence[int]) -> Sequence[None]:
        image_ids.append(get_contextvars().get("image_id"))
        return [None] * len(entries)

    batcher = Batcher(send, max_entries=1, name="send")
    with bound_contextvars(image_id="img_1"):
        await batcher.submit(1)

    assert image_ids == [None]
