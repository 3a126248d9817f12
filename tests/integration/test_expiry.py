"""Records that expire take their objects along, and nothing that is newer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from botocore.exceptions import EndpointConnectionError

from tests.support.builders import a_claimant, a_job, a_rendition, all_transitions
from tests.support.crash_points import (
    Fault,
    FaultInjector,
    FaultKind,
    InterceptedClient,
    run_until_done_or_crashed,
)
from tests.support.emulators import client, unique_settings
from tests.support.retry import NO_WAIT
from worker.bootstrap import RETRY_POLICIES, table_of
from worker.domain.claim import Claimed, decide
from worker.domain.clock import utc_now
from worker.domain.image import Image, Leftover
from worker.domain.job import SourceVersion
from worker.domain.transition import apply_all
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.items import to_item
from worker.dynamodb.queries import Queries
from worker.dynamodb.stream import Start, TableStream
from worker.events.expiry import Expiry
from worker.events.follow import Checkpoint
from worker.s3.image_objects import ImageObjects
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client


@pytest.fixture
def settings(ministack_endpoint: str) -> Settings:
    return unique_settings(ministack_endpoint, delete_expired_objects=True)


class Expiring:
    """
    A client of the stream in which the deletes of some images are those of DynamoDB's expiry.

    The emulator deletes expired items without a change in the stream.
    """

    def __init__(self, streams: Any) -> None:
        self._streams = streams
        self.expired: set[str] = set()

    async def get_records(self, **request: Any) -> Any:
        response = await self._streams.get_records(**request)
        for record in response["Records"]:
            if record["eventName"] == "REMOVE" and record["dynamodb"]["Keys"]["imageId"]["S"] in self.expired:
                record["userIdentity"] = {"Type": "Service", "PrincipalId": "dynamodb.amazonaws.com"}
        return response

    def __getattr__(self, name: str) -> Any:
        return getattr(self._streams, name)


class World:
    """Images with their objects, records that expire, and a follower of the stream."""

    def __init__(
        self, settings: Settings, s3: "S3Client", dynamodb: "DynamoDBClient", streams: Expiring
    ) -> None:
        self.settings, self.s3, self.dynamodb, self.streams = settings, s3, dynamodb, streams

    async def store(self, key: str, content: bytes = b"content") -> str:
        response = await self.s3.put_object(Bucket=self.settings.bucket, Key=key, Body=content)
        return response["ETag"].strip('"')

    async def exists(self, key: str) -> bool:
        listed = await self.s3.list_objects_v2(Bucket=self.settings.bucket, Prefix=key)
        return any(found["Key"] == key for found in listed.get("Contents", []))

    async def completed(self, image_id: str) -> Image:
        """Store the objects and the record of a completed image with two results and one left over."""
        decision = decide(None, a_job(image_id), a_claimant())
        assert isinstance(decision, Claimed)
        image = apply_all(decision.image, all_transitions(image_id))
        version = SourceVersion(
            e_tag=await self.store(image.key), version_id=None, sequencer=None, uploaded_at=utc_now()
        )
        renditions = {}
        for size in ("medium", "small"):
            key = f"processed/{image.user_id}/{image_id}@{size}.jpg"
            renditions[size] = replace(a_rendition(), key=key, e_tag=await self.store(key, size.encode()))
        left = f"processed/{image.user_id}/{image_id}.png"
        image = replace(
            image,
            bucket=self.settings.bucket,
            version=version,
            created_at=version.uploaded_at,
            renditions=renditions,
            leftovers=(Leftover(key=left, e_tag=await self.store(left)),),
            ttl=1,
        )
        await self.put_record(image)
        return image

    async def put_record(self, image: Image) -> None:
        item = encode_map(to_item(image, table_of(self.settings)))
        await self.dynamodb.put_item(TableName=self.settings.table_name, Item=item)

    async def remove_record(self, image: Image, *, by_expiry: bool = True) -> None:
        key: Any = {"imageId": {"S": image.image_id}, "userId": {"S": image.user_id}}
        if by_expiry:
            self.streams.expired.add(image.image_id)
        await self.dynamodb.delete_item(TableName=self.settings.table_name, Key=key)

    async def objects_of(self, image: Image) -> list[str]:
        """Return which objects of an image exist."""
        keys = [
            image.key,
            *(each.key for each in image.renditions.values()),
            *(each.key for each in image.leftovers),
        ]
        return [key for key in keys if await self.exists(key)]

    async def follow(
        self,
        checkpoint: Path | None = None,
        *,
        s3: Any = None,
        dynamodb: Any = None,
        sleep: Any = asyncio.sleep,
        least: int = 0,
    ) -> list[Image]:
        """
        Follow the stream until it has no more changes; return the images whose objects were deleted.

        It waits until there are `least` of them, because a change is in the stream a moment after its write.
        """
        s3, dynamodb = s3 or self.s3, dynamodb or self.dynamodb
        deleted: list[Image] = []
        streams: Any = self.streams
        table = table_of(self.settings)
        stream = TableStream(self.dynamodb, streams, table=table, retry=RETRY_POLICIES.table, poll_s=0.01)
        expiry = Expiry(
            bucket=self.settings.bucket,
            upload_keys=self.settings.upload_keys,
            objects=ImageObjects(
                s3,
                retry=NO_WAIT,
                results_bucket=self.settings.bucket,
                result_keys=self.settings.result_keys,
            ),
            queries=Queries(dynamodb, table=table, retry=NO_WAIT),
            sleep=sleep,
        )
        batches = expiry.follow(stream, start=Start.OLDEST, checkpoint=Checkpoint(checkpoint))
        seen = stream.positions
        async with asyncio.timeout(30), aclosing(batches):
            async for images in batches:
                deleted += images
                if not images and stream.positions == seen and len(deleted) >= least:
                    break
                seen = stream.positions
        return deleted


@pytest.fixture
async def world(provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient") -> AsyncIterator[World]:
    async with client("dynamodbstreams", provisioned) as streams:
        yield World(provisioned, s3, dynamodb, Expiring(streams))


async def test_the_objects_of_an_expired_image_are_deleted_and_those_of_others_are_not(world: World) -> None:
    expired, deleted, kept = [await world.completed(f"img_{number}") for number in range(3)]
    await world.remove_record(expired)
    await world.remove_record(deleted, by_expiry=False)

    (image,) = await world.follow()

    assert image.image_id == expired.image_id
    assert await world.objects_of(expired) == []
    assert len(await world.objects_of(deleted)) == 4, "another program has deleted that record"
    assert len(await world.objects_of(kept)) == 4


async def test_a_newer_upload_and_what_was_made_of_it_stay(world: World) -> None:
    replaced = await world.completed("img_1")
    await world.store(replaced.key, b"a newer upload")
    await world.store(replaced.renditions["small"].key, b"its result")
    await world.remove_record(replaced)

    await world.follow()

    assert await world.objects_of(replaced) == [replaced.key, replaced.renditions["small"].key]


async def test_nothing_is_deleted_while_there_is_a_record_again(world: World) -> None:
    image = await world.completed("img_1")
    await world.remove_record(image)
    await world.put_record(replace(image, attempt=1, ttl=None))

    assert await world.follow() == []

    assert len(await world.objects_of(image)) == 4


@asynccontextmanager
async def crashing(world: World, faults: list[Fault]) -> AsyncIterator[tuple[FaultInjector, dict[str, Any]]]:
    injector = FaultInjector(faults)
    worker = injector.new_worker()
    yield (
        injector,
        {
            "s3": InterceptedClient(world.s3, injector, worker),
            "dynamodb": InterceptedClient(world.dynamodb, injector, worker),
        },
    )


async def test_after_a_crash_at_any_call_the_next_run_deletes_the_rest(world: World, tmp_path: Path) -> None:
    counted = await world.completed("img_counted")
    await world.remove_record(counted)
    checkpoint = tmp_path / "positions.json"
    async with crashing(world, []) as (injector, clients):
        await world.follow(checkpoint, **clients, least=1)
        calls = injector.names
    assert calls == [
        "get_item",
        "head_object",
        "delete_object",
        "get_item",
        *["delete_object"] * 3,
    ]
    for number in range(1, len(calls) + 1):
        for kind in FaultKind:
            image = await world.completed(f"img_{number}_{kind.name}")
            await world.remove_record(image)
            async with crashing(world, [Fault(number, kind)]) as (injector, clients):

                async def run(clients: dict[str, Any] = clients) -> None:
                    await world.follow(checkpoint, **clients, least=1)

                await run_until_done_or_crashed(injector, run())
                assert injector.all_injected
            await world.follow(checkpoint)
            assert await world.objects_of(image) == [], (number, kind)


class Unavailable:
    """An S3 client whose first calls find no connection."""

    def __init__(self, s3: "S3Client", *, calls: int) -> None:
        self._s3, self.calls = s3, calls

    def __getattr__(self, name: str) -> Any:
        method = getattr(self._s3, name)

        async def call(**request: Any) -> Any:
            if self.calls:
                self.calls -= 1
                raise EndpointConnectionError(endpoint_url="http://s3")
            return await method(**request)

        return call


async def test_an_outage_is_waited_for(world: World) -> None:
    image = await world.completed("img_1")
    await world.remove_record(image)
    pauses: list[float] = []

    async def sleep(seconds: float) -> None:
        pauses.append(seconds)

    await world.follow(s3=Unavailable(world.s3, calls=3 * NO_WAIT.attempts), sleep=sleep)

    assert pauses == [1, 2, 4]
    assert await world.objects_of(image) == []


async def test_other_items_and_damaged_records_that_expire_stop_nothing(world: World) -> None:
    image = await world.completed("img_1")
    for image_id in ("user_profile", "console_operation", "damaged"):
        item: Any = {"imageId": {"S": image_id}, "userId": {"S": image.user_id}, "ttl": {"N": "1"}}
        await world.dynamodb.put_item(TableName=world.settings.table_name, Item=item)
        await world.remove_record(replace(image, image_id=image_id))
    elsewhere = replace(image, image_id="elsewhere", bucket="another-bucket")
    await world.put_record(elsewhere)
    await world.remove_record(elsewhere)
    await world.remove_record(image)

    (deleted,) = await world.follow()

    assert deleted.image_id == image.image_id
