"""Fakes of the protocols in `worker.delivery.ports`."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import timedelta

from tests.support.builders import a_description, a_rendition, a_report
from worker.domain.claim import RenewLease
from worker.domain.errors import (
    LeaseLostError,
    NotScannedError,
    RejectedError,
    ScanFailedError,
    ThreatFoundError,
    TransientError,
)
from worker.domain.focus import Focus
from worker.domain.image import Image, Rendition, Source
from worker.domain.job import Job
from worker.domain.message import Message, Unreadable
from worker.domain.profile import Profile
from worker.domain.recipe import Recipe
from worker.domain.scan import ScanStatus
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput, EncodedRendition


class FakeMessageQueue:
    """A queue in memory that receives what the test puts into `waiting`, and keeps every call."""

    def __init__(self) -> None:
        self.waiting: asyncio.Queue[Message | Exception] = asyncio.Queue()
        self.receive_limits: list[int] = []
        self.deleted: list[Message] = []
        self.visibility_changes: list[tuple[Message, float]] = []
        self.dead_letters: list[tuple[Job | Unreadable, Mapping[str, str]]] = []
        self.polled = asyncio.Event()
        self.dead_letter_error: Exception | None = None

    async def receive(self, max_messages: int) -> list[Message]:
        self.receive_limits.append(max_messages)
        self.polled.set()
        first = await self.waiting.get()
        if isinstance(first, Exception):
            raise first
        received = [first]
        while len(received) < max_messages and not self.waiting.empty():
            following = self.waiting.get_nowait()
            assert isinstance(following, Message)
            received.append(following)
        return received

    async def delete(self, message: Message) -> None:
        self.deleted.append(message)

    async def change_visibility(self, message: Message, seconds: float) -> None:
        self.visibility_changes.append((message, seconds))

    async def send_to_dead_letter_queue(self, what: Job | Unreadable, *, reasons: Mapping[str, str]) -> None:
        if self.dead_letter_error is not None:
            raise self.dead_letter_error
        self.dead_letters.append((what, reasons))


class FakeHold:
    """The hold of a message that the test can lose."""

    def __init__(self) -> None:
        self.renewals: list[RenewLease] = []
        self.is_lost = False

    @contextmanager
    def leasing(self, renew: RenewLease) -> Iterator[None]:
        self.renewals.append(renew)
        yield
        self.renewals.remove(renew)

    @contextmanager
    def guarding(self, *, image_id: str, attempt: int) -> Iterator[None]:
        if self.is_lost:
            raise LeaseLostError(image_id=image_id, attempt=attempt)
        yield


class FakeHeartbeat:
    """A heartbeat that extends nothing, and fails when the test sets `fails`."""

    def __init__(self) -> None:
        self.held: list[Message] = []
        self.fails = asyncio.Event()

    @contextmanager
    def holding(self, message: Message) -> Iterator[FakeHold]:
        self.held.append(message)
        try:
            yield FakeHold()
        finally:
            self.held.remove(message)

    async def run(self) -> None:
        await self.fails.wait()
        message = "the heartbeat failed"
        raise RuntimeError(message)


class FakeProfiles:
    """Profiles in a dictionary."""

    def __init__(self) -> None:
        self.profiles: dict[str, Profile] = {}

    async def get(self, user_id: str) -> Profile | None:
        return self.profiles.get(user_id)


class FakeLogos:
    """Fills recipes by setting their quality, so that a test recognises a filled one."""

    def __init__(self) -> None:
        self.quality: int | None = None

    async def fill(self, recipe: Recipe) -> Recipe:
        return recipe if self.quality is None else replace(recipe, quality=self.quality)


class FakeScans:
    """Finds every upload as the job names it, unless it is missing or replaced; no upload has a tag."""

    def __init__(self, *, is_missing: bool = False, is_replaced: bool = False) -> None:
        self.is_missing, self.is_replaced = is_missing, is_replaced

    async def find_upload(self, job: Job, *, recorded: Image | None = None) -> Job | None:
        if self.is_replaced:
            return None
        if recorded is not None:
            later = recorded.version.uploaded_at + timedelta(milliseconds=1)
            job = replace(job, version=replace(job.version, sequencer=None, uploaded_at=later))
        return replace(job, supersedes=not self.is_missing)

    async def require_clean(self, job: Job) -> None:
        match job.scan:
            case None:
                raise NotScannedError(bucket=job.bucket, key=job.key)
            case ScanStatus.THREATS_FOUND:
                raise ThreatFoundError(bucket=job.bucket, key=job.key)
            case ScanStatus.UNSUPPORTED | ScanStatus.ACCESS_DENIED | ScanStatus.FAILED as status:
                raise ScanFailedError(bucket=job.bucket, key=job.key, status=status)


class FakeSources:
    """Returns the same upload for every job, waits for `gate` if it is set, or raises `error`."""

    def __init__(self) -> None:
        self.fetched: list[Job] = []
        self.error: Exception | None = None
        self.gate: asyncio.Event | None = None
        self.description = a_description()
        self.fetch_started = asyncio.Event()

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        self.fetched.append(job)
        self.fetch_started.set()
        if self.gate is not None:
            await self.gate.wait()
        if self.error is not None:
            raise self.error
        return Source(content=b"upload", description=self.description)


class FakePool:
    """Reports every step and yields one rendition per size, or raises the error of a step."""

    def __init__(self) -> None:
        self.errors: Mapping[StepName, RejectedError | TransientError] = {}
        self.before_step: Callable[[StepName], None] = lambda _: None
        self.focus: Focus | None = None

    async def run(
        self, content: object, recipe: Recipe, *, user_id: str, focus: Focus | None = None
    ) -> AsyncGenerator[DecoderOutput, None]:
        assert content == b"upload"
        self.focus = focus
        for step in StepName:
            self.before_step(step)
            if step in self.errors:
                raise self.errors[step]
            yield a_report(step)
        for size in recipe.sizes:
            yield EncodedRendition(size=size.name, width=800, height=450, format="jpeg", content=b"small")


class FakeResults:
    """
    Keeps the stored renditions, or raises `error`; `key_error` is raised before the image is read.

    Attributes:
        extension: Extension of the keys.
        deleted: Keys and ETags of the deleted results.
        delete_error: Raised in place of a deletion.
    """

    def __init__(self) -> None:
        self.stored: list[tuple[Image, EncodedRendition, bool]] = []
        self.discarded: list[str] = []
        self.error: Exception | None = None
        self.key_error: Exception | None = None
        self.extension = "jpg"
        self.deleted: list[tuple[str, str]] = []
        self.delete_error: Exception | None = None

    def check_keys(self, image: Image, recipe: Recipe) -> None:
        if self.key_error is not None:
            raise self.key_error

    def key_of(self, image: Image, rendition: EncodedRendition, *, is_main: bool) -> str:
        return f"processed/{image.user_id}/{image.image_id}@{rendition.size}.{rendition.format}"

    async def discard(self, image: Image, keys: Sequence[str]) -> None:
        self.discarded += keys

    async def store(
        self, image: Image, rendition: EncodedRendition, *, is_main: bool, cache_control: str = ""
    ) -> Rendition:
        if self.error is not None:
            raise self.error
        self.stored.append((image, rendition, is_main))
        stored = a_rendition(image.image_id, image.user_id, size_bytes=len(rendition.content))
        return replace(stored, key=stored.key.replace(".jpg", f".{self.extension}"))

    async def delete(self, key: str, *, e_tag: str) -> bool:
        if self.delete_error is not None:
            raise self.delete_error
        self.deleted.append((key, e_tag))
        return True
