"""Interfaces that delivery depends on, implemented by adapters and by the fakes of tests."""

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime
from typing import Protocol

from worker.domain.claim import Claimant, ClaimResult, RenewLease
from worker.domain.focus import Focus
from worker.domain.image import Image, Rendition, Source
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.domain.profile import Profile
from worker.domain.recipe import Recipe
from worker.domain.step import DecoderOutput, EncodedRendition, StepReport
from worker.domain.transition import Transition


class Ledger(Protocol):
    """
    Write side of the image records. Every write is conditional on the state that it assumes.

    Every method raises `TransientError` when the table is unavailable even after retries, and
    `RecordRejectedError` when the table rejects the content of a write. `record`, `renew` and `settle` raise
    `LeaseLostError` when the record does not have the image's attempt and lease.
    """

    async def claim(self, job: Job, claimant: Claimant) -> ClaimResult:
        """
        Claim the image if the rules of `domain.claim` allow it; under its next id if another key has its id.

        Raises:
            RecordError: The record cannot be read, or other uploads have every id of the image.
        """
        ...

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write transitions in one write; return the image after them."""
        ...

    async def renew(self, image: Image, *, until: datetime) -> None:
        """Extend the lease."""
        ...

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        """Write the transitions that end the attempt (completed, failed or released) and the statistics."""
        ...

    async def clear_leftovers(self, image: Image) -> None:
        """Remove the leftovers of an ended image, which are deleted, unless it was claimed again."""
        ...

    async def read(self, image: Image) -> Image | None:
        """
        Return the record of an image as it is now; None if there is none.

        Raises:
            UnreadableRecordError: The record cannot be read.
        """
        ...

    async def acknowledge_deletion(self, image: Image) -> None:
        """Record that the attempt whose lease a deletion took away stores no more results."""
        ...


class Hold(Protocol):
    """A message in flight, which the heartbeat keeps invisible to other workers."""

    @property
    def is_lost(self) -> bool:
        """Whether another worker may have received the message."""
        ...

    def leasing(self, renew: RenewLease) -> AbstractContextManager[None]:
        """Extend a lease together with the message's visibility while the body runs."""
        ...

    def guarding(self, *, image_id: str, attempt: int) -> AbstractContextManager[None]:
        """Stop the body with `LeaseLostError` when the message or the lease is lost."""
        ...


class Heartbeat(Protocol):
    """Extends the visibility timeouts and leases of messages in flight."""

    def holding(self, message: Message) -> AbstractContextManager[Hold]:
        """Keep the message invisible while the body runs."""
        ...

    async def run(self) -> None:
        """Extend all messages in flight periodically until cancelled."""
        ...


class Observation(Protocol):
    """Records metrics, trace and log line of one attempt to process an image."""

    def step(self, name: str) -> AbstractContextManager[None]:
        """Measure the duration of the body as a step: `fetch`, `compute`, `store` or `settle`."""
        ...

    def step_reported(self, report: StepReport) -> None:
        """Record a step of the decoder process with the duration it reported."""
        ...

    def read(self, size_bytes: int) -> None:
        """Record the size of the upload."""
        ...

    def stored(self, size_bytes: int) -> None:
        """Record the size of a stored rendition."""
        ...

    def completed(self) -> None:
        """Record that the image was completed."""
        ...

    def failed(self, code: str, *, reason: str, step: str | None) -> None:
        """Record that the image failed."""
        ...

    def released(self, code: str, *, reason: str) -> None:
        """Record that the image was released."""
        ...

    def lost(self) -> None:
        """Record that another worker owns the image."""
        ...


class Observer(Protocol):
    """Records metrics, traces and log lines of deliveries."""

    def received(self, message: Message) -> None:
        """Record that a message was received."""
        ...

    def observing(self, job: Job, message: Message) -> AbstractContextManager[Observation]:
        """Observe the delivery of an image while the body runs, with its ids in every log line."""
        ...


