"""Measure the number of messages in the queue and in the dead-letter queue."""

import asyncio
from typing import TYPE_CHECKING, Final

import structlog

from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from types_aiobotocore_sqs import SQSClient
    from types_aiobotocore_sqs.literals import QueueAttributeNameType

_INTERVAL_S: Final = 15.0
_TIMEOUT_S: Final = 5.0
_STATES: "Final[dict[str, QueueAttributeNameType]]" = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}
_DEAD: "Final[dict[str, QueueAttributeNameType]]" = {"dead": "ApproximateNumberOfMessages"}

log = structlog.get_logger(__name__)


async def measure_queue(
    sqs: "SQSClient",
    *,
    url: str,
    dead_letter_url: str,
    metrics: Metrics,
    interval_s: float = _INTERVAL_S,
) -> None:
    """Measure both queues until cancelled; while one cannot be measured, its states have no values."""
    while True:
        counts = await _counts(sqs, url, _STATES) | await _counts(sqs, dead_letter_url, _DEAD)
        metrics.queue_messages.clear()
        for state, count in counts.items():
            metrics.queue_messages.labels(state).set(count)
        await asyncio.sleep(interval_s)


async def _counts(
    sqs: "SQSClient", url: str, states: "Mapping[str, QueueAttributeNameType]"
) -> dict[str, int]:
    """Return the number of messages in each state; empty if the queue cannot be measured."""
    try:
        async with asyncio.timeout(_TIMEOUT_S):
            response = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
        attributes = response["Attributes"]
        return {state: int(attributes[name]) for state, name in states.items()}
    except Exception as error:  # noqa: BLE001 - a failure to measure must not stop the worker
        log.debug("queue.measurement_failed", url=url, reason=repr(error))
        return {}
