"""The message handler against fakes: the image's record and the message's disposition."""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

import pytest

from tests.support.builders import (
    NOON,
    a_claimant,
    a_description,
    a_job,
    a_message,
    a_recipe,
    a_requester,
    after,
    an_observer,
)
from tests.support.fakes.ledger import MemoryLedger
from tests.support.fakes.ports import (
    FakeHold,
    FakeLogos,
    FakeMessageQueue,
    FakePool,
    FakeProfiles,
    FakeResults,
    FakeScans,
    FakeSources,
)
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.isolation import Isolation
from worker.delivery.recipes import Recipes, recipe_builder
from worker.domain.claim import Claimed, deletion_begun, image_retried
from worker.domain.clock import utc_now
from worker.domain.errors import (
    DecoderKilledError,
    KeyTooLongError,
    RecordRejectedError,
    SourceMissingError,
    SupersededError,
    TransientError,
    TruncatedError,
)
from worker.domain.focus import Focus
from worker.domain.image import Failure, Image, Lease
from worker.domain.job import Job
from worker.domain.message import Abandon, Delete, Disposition, Message, Release, Unreadable
from worker.domain.profile import Preferences, Profile
from worker.domain.recipe import Size
from worker.domain.scan import ScanStatus
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.transition import SourceDescribed, Transition
from worker.telemetry.metrics import Metrics

STANDARD = a_recipe()
SMALL = Size(name="small", width=400, height=400)


@dataclass
class Scene:
    """A message handler and its fakes."""

    parts: list[Job | Unreadable] = field(default_factory=lambda: [a_job()])
    ledger: MemoryLedger = field(default_factory=MemoryLedger)
    queue: FakeMessageQueue = field(default_factory=FakeMessageQueue)
    sources: FakeSources = field(default_factory=FakeSources)
    pool: FakePool = field(default_factory=FakePool)
    results: FakeResults = field(default_factory=FakeResults)
    logos: FakeLogos = field(default_factory=FakeLogos)
    profiles: FakeProfiles = field(default_factory=FakeProfiles)
    hold: FakeHold = field(default_factory=FakeHold)
    metrics: Metrics = field(default_factory=Metrics)
    isolation: Isolation = field(default_factory=Isolation)
    scans: FakeScans | None = None
    now: timedelta = timedelta()
    clock: Callable[[], datetime] | None = None

    async def handle(self, message: Message | None = None) -> Disposition:
        clock = self.clock or (lambda: NOON + self.now)
        handler = MessageHandler(
            parse=lambda _: self.parts,
            queue=self.queue,
            ledger=self.ledger,
            recipes=Recipes(
                self.profiles,
                recipe_builder(STANDARD, {"small": SMALL}, logo_prefix=""),
                self.logos.fill,
            ),
            sources=self.sources,
            pool=self.pool,
            results=self.results,
            observer=an_observer(self.metrics, clock=clock),
            clock=clock,
            config=DeliveryConfig(
                worker_id="worker-a", lease_s=60, max_receives=3, max_bytes=10_000_000, record_delay_s=0
            ),
            isolation=self.isolation,
            scans=self.scans,
        )
        async with self.isolation.delivery():
            return await handler.handle(message or a_message(), self.hold)

    @property
    def image(self) -> Image:
        return self.ledger.images["img_1", "user_1"]


async def test_a_processed_image_is_completed_and_its_message_deleted() -> None:
    scene = Scene()

    assert await scene.handle() == Delete()

    assert (scene.image.status, scene.image.processed_key) == (
        ImageStatus.COMPLETED,
        "processed/user_1/img_1.jpg",
    )
    assert {record.status for record in scene.image.steps.values()} == {StepStatus.COMPLETED}
    assert scene.ledger.statistics["user_1"].total_images == 1
    assert scene.hold.renewals == []


async def test_each_step_starts_when_the_previous_one_has_completed() -> None:
    scene = Scene()

    def tick(_: StepName) -> None:
        scene.now += timedelta(seconds=1)

    scene.pool.before_step = tick
    await scene.handle()

    times = [(step.started_at, step.completed_at) for step in scene.image.steps.values()]
    assert times == [(after(second), after(second + 1)) for second in range(len(StepName))]


