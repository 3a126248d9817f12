"""A received message, and its disposition: what happens to it in the queue."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """
    A received message.

    Attributes:
        message_id: Message id in SQS.
        receipt_handle: Receipt handle of this receive, for deleting it or changing its visibility.
        body: Body as sent.
        receive_count: How often it has been received, this time included.
        sent_at: When it was sent.
        trace_header: `AWSTraceHeader` of the sender, if any.
    """

    message_id: str
    receipt_handle: str
    body: str
    receive_count: int
    sent_at: datetime
    trace_header: str | None = None


@dataclass(frozen=True, slots=True)
class Delete:
    """Delete the message: everything that it announced is settled."""


@dataclass(frozen=True, slots=True)
class Release:
    """
    Make the message visible again after a delay.

    Attributes:
        after_s: Delay in seconds.
        is_dependency_failure: Whether a dependency failed, so that the next message would likely fail too.
    """

    after_s: float
    is_dependency_failure: bool = False


@dataclass(frozen=True, slots=True)
class Abandon:
    """Leave the message as it is: another worker has received it."""


Disposition: TypeAlias = Delete | Release | Abandon


@dataclass(frozen=True, slots=True)
class Unreadable:
    """
    A part of a message that cannot be parsed.

    Attributes:
        reason: Why.
        body: Body of a message with only this part.
        is_newer: Whether a newer version of the worker, which has sent it, can parse it.
    """

    reason: str
    body: str
    is_newer: bool = False
