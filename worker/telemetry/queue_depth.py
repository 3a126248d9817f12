"""How many messages the queue holds."""

import asyncio
from typing import TYPE_CHECKING, Any, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError

from worker.retry import is_passing
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
        except Exception as error:
            if not isinstance(error, ClientError | BotoCoreError) and not is_passing(error):
                raise
            metrics.queue_messages.clear()
            log.debug("queue.not_measured", reason=repr(error))
        else:
            attributes: Any = answer["Attributes"]
            for state, name in _STATES.items():
                metrics.queue_messages.labels(state).set(int(attributes[name]))
        await asyncio.sleep(_EVERY_S)
