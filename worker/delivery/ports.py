"""What the path of an event needs of the rooms beside it, as protocols."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from worker.domain.claim import Claimant, ClaimResult, RenewLease
from worker.domain.image import Image, Rendition, Source
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.domain.profile import Profile
from worker.domain.recipe import Recipe
from worker.domain.step import DecoderOutput, EncodedRendition, StepReport
from worker.domain.transition import Transition


class Ledger(Protocol):
    """
    The record's write side. Every write is conditional on the state that it assumes.

    Every method raises `TransientError` when the table cannot be reached within its retries, and all but
    `claim` raise `LeaseLostError` when the image's attempt and lease are not the ones given.
    """

    async def claim(self, job: Job, claimant: Claimant) -> ClaimResult:
        """Take the image if the rules of `domain.claim` allow it."""
        ...

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write one or several transitions in order, in one write; return the image after them."""
        ...

    async def renew(self, image: Image, *, until: datetime) -> None:
        """Move the end of the lease."""
        ...

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write the transitions that end the attempt: completed, failed or released, with the statistics."""
        ...


class Hold(Protocol):
    """A message in hand, kept hidden from other workers."""

    @property
    def is_lost(self) -> bool:
        """Whether the message is no longer ours."""
        ...

    def leasing(self, renew: RenewLease) -> AbstractContextManager[None]:
        """Keep a lease along with the message while the body runs."""
        ...

    def guarding(self, *, image_id: str, attempt: int) -> AbstractContextManager[None]:
        """Stop the body with `LeaseLostError` when the message or its lease is lost."""
        ...


class Heartbeat(Protocol):
    """Keeps in hand what is in hand."""

    def holding(self, message: Message) -> AbstractContextManager[Hold]:
        """Keep the message hidden while the body runs."""
        ...

    async def run(self) -> None:
        """Beat until cancelled."""
        ...


class Observation(Protocol):
    """What is seen of one picture on its way."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Measure the body: fetch, compute, store, settle."""
        ...

    def step_reported(self, report: StepReport) -> None:
        """Take a step of a child as the child measured it."""
        ...

    def read(self, size_bytes: int) -> None:
        """Note the size of the upload."""
        ...

    def stored(self, size_bytes: int) -> None:
        """Note the size of a rendition that is stored."""
        ...

    def completed(self) -> None:
        """Say that the record holds the picture's completion."""
        ...

    def failed(self, code: str, *, reason: str, step: str | None) -> None:
        """Say that the record holds why the picture failed for good."""
        ...

    def released(self, code: str, *, reason: str) -> None:
        """Say that the picture waits to be tried again."""
        ...

    def lost(self) -> None:
        """Say that the picture is another worker's now."""
        ...


class Observer(Protocol):
    """Watches pictures on their way, and changes nothing."""

    def received(self, message: Message) -> None:
        """Note that a message is in hand."""
        ...

    def observing(self, job: Job, message: Message) -> AbstractContextManager[Observation]:
        """Observe a picture while the body takes it on its way; its names are in each line of the log."""
        ...


class MessageQueue(Protocol):
    """Where messages come from and go to."""

    async def receive(self, max_messages: int) -> list[Message]:
        """
        Wait a while for messages, for at most `max_messages` of them.

        Raises:
            TransientError: The queue does not answer.
        """
        ...

    async def delete(self, message: Message) -> None:
        """Delete a message whose work is settled; raises `TransientError` or `ReceiptLostError`."""
        ...

    async def change_visibility(self, message: Message, seconds: float) -> None:
        """Keep a message hidden for so long from now; raises `TransientError` or `ReceiptLostError`."""
        ...

    async def send_to_dead_letter_queue(self, what: Job | Unreadable, *, reasons: Mapping[str, str]) -> None:
        """Put a job, or what names none, among the dead letters; raises `TransientError`."""
        ...


class Profiles(Protocol):
    """Where the owner's preferences come from."""

    async def get(self, user_id: str) -> Profile | None:
        """Return the user's profile, at most as old as the cache allows; None when there is none."""
        ...


class Sources(Protocol):
    """Where uploads are read from."""

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        """
        Read the very object that the job means.

        Raises:
            TooManyBytesError: Counted while reading, whatever the event said.
            SourceMissingError: The object is gone.
            SupersededError: Another object lies under the key now.
            TransientError: The bucket cannot be reached within its retries.
        """
        ...


class Results(Protocol):
    """Where renditions are stored."""

    async def store(self, image: Image, rendition: EncodedRendition, *, is_main: bool) -> Rendition:
        """
        Store a rendition unless a later attempt has stored its own.

        Raises:
            LeaseLostError: A later attempt has been here.
            TransientError: The bucket cannot be reached within its retries.
        """
        ...


class Pool(Protocol):
    """The decoder children."""

    def run(
        self, content: bytes | bytearray | memoryview, recipe: Recipe
    ) -> AsyncGenerator[DecoderOutput, None]:
        """
        Take a picture through all the steps in one child; yield each outcome as it comes.

        First one `StepReport` per step in order, then one `EncodedRendition` per size of the recipe. Closing
        the generator early, or cancelling it, kills the child.

        Raises:
            RejectedError: The picture is at fault; the step that refused it is the one after the last report.
        """
        ...
