"""What the path of an event needs of the rooms beside it, as protocols."""

from collections.abc import AsyncGenerator, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from worker.domain.claim import ClaimAnswer, Claimant
from worker.domain.image import Description, Image, Rendition
from worker.domain.job import Job
from worker.domain.profile import Profile
from worker.domain.recipe import Recipe
from worker.domain.step import EncodedRendition, Outcome
from worker.domain.transition import Transition


class Ledger(Protocol):
    """
    The record's write side. Every write is conditional on the state that it assumes.

    Every method raises `TransientError` when the table cannot be reached within its retries, and all but
    `claim` raise `LeaseLostError` when the image's attempt and lease are not the ones given.
    """

    async def claim(self, job: Job, claimant: Claimant) -> ClaimAnswer:
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


class Profiles(Protocol):
    """Where the owner's preferences come from."""

    async def get(self, user_id: str) -> Profile | None:
        """Return the user's profile, at most as old as the cache allows; None when there is none."""
        ...


@dataclass(frozen=True, slots=True)
class Source:
    """An uploaded object, read whole."""

    content: bytes | bytearray | memoryview
    description: Description


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

    def run(self, content: bytes | bytearray | memoryview, recipe: Recipe) -> AsyncGenerator[Outcome, None]:
        """
        Take a picture through all the steps in one child; yield each outcome as it comes.

        First one `StepReport` per step in order, then one `EncodedRendition` per size of the recipe. Closing
        the generator early, or cancelling it, kills the child.

        Raises:
            RejectedError: The picture is at fault; the step that refused it is the one after the last report.
        """
        ...