async def test_the_times_of_the_history_increase_although_the_clock_is_set_back() -> None:
    scene = Scene()

    def set_back(_: StepName) -> None:
        scene.now -= timedelta(seconds=60)

    scene.pool.before_step = set_back
    await scene.handle()

    times = [entry.at for entry in scene.image.history]
    assert times == sorted(times)


async def test_the_owners_preferences_determine_the_size_and_the_record_keeps_the_recipe() -> None:
    scene = Scene()
    preferences = Preferences(default_image_size="small", watermark_text="John's Photos")
    scene.profiles.profiles["user_1"] = Profile(user_id="user_1", preferences=preferences)

    await scene.handle()

    ((_, rendition, is_main),) = scene.results.stored
    assert (rendition.size, is_main) == ("small", True)
    assert scene.image.recipe not in {None, STANDARD.hash}


async def test_a_preference_that_cannot_be_used_is_named_in_the_record_and_the_image_is_processed() -> None:
    scene = Scene()
    preferences = Preferences(default_image_size="gigantic", ignored={"watermarkText": "it is not text"})
    scene.profiles.profiles["user_1"] = Profile(user_id="user_1", preferences=preferences)

    await scene.handle()

    assert (scene.image.status, scene.image.recipe) == (ImageStatus.COMPLETED, STANDARD.hash)
    assert scene.image.steps[StepName.VALIDATION].detail["ignoredPreferences"] == {
        "watermarkText": "it is not text",
        "defaultImageSize": "there is no size 'gigantic' to choose",
    }


async def test_the_focal_point_reaches_the_decoder_and_the_record_names_it() -> None:
    scene = Scene()
    scene.sources.description = replace(a_description(), focus=Focus(0.4, 0.2))

    await scene.handle()

    assert scene.pool.focus == Focus(0.4, 0.2)
    assert scene.image.steps[StepName.RESIZE].detail["focus"] == "0.4,0.2"


async def test_metadata_that_cannot_be_used_is_named_in_the_record_and_the_image_is_processed() -> None:
    scene = Scene()
    scene.sources.description = replace(a_description(), ignored={"focus": "'x' is not two numbers"})

    await scene.handle()

    assert (scene.image.status, scene.pool.focus) == (ImageStatus.COMPLETED, None)
    assert scene.image.steps[StepName.VALIDATION].detail["ignoredMetadata"] == {
        "focus": "'x' is not two numbers"
    }
    assert "focus" not in scene.image.steps[StepName.RESIZE].detail


async def test_the_recorded_recipe_includes_the_logo_that_was_used() -> None:
    scene = Scene()
    scene.logos.quality = 71

    await scene.handle()

    assert scene.image.recipe == replace(STANDARD, quality=71).hash


async def test_an_upload_with_a_wrong_file_extension_is_processed_and_the_mismatch_recorded() -> None:
    scene = Scene(parts=[replace(a_job(), key="uploads/user_1/img_1.png")])

    await scene.handle()

    assert scene.image.status is ImageStatus.COMPLETED
    assert scene.image.steps[StepName.VALIDATION].detail["typeMismatch"]


async def test_a_rejected_image_fails_with_its_code_and_its_message_is_deleted() -> None:
    scene = Scene()
    scene.pool.errors = {StepName.VALIDATION: TruncatedError()}

    assert await scene.handle() == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert (scene.image.error.code, scene.image.error.step) == ("truncated", StepName.VALIDATION)
    first, *others = (record.status for record in scene.image.steps.values())
    assert (first, set(others)) == ("failed", {"pending"})
    assert scene.image.file_name == "vacation-photo.jpg"


async def test_an_upload_deleted_before_it_was_read_fails_with_a_code() -> None:
    scene = Scene()
    scene.sources.error = SourceMissingError(bucket="image-uploads", key="uploads/user_1/img_1.jpg")

    assert await scene.handle() == Delete()

    assert scene.image.error
    assert scene.image.error.code == "source_missing"


async def test_an_upload_replaced_before_it_was_read_is_released_for_the_newer_upload() -> None:
    scene = Scene()
    scene.sources.error = SupersededError(image_id="img_1")

    assert await scene.handle() == Delete()

    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)


