"""A bucket with keys of another shape: served after two settings, and enqueued from it or its inventory."""

import asyncio
import gzip
import hashlib
import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import quote_plus

import pytest
from arro3.core import Array, DataType, Table
from arro3.io import write_parquet

from tests.support.builders import a_requester
from tests.support.emulators import stack_name_of
from tests.support.pictures import encoded, quadrants
from tests.support.repairs import open_tool
from tests.support.whole_worker import running_worker
from worker.bootstrap import build_deletions, build_queries, deploy_storage, open_clients
from worker.cli.support.report import Report
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES, ImageStatus
from worker.repair.deletion import forget_user
from worker.repair.enqueue import enqueue_all, enqueue_inventory
from worker.repair.inventory import read_manifest
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

IMAGE: Final = encoded(quadrants(96, 72))
KEYS: Final = (
    "photos/2024/beach.jpg",
    "photos/2024/beach.png",  # has the image id of the one before
    "photos/a b+c %\u00e9.jpg",
    "photos/photo.jpg",
    "photos/photo@thumbnail.jpg",  # is named as the thumbnail of the one before
)
MODIFIED: Final = datetime(2026, 11, 1, 12, tzinfo=UTC)
PARQUET_TYPES: Final = {
    "bucket": DataType.utf8(),
    "key": DataType.utf8(),
    "is_latest": DataType.bool(),
    "is_delete_marker": DataType.bool(),
    "size": DataType.int64(),
    "last_modified_date": DataType.int64(),
    "e_tag": DataType.utf8(),
}


def of_photos(settings: Settings) -> Settings:
    """Return the settings with the two that a bucket with other keys needs, and a second size."""
    return settings.model_copy(
        update={"upload_key": "photos/{imageId}.{ext}", "upload_user": "shop", "extra_sizes": ["thumbnail"]}
    )


async def enqueue(
    settings: Settings, manifest: Path | str | None = None, *, prefix: str = "photos/", dry_run: bool = False
) -> dict[str, int]:
    """Enqueue the uploads in the bucket, or in an inventory; return the counts."""
    report = Report("testing", dry_run=dry_run, json=True)
    async with open_tool(settings, command="enqueue", dry_run=dry_run, report=report) as repairs:
        if manifest is None:
            await enqueue_all(repairs, prefix=prefix)
        else:
            inventory = await read_manifest(str(manifest), s3=repairs.s3, retry=repairs.s3_retry)
            await enqueue_inventory(repairs, inventory, prefix=prefix)
    return dict(report.counts)


async def wait_for_images(dynamodb: "DynamoDBClient", settings: Settings, count: int) -> list[Image]:
    """Wait until the owner of all uploads has so many completed or failed images; return them."""
    queries = build_queries(dynamodb, settings)
    async with asyncio.timeout(60):
        while True:
            page = await queries.images_of_user("shop", limit=100)
            keys = [(image.image_id, image.user_id) for image in page.images]
            images = await queries.images(keys, consistent=True)
            if len(images) == count and all(image.status in TERMINAL_STATUSES for image in images):
                return images
            await asyncio.sleep(0.02)  # leaves the emulator free for the worker


async def test_a_bucket_with_other_keys_is_served_after_two_settings(
    settings: Settings,
    cloudformation: "CloudFormationClient",
    s3: "S3Client",
    dynamodb: "DynamoDBClient",
) -> None:
    settings = of_photos(settings)
    await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
    async with running_worker(settings):
        for key in KEYS:  # announced by the notifications of the provisioned bucket
            await s3.put_object(Bucket=settings.bucket, Key=key, Body=IMAGE)
        images = await wait_for_images(dynamodb, settings, len(KEYS))

    assert {image.key for image in images} == set(KEYS)
    assert {image.status for image in images} == {ImageStatus.COMPLETED}
    results = [each.key for image in images for each in image.renditions.values()]
    assert len(results) == len(set(results)) == 2 * len(KEYS)
    assert await enqueue(settings) == {"already recorded": len(KEYS)}


