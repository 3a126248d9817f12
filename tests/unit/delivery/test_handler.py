"""One delivery, against fakes: what the record says and what becomes of the message."""

import asyncio
from dataclasses import dataclass, field, replace
from datetime import timedelta

import pytest

from tests.support.builders import NOON, a_claimant, a_job, a_message, a_recipe, after, an_observer
from tests.support.fakes.ledger import MemoryLedger
from tests.support.fakes.ports import (
    FakeHold,
    FakeLogos,
    FakeMessageQueue,
    FakePool,
    FakeProfiles,
    FakeResults,
    FakeSources,
)
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.recipes import Recipes
from worker.domain.errors import (
    SourceMissingError,
    SupersededError,
    TransientError,
    TruncatedError,
)
from worker.domain.image import Image, Lease
from worker.domain.job import Job
from worker.domain.message import Abandon, Delete, Disposition, Message, Release, Unreadable
from worker.domain.profile import Preferences, Profile, recipe_for
from worker.domain.recipe import Size
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.telemetry.metrics import Metrics

STANDARD = a_recipe()


@dataclass
class Scene:
    """A worker's deliveries with fakes around it."""

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
    now: timedelta = timedelta()

    async def handle(self, message: Message | None = None) -> Disposition:
        sizes = {"small": Size(name="small", width=400, height=400)}
        handler = MessageHandler(
            parse=lambda _: self.parts,
            queue=self.queue,
            ledger=self.ledger,
            recipes=Recipes(
                self.profiles,
                lambda profile: recipe_for(profile, standard=STANDARD, sizes=sizes),
                self.logos.fill,
            ),
            sources=self.sources,
            pool=self.pool,
            results=self.results,
            observer=an_observer(self.metrics, clock=lambda: NOON + self.now),
            clock=lambda: NOON + self.now,
            config=DeliveryConfig(
                worker_id="worker-a", lease_s=60, max_receives=3, max_bytes=10_000_000, record_delay_s=0
            ),
        )
        return await handler.handle(message or a_message(), self.hold)

    @property
    def image(self) -> Image:
        return self.ledger.images["img_1", "user_1"]


async def test_a_picture_that_goes_through_is_completed_and_its_message_deleted() -> None:
    scene = Scene()

    assert await scene.handle() == Delete()

    assert (scene.image.status, scene.image.processed_key) == (
        ImageStatus.COMPLETED,
        "processed/user_1/img_1.jpg",
    )
    assert {record.status for record in scene.image.steps.values()} == {StepStatus.COMPLETED}
    assert scene.ledger.statistics["user_1"].total_images == 1
    assert scene.hold.renewals == []


async def test_each_step_starts_when_the_one_before_it_completed() -> None:
    scene = Scene()

    def tick(_: StepName) -> None:
        scene.now += timedelta(seconds=1)

    scene.pool.before_step = tick
    await scene.handle()

    times = [(step.started_at, step.completed_at) for step in scene.image.steps.values()]
    assert times == [(after(second), after(second + 1)) for second in range(len(StepName))]


async def test_a_clock_that_steps_back_never_makes_the_times_run_backwards() -> None:
    scene = Scene()

    def step_back(_: StepName) -> None:
        scene.now -= timedelta(seconds=60)

    scene.pool.before_step = step_back
    await scene.handle()

    times = [entry.at for entry in scene.image.history]
    assert times == sorted(times)


async def test_the_owner_s_preferences_decide_the_size_and_the_record_keeps_the_recipe() -> None:
    scene = Scene()
    preferences = Preferences(default_image_size="small", watermark_text="John's Photos")
    scene.profiles.profiles["user_1"] = Profile(user_id="user_1", preferences=preferences)

    await scene.handle()

    ((_, rendition, is_main),) = scene.results.stored
    assert (rendition.size, is_main) == ("small", True)
    assert scene.image.recipe not in {None, STANDARD.hash}


