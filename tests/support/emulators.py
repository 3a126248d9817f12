"""AWS emulators, one of each for the test session, and settings with resource names of each test."""

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Literal
from uuid import uuid4

import pytest
import pytest_asyncio
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession

from tests.support.templates import table_properties
from worker.bootstrap import deploy_storage
from worker.local.embedded_aws import EMBEDDED_CREDENTIALS, EMBEDDED_REGION, embedded_aws
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

Service = Literal[
    "cloudformation",
    "cloudwatch",
    "dynamodb",
    "dynamodbstreams",
    "events",
    "iam",
    "kms",
    "pipes",
    "s3",
    "sqs",
]

SESSION = AioSession()
"""Shared because it caches the service models; it is independent of event loops."""


def unique_settings(endpoint_url: str, **changes: object) -> Settings:
    """Return settings with resource names that no other test uses."""
    suffix = uuid4().hex[:12]
    names: dict[str, object] = {
        "region": EMBEDDED_REGION,
        "endpoint_url": endpoint_url,
        "bucket": f"uploads-{suffix}",
        "queue_name": f"events-{suffix}",
        "dead_letter_queue_name": f"events-dead-{suffix}",
        "table_name": f"metadata-{suffix}",
        "events_dead_letter_queue_name": f"state-changes-dead-{suffix}",
        "index_shards": 8,
        "http_port": 0,
    }
    return Settings.model_validate(names | changes)


def variables_of(settings: Settings) -> dict[str, str]:
    """Return the environment variables with the resource names of the settings, for another process."""
    names = ("bucket", "queue_name", "dead_letter_queue_name", "table_name", "events_dead_letter_queue_name")
    return {f"WORKER_{name.upper()}": str(getattr(settings, name)) for name in names}


def stack_name_of(settings: Settings) -> str:
    """Return the name of the CloudFormation stack with a test's resources."""
    return f"storage-{settings.bucket}"


def client(
    service: Service, settings: Settings, *, has_credentials: bool = True
) -> AbstractAsyncContextManager[Any]:
    """Open a client without retries, so that a test gets every error of the emulator."""
    session: Any = SESSION if has_credentials else AioSession()  # the stubs have one overload per service
    opened: AbstractAsyncContextManager[Any] = session.create_client(
        service,
        region_name=settings.region,
        endpoint_url=settings.endpoint_url,
        verify=False,  # the emulators have no TLS, and certificates take 27 ms to load
        config=AioConfig(retries={"total_max_attempts": 1}, connect_timeout=2, read_timeout=30),
        **(EMBEDDED_CREDENTIALS if has_credentials else {}),
    )
    return opened


async def create_table(dynamodb: "DynamoDBClient", settings: Settings) -> None:
    """Create the template's table without CloudFormation, because moto fails to deploy the queue policy."""
    await dynamodb.create_table(**table_properties(settings.table_name))
    await dynamodb.update_time_to_live(
        TableName=settings.table_name, TimeToLiveSpecification={"AttributeName": "ttl", "Enabled": True}
    )
    await dynamodb.update_table(TableName=settings.table_name, DeletionProtectionEnabled=True)
    await dynamodb.update_continuous_backups(
        TableName=settings.table_name, PointInTimeRecoverySpecification={"PointInTimeRecoveryEnabled": True}
    )


async def delete_table(dynamodb: "DynamoDBClient", table_name: str) -> None:
    """Delete a table of the template, which is protected against that."""
    await dynamodb.update_table(TableName=table_name, DeletionProtectionEnabled=False)
    await dynamodb.delete_table(TableName=table_name)


async def receive_keys(sqs: "SQSClient", settings: Settings) -> list[str]:
    """Receive S3 notifications; return their keys. The test event of a new notification has none."""
    url = (await sqs.get_queue_url(QueueName=settings.queue_name))["QueueUrl"]
    received = await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10, WaitTimeSeconds=5)
    bodies = [json.loads(message["Body"]) for message in received["Messages"]]
    return [record["s3"]["object"]["key"] for body in bodies for record in body.get("Records", [])]


async def messages_in(sqs: "SQSClient", queue_name: str) -> int:
    """Return the number of visible, in-flight and delayed messages of a queue."""
    url = (await sqs.get_queue_url(QueueName=queue_name))["QueueUrl"]
    response = await sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])
    attributes: Any = response["Attributes"]
    kinds = ("Messages", "MessagesNotVisible", "MessagesDelayed")
    return sum(int(attributes[f"ApproximateNumberOf{kind}"]) for kind in kinds)


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def ministack_endpoint() -> AsyncIterator[str]:
    """The endpoint of the session's MiniStack, for any process."""
    async with embedded_aws() as endpoint_url:
        yield endpoint_url


@pytest.fixture(scope="session")
def moto_endpoint() -> Iterator[str]:
    """The endpoint of the session's moto server."""
    with moto_server() as endpoint_url:
        yield endpoint_url


@contextmanager
def moto_server() -> Iterator[str]:
    """Run moto's server in a thread, on a free port."""
    from moto.server import ThreadedMotoServer  # takes half a second, and few tests need it

    server = ThreadedMotoServer(ip_address="127.0.0.1", port=0, verbose=False)
    server.start()
    try:
        host, port = server.get_host_and_port()
        yield f"http://{host}:{port}"
    finally:
        server.stop()


@asynccontextmanager
async def failing_aws(code: str, *, status: int) -> AsyncIterator[str]:
    """Run a server that responds to every request with an AWS error code, in the format of the service."""

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"x-amz-target" in head:
            content_type, body = "application/x-amz-json-1.0", f'{{"__type": "com.amazonaws#{code}"}}'
        else:
            content_type, body = "application/xml", f"<Error><Code>{code}</Code></Error>"
        body = "" if head.startswith(b"head") else body
        writer.write(
            f"HTTP/1.1 {status} X\r\nContent-Type: {content_type}\r\nContent-Length: {len(body)}\r\n"
            f"Connection: close\r\n\r\n{body}".encode()
        )
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(respond, "127.0.0.1", 0)
    async with server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def a_free_port() -> int:
    """Return a port of 127.0.0.1 that is not in use."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@pytest.fixture
def free_port() -> int:
    """A port of 127.0.0.1 that is not in use."""
    return a_free_port()


@pytest.fixture
def settings(ministack_endpoint: str) -> Settings:
    """Settings of the session's MiniStack; the resources do not exist yet."""
    return unique_settings(ministack_endpoint)


@pytest.fixture
async def provisioned(
    settings: Settings, cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient"
) -> Settings:
    """The test's settings, with their resources provisioned."""

    await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
    return settings


@pytest.fixture
async def cloudformation(settings: Settings) -> "AsyncIterator[CloudFormationClient]":
    async with client("cloudformation", settings) as opened:
        yield opened


@pytest.fixture
async def cloudwatch(settings: Settings) -> "AsyncIterator[CloudWatchClient]":
    async with client("cloudwatch", settings) as opened:
        yield opened


@pytest.fixture
async def dynamodb(settings: Settings) -> "AsyncIterator[DynamoDBClient]":
    async with client("dynamodb", settings) as opened:
        yield opened


@pytest.fixture
async def s3(settings: Settings) -> "AsyncIterator[S3Client]":
    async with client("s3", settings) as opened:
        yield opened


@pytest.fixture
async def sqs(settings: Settings) -> "AsyncIterator[SQSClient]":
    async with client("sqs", settings) as opened:
        yield opened
