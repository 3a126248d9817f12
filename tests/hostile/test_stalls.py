"""Uploads that cannot be processed, in any mix with good ones: the good ones do not wait for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from hypothesis import given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from tests.support.builders import NOON, a_job, a_message, a_recipe, an_observer
from tests.support.fakes.ledger import MemoryLedger
from tests.support.fakes.ports import (
    FakeHeartbeat,
    FakeLogos,
    FakeMessageQueue,
    FakePool,
    FakeProfiles,
    FakeResults,
    FakeSources,
)
from worker.delivery.consumer import Consumer
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.isolation import Isolation
from worker.delivery.recipes import Recipes, recipe_builder
from worker.domain.errors import (
    AccessDeniedError,
    KeyTooLongError,
    RecordRejectedError,
    SourceArchivedError,
    SourceMissingError,
    SourceUnreadableError,
    TooManyBytesError,
    TransientError,
)
from worker.domain.image import Image, Source
from worker.domain.job import Job
from worker.domain.message import Message
from worker.domain.status import ImageStatus

AT = {"bucket": "image-uploads", "key": "uploads/user_1/bad.jpg"}
REJECTED = "could not read s3://image-uploads/uploads/user_1/bad.jpg"
ERRORS = (
    AccessDeniedError(**AT, reason="Access Denied"),
    KeyTooLongError(key="processed/k", length_bytes=1030, limit_bytes=1024),
    RecordRejectedError(what="record the step", reason="Item size has exceeded the maximum allowed size"),
    SourceArchivedError(**AT),
    SourceMissingError(**AT),
    SourceUnreadableError(**AT, reason="KMS.DisabledException"),
    TooManyBytesError(size_bytes=2, limit_bytes=1),
    TransientError(REJECTED, is_dependency_failure=False, code="access_denied"),
    TransientError(REJECTED, is_dependency_failure=False, code="source_unreadable"),
    ValueError("a bug that one upload causes"),
)
"""How the read of a bad upload ends: for ever, for now, or in a bug."""


class FailingSources(FakeSources):
    """Raises the error of each bad upload, by the id of its image."""

    def __init__(self, errors: Mapping[str, Exception]) -> None:
        super().__init__()
        self.errors = errors

    async def fetch(self, job: Job, *, max_bytes: int) -> Source:
        if job.image_id in self.errors:
            self.fetched.append(job)
            raise self.errors[job.image_id].with_traceback(None)  # or it grows with each one
        return await super().fetch(job, max_bytes=max_bytes)


class RedeliveringQueue(FakeMessageQueue):
    """A queue that delivers a released message again, after all others."""

    async def change_visibility(self, message: Message, seconds: float) -> None:
        await super().change_visibility(message, seconds)
        self.waiting.put_nowait(replace(message, receive_count=message.receive_count + 1))


@dataclass
class Crowd:
    """Uploads, good ones and bad ones in some order, and what a consumer made of them."""

    uploads: list[Exception | None]
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    queue: RedeliveringQueue = field(default_factory=RedeliveringQueue)
    pauses: list[int] = field(default_factory=list)
    handled: int = 0
    handled_before_last_good: int = 0

    async def process(self, *, slots: int) -> None:
        errors = {str(number): error for number, error in enumerate(self.uploads) if error is not None}
        handler = MessageHandler(
            parse=lambda message: [a_job(message.body)],
            queue=self.queue,
            ledger=self.ledger,
            recipes=Recipes(FakeProfiles(), recipe_builder(a_recipe(), {}, logo_prefix=""), FakeLogos().fill),
            sources=FailingSources(errors),
            pool=FakePool(),
            results=FakeResults(),
            observer=an_observer(),
            isolation=Isolation(),
            clock=lambda: NOON,
            config=DeliveryConfig(
                worker_id="worker-a", lease_s=60, max_receives=3, max_bytes=10_000_000, record_delay_s=0
            ),
        )

        async def handle(message: Message, hold: object) -> object:
            disposition = await handler.handle(message, hold)  # type: ignore[arg-type]  # a FakeHold
            self.handled += 1
            if message.body not in errors:
                self.handled_before_last_good = self.handled
            if self._have_ended():
                consumer.stop()
            return disposition

        def backoff_s(failures: int) -> float:
            self.pauses.append(failures)
            return 0.0

        consumer = Consumer(
            queue=self.queue,
            heartbeat=FakeHeartbeat(),
            handle=handle,  # type: ignore[arg-type]  # returns what the handler returns
            slots=slots,
            drain_timeout_s=5,
            last_poll_s=0,
            backoff_s=backoff_s,
        )
        for number in range(len(self.uploads)):
            self.queue.waiting.put_nowait(a_message(str(number), message_id=str(number)))
        async with asyncio.timeout(60):
            await consumer.run()

    def _have_ended(self) -> bool:
        ended = [image for image in self.images if image.status in {"completed", "failed"}]
        return len(ended) == len(self.uploads)

    @property
    def images(self) -> list[Image]:
        return list(self.ledger.images.values())


@given(
    good=st.integers(1, 15),
    bad=st.lists(st.sampled_from(ERRORS), max_size=15),
    order=st.randoms(use_true_random=False),
    slots=st.integers(1, 8),
)
@hypothesis_settings(max_examples=40, deadline=None)
def test_good_uploads_are_delayed_by_at_most_a_factor_of_two_by_as_many_bad_ones(
    good: int, bad: list[Exception], order: object, slots: int
) -> None:
    uploads: list[Exception | None] = [None] * good
    uploads += bad[:good]
    order.shuffle(uploads)  # type: ignore[attr-defined]  # a Random
    crowd = Crowd(uploads)

    with capture_logs():
        asyncio.run(crowd.process(slots=slots))

    assert crowd.pauses == []
    assert crowd.handled_before_last_good <= 2 * good + slots  # as many are in flight at once
    assert len([image for image in crowd.images if image.status is ImageStatus.COMPLETED]) == good
    assert all(image.error for image in crowd.images if image.status is ImageStatus.FAILED)
