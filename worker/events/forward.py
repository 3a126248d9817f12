"""Forward events to a webhook; an event that it does not accept goes to a dead-letter queue."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.events.follow import Event
from worker.events.webhooks import Webhook, WebhookFailedError

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

_CONCURRENCY: Final = 8
_MAX_REASON: Final = 1024

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class EventDeadLetters(Protocol):
    """Keeps the events that were not accepted."""

    async def send(self, event: Event, *, reason: str) -> None:
        """Keep an event with the reason."""
        ...


class EventDeadLetterQueue:
    """
    Sends events that were not accepted to an SQS queue, with the reason as a message attribute.

    Args:
        client: SQS client.
        url: URL of the queue.
        retry: Retry policy for each request.
    """

    def __init__(self, client: "SQSClient", *, url: str, retry: RetryPolicy) -> None:
        self._client, self._url, self._retry = client, url, retry

    async def send(self, event: Event, *, reason: str) -> None:
        """
        Send an event with the reason.

        Raises:
            TransientError: SQS is unavailable.
        """
        await call_with_retry(
            lambda: self._client.send_message(
                QueueUrl=self._url,
                MessageBody=event.body().decode(),
                MessageAttributes={"reason": {"DataType": "String", "StringValue": reason[:_MAX_REASON]}},
            ),
            self._retry,
            what="send the event to its dead-letter queue",
        )


async def forward(
    batches: AsyncIterator[Sequence[Event]], webhook: Webhook, dead_letters: EventDeadLetters
) -> None:
    """
    Send each event, several at once, but those of an image in their order.

    Returns only when the batches end. A batch is done when each of its events is accepted or a dead letter.

    Raises:
        WebhookGoneError: The endpoint no longer wants events.
        TransientError: An event could not be sent to the dead-letter queue.
    """
    slots = asyncio.Semaphore(_CONCURRENCY)

    async def send_all(events: Sequence[Event]) -> None:
        for event in events:
            async with slots:
                await _send(event, webhook, dead_letters)

    async for batch in batches:
        by_image: dict[str, list[Event]] = {}
        for event in batch:
            image = event.id.rsplit("/", maxsplit=2)[0]
            by_image.setdefault(image, []).append(event)
        async with asyncio.TaskGroup() as group:
            for image, events in by_image.items():
                group.create_task(send_all(events), name=f"forward {image}")


async def _send(event: Event, webhook: Webhook, dead_letters: EventDeadLetters) -> None:
    try:
        await webhook.send(event.body(), event_id=event.id)
    except WebhookFailedError as error:
        _log.warning("event.not_accepted", event_id=event.id, reason=str(error))
        await dead_letters.send(event, reason=str(error))
    else:
        _log.debug("event.forwarded", event_id=event.id)
