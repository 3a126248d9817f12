"""How many messages the queue holds."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog

from worker.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_EVERY_S: Final = 15.0
_CALL_S: Final = 5.0
_STATES: Final = {
    "visible": "ApproximateNumberOfMessages",
    "in_flight": "ApproximateNumberOfMessagesNotVisible",
    "delayed": "ApproximateNumberOfMessagesDelayed",
}

log = structlog.get_logger(__name__)


async def measure_queue(sqs: "SQSClient", *, url: str, metrics: Metrics) -> None:
    """Measure, for ever; what cannot be measured is not shown."""
    while True:
        try:
            async with asyncio.timeout(_CALL_S):
                answer = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
            attributes: Any = answer["Attributes"]
            counts = {state: int(attributes[name]) for state, name in _STATES.items()}
        except Exception as error:  # noqa: BLE001 - no failure to measure may stop the work
            metrics.queue_messages.clear()
            log.debug("queue.not_measured", reason=repr(error))
        else:
            for state, count in counts.items():
                metrics.queue_messages.labels(state).set(count)
        await asyncio.sleep(_EVERY_S)
