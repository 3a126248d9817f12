"""How many messages there are, as far as anybody says."""

import asyncio
from typing import Any

import pytest

from worker.telemetry.metrics import Metrics
from worker.telemetry.queue_depth import measure_queue


class Sqs:
    """Answers what it is given, one after the other; then never again."""

    def __init__(self, *answers: dict[str, Any] | Exception) -> None:
        self._answers = list(answers)
        self.is_out = asyncio.Event()

    async def get_queue_attributes(self, **_request: object) -> dict[str, Any]:
        if not self._answers:
            self.is_out.set()
            await asyncio.Event().wait()
        answer = self._answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


GOOD = {
    "Attributes": {
        "ApproximateNumberOfMessages": "7",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "0",
    }
}


async def measured(sqs: Sqs, monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setattr("worker.telemetry.queue_depth._EVERY_S", 0)
    metrics = Metrics()
    measuring = asyncio.create_task(measure_queue(sqs, url="queue", metrics=metrics))  # type: ignore[arg-type]
    waiting = asyncio.create_task(sqs.is_out.wait())
    await asyncio.wait({measuring, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert not measuring.done()
    for task in (measuring, waiting):
        task.cancel()
    await asyncio.wait({measuring, waiting})
    return metrics.exposition().decode()


async def test_what_waits_and_what_is_in_flight_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    told = await measured(Sqs(GOOD), monkeypatch)

    assert 'image_worker_queue_messages{state="visible"} 7.0' in told
    assert 'image_worker_queue_messages{state="in_flight"} 2.0' in told


@pytest.mark.parametrize(
    "odd", [{}, {"Attributes": {"ApproximateNumberOfMessages": "many"}}, ConnectionError()]
)
async def test_what_cannot_be_measured_is_not_shown_and_stops_nothing(
    odd: dict[str, Any] | Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = await measured(Sqs(GOOD, odd), monkeypatch)

    assert "image_worker_queue_messages{" not in told
