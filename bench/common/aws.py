"""Embedded AWS with the worker's resources, for one measurement."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.support.emulators import stack_name_of, unique_settings
from worker.bootstrap import deploy_storage, open_client
from worker.local.embedded_aws import embedded_aws, embedded_environment
from worker.telemetry import logs

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from worker.settings import Settings

_MAX_PARALLEL_UPLOADS: Final = 16


@asynccontextmanager
async def provisioned(**changes: object) -> AsyncIterator["Settings"]:
    """
    Start an embedded AWS, deploy the worker's resources, and yield the settings that name them.

    From then on the clients of this process use that AWS, and its log has warnings and errors only.

    Args:
        changes: Settings that differ from their defaults.
    """
    logs.configure(format="console", level="warning")
    async with embedded_aws() as endpoint_url:
        os.environ.update(embedded_environment(endpoint_url))
        settings = unique_settings(endpoint_url, **changes)
        async with (
            open_client("cloudformation", settings) as cloudformation,
            open_client("dynamodb", settings) as dynamodb,
        ):
            await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        yield settings


async def upload(s3: "S3Client", settings: "Settings", images: Iterable[tuple[str, bytes]]) -> None:
    """Upload images, given as pairs of key and content."""
    slots = asyncio.Semaphore(_MAX_PARALLEL_UPLOADS)

    async def put(key: str, content: bytes) -> None:
        async with slots:
            await s3.put_object(Bucket=settings.bucket, Key=key, Body=content)

    await asyncio.gather(*(put(key, content) for key, content in images))