async def test_the_uploads_in_a_bucket_are_enqueued_and_processed_once(
    provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    settings = of_photos(provisioned)
    for key in (*KEYS, "photos/2024/", "other/a.jpg"):  # before there is a notification for them
        await s3.put_object(Bucket=settings.bucket, Key=key, Body=b"" if key.endswith("/") else IMAGE)
    assert await enqueue(settings) == {"enqueued": len(KEYS), "folder": 1}
    assert await enqueue(settings) == {"enqueued": len(KEYS), "folder": 1}  # sends second messages
    async with running_worker(settings):
        images = await wait_for_images(dynamodb, settings, len(KEYS))
    assert await enqueue(settings) == {"already recorded": len(KEYS), "folder": 1}
    assert {(image.status, image.attempt) for image in images} == {(ImageStatus.COMPLETED, 1)}


async def test_all_uploads_are_forgotten_with_their_constant_owner_and_nothing_else(
    provisioned: Settings, s3: "S3Client"
) -> None:
    settings = of_photos(provisioned)
    keys = {*KEYS, "photos/2024/", "other/shop/a.jpg", "processed/alice/a.jpg"}
    for key in keys:
        await s3.put_object(Bucket=settings.bucket, Key=key, Body=b"")
    assert await forget(settings, "bob", s3) == keys
    assert await forget(settings, "shop", s3) == keys - set(KEYS)


async def forget(settings: Settings, user_id: str, s3: "S3Client") -> set[str]:
    """Forget a user; return the keys in the bucket afterwards."""
    report = Report("testing", json=True)
    async with open_clients(settings) as clients:
        context = build_deletions(settings, clients, requester=a_requester("users forget"), reporter=report)
        await forget_user(context, user_id, before=utc_now() + timedelta(minutes=1))
    listed = await s3.list_objects_v2(Bucket=settings.bucket)
    return {each["Key"] for each in listed["Contents"]}


@pytest.mark.parametrize("stored_as", ["CSV", "Parquet"])
@pytest.mark.parametrize("is_local", [True, False], ids=["a local copy", "in S3"])
async def test_the_uploads_in_an_inventory_are_enqueued(
    provisioned: Settings,
    s3: "S3Client",
    tmp_path: Path,
    stored_as: str,
    is_local: bool,
) -> None:
    settings = of_photos(provisioned)
    objects = [a_row(settings, f"photos/many/{number}.jpg") for number in range(1500)]
    objects += [a_row(settings, key) for key in KEYS]
    objects += [
        a_row(settings, "photos/2024/", size=0),
        a_row(settings, "uploads/alice/a.jpg"),
        a_row(settings, "photos/old.jpg", is_latest=False),
        a_row(settings, "photos/gone.jpg", is_delete_marker=True),
    ]
    manifest = write_inventory(tmp_path, settings, objects, stored_as)
    if not is_local:
        for path in (manifest, *data_files(tmp_path)):
            key = f"inventory/{path.name}"
            await s3.put_object(Bucket=settings.bucket, Key=key, Body=path.read_bytes())
    name = str(manifest) if is_local else f"s3://{settings.bucket}/inventory/manifest.json"
    others = {"folder": 1, "outside the prefix": 1, "older version or delete marker": 2}

    counts = await enqueue(settings, name, dry_run=True)
    assert counts == {"enqueued": 1500 + len(KEYS), **others}
    few = await enqueue(settings, name, prefix="photos/a b+c %\u00e9", dry_run=True)
    assert few == {"enqueued": 1, "outside the prefix": len(objects) - 1}


async def test_an_inventory_in_parquet_needs_the_extra(
    provisioned: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    manifest = write_inventory(tmp_path, provisioned, [a_row(provisioned, "photos/a.jpg")], "Parquet")
    monkeypatch.setitem(sys.modules, "arro3", None)  # as if it were not installed
    with pytest.raises(
        ConfigurationError, match=r"run pip install 'image-worker\[inventory\]', or configure"
    ):
        await enqueue(of_photos(provisioned), manifest)


async def test_an_inventory_that_cannot_be_used_is_a_clear_error(
    provisioned: Settings, tmp_path: Path
) -> None:
    settings, objects = of_photos(provisioned), [a_row(provisioned, "photos/a.jpg")]
    manifest = write_inventory(tmp_path, settings, objects, "CSV")
    content = json.loads(manifest.read_text())
    (data,) = data_files(tmp_path)
    for change, message in (
        (
            {"fileFormat": "ORC"},
            r"has the format ORC, which cannot be read: configure an inventory in CSV",
        ),
        ({"files": None}, r"is not the manifest of an S3 inventory .*: give the manifest\.json"),
        ({"fileSchema": "Bucket, Key"}, r"zip\(\) argument 2 is longer"),
        (
            {"fileSchema": content["fileSchema"].replace("ETag", "X")},
            r"not have the field ETag: add Key, ",
        ),
    ):
        manifest.write_text(json.dumps(content | change))
        with pytest.raises(ConfigurationError, match=message):
            await enqueue(settings, manifest)
    manifest.write_text(json.dumps(content))
    data.write_bytes(data.read_bytes()[:-9])
    with pytest.raises(ConfigurationError, match=r"has the MD5 .* not .* as in the manifest"):
        await enqueue(settings, manifest)
    with pytest.raises(ConfigurationError, match="cannot be read: No such file or directory; correct"):
        await enqueue(settings, tmp_path / "missing.json")


def data_files(folder: Path) -> list[Path]:
    return list((folder / "data").iterdir())


def a_row(
    settings: Settings, key: str, *, size: int = 7, is_latest: bool = True, is_delete_marker: bool = False
) -> dict[str, Any]:
    return {
        "bucket": settings.bucket,
        "key": key,
        "is_latest": is_latest,
        "is_delete_marker": is_delete_marker,
        "size": None if is_delete_marker else size,
        "last_modified_date": MODIFIED,
        "e_tag": hashlib.md5(key.encode(), usedforsecurity=False).hexdigest(),
    }


def write_inventory(folder: Path, settings: Settings, rows: list[dict[str, Any]], stored_as: str) -> Path:
    """Write an inventory as S3 stores it; return the manifest."""
    (folder / "data").mkdir()
    data = folder / "data" / ("objects.csv.gz" if stored_as == "CSV" else "objects.parquet")
    if stored_as == "CSV":
        lines = [",".join(f'"{_in_csv(name, value)}"' for name, value in row.items()) + "\n" for row in rows]
        data.write_bytes(gzip.compress("".join(lines).encode()))
        schema = "Bucket, Key, IsLatest, IsDeleteMarker, Size, LastModifiedDate, ETag"
    else:
        columns = {name: [_in_parquet(row[name]) for row in rows] for name in PARQUET_TYPES}
        arrays: dict[str, Any] = {name: Array(columns[name], kind) for name, kind in PARQUET_TYPES.items()}
        arrays["last_modified_date"] = arrays["last_modified_date"].cast(DataType.timestamp("ms", tz="UTC"))
        write_parquet(Table.from_pydict(arrays), data, compression="snappy")
        schema = "message s3.inventory { required binary bucket (UTF8); required binary key (UTF8); }"
    manifest = folder / "manifest.json"
    content = data.read_bytes()
    file = {
        "key": f"inventory/{data.name}",
        "size": len(content),
        "MD5checksum": hashlib.md5(content, usedforsecurity=False).hexdigest(),
    }
    manifest.write_text(
        json.dumps(
            {
                "sourceBucket": settings.bucket,
                "destinationBucket": f"arn:aws:s3:::{settings.bucket}",
                "version": "2016-11-30",
                "creationTimestamp": "1793534400000",
                "fileFormat": stored_as,
                "fileSchema": schema,
                "files": [file],
            }
        )
    )
    return manifest


def _in_csv(name: str, value: object) -> str:
    if isinstance(value, datetime):
        return value.strftime("%Y-%m-%dT%H:%M:%S.000Z")
    if isinstance(value, bool):
        return str(value).lower()
    return quote_plus(str(value), safe="/") if name == "key" else "" if value is None else str(value)


def _in_parquet(value: object) -> object:
    return int(value.timestamp() * 1000) if isinstance(value, datetime) else value
