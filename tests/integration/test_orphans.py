"""Results that no record names, on an emulator."""

from dataclasses import dataclass, field, replace
from datetime import timedelta
from typing import TYPE_CHECKING, Any

import pytest
from PIL import Image as Picture

from tests.support.builders import a_claimant, a_job, all_transitions
from tests.support.pictures import encoded
from tests.support.repairs import open_tool
from worker.bootstrap import (
    build_ledger,
    build_queries,
    build_results,
    build_table_identity,
)
from worker.cli.support.report import Report
from worker.domain.claim import Claimed
from worker.domain.clock import utc_now
from worker.domain.image import Failure, Image, Rendition
from worker.domain.job import Job
from worker.domain.step import EncodedRendition
from worker.domain.transition import failed, image_completed
from worker.repair.orphans import MIN_AGE, ResultOwner, reconcile_orphans
from worker.repair.result_state import reconcile_results
from worker.s3.results import S3Results
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

FAILURE = Failure(code="unavailable", message="the bucket was unavailable", step=None, retryable=True)


@dataclass
class Objects:
    """Implements `ObjectReporter`: keeps what was reported, by key."""

    found_as: dict[str, str] = field(default_factory=dict)
    removed_as: dict[str, str] = field(default_factory=dict)

    def found(self, what: str, *, key: str) -> None:
        self.found_as[key] = what

    def removed(self, what: str, *, key: str) -> None:
        self.removed_as[key] = what


@dataclass
class Scene:
    """Images with records and results."""

    s3: "S3Client"
    dynamodb: "DynamoDBClient"
    settings: Settings
    objects: Objects = field(default_factory=Objects)
    report: Report = field(default_factory=lambda: Report("testing"))

    @property
    def results(self) -> S3Results:
        identity = build_table_identity(self.dynamodb, self.settings)
        return build_results(self.s3, self.settings, table_identity=identity)

    async def claimed(self, job: Job) -> Image:
        now = utc_now()
        claim = await build_ledger(self.dynamodb, self.settings).claim(job, a_claimant(f"w/{now}", now=now))
        assert isinstance(claim, Claimed)
        return claim.image

    async def stored(self, image: Image, *, file_format: str = "jpeg") -> Rendition:
        rendition = EncodedRendition(
            size="medium",
            width=8,
            height=6,
            format=file_format,
            content=encoded(Picture.new("RGB", (8, 6)), file_format.upper()),
        )
        return await self.results.store(image, rendition, is_main=True)

    async def completed(
        self, job: Job | None = None, *, file_format: str = "jpeg"
    ) -> tuple[Image, Rendition]:
        """Return a completed image and its result."""
        image = await self.claimed(job or a_job())
        rendition = await self.stored(image, file_format=file_format)
        moves = [
            *all_transitions(image.image_id)[:-1],
            image_completed({"medium": rendition}, main_size="medium", at=utc_now()),
        ]
        return await build_ledger(self.dynamodb, self.settings).settle(image, moves), rendition

    async def delete_record(self, image_id: str = "img_1") -> None:
        key: Any = {"imageId": {"S": image_id}, "userId": {"S": "user_1"}}
        await self.dynamodb.delete_item(TableName=self.settings.table_name, Key=key)

    async def reconcile(
        self, *, removes: bool = True, dry_run: bool = False, age: timedelta = 2 * MIN_AGE
    ) -> None:
        async with open_tool(self.settings, dry_run=dry_run, report=self.report) as repairs:
            await reconcile_orphans(repairs, self.objects, now=utc_now() + age, removes=removes)

    async def keys(self) -> set[str]:
        listed = await self.s3.list_objects_v2(Bucket=self.settings.bucket, Prefix="processed/")
        return {found["Key"] for found in listed.get("Contents", [])}

    async def image(self) -> Image:
        image = await build_queries(self.dynamodb, self.settings).image("img_1", "user_1", consistent=True)
        assert image
        return image


@pytest.fixture
def scene(s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings) -> Scene:
    return Scene(s3, dynamodb, provisioned)


async def test_a_result_that_its_record_names_stays(scene: Scene) -> None:
    await scene.completed()

    await scene.reconcile()

    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    assert scene.report.counts == {ResultOwner.RECORDED: 1}


async def test_a_result_that_a_dead_worker_has_left_is_removed_once_the_image_has_another(
    scene: Scene,
) -> None:
    await scene.stored(await scene.claimed(a_job()), file_format="png")
    _, rendition = await scene.completed(a_job(upload=2))

    await scene.reconcile(removes=False)
    assert scene.objects.found_as == {"processed/user_1/img_1.png": ResultOwner.NOT_IN_RECORD}
    await scene.reconcile()

    assert await scene.keys() == {rendition.key}
    assert scene.objects.removed_as == {"processed/user_1/img_1.png": ResultOwner.NOT_IN_RECORD}


async def test_a_result_without_a_record_is_removed(scene: Scene) -> None:
    await scene.completed()
    await scene.delete_record()

    await scene.reconcile(dry_run=True)
    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    await scene.reconcile()

    assert await scene.keys() == set()
    assert scene.objects.removed_as == {"processed/user_1/img_1.jpg": ResultOwner.WITHOUT_RECORD}


