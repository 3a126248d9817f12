"""Publish events again from the record, for consumers that were down longer than the stream keeps changes."""

import json
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain import clock
from worker.domain.errors import ConfigurationError, TransientError
from worker.domain.image import Image, ImageSummary
from worker.domain.state_change import DETAIL_TYPE, SOURCE, detail_of, envelope_of
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.dynamodb.items import to_item
from worker.dynamodb.queries import Page, Queries
from worker.dynamodb.table import Table
from worker.events.follow import Event
from worker.sqs.batch import MAX_BATCH_ENTRIES

if TYPE_CHECKING:
    from types_aiobotocore_events import EventBridgeClient
    from types_aiobotocore_sns import SNSClient
    from types_aiobotocore_sqs import SQSClient

_PAGE_SIZE: Final = 100

Query: TypeAlias = Callable[..., Awaitable[Page]]
"""Returns a page; takes `limit` and `token`."""

Send: TypeAlias = Callable[[Sequence[Event]], Awaitable[list[str | None]]]
"""Sends at most ten events; returns for each None or the reason why it was rejected."""


async def ended_images(
    queries: Queries,
    *,
    since: datetime,
    until: datetime,
    user_id: str | None,
    statuses: Sequence[ImageStatus],
) -> AsyncIterator[list[Image]]:
    """
    Yield the images that ended within a time, page by page, as their records have them now.

    There is no index by the end of images: this reads the summaries of all images with a status, or
    of all images of the user, and the whole records of those that may match.
    """
    queried: list[Query] = (
        [partial(queries.images_of_user, user_id)]
        if user_id is not None
        else [partial(queries.images_by_status, status) for status in statuses]
    )
    for query in queried:
        token: str | None = None
        while True:
            page = await query(limit=_PAGE_SIZE, token=token)
            yield await _matching(queries, page.images, since=since, until=until, statuses=statuses)
            if (token := page.next_token) is None:
                break


async def _matching(
    queries: Queries,
    page: Sequence[ImageSummary],
    *,
    since: datetime,
    until: datetime,
    statuses: Sequence[ImageStatus],
) -> list[Image]:
    keys = [
        (each.image_id, each.user_id)
        for each in page
        # The summary of a failed image does not have its end.
        if each.status in statuses and (each.processed_at is None or since <= each.processed_at < until)
    ]
    images = await queries.images(keys)
    return sorted(
        (image for image in images if image.status in statuses and since <= ended_at(image) < until),
        key=ended_at,
    )


def ended_at(image: Image) -> datetime:
    """Return when an image that is completed or failed ended."""
    ends = (
        entry.at for entry in reversed(image.history) if entry.step is None and entry.status == image.status
    )
    return next(ends, image.updated_at)


def event_of(image: Image, table: Table) -> Event:
    """Return the event of an image that is completed or failed."""
    assert image.status in TERMINAL_STATUSES  # noqa: S101 - guaranteed by the caller
    detail = detail_of(to_item(image, table))
    return Event(detail["id"], envelope_of(detail, at=clock.to_text(ended_at(image))))


def to_bus(client: "EventBridgeClient", *, bus: str, retry: RetryPolicy) -> Send:
    """Return what sends events to an EventBridge bus."""

    async def send(events: Sequence[Event]) -> list[str | None]:
        response = await call_with_retry(
            lambda: client.put_events(
                Entries=[
                    {
                        "Source": SOURCE,
                        "DetailType": DETAIL_TYPE,
                        "Detail": json.dumps(event.envelope["detail"], ensure_ascii=False),
                        "Time": clock.from_text(str(event.envelope["time"])),
                        "EventBusName": bus,
                    }
                    for event in events
                ]
            ),
            retry,
            what=f"publish events on {bus}",
        )
        return [entry.get("ErrorMessage") or entry.get("ErrorCode") for entry in response["Entries"]]

    return send


def to_queue(client: "SQSClient", *, url: str, retry: RetryPolicy) -> Send:
    """Return what sends events to an SQS queue."""

    async def send(events: Sequence[Event]) -> list[str | None]:
        response = await call_with_retry(
            lambda: client.send_message_batch(
                QueueUrl=url,
                Entries=[
                    {"Id": str(number), "MessageBody": event.body().decode()}
                    for number, event in enumerate(events)
                ],
            ),
            retry,
            what=f"publish events on {url}",
        )
        return _reasons(response.get("Failed", []), len(events))

    return send


def to_topic(client: "SNSClient", *, arn: str, retry: RetryPolicy) -> Send:
    """Return what sends events to an SNS topic."""

    async def send(events: Sequence[Event]) -> list[str | None]:
        response = await call_with_retry(
            lambda: client.publish_batch(
                TopicArn=arn,
                PublishBatchRequestEntries=[
                    {"Id": str(number), "Message": event.body().decode()}
                    for number, event in enumerate(events)
                ],
            ),
            retry,
            what=f"publish events on {arn}",
        )
        return _reasons(response.get("Failed", []), len(events))

    return send


async def publish(events: Sequence[Event], send: Send) -> None:
    """
    Publish events in batches.

    Raises:
        TransientError: The target rejected an event; those before it are published.
    """
    for start in range(0, len(events), MAX_BATCH_ENTRIES):
        batch = events[start : start + MAX_BATCH_ENTRIES]
        for event, reason in zip(batch, await send(batch), strict=True):
            if reason is not None:
                message = f"the event {event.id} could not be published: {reason}; repeat the command"
                raise TransientError(message)


def service_of(target: str) -> str:
    """
    Return the AWS service of a target: `events`, `sqs` or `sns`; a name without ARN is that of a bus.

    Raises:
        ConfigurationError: It is the ARN of another service.
    """
    if not target.startswith("arn:"):
        return "events"
    service = target.split(":")[2] if target.count(":") >= 5 else ""  # noqa: PLR2004 - the parts of an ARN
    if service not in {"events", "sqs", "sns"}:
        message = (
            f"WORKER_EVENTS_TARGET is {target!r}: write the name of an EventBridge bus, "
            "or the ARN of a bus, an SQS queue or an SNS topic"
        )
        raise ConfigurationError(message)
    return service


def _reasons(failed: Sequence[Any], count: int) -> list[str | None]:
    by_id = {entry["Id"]: str(entry.get("Message") or entry["Code"]) for entry in failed}
    return [by_id.get(str(number)) for number in range(count)]
