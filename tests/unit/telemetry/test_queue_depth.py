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
        measure_queue(
            sqs,  # type: ignore[arg-type]  # a fake
            url="queue",
            dead_letter_url="dead",
            metrics=metrics,
            interval_s=0,
        )
    )
    waiting = asyncio.create_task(sqs.is_exhausted.wait())
    await asyncio.wait({measuring, waiting}, return_when=asyncio.FIRST_COMPLETED)
    assert not measuring.done()
    for task in (measuring, waiting):
        task.cancel()
    await asyncio.wait({measuring, waiting})
    return metrics.exposition().decode()


async def test_visible_in_flight_and_dead_messages_are_shown() -> None:
    text = await measured(FakeSQS(GOOD, GOOD | {"Attributes": {"ApproximateNumberOfMessages": "4"}}))

    assert 'image_worker_queue_messages{state="visible"} 7.0' in text
    assert 'image_worker_queue_messages{state="in_flight"} 2.0' in text
    assert 'image_worker_queue_messages{state="dead"} 4.0' in text


@pytest.mark.parametrize(
    "failure", [{}, {"Attributes": {"ApproximateNumberOfMessages": "many"}}, ConnectionError()]
)
async def test_after_a_failed_measurement_no_value_is_shown_and_measuring_goes_on(
    failure: dict[str, Any] | Exception,
) -> None:
    text = await measured(FakeSQS(GOOD, GOOD, failure, GOOD))

    assert 'image_worker_queue_messages{state="visible"}' not in text
    assert 'image_worker_queue_messages{state="dead"} 7.0' in text


async def test_a_dead_letter_queue_that_cannot_be_measured_does_not_hide_the_queue() -> None:
    text = await measured(FakeSQS(GOOD, GOOD, GOOD, PermissionError()))

    assert 'image_worker_queue_messages{state="visible"} 7.0' in text
    assert 'image_worker_queue_messages{state="dead"}' not in text
