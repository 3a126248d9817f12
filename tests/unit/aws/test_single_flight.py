import asyncio

import pytest

from worker.aws.single_flight import SingleFlightCache


class Loader:
    """Loads the upper-case key; can be made to wait or to fail."""

    def __init__(self) -> None:
        self.loads: list[tuple[str, str | None]] = []
        self.open = asyncio.Event()
        self.open.set()
        self.errors: list[Exception] = []

    async def __call__(self, key: str, stale: str | None) -> str:
        self.loads.append((key, stale))
        await self.open.wait()
        if self.errors:
            raise self.errors.pop(0)
        return f"{key.upper()}{len(self.loads)}"

    @property
    def keys(self) -> list[str]:
        return [key for key, _ in self.loads]


class Seconds:
    """A clock that is set by hand."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def a_cache(
    loader: Loader, seconds: Seconds | None = None, *, ttl_s: float = 60, max_size: int = 10
) -> SingleFlightCache[str]:
    return SingleFlightCache(
        loader,
        ttl_s=ttl_s,
        max_size=max_size,
        size_of=len,
        name="load",
        monotonic=seconds or Seconds(),
    )


@pytest.mark.parametrize(("age_s", "loads"), [(0, 1), (59.9, 1), (60, 2), (3600, 2)])
async def test_a_value_is_loaded_again_when_it_is_as_old_as_its_ttl(age_s: float, loads: int) -> None:
    loader, seconds = Loader(), Seconds()
    cache = a_cache(loader, seconds)
    await cache.get("a")

    seconds.now += age_s

    assert await cache.get("a") == f"A{loads}"
    assert len(loader.loads) == loads


async def test_the_age_counts_from_the_end_of_the_load() -> None:
    loader, seconds = Loader(), Seconds()
    cache = a_cache(loader, seconds)
    loader.open.clear()
    first = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)
    seconds.now += 50
    loader.open.set()
    await first

    seconds.now += 50
    await cache.get("a")

    assert loader.keys == ["a"]


async def test_a_load_gets_the_value_that_has_become_too_old() -> None:
    loader, seconds = Loader(), Seconds()
    cache = a_cache(loader, seconds)
    await cache.get("a")
    seconds.now += 60
    await cache.get("a")

    assert loader.loads == [("a", None), ("a", "A1")]


async def test_without_a_ttl_every_request_loads_the_value() -> None:
    loader = Loader()
    cache = a_cache(loader, ttl_s=0)

    await cache.get("a")
    await cache.get("a")

    assert loader.keys == ["a", "a"]


async def test_concurrent_requests_for_a_key_share_one_load() -> None:
    loader = Loader()
    cache = a_cache(loader)

    await asyncio.gather(*(cache.get("ab"[number % 2]) for number in range(10)))

    assert loader.keys == ["a", "b"]


async def test_cancelling_a_request_does_not_cancel_the_others() -> None:
    loader = Loader()
    loader.open.clear()
    cache = a_cache(loader)
    first, second = (asyncio.create_task(cache.get("a")) for _ in range(2))
    await asyncio.sleep(0)

    first.cancel()
    await asyncio.wait([first])
    loader.open.set()

    assert await second == "A1"
    assert first.cancelled()


async def test_a_failed_load_fails_all_its_requests_and_is_not_cached() -> None:
    loader = Loader()
    loader.errors = [ConnectionResetError()]
    cache = a_cache(loader)

    results = await asyncio.gather(*(cache.get("a") for _ in range(3)), return_exceptions=True)

    assert [type(result) for result in results] == [ConnectionResetError] * 3
    assert await cache.get("a") == "A2"


async def test_a_failed_reload_keeps_the_stale_value_for_the_next_load() -> None:
    loader, seconds = Loader(), Seconds()
    cache = a_cache(loader, seconds)
    await cache.get("a")
    seconds.now += 60
    loader.errors = [ConnectionResetError()]
    with pytest.raises(ConnectionResetError):
        await cache.get("a")

    await cache.get("a")

    assert loader.loads[-1] == ("a", "A1")


async def test_the_least_recently_used_value_is_evicted() -> None:
    loader = Loader()
    cache = a_cache(loader, max_size=4)

    for key in ("a", "b", "a", "c", "a", "b"):
        await cache.get(key)

    assert loader.keys == ["a", "b", "c", "b"]


async def test_a_large_value_evicts_as_many_as_it_needs() -> None:
    loader = Loader()
    cache = a_cache(loader, max_size=6)
    for key in ("a", "b", "c", "four"):
        await cache.get(key)

    for key in ("four", "c", "b"):
        await cache.get(key)

    assert loader.keys == ["a", "b", "c", "four", "c", "b"]


async def test_a_value_larger_than_the_cache_is_returned_and_not_cached() -> None:
    loader = Loader()
    cache = a_cache(loader, max_size=2)

    assert [await cache.get("large"), await cache.get("large")] == ["LARGE1", "LARGE2"]


async def test_a_reloaded_value_counts_once() -> None:
    loader, seconds = Loader(), Seconds()
    cache = a_cache(loader, seconds, max_size=4)
    for _ in range(5):
        await cache.get("a")
        seconds.now += 60
    await cache.get("a")
    await cache.get("b")

    await cache.get("a")

    assert loader.keys == ["a"] * 6 + ["b"]


async def test_closing_waits_for_the_loads_in_flight() -> None:
    loader = Loader()
    loader.open.clear()
    cache = a_cache(loader)
    request = asyncio.create_task(cache.get("a"))
    await asyncio.sleep(0)

    closing = asyncio.create_task(cache.close())
    await asyncio.sleep(0)
    closed_early = closing.done()
    loader.open.set()
    await closing

    assert not closed_early
    assert await request == "A1"