@pytest.mark.parametrize("call", ["fetch", "store"])
async def test_a_transient_error_releases_the_image_and_the_message(call: str) -> None:
    scene = Scene()
    failing = scene.sources if call == "fetch" else scene.results
    failing.error = TransientError("the bucket is unavailable")

    disposition = await scene.handle()

    assert isinstance(disposition, Release)
    assert 0 <= disposition.after_s <= 5
    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)
    assert scene.image.error
    assert scene.image.error.message == "the bucket is unavailable"


async def test_a_transient_error_on_the_last_receive_is_recorded_and_sent_as_a_dead_letter() -> None:
    scene = Scene()
    scene.sources.error = TransientError("the bucket is unavailable")

    assert await scene.handle(a_message(receive_count=3)) == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert scene.image.error.retryable
    reasons = {"code": "unavailable", "reason": "the bucket is unavailable"}
    assert scene.queue.dead_letters == [(a_job(), reasons)]


async def test_a_bug_releases_the_message_and_is_named_in_the_record() -> None:
    scene = Scene()
    scene.results.error = ZeroDivisionError("oops")

    assert isinstance(await scene.handle(), Release)

    assert scene.image.error
    assert scene.image.error.code == "internal_error"


async def test_the_upload_of_a_completed_image_is_not_read_again() -> None:
    scene = Scene()
    await scene.handle()
    scene.sources.fetched.clear()

    assert await scene.handle() == Delete()

    assert scene.sources.fetched == []
    assert scene.ledger.statistics["user_1"].total_images == 1


@pytest.mark.parametrize(("receive_count", "after_s"), [(1, 5), (2, 42), (3, 42)])
async def test_the_message_of_a_leased_image_is_released_for_a_moment_and_then_until_the_lease_expires(
    receive_count: int, after_s: float
) -> None:
    scene = Scene()
    await scene.ledger.claim(a_job(), a_claimant("worker-b/1", lease_s=42))

    assert await scene.handle(a_message(receive_count=receive_count)) == Release(after_s)

    assert scene.sources.fetched == []


async def test_a_delivery_that_is_received_just_before_another_lease_ends_waits_and_spends_no_receive() -> (
    None
):
    scene = Scene(clock=utc_now)
    await scene.ledger.claim(a_job(), a_claimant("killed/1", now=utc_now(), lease_s=0.05))

    assert await scene.handle(a_message(receive_count=2)) == Delete()

    assert (scene.image.status, scene.image.attempt) == (ImageStatus.COMPLETED, 2)


async def test_a_message_lost_while_it_waits_for_the_end_of_another_lease_is_abandoned() -> None:
    scene = Scene(clock=utc_now)
    await scene.ledger.claim(a_job(), a_claimant("killed/1", now=utc_now(), lease_s=0.05))
    asyncio.get_running_loop().call_later(0.01, setattr, scene.hold, "is_lost", True)

    assert await scene.handle(a_message(receive_count=2)) == Abandon()

    assert scene.image.attempt == 1


async def test_a_worker_that_has_lost_its_lease_abandons_the_message_and_writes_nothing() -> None:
    scene = Scene()

    def take_over(step: StepName) -> None:
        if step is StepName.WATERMARK:
            lease = Lease(owner="worker-b/1", expires_at=after(100))
            scene.ledger.images["img_1", "user_1"] = replace(scene.image, attempt=2, lease=lease)

    scene.pool.before_step = take_over

    assert await scene.handle() == Abandon()

    assert scene.image.lease
    assert scene.image.lease.owner == "worker-b/1"
    assert scene.ledger.statistics["user_1"].total_images == 0


async def test_the_attempt_stops_when_its_message_is_lost() -> None:
    scene = Scene()
    scene.hold.is_lost = True

    assert await scene.handle() == Abandon()

    assert scene.sources.fetched == []


async def test_a_worker_that_shuts_down_releases_the_image() -> None:
    scene = Scene()
    scene.sources.gate = asyncio.Event()
    task = asyncio.create_task(scene.handle())
    await scene.sources.fetch_started.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)
    assert scene.image.error
    assert scene.image.error.code == "worker_stopped"


