"""A message in hand, and what is to become of it."""

from dataclasses import dataclass
from datetime import datetime
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """
    One message as the queue handed it out.

    Attributes:
        message_id: The queue's name for it.
        receipt_handle: The right to delete this receipt of it.
        body: As sent.
        receive_count: How often it has been handed out, this time included.
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
    """All that it asked for is settled."""


@dataclass(frozen=True, slots=True)
class Release:
    """
    Somebody should see it again.

    Attributes:
        after_s: In so many seconds.
        is_trouble: Something outside failed: with the next message it would most likely fail again.
    """

    after_s: float
    is_dependency_failure: bool = False


@dataclass(frozen=True, slots=True)
class Abandon:
    """Another worker has it: leave it as it is."""


Disposition: TypeAlias = Delete | Release | Abandon


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A part of a message that names no picture: why, and a body that holds nothing but this part."""

    reason: str
    body: str