async def test_a_recent_result_is_not_judged(scene: Scene) -> None:
    await scene.completed()
    await scene.delete_record()

    await scene.reconcile(age=MIN_AGE / 2)

    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    assert scene.report.counts == {ResultOwner.RECENT: 1}


async def test_a_result_of_an_image_in_progress_stays(scene: Scene) -> None:
    await scene.stored(await scene.claimed(a_job()))

    await scene.reconcile()

    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    assert scene.report.counts == {ResultOwner.IN_PROGRESS: 1}


async def test_a_result_of_a_failed_attempt_stays_for_its_retry(scene: Scene) -> None:
    image = await scene.claimed(a_job())
    await scene.stored(image)
    await build_ledger(scene.dynamodb, scene.settings).settle(image, failed(FAILURE, at=utc_now()))

    await scene.reconcile()

    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    assert scene.report.counts == {ResultOwner.KEPT_FOR_RETRY: 1}


async def test_results_of_another_table_are_only_listed(scene: Scene) -> None:
    key = "processed/user_1/img_1.jpg"
    await scene.completed()
    head = await scene.s3.head_object(Bucket=scene.settings.bucket, Key=key)
    metadata = head["Metadata"] | {"record": "another-table/0123456789abcdef"}
    await scene.s3.put_object(Bucket=scene.settings.bucket, Key=key, Body=b"x", Metadata=metadata)
    await scene.delete_record()

    await scene.reconcile()

    assert await scene.keys() == {key}
    assert scene.objects.found_as == {key: ResultOwner.OTHER_TABLE}


async def test_an_object_that_no_worker_has_stored_is_only_listed(scene: Scene) -> None:
    await scene.s3.put_object(Bucket=scene.settings.bucket, Key="processed/readme.txt", Body=b"by hand")

    await scene.reconcile()

    assert await scene.keys() == {"processed/readme.txt"}
    assert scene.objects.found_as == {"processed/readme.txt": ResultOwner.NO_RESULT}


async def test_an_object_in_place_of_a_recorded_result_stays(scene: Scene) -> None:
    _, rendition = await scene.completed()
    head = await scene.s3.head_object(Bucket=scene.settings.bucket, Key=rendition.key)
    await scene.s3.put_object(
        Bucket=scene.settings.bucket, Key=rendition.key, Body=b"x", Metadata=head["Metadata"]
    )

    await scene.reconcile()

    assert scene.report.counts == {ResultOwner.REPLACED: 1}
    assert await scene.keys() == {rendition.key}


async def test_results_of_a_record_that_cannot_be_read_stay(scene: Scene) -> None:
    await scene.completed()
    key: Any = {"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}}
    await scene.dynamodb.update_item(
        TableName=scene.settings.table_name,
        Key=key,
        UpdateExpression="REMOVE createdAt",
    )

    await scene.reconcile()

    assert await scene.keys() == {"processed/user_1/img_1.jpg"}
    assert scene.report.counts == {ResultOwner.UNREADABLE_RECORD: 1}


@pytest.mark.parametrize("tool", ["orphans", "objects"])
async def test_leftovers_of_a_dead_worker_are_deleted_and_removed_from_the_record(
    scene: Scene, tool: str
) -> None:
    await scene.completed()
    image, rendition = await scene.completed(a_job(upload=2), file_format="png")
    assert [leftover.key for leftover in image.leftovers] == ["processed/user_1/img_1.jpg"]
    assert image == await scene.image()

    if tool == "orphans":
        await scene.reconcile(removes=False)
    else:
        async with open_tool(scene.settings, report=scene.report) as repairs:
            await reconcile_results(repairs)

    assert await scene.keys() == {rendition.key}
    assert await scene.image() == replace(image, leftovers=())


async def test_a_result_that_was_stored_in_place_of_a_leftover_is_not_deleted(scene: Scene) -> None:
    await scene.completed()
    await scene.completed(a_job(upload=2), file_format="png")
    image, rendition = await scene.completed(a_job(upload=3))
    assert [leftover.key for leftover in image.leftovers] == ["processed/user_1/img_1.png"]

    await scene.reconcile(removes=False)

    assert await scene.keys() == {rendition.key}


async def test_an_image_whose_result_has_an_earlier_key_that_is_now_another_images_is_processed_again(
    scene: Scene,
) -> None:
    job = replace(a_job(), bucket=scene.settings.bucket)
    await scene.s3.put_object(Bucket=job.bucket, Key=job.key, Body=b"x")
    _, taken = await scene.completed(a_job("img_1_small"))
    await scene.completed(job)
    await scene.dynamodb.update_item(
        TableName=scene.settings.table_name,
        Key={"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}},
        UpdateExpression="SET renditions.medium.#key = :key, processedS3Key = :key",
        ExpressionAttributeNames={"#key": "key"},
        ExpressionAttributeValues={":key": {"S": taken.key}},
    )

    async with open_tool(scene.settings, report=scene.report) as repairs:
        await reconcile_results(repairs)

    assert scene.report.counts["requeued: another object in place of a result"] == 1
