import asyncio
from collections.abc import Awaitable, Callable

import pytest

from tests.support.scrape import value_of
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness


class FakeClock:
    """Monotonic clock that the test advances."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> FakeClock:
    return FakeClock()


def test_before_the_first_responses_a_worker_is_not_ready(clock: FakeClock) -> None:
    readiness = Readiness(Metrics(), monotonic=clock)

    assert readiness.why_unready() == (
        "the queue has not responded yet; the table has not responded yet; the bucket has not responded yet"
    )


def test_a_dependency_that_stops_responding_is_named_and_its_gauge_falls(clock: FakeClock) -> None:
    metrics = Metrics()
    readiness = Readiness(metrics, monotonic=clock)
    for service in ("sqs", "dynamodb", "s3"):
        readiness.record_response(service)
    assert readiness.why_unready() is None

    clock.now += 44
    readiness.record_response("sqs")
    readiness.record_response("s3")
    clock.now += 2

    assert readiness.why_unready() == "the table has not responded for 46 s"
    assert [value_of(metrics, "ready", dependency=name) for name in ("queue", "table", "bucket")] == [1, 0, 1]


async def test_only_dependencies_without_recent_responses_are_probed_and_probing_survives_failures(
    clock: FakeClock,
) -> None:
    probed: list[str] = []
    rounds = asyncio.Semaphore(0)

    def probe(service: str) -> Callable[[], Awaitable[object]]:
        async def call() -> None:
            probed.append(service)
            message = f"{service} is unreachable"
            raise ConnectionError(message)

        return call

    async def pass_time(seconds: float) -> None:
        clock.now += seconds
        rounds.release()
        await asyncio.sleep(0)

    readiness = Readiness(Metrics(), monotonic=clock, sleep=pass_time)
    readiness.record_response("s3")
    probing = asyncio.create_task(readiness.probe({"s3": probe("s3"), "dynamodb": probe("dynamodb")}))
    for _ in range(2):
        await rounds.acquire()
    probing.cancel()
    await asyncio.wait([probing])

    assert probed[:3] == ["dynamodb", "s3", "dynamodb"]
    assert probing.cancelled()