async def test_the_recorded_recipe_is_that_of_the_logo_which_was_used() -> None:
    scene = Scene()
    scene.logos.quality = 71

    await scene.handle()

    assert scene.image.recipe == replace(STANDARD, quality=71).hash


async def test_an_upload_that_was_declared_as_something_else_is_taken_and_noted() -> None:
    scene = Scene(parts=[replace(a_job(), key="uploads/user_1/img_1.png")])

    await scene.handle()

    assert scene.image.status is ImageStatus.COMPLETED
    assert scene.image.steps[StepName.VALIDATION].detail["typeMismatch"]


async def test_a_refused_picture_fails_with_its_code_and_its_message_is_deleted() -> None:
    scene = Scene()
    scene.pool.refuses = {StepName.VALIDATION: TruncatedError()}

    assert await scene.handle() == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert (scene.image.error.code, scene.image.error.step) == ("truncated", StepName.VALIDATION)
    first, *others = (record.status for record in scene.image.steps.values())
    assert (first, set(others)) == ("failed", {"pending"})
    assert scene.image.file_name == "vacation-photo.jpg"


async def test_an_object_deleted_before_it_was_read_fails_with_a_code() -> None:
    scene = Scene()
    scene.sources.error = SourceMissingError(bucket="image-uploads", key="uploads/user_1/img_1.jpg")

    assert await scene.handle() == Delete()

    assert scene.image.error
    assert scene.image.error.code == "source_missing"


async def test_an_object_replaced_before_it_was_read_is_left_to_the_newer_upload() -> None:
    scene = Scene()
    scene.sources.error = SupersededError(image_id="img_1")

    assert await scene.handle() == Delete()

    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)


@pytest.mark.parametrize("place", ["fetch", "store"])
async def test_a_passing_failure_releases_the_image_and_gives_the_message_back(place: str) -> None:
    scene = Scene()
    room = scene.sources if place == "fetch" else scene.results
    room.error = TransientError("the bucket is away")

    disposition = await scene.handle()

    assert isinstance(disposition, Release)
    assert 0 <= disposition.after_s <= 5
    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)
    assert scene.image.error
    assert scene.image.error.message == "the bucket is away"


async def test_a_passing_failure_on_the_last_receive_records_its_reason_before_the_dead_letter() -> None:
    scene = Scene()
    scene.sources.error = TransientError("the bucket is away")

    assert await scene.handle(a_message(receive_count=3)) == Delete()

    assert scene.image.status is ImageStatus.FAILED
    assert scene.image.error
    assert scene.image.error.retryable
    assert scene.queue.dead_letters == [(a_job(), {"code": "unavailable", "reason": "the bucket is away"})]


async def test_a_bug_of_ours_costs_a_try_and_is_named_in_the_record() -> None:
    scene = Scene()
    scene.results.error = ZeroDivisionError("oops")

    assert isinstance(await scene.handle(), Release)

    assert scene.image.error
    assert scene.image.error.code == "internal_error"


async def test_an_image_that_is_done_already_is_not_even_read() -> None:
    scene = Scene()
    await scene.handle()
    scene.sources.fetched.clear()

    assert await scene.handle() == Delete()

    assert scene.sources.fetched == []
    assert scene.ledger.statistics["user_1"].total_images == 1


@pytest.mark.parametrize(("receive_count", "after_s"), [(1, 5), (2, 42), (3, 42)])
async def test_an_image_held_by_another_is_seen_again_soon_and_then_when_the_lease_has_ended(
    receive_count: int, after_s: float
) -> None:
    scene = Scene()
    await scene.ledger.claim(a_job(), a_claimant("worker-b/1", lease_s=42))

    assert await scene.handle(a_message(receive_count=receive_count)) == Release(after_s)

    assert scene.sources.fetched == []


