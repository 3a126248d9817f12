import asyncio
from typing import Any

import pytest

from worker.telemetry.metrics import Metrics
from worker.telemetry.queue_depth import measure_queue


class FakeSQS:
    """Returns the given responses, one after the other; then hangs."""

    def __init__(self, *responses: dict[str, Any] | Exception) -> None:
        self._responses = list(responses)
        self.is_exhausted = asyncio.Event()

    async def get_queue_attributes(self, **_request: object) -> dict[str, Any]:
        if not self._responses:
            self.is_exhausted.set()
            await asyncio.Event().wait()
        response = self._responses.pop(0)
        if isinstance(response, Exception):
            raise response
        return response


GOOD = {
    "Attributes": {
        "ApproximateNumberOfMessages": "7",
        "ApproximateNumberOfMessagesNotVisible": "2",
        "ApproximateNumberOfMessagesDelayed": "0",
    }
}


async def measured(sqs: FakeSQS) -> str:
    metrics = Metrics()
    measuring = asyncio.create_task(
        measure_queue(sqs, url="queue", metrics=metrics, interval_s=0)  # type: ignore[arg-type]  # a fake
    )
    waiting = asyncio.create_task(sqs.is_exhausted.wait())
    await asyncio.wait({measuring, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert not measuring.done()
    for task in (measuring, waiting):
        task.cancel()
    await asyncio.wait({measuring, waiting})
    return metrics.exposition().decode()


async def test_visible_and_in_flight_messages_are_shown() -> None:
    text = await measured(FakeSQS(GOOD))

    assert 'image_worker_queue_messages{state="visible"} 7.0' in text
    assert 'image_worker_queue_messages{state="in_flight"} 2.0' in text


@pytest.mark.parametrize(
    "failure", [{}, {"Attributes": {"ApproximateNumberOfMessages": "many"}}, ConnectionError()]
)
async def test_after_a_failed_measurement_no_value_is_shown_and_measuring_goes_on(
    failure: dict[str, Any] | Exception,
) -> None:
    text = await measured(FakeSQS(GOOD, failure))

    assert "image_worker_queue_messages{" not in text