@pytest.mark.parametrize("is_message", [True, False])
async def test_what_a_newer_version_wrote_waits_for_one_and_becomes_a_dead_letter_at_last(
    is_message: bool,
) -> None:
    newer = Unreadable(reason="its version is 2", body="{}", is_newer=True)
    scene = Scene(parts=[newer] if is_message else [a_job()])
    if not is_message:
        await scene.handle()
        scene.ledger.images["img_1", "user_1"] = replace(scene.image, status="archived")
    before = dict(scene.ledger.images)

    released = [await scene.handle(a_message(receive_count=count)) for count in (1, 2)]
    assert scene.queue.dead_letters == []
    last = await scene.handle(a_message(receive_count=3))

    delays_s = [each.after_s for each in released if isinstance(each, Release)]
    assert 30 <= delays_s[0] <= 60
    assert 120 <= delays_s[1] <= 240
    assert last == Delete()
    ((part, reasons),) = scene.queue.dead_letters
    assert part == scene.parts[0]
    assert reasons["code"] == ("unreadable" if is_message else "record_unreadable")
    assert ("its version is 2" if is_message else "its status is 'archived'") in reasons["reason"]
    assert scene.ledger.images == before


async def test_a_dead_letter_that_cannot_be_sent_leaves_the_message_for_a_retry() -> None:
    scene = Scene(parts=[Unreadable(reason="its version is 2", body="{}", is_newer=True), a_job()])
    scene.queue.dead_letter_error = TransientError("SQS is unavailable")

    disposition = await scene.handle(a_message(receive_count=3))

    assert isinstance(disposition, Release)
    assert scene.image.status is ImageStatus.COMPLETED


async def test_an_unreadable_part_becomes_a_dead_letter_and_the_other_parts_are_processed() -> None:
    unreadable = Unreadable(reason="its key has no user id", body="{}")
    scene = Scene(parts=[unreadable, a_job()])

    assert await scene.handle() == Delete()

    reasons = {"code": "unreadable", "reason": "its key has no user id"}
    assert scene.queue.dead_letters == [(unreadable, reasons)]
    assert scene.image.status is ImageStatus.COMPLETED


async def test_a_part_that_must_wait_releases_the_message_and_the_other_parts_are_processed_once() -> None:
    scene = Scene(parts=[a_job("img_2"), a_job()])
    await scene.ledger.claim(a_job("img_2"), a_claimant("worker-b/1", lease_s=30))

    assert await scene.handle() == Release(5)
    assert await scene.handle() == Release(5)

    assert scene.image.status is ImageStatus.COMPLETED
    assert scene.ledger.statistics["user_1"].total_images == 1


async def test_an_unavailable_table_releases_the_message() -> None:
    scene = Scene()

    async def fail(_user_id: str) -> None:
        message = "the table is unavailable"
        raise TransientError(message)

    scene.profiles.get = fail  # type: ignore[assignment,method-assign]  # a parameter of another name

    assert isinstance(await scene.handle(), Release)
    assert scene.ledger.images == {}


async def test_the_images_of_a_lost_message_are_not_claimed() -> None:
    scene = Scene(parts=[a_job("img_1"), a_job("img_2")])
    scene.hold.is_lost = True

    assert await scene.handle() == Abandon()
    assert scene.ledger.images == {}


async def test_a_cancelled_handler_stays_cancelled_when_the_image_cannot_be_released() -> None:
    scene = Scene(parts=[a_job("img_1"), a_job("img_2")])
    scene.sources.gate = asyncio.Event()

    async def fail(*_: object) -> Image:
        message = "the table is unavailable"
        raise TransientError(message)

    scene.ledger.settle = fail  # type: ignore[assignment,method-assign]  # accepts any arguments
    handling = asyncio.create_task(scene.handle())
    await scene.sources.fetch_started.wait()
    handling.cancel()
    await asyncio.wait([handling])

    assert handling.cancelled()
    assert [job.image_id for job in scene.sources.fetched] == ["img_1"]


async def test_an_image_whose_result_key_is_too_long_fails_before_it_is_read() -> None:
    scene = Scene()
    scene.results.key_error = KeyTooLongError(
        key="processed/" + "k" * 1020, length_bytes=1030, limit_bytes=1024
    )

    assert await scene.handle() == Delete()

    assert scene.image.error
    assert (scene.image.error.code, scene.sources.fetched) == ("key_too_long", [])


