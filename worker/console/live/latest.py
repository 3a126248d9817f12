"""A value that changes: every reader gets the latest."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Generic, TypeVar

T = TypeVar("T")


class Latest(Generic[T]):
    """
    Holds the latest of the values that a poller publishes.

    Nothing is queued for a reader: a slow one skips the values between two reads, and never delays another.

    Attributes:
        value: The latest value; None before the first.
        version: Increases with each value that differs from the one before; 0 before the first.
    """

    def __init__(self) -> None:
        self.value: T | None = None
        self.version = 0
        self._events: set[asyncio.Event] = set()

    def publish(self, value: T) -> bool:
        """Replace the value and set the events of the readers; return whether it differs from the last."""
        if self.version and value == self.value:
            return False
        self.value = value
        self.version += 1
        for event in self._events:
            event.set()
        return True

    @contextmanager
    def notifying(self, event: asyncio.Event) -> Iterator[None]:
        """Set the event whenever the value changes while the body runs."""
        self._events.add(event)
        try:
            yield
        finally:
            self._events.discard(event)