async def test_a_worker_that_lost_its_lease_walks_away_and_writes_nothing() -> None:
    scene = Scene()

    def take_over(step: StepName) -> None:
        if step is StepName.WATERMARK:
            taken = Lease(owner="worker-b/1", expires_at=after(100))
            scene.ledger.images["img_1", "user_1"] = replace(scene.image, attempt=2, lease=taken)

    scene.pool.before_step = take_over

    assert await scene.handle() == Abandon()

    assert scene.image.lease
    assert scene.image.lease.owner == "worker-b/1"
    assert scene.ledger.statistics["user_1"].total_images == 0


async def test_a_message_that_was_lost_stops_the_attempt() -> None:
    scene = Scene()
    scene.hold.is_lost = True

    assert await scene.handle() == Abandon()

    assert scene.sources.fetched == []


async def test_a_stopping_worker_gives_the_image_back() -> None:
    scene = Scene()
    scene.sources.gate = asyncio.Event()
    task = asyncio.create_task(scene.handle())
    await scene.sources.reached.wait()

    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task

    assert (scene.image.status, scene.image.lease) == (ImageStatus.PENDING, None)
    assert scene.image.error
    assert scene.image.error.code == "worker_stopped"


async def test_an_unreadable_part_goes_to_the_dead_letters_and_the_others_are_done() -> None:
    bad = Unreadable(reason="its key is odd", body="{}")
    scene = Scene(parts=[bad, a_job()])

    assert await scene.handle() == Delete()

    assert scene.queue.dead_letters == [(bad, {"code": "unreadable", "reason": "its key is odd"})]
    assert scene.image.status is ImageStatus.COMPLETED


async def test_one_part_that_has_to_wait_keeps_the_message_and_the_others_are_done_once() -> None:
    scene = Scene(parts=[a_job("img_2"), a_job()])
    await scene.ledger.claim(a_job("img_2"), a_claimant("worker-b/1", lease_s=30))

    assert await scene.handle() == Release(5)
    assert await scene.handle() == Release(5)

    assert scene.image.status is ImageStatus.COMPLETED
    assert scene.ledger.statistics["user_1"].total_images == 1


async def test_a_record_that_cannot_be_reached_keeps_the_message() -> None:
    scene = Scene()

    async def away(*_: object) -> None:
        message = "the table is away"
        raise TransientError(message)

    scene.profiles.get = away  # type: ignore[method-assign]

    assert isinstance(await scene.handle(), Release)
    assert scene.ledger.images == {}


async def test_a_message_that_is_lost_claims_nothing_more() -> None:
    scene = Scene(parts=[a_job("img_1"), a_job("img_2")])
    scene.hold.is_lost = True

    assert await scene.handle() == Abandon()
    assert scene.ledger.images == {}


async def test_a_stopped_delivery_stays_stopped_when_the_record_cannot_be_told() -> None:
    scene = Scene(parts=[a_job("img_1"), a_job("img_2")])
    scene.sources.gate = asyncio.Event()

    async def refuse(*_: object) -> Image:
        message = "the table is away"
        raise TransientError(message)

    scene.ledger.settle = refuse  # type: ignore[method-assign]
    delivering = asyncio.create_task(scene.handle())
    await scene.sources.reached.wait()
    delivering.cancel()
    await asyncio.wait([delivering])

    assert delivering.cancelled()
    assert [job.image_id for job in scene.sources.fetched] == ["img_1"]


async def test_a_failure_outside_is_told_from_a_message_that_only_has_to_wait() -> None:
    scene = Scene()
    scene.sources.error = TransientError("the bucket is away")
    away = await scene.handle()
    scene.ledger.images["img_1", "user_1"] = replace(
        scene.image, status=ImageStatus.PROCESSING, lease=Lease(owner="another", expires_at=after(60))
    )
    held = await scene.handle()

    assert isinstance(away, Release)
    assert isinstance(held, Release)
    assert (away.is_dependency_failure, held.is_dependency_failure) == (True, False)
