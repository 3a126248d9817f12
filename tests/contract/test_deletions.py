"""The writes of deletions, against every emulator."""

from collections.abc import AsyncIterator
from dataclasses import dataclass, field, replace
from itertools import count
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import a_claimant, a_job, a_requester, all_transitions
from tests.support.emulators import client, create_table, unique_settings
from worker.bootstrap import RETRY_POLICIES, build_ledger, build_profile_store, build_queries, table_of
from worker.domain.claim import AlreadyDone, BeingDeleted, Claimed
from worker.domain.errors import LeaseLostError
from worker.domain.image import Image
from worker.dynamodb.deletions import DeletionWrites
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.profiles import ProfileStore
from worker.dynamodb.queries import Queries
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


@dataclass
class Scene:
    """A table in an emulator, and the adapters that a deletion uses."""

    dynamodb: "DynamoDBClient"
    settings: Settings
    deliveries: "count[int]" = field(default_factory=count)

    @property
    def writes(self) -> DeletionWrites:
        table, retry = table_of(self.settings), RETRY_POLICIES.table
        return DeletionWrites(self.dynamodb, table=table, retry=retry, requester=a_requester("images delete"))

    @property
    def ledger(self) -> DynamoLedger:
        return build_ledger(self.dynamodb, self.settings)

    @property
    def queries(self) -> Queries:
        return build_queries(self.dynamodb, self.settings)

    @property
    def profiles(self) -> ProfileStore:
        return build_profile_store(self.dynamodb, self.settings)

    async def claimed(self, image_id: str = "img_1") -> Image:
        claim = await self.ledger.claim(a_job(image_id), a_claimant(f"worker-a/{next(self.deliveries)}"))
        assert isinstance(claim, Claimed)
        return claim.image

    async def completed(self, image_id: str = "img_1") -> Image:
        return await self.ledger.settle(await self.claimed(image_id), all_transitions())

    async def stored(self, image: Image) -> Image | None:
        return await self.queries.image(image.image_id, image.user_id, consistent=True)

    async def totals(self) -> tuple[int, int] | None:
        item = await self.profiles.get("user_1", consistent=True)
        statistics = item.get("statistics") if item else None
        if not isinstance(statistics, dict):
            return None
        images, size_bytes = statistics["totalImages"], statistics["totalStorageUsed"]
        assert isinstance(images, int)
        assert isinstance(size_bytes, int)
        return images, size_bytes


@pytest.fixture(params=["ministack", "moto"])
async def scene(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[Scene]:
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        yield Scene(dynamodb, settings)


async def marked(scene: Scene, image: Image) -> Image:
    after = await scene.writes.begin(image)
    assert after
    assert await scene.stored(image) == after
    return after


async def test_a_deleted_image_is_no_longer_counted_and_the_others_are(scene: Scene) -> None:
    image, other = await scene.completed(), await scene.completed("img_2")

    assert await scene.writes.finish(await marked(scene, image))

    assert await scene.stored(image) is None
    assert await scene.totals() == (1, other.total_bytes())


async def test_the_mark_fences_the_worker_and_every_claim(scene: Scene) -> None:
    image = await scene.claimed()
    after = await marked(scene, image)

    with pytest.raises(LeaseLostError):
        await scene.ledger.settle(image, all_transitions())
    with pytest.raises(LeaseLostError):
        await scene.ledger.renew(image, until=image.updated_at)
    same = await scene.ledger.claim(a_job(), a_claimant("worker-b/1"))
    newer = await scene.ledger.claim(a_job(upload=2), a_claimant("worker-b/2"))
    assert (same, newer) == (AlreadyDone(after), BeingDeleted(after))


async def test_only_the_worker_that_had_the_lease_acknowledges_the_deletion(scene: Scene) -> None:
    image = await scene.claimed()
    after = await marked(scene, image)
    assert image.lease

    await scene.ledger.acknowledge_deletion(replace(image, lease=replace(image.lease, owner="worker-b/1")))
    assert await scene.ledger.read(image) == after
    await scene.ledger.acknowledge_deletion(image)

    read = await scene.ledger.read(image)
    assert read
    assert read.deletion
    assert read.deletion.lease is None
    assert await scene.writes.finish(after)
    assert await scene.ledger.read(image) is None


async def test_an_image_that_has_changed_since_it_was_read_is_not_marked(scene: Scene) -> None:
    seen = await scene.claimed()
    completed = await scene.ledger.settle(seen, all_transitions())

    assert await scene.writes.begin(seen) is None
    assert await scene.stored(seen) == completed


async def test_the_end_of_a_deletion_can_be_repeated_and_deletes_no_other_record(scene: Scene) -> None:
    image = await marked(scene, await scene.completed())

    assert await scene.writes.finish(image)
    assert await scene.writes.finish(image)
    assert await scene.totals() == (0, 0)
    next_record = await scene.completed()
    next_marked = await marked(scene, next_record)
    assert next_marked.attempt == image.attempt
    assert await scene.writes.finish(image) is False
    assert await scene.writes.finish(replace(image, counted_bytes=None)) is False

    assert await scene.stored(image) == next_marked
    assert await scene.totals() == (1, next_record.total_bytes())


async def test_a_counted_image_of_an_owner_without_statistics_is_deleted(scene: Scene) -> None:
    image = await scene.completed()
    profile = await scene.profiles.get("user_1", consistent=True)
    assert profile

    assert await scene.writes.forget_profile("user_1", {**profile, "updatedAt": "earlier"}) is False
    assert await scene.writes.forget_profile("user_1", profile)
    assert await scene.writes.forget_profile("user_1", profile)
    assert await scene.writes.finish(await marked(scene, image))

    assert await scene.stored(image) is None
    assert await scene.totals() is None
