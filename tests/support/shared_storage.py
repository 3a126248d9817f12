"""
Resources that are provisioned once for all tests of a folder, and are empty when a test begins.

A folder uses them by importing the fixtures into its conftest. Its asynchronous tests run on the event loop
of the session, which the clients belong to. Tests that delete resources provision `own_storage`.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import pytest_asyncio

from tests.support.console import RunningConsole, running_console
from tests.support.emulators import stack_name_of, unique_settings
from worker.bootstrap import Clients, deploy_storage, open_client, open_clients, queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

SHARDS = 2
"""Enough for lists that are merged from several; lists without images query each shard of each day."""

_BATCH = 25


@dataclass(frozen=True, slots=True)
class Storage:
    """Settings of resources that exist, and open clients."""

    settings: Settings
    clients: Clients


def run_on_the_loop_of_the_session(items: list[pytest.Item], folder: Path) -> None:
    """Run the asynchronous tests of a folder on the event loop of the session."""
    for item in items:
        if item.path.is_relative_to(folder) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@asynccontextmanager
async def provisioned_storage(endpoint_url: str, **changes: object) -> AsyncIterator[Storage]:
    """Provision resources for changed settings, and open clients."""
    settings = unique_settings(endpoint_url, index_shards=SHARDS, **changes)
    async with open_clients(settings) as clients, open_client("cloudformation", settings) as cloudformation:
        await deploy_storage(cloudformation, clients.dynamodb, settings, stack_name=stack_name_of(settings))
        yield Storage(settings, clients)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def shared_storage(ministack_endpoint: str) -> AsyncIterator[Storage]:
    """The resources of all tests."""
    async with provisioned_storage(ministack_endpoint) as storage:
        yield storage


@pytest_asyncio.fixture(loop_scope="session")
async def own_storage(ministack_endpoint: str) -> AsyncIterator[Storage]:
    """Resources of this test alone."""
    async with provisioned_storage(ministack_endpoint) as storage:
        yield storage


@pytest_asyncio.fixture(loop_scope="session")
async def storage(shared_storage: Storage) -> Storage:
    """The resources of all tests, without items, objects and messages."""
    await _empty(shared_storage)
    return shared_storage


@pytest.fixture
def provisioned(storage: Storage) -> Settings:
    """Settings of the resources."""
    return storage.settings


@pytest.fixture
def dynamodb(storage: Storage) -> "DynamoDBClient":
    return storage.clients.dynamodb


@pytest.fixture
def s3(storage: Storage) -> "S3Client":
    return storage.clients.s3


@pytest.fixture
def sqs(storage: Storage) -> "SQSClient":
    return storage.clients.sqs


@pytest_asyncio.fixture(loop_scope="session")
async def console(storage: Storage) -> AsyncIterator[RunningConsole]:
    """A console over the resources of all tests."""
    async with running_console(storage.settings, clients=storage.clients) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="session")
async def own_console(own_storage: Storage) -> AsyncIterator[RunningConsole]:
    """A console over resources of this test alone."""
    async with running_console(own_storage.settings, clients=own_storage.clients) as running:
        yield running


async def _empty(storage: Storage) -> None:
    settings, clients = storage.settings, storage.clients
    queues = (settings.queue_name, settings.dead_letter_queue_name)
    await asyncio.gather(
        _delete_objects(clients.s3, settings.bucket), _delete_items(clients.dynamodb, settings.table_name)
    )
    for name in queues:
        await clients.sqs.purge_queue(QueueUrl=await queue_url(clients.sqs, name))


async def _delete_objects(s3: "S3Client", bucket: str) -> None:
    while keys := [each["Key"] for each in (await s3.list_objects_v2(Bucket=bucket)).get("Contents", [])]:
        objects: Any = [{"Key": key} for key in keys if key.isprintable()]
        if objects:
            await s3.delete_objects(Bucket=bucket, Delete={"Objects": objects})
        for key in keys:
            if not key.isprintable():  # XML has no control characters
                await s3.delete_object(Bucket=bucket, Key=key)


async def _delete_items(dynamodb: "DynamoDBClient", table_name: str) -> None:
    keys: list[dict[str, Any]] = []
    request: dict[str, Any] = {
        "TableName": table_name,
        "ProjectionExpression": "imageId, userId",
        "ConsistentRead": True,
    }
    while True:
        response = await dynamodb.scan(**request)
        keys += response["Items"]
        if (last := response.get("LastEvaluatedKey")) is None:
            break
        request["ExclusiveStartKey"] = last
    for first in range(0, len(keys), _BATCH):
        deletes: Any = [{"DeleteRequest": {"Key": key}} for key in keys[first : first + _BATCH]]
        await dynamodb.batch_write_item(RequestItems={table_name: deletes})