async def test_an_image_fails_when_the_table_rejects_what_was_found_out_about_it() -> None:
    scene = Scene()

    def reject_descriptions(transitions: Sequence[Transition]) -> None:
        if any(isinstance(each, SourceDescribed) for each in transitions):
            raise RecordRejectedError(what="record the step", reason="Item size has exceeded the maximum")

    scene.ledger.before_write = reject_descriptions

    assert await scene.handle() == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert (scene.image.error.code, scene.image.error.step) == ("record_rejected", StepName.VALIDATION)


async def test_an_upload_whose_claim_the_table_rejects_becomes_a_dead_letter_with_the_reason() -> None:
    scene = Scene()

    async def reject(*_: object) -> Claimed:
        raise RecordRejectedError(what="claim the image", reason="Item size has exceeded the maximum")

    scene.ledger.claim = reject  # type: ignore[assignment,method-assign]  # accepts any arguments

    assert await scene.handle() == Delete()

    ((job, reasons),) = scene.queue.dead_letters
    assert (job, reasons["code"]) == (a_job(), "record_rejected")


async def test_only_a_dependency_failure_is_marked_as_one() -> None:
    scene = Scene()
    scene.sources.error = TransientError("the bucket is unavailable")
    unavailable = await scene.handle()
    scene.ledger.images["img_1", "user_1"] = replace(
        scene.image, status=ImageStatus.PROCESSING, lease=Lease(owner="another", expires_at=after(60))
    )
    leased = await scene.handle()
    scene.ledger.images.clear()
    scene.sources.error = TransientError("access denied to the object", is_dependency_failure=False)
    denied = await scene.handle()

    assert isinstance(denied, Release)
    assert not denied.is_dependency_failure
    assert isinstance(unavailable, Release)
    assert isinstance(leased, Release)
    assert (unavailable.is_dependency_failure, leased.is_dependency_failure) == (True, False)


async def killed(scene: Scene, *, claims: int = 1) -> None:
    """Claim the image by so many workers, each of which is killed while it processes the image."""
    for number in range(claims):
        await scene.ledger.claim(a_job(), a_claimant(f"killed-{number}/1", now=NOON + scene.now))
        scene.now += timedelta(seconds=61)


async def test_an_image_whose_worker_was_killed_is_processed_alone() -> None:
    scene = Scene()
    await killed(scene)
    is_open: list[bool] = []
    scene.pool.before_step = lambda _: is_open.append(scene.isolation.is_open)

    assert await scene.handle(a_message(receive_count=2)) == Delete()

    assert (scene.image.status, scene.image.error) == (ImageStatus.COMPLETED, None)
    assert is_open == [False] * len(StepName)
    assert scene.isolation.is_open


async def test_while_an_image_is_processed_whose_worker_was_killed_its_record_has_the_reason() -> None:
    scene = Scene()
    await killed(scene)
    errors: list[Failure | None] = []
    scene.pool.before_step = lambda _: errors.append(scene.image.error)

    await scene.handle(a_message(receive_count=2))

    assert {error.code for error in errors if error} == {"worker_killed"}
    assert all(error and "killed-0" in error.message for error in errors)


async def test_after_the_last_receive_an_image_that_killed_a_worker_alone_is_failed_with_a_dead_letter() -> (
    None
):
    scene = Scene()
    await killed(scene, claims=3)
    step = StepName.VALIDATION

    assert await scene.handle(a_message(receive_count=4)) == Delete()

    assert scene.sources.fetched == []
    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert (scene.image.error.code, scene.image.error.step) == ("worker_killed", step)
    assert scene.image.steps[step].status is StepStatus.FAILED
    ((job, reasons),) = scene.queue.dead_letters
    assert job == a_job()
    assert reasons == {"code": "worker_killed", "reason": scene.image.error.message}


async def test_after_the_last_receive_an_image_that_was_never_processed_alone_still_is() -> None:
    scene = Scene()
    await killed(scene)

    assert await scene.handle(a_message(receive_count=8)) == Delete()

    assert scene.image.status is ImageStatus.COMPLETED


