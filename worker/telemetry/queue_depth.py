"""Measure the number of messages in the queue."""

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

_INTERVAL_S: Final = 15.0
_TIMEOUT_S: Final = 5.0
_STATES: "Final[dict[str, QueueAttributeNameType]]" = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}

log = structlog.get_logger(__name__)


async def measure_queue(
    sqs: "SQSClient", *, url: str, metrics: Metrics, interval_s: float = _INTERVAL_S
) -> None:
    """Measure the queue depth until cancelled; while SQS is unavailable, the metric has no values."""
    while True:
        try:
            async with asyncio.timeout(_TIMEOUT_S):
                response = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            attributes = response["Attributes"]
            counts = {state: int(attributes[name]) for state, name in _STATES.items()}
        except Exception as error:  # noqa: BLE001 - a failure to measure must not stop the worker
            metrics.queue_messages.clear()
            log.debug("queue.measurement_failed", reason=repr(error))
        else:
            for state, count in counts.items():
                metrics.queue_messages.labels(state).set(count)
        await asyncio.sleep(interval_s)