class MessageQueue(Protocol):
    """The queue and its dead-letter queue."""

    async def receive(self, max_messages: int) -> list[Message]:
        """
        Receive at most `max_messages` messages by long polling.

        Raises:
            TransientError: The queue is unavailable.
        """
        ...

    async def delete(self, message: Message) -> None:
        """Delete a message; raises `TransientError` or `ReceiptLostError`."""
        ...

    async def change_visibility(self, message: Message, seconds: float) -> None:
        """Set a message's visibility timeout from now; raises `TransientError` or `ReceiptLostError`."""
        ...

    async def send_to_dead_letter_queue(self, what: Job | Unreadable, *, reasons: Mapping[str, str]) -> None:
        """Send a job or an unreadable part to the dead-letter queue; raises `TransientError`."""
        ...


class Profiles(Protocol):
    """User profiles."""

    async def get(self, user_id: str) -> Profile | None:
        """Return the user's profile, possibly cached; None if the user has none."""
        ...


class Scans(Protocol):
    """Results of malware scans, where uploads have to be scanned."""

    async def find_upload(self, job: Job, *, recorded: Image | None = None) -> Job | None:
        """
        Return the job for the upload that was scanned, or None if another one has replaced it.

        If the record is about another upload and was read before, the one that is found is the newer one.
        Raises `TransientError` when the bucket is unavailable.
        """
        ...

    async def require_clean(self, job: Job) -> None:
        """
        Return if a scan of the upload has found no threat.

        Raises:
            RejectedError: A threat was found, or the upload could not be scanned or was deleted.
            TransientError: There is no scan result yet, or the bucket is unavailable.
        """
        ...


class Sources(Protocol):
    """Uploads in S3."""

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        """
        Read the object of exactly this upload.

        Raises:
            TooManyBytesError: The object is larger than `max_bytes`, as counted while reading.
            SourceMissingError: The object does not exist.
            SupersededError: A newer upload has replaced the object.
            RejectedError: The bucket does not return this object, although it returns others.
            TransientError: The bucket is unavailable, even after retries.
        """
        ...


class Results(Protocol):
    """Renditions in S3."""

    def check_keys(self, image: Image, recipe: Recipe) -> None:
        """Raise `KeyTooLongError` if a result of the recipe cannot be stored under its key."""
        ...

    async def store(
        self, image: Image, rendition: EncodedRendition, *, is_main: bool, cache_control: str = ""
    ) -> Rendition:
        """
        Store a rendition unless a later attempt, or one of another record of the image, has stored one.

        Raises:
            LaterResultError: Such an attempt has stored a rendition, and this one's number is not raised yet.
            ResultKeyTakenError: A rendition of another image is stored under the same key.
            TransientError: The bucket is unavailable, even after retries.
        """
        ...

    async def delete(self, key: str, *, e_tag: str) -> bool:
        """
        Delete a result if it has this ETag; return whether it did.

        Raises:
            TransientError: The bucket is unavailable, even after retries, or does not allow it.
        """
        ...

    def key_of(self, image: Image, rendition: EncodedRendition, *, is_main: bool) -> str:
        """Return the key under which a rendition is stored; raises `KeyTooLongError` as `store` does."""
        ...

    async def discard(self, image: Image, keys: Sequence[str]) -> None:
        """Delete what the image's record has stored under the keys; raises `TransientError`."""
        ...


class Pool(Protocol):
    """The decoder processes."""

    def run(
        self,
        content: bytes | bytearray | memoryview,
        recipe: Recipe,
        *,
        user_id: str,
        focus: Focus | None = None,
    ) -> AsyncGenerator[DecoderOutput, None]:
        """
        Run all steps on an image in one decoder process; yield its output as it arrives.

        First one `StepReport` per step in order, then one `EncodedRendition` per size of the recipe. Closing
        the generator early, or cancelling it, kills the process.

        Args:
            content: Upload.
            recipe: What to make of it.
            user_id: Owner of the upload: a process may be reserved for the images of one user.
            focus: Focal point of the image, for sizes that crop.

        Raises:
            RejectedError: The image cannot be processed; the step that failed follows the last reported one.
            TransientError: No decoder process can be started, or the pool was stopped.
        """
        ...