async def test_a_retried_image_that_killed_its_workers_is_processed_alone() -> None:
    scene = Scene()
    await killed(scene, claims=3)
    await scene.handle(a_message(receive_count=4))
    scene.ledger.images["img_1", "user_1"] = image_retried(
        scene.image, requester=a_requester(), at=NOON + scene.now
    )
    is_open: list[bool] = []
    scene.pool.before_step = lambda _: is_open.append(scene.isolation.is_open)

    await scene.handle()

    assert scene.image.status is ImageStatus.COMPLETED
    assert not any(is_open)


async def test_a_message_lost_while_it_waits_to_be_alone_is_abandoned_without_a_claim() -> None:
    scene = Scene()
    await killed(scene)
    async with scene.isolation.delivery():
        handling = asyncio.create_task(scene.handle(a_message(receive_count=2)))
        while scene.isolation.is_open:
            await asyncio.sleep(0)
        scene.hold.is_lost = True
    before = scene.image

    assert await handling == Abandon()
    assert scene.image is before


async def test_a_message_received_too_often_is_handled_alone_although_no_record_shows_a_death() -> None:
    scene = Scene()
    is_open: list[bool] = []
    scene.pool.before_step = lambda _: is_open.append(scene.isolation.is_open)

    await scene.handle(a_message(receive_count=4))

    assert scene.image.status is ImageStatus.COMPLETED
    assert not any(is_open)


async def test_an_image_whose_decoder_was_killed_is_processed_alone_and_fails_if_it_is_killed_again() -> None:
    scene = Scene()
    scene.pool.errors = {StepName.RESIZE: DecoderKilledError()}
    is_open: list[bool] = []
    scene.pool.before_step = lambda _: is_open.append(scene.isolation.is_open)

    first = await scene.handle(a_message(receive_count=1))
    assert isinstance(first, Release)
    assert scene.image.status is ImageStatus.PENDING
    assert await scene.handle(a_message(receive_count=2)) == Delete()

    assert is_open == [True, True, False, False]
    assert scene.image.error
    assert (scene.image.status, scene.image.error.code) == (ImageStatus.FAILED, "decoder_killed")


async def test_an_image_released_by_a_shutdown_remains_to_be_processed_alone() -> None:
    scene = Scene()
    await killed(scene)
    scene.sources.gate = asyncio.Event()
    handling = asyncio.create_task(scene.handle(a_message(receive_count=2)))
    await scene.sources.fetch_started.wait()
    handling.cancel()
    with pytest.raises(asyncio.CancelledError):
        await handling

    assert scene.image.error
    assert (scene.image.status, scene.image.error.code) == (ImageStatus.PENDING, "worker_killed")
    assert scene.isolation.is_open


def a_scanned_job(status: ScanStatus, *, upload: int = 1, **changes: Any) -> Job:
    return replace(a_job(upload=upload), scan=status, **changes)


@pytest.mark.parametrize(
    ("status", "code"),
    [
        (ScanStatus.THREATS_FOUND, "threat_found"),
        (ScanStatus.UNSUPPORTED, "scan_failed"),
        (ScanStatus.ACCESS_DENIED, "scan_failed"),
        (ScanStatus.FAILED, "scan_failed"),
    ],
)
async def test_an_upload_without_a_clean_scan_fails_and_is_never_read(status: ScanStatus, code: str) -> None:
    scene = Scene(parts=[a_scanned_job(status)], scans=FakeScans())

    assert await scene.handle() == Delete()

    assert scene.image.error
    assert (scene.image.status, scene.image.error.code) == (ImageStatus.FAILED, code)
    assert scene.sources.fetched == []


async def test_an_upload_with_a_clean_scan_is_processed() -> None:
    scene = Scene(parts=[a_scanned_job(ScanStatus.NO_THREATS_FOUND)], scans=FakeScans())

    assert await scene.handle() == Delete()

    assert scene.image.status is ImageStatus.COMPLETED


async def test_the_scan_result_of_a_replaced_object_is_skipped() -> None:
    scene = Scene(parts=[a_scanned_job(ScanStatus.THREATS_FOUND)], scans=FakeScans(is_replaced=True))

    assert await scene.handle() == Delete()

    assert scene.ledger.images == {}


