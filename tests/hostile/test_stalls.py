"""Uploads that cannot be processed, in any mix with good ones: the good ones do not wait for them."""

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

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
from tests.support.fault_proxy import Call, fault_proxy, s3_error
from tests.support.pictures import encoded, quadrants
from tests.support.whole_worker import running_worker, wait_until_processed
from worker.bootstrap import build_profile_store
from worker.delivery.consumer import Consumer
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.isolation import Isolation
from worker.delivery.recipes import Recipes, recipe_builder
from worker.domain.clock import utc_now
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
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

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


SSE_C = "The object was stored using a form of Server Side Encryption."
REJECTIONS = {
    "archived": s3_error("InvalidObjectState", "it is archived", status=403),
    "customer-key": s3_error("InvalidRequest", SSE_C),
    "foreign-key": s3_error("AccessDenied", "not authorized to perform: kms:Decrypt", status=403),
    "denied": s3_error("AccessDenied", "Access Denied", status=403),
    "of-the-future": s3_error("NotToday", "come back", status=451),
}
CODES = {
    "archived": "source_archived",
    "customer-key": "source_unreadable",
    "foreign-key": "source_unreadable",
    "denied": "access_denied",
    "of-the-future": "source_unreadable",
}
LONG = "k" * (1024 - len("uploads/mallory/") - len(".jpg") - 2)
PREFERENCES: dict[str, str] = {"watermarkText": "x" * 70_000, "watermarkImage": "k" * 1100}
MANY = {f"{number:x}": "v" for number in range(200)}


async def test_twenty_hostile_uploads_do_not_keep_forty_good_ones_from_being_processed_at_once(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    picture = encoded(quadrants(160, 120))
    kinds = list(REJECTIONS)
    rejected = [f"{kinds[number % 5]}-{number}" for number in range(10)]
    described, long_keys = [f"described-{number}" for number in range(5)], [f"{LONG}{n:02}" for n in range(3)]
    good = [f"good-{number}" for number in range(40)]
    await build_profile_store(dynamodb, provisioned).set_preferences("eve", PREFERENCES, now=utc_now())

    async def put(user_id: str, image_id: str, metadata: Mapping[str, str] | None = None) -> None:
        key = f"uploads/{user_id}/{image_id}.jpg"
        await s3.put_object(Bucket=provisioned.bucket, Key=key, Body=picture, Metadata=metadata or {})

    def respond(call: Call) -> bytes | None:
        kind = call.path.rpartition("/")[2].rpartition("-")[0]
        return REJECTIONS.get(kind) if call.method == "GET" else None

    for image_id in rejected:
        await put("mallory", image_id)
    for image_id in described:
        await put("mallory", image_id, MANY)
    for image_id in long_keys:
        await put("mallory", image_id)
    for image_id in ("preferences-0", "preferences-1"):
        await put("eve", image_id)
    for image_id in good:
        await put("alice", image_id)

    assert provisioned.endpoint_url
    with capture_logs() as logged:
        async with fault_proxy(provisioned.endpoint_url, seed=1) as proxy:
            proxy.responds = respond
            proxied = provisioned.model_copy(update={"endpoint_url": proxy.endpoint_url})
            async with running_worker(proxied):
                images = await wait_until_processed(dynamodb, provisioned, *good, user_id="alice")
                failed = await wait_until_processed(
                    dynamodb, provisioned, *rejected, *long_keys, user_id="mallory"
                )
                completed = await wait_until_processed(dynamodb, provisioned, *described, user_id="mallory")
                completed += await wait_until_processed(
                    dynamodb, provisioned, "preferences-0", "preferences-1", user_id="eve"
                )

    assert [(image.status, image.attempt) for image in images] == 40 * [("completed", 1)]
    expected = [CODES[image_id.rpartition("-")[0]] for image_id in rejected] + 3 * ["key_too_long"]
    assert [image.error and image.error.code for image in failed] == expected
    assert [image.status for image in completed] == 7 * ["completed"]
    assert len(completed[0].metadata) == len(MANY)
    noted = completed[-1].steps["validation"].detail["ignoredPreferences"]
    assert set(noted) == set(PREFERENCES)  # type: ignore[arg-type]
    assert "aws.fast_path_disabled" not in {line["event"] for line in logged}
