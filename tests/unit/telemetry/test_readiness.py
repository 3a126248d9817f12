"""Whether what the worker needs has answered lately."""

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness


class Times:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def times() -> Times:
    return Times()


def test_a_worker_that_nobody_has_answered_yet_is_not_ready(times: Times) -> None:
    readiness = Readiness(Metrics(), monotonic=times)

    assert readiness.why_unready() == (
        "the queue has not answered yet; the table has not answered yet; the bucket has not answered yet"
    )


def test_a_dependency_that_falls_silent_is_named_with_its_silence_and_its_gauge_falls(times: Times) -> None:
    metrics = Metrics()
    readiness = Readiness(metrics, monotonic=times)
    for service in ("sqs", "dynamodb", "s3"):
        readiness.answered(service)
    assert readiness.why_unready() is None

    times.now += 44
    readiness.answered("sqs")
    readiness.answered("s3")
    times.now += 2

    assert readiness.why_unready() == "the table has not answered for 46 s"
    assert [metrics.value("ready", dependency=name) for name in ("queue", "table", "bucket")] == [1, 0, 1]


async def test_only_the_silent_are_probed_and_a_failing_probe_ends_nothing(
    times: Times, monkeypatch: pytest.MonkeyPatch
) -> None:
    readiness = Readiness(Metrics(), monotonic=times)
    readiness.answered("s3")
    asked: list[str] = []
    rounds = asyncio.Semaphore(0)
    sleep = asyncio.sleep

    def probe(service: str) -> Callable[[], Awaitable[object]]:
        async def ask() -> None:
            asked.append(service)
            message = f"{service} is away"
            raise ConnectionError(message)

        return ask

    async def pass_time(seconds: float) -> None:
        times.now += seconds
        rounds.release()
        await sleep(0)

    monkeypatch.setattr("worker.telemetry.readiness.asyncio.sleep", pass_time)
    probing = asyncio.create_task(readiness.probe({"s3": probe("s3"), "dynamodb": probe("dynamodb")}))
    for _ in range(2):
        await rounds.acquire()
    probing.cancel()
    await asyncio.wait([probing])

    assert asked[:3] == ["dynamodb", "s3", "dynamodb"]
    assert probing.cancelled()