async def test_a_job_without_a_scan_result_is_retried_and_then_becomes_a_dead_letter() -> None:
    scene = Scene(scans=FakeScans())

    assert isinstance(await scene.handle(), Release)
    assert scene.image.error
    assert (scene.image.status, scene.image.error.code) == (ImageStatus.PENDING, "not_scanned")
    await scene.handle(a_message(receive_count=3))

    assert (scene.image.status, scene.image.error.code) == (ImageStatus.FAILED, "not_scanned")
    assert [reasons["code"] for _, reasons in scene.queue.dead_letters] == ["not_scanned"]
    assert scene.sources.fetched == []


async def test_an_upload_that_seems_as_old_as_the_recorded_one_is_looked_up_again_and_processed() -> None:
    scene = Scene(parts=[a_scanned_job(ScanStatus.NO_THREATS_FOUND)], scans=FakeScans())
    await scene.handle()
    tied = scene.image.version
    second = replace(tied, e_tag="another")
    scene.parts = [replace(a_scanned_job(ScanStatus.NO_THREATS_FOUND), version=second)]

    await scene.handle()

    assert (scene.image.status, scene.image.attempt, scene.image.version.e_tag) == (
        ImageStatus.COMPLETED,
        2,
        "another",
    )


async def test_an_object_that_no_longer_exists_never_replaces_another_upload_in_the_record() -> None:
    scene = Scene(parts=[a_scanned_job(ScanStatus.NO_THREATS_FOUND)], scans=FakeScans())
    await scene.handle()
    completed = scene.image
    later = replace(
        completed.version, e_tag="another", uploaded_at=completed.version.uploaded_at + timedelta(hours=1)
    )
    scene.scans = FakeScans(is_missing=True)
    scene.parts = [replace(a_scanned_job(ScanStatus.THREATS_FOUND), version=later)]

    assert await scene.handle() == Delete()

    assert scene.image == completed


OUTAGE = TransientError("the bucket is unavailable")
DENIED = TransientError("S3 denies it", is_dependency_failure=False)


async def replaced_by_a_png(scene: Scene) -> Disposition:
    """Process two uploads of the image, of which the second has a result with another key."""
    await scene.handle()
    scene.parts, scene.results.extension = [a_job(upload=2)], "png"
    return await scene.handle()


async def test_the_result_of_the_upload_before_is_deleted_after_completion_if_it_has_another_key() -> None:
    scene = Scene()

    assert await replaced_by_a_png(scene) == Delete()

    assert scene.results.deleted == [("processed/user_1/img_1.jpg", "result-etag")]
    assert scene.image.processed_key == "processed/user_1/img_1.png"
    assert scene.image.leftovers == ()


async def test_a_result_that_is_stored_under_the_same_key_is_not_deleted() -> None:
    scene = Scene()
    await scene.handle()
    scene.parts = [a_job(upload=2)]

    assert await scene.handle() == Delete()

    assert scene.results.deleted == []


async def test_the_next_receive_deletes_what_an_outage_has_left_over() -> None:
    scene = Scene()
    scene.results.delete_error = OUTAGE

    assert isinstance(await replaced_by_a_png(scene), Release)
    assert scene.image.status is ImageStatus.COMPLETED
    assert [leftover.key for leftover in scene.image.leftovers] == ["processed/user_1/img_1.jpg"]
    scene.results.delete_error = None
    assert await scene.handle(a_message(receive_count=2)) == Delete()

    assert scene.results.deleted == [("processed/user_1/img_1.jpg", "result-etag")]
    assert (scene.image.attempt, scene.image.leftovers) == (2, ())


async def test_the_next_completion_deletes_what_could_not_be_deleted() -> None:
    scene = Scene()
    scene.results.delete_error = DENIED

    assert await replaced_by_a_png(scene) == Delete()
    assert [leftover.key for leftover in scene.image.leftovers] == ["processed/user_1/img_1.jpg"]
    scene.results.delete_error, scene.results.extension = None, "webp"
    scene.parts = [a_job(upload=3)]
    assert await scene.handle() == Delete()

    assert [key for key, _ in scene.results.deleted] == [
        "processed/user_1/img_1.jpg",
        "processed/user_1/img_1.png",
    ]
    assert scene.image.leftovers == ()


async def test_an_outage_at_the_last_receive_leaves_the_leftovers_to_reconcile() -> None:
    scene = Scene()
    await scene.handle()
    scene.parts, scene.results.extension, scene.results.delete_error = [a_job(upload=2)], "png", OUTAGE

    assert await scene.handle(a_message(receive_count=3)) == Delete()

    assert (scene.image.status, len(scene.image.leftovers)) == (ImageStatus.COMPLETED, 1)
    assert scene.queue.dead_letters == []


async def test_a_newer_upload_that_fails_keeps_the_results_and_deletes_the_leftovers() -> None:
    scene = Scene()
    scene.results.delete_error = DENIED
    await replaced_by_a_png(scene)
    scene.results.delete_error = None
    scene.parts, scene.pool.errors = [a_job(upload=3)], {StepName.RESIZE: TruncatedError()}

    assert await scene.handle() == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert [key for key, _ in scene.results.deleted] == ["processed/user_1/img_1.jpg"]
    assert scene.image.renditions["medium"].key == "processed/user_1/img_1.png"


def begin_deletion(scene: Scene) -> None:
    scene.ledger._store(deletion_begun(scene.image, requester=a_requester(), at=after(1)))


async def test_a_worker_whose_image_is_deleted_discards_what_it_has_stored_and_acknowledges() -> None:
    scene = Scene()

    def delete(_: Sequence[Transition]) -> None:
        if scene.results.stored and scene.image.deletion is None:
            begin_deletion(scene)

    scene.ledger.before_write = delete
    assert await scene.handle() == Delete()

    assert scene.results.discarded == [f"processed/user_1/img_1@{STANDARD.main.name}.jpeg"]
    assert scene.image.deletion
    assert scene.image.deletion.lease is None
    assert scene.image.status is ImageStatus.PENDING
    assert scene.ledger.statistics["user_1"].total_images == 0


async def test_a_worker_that_may_still_be_storing_a_result_of_a_deleted_image_acknowledges_nothing() -> None:
    scene = Scene()
    scene.results.error = TransientError("no response")

    def delete(_: Sequence[Transition]) -> None:
        if scene.results.discarded == [] and scene.image.deletion is None:
            begin_deletion(scene)

    scene.ledger.before_write = delete
    assert await scene.handle() == Delete()

    assert scene.image.deletion
    assert scene.image.deletion.lease is not None
    assert scene.results.discarded == [f"processed/user_1/img_1@{STANDARD.main.name}.jpeg"]


async def test_a_worker_that_lost_its_lease_to_another_one_keeps_its_results() -> None:
    scene = Scene()

    def claim(_: Sequence[Transition]) -> None:
        if scene.results.stored:
            lease = Lease(owner="worker-b/1", expires_at=after(100))
            scene.ledger._store(replace(scene.image, attempt=2, lease=lease))

    scene.ledger.before_write = claim
    assert await scene.handle() == Abandon()

    assert scene.results.discarded == []


async def test_a_message_about_the_image_that_is_being_deleted_is_deleted() -> None:
    scene = Scene()
    await scene.handle()
    begin_deletion(scene)

    assert await scene.handle() == Delete()
    assert scene.queue.dead_letters == []


async def test_a_newer_upload_waits_until_the_deletion_has_ended_then_gets_a_record_of_its_own() -> None:
    scene = Scene(parts=[a_job(upload=1)])
    await scene.handle()
    begin_deletion(scene)
    scene.parts = [a_job(upload=2)]

    waiting = await scene.handle()
    assert isinstance(waiting, Release)
    assert scene.image.deletion

    scene.ledger.images.clear()
    assert await scene.handle(a_message(receive_count=2)) == Delete()
    assert (scene.image.status, scene.image.attempt) == (ImageStatus.COMPLETED, 1)


async def test_a_newer_upload_becomes_a_dead_letter_when_the_deletion_is_not_finished_in_time() -> None:
    scene = Scene(parts=[a_job(upload=1)])
    await scene.handle()
    begin_deletion(scene)
    scene.parts = [a_job(upload=2)]

    assert await scene.handle(a_message(receive_count=3)) == Delete()

    ((job, reasons),) = scene.queue.dead_letters
    assert isinstance(job, Job)
    assert (job.version, reasons["code"]) == (a_job(upload=2).version, "being_deleted")
