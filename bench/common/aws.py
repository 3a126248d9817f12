"""An AWS of the benchmark's own, with the worker's resources, and pictures put in its bucket."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

from tests.support.emulators import stack_name_of, unique_settings
from worker.bootstrap import deploy_storage, open_client
from worker.local.embedded_aws import embedded_aws, embedded_environment

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from worker.settings import Settings

_AT_ONCE: Final = 16


@asynccontextmanager
async def provisioned(**changes: object) -> AsyncIterator["Settings"]:
    """Start an AWS and make the resources; this process's clients talk to it from then on."""
    async with embedded_aws() as endpoint_url:
        os.environ.update(embedded_environment(endpoint_url))
        settings = unique_settings(endpoint_url, **changes)
        async with (
            open_client("cloudformation", settings) as cloudformation,
            open_client("dynamodb", settings) as dynamodb,
        ):
            await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        yield settings


async def upload(s3: "S3Client", settings: "Settings", pictures: Iterable[tuple[str, bytes]]) -> None:
    """Put pictures under their keys, several at once."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def put(key: str, content: bytes) -> None:
        async with room:
            await s3.put_object(Bucket=settings.bucket, Key=key, Body=content)

    await asyncio.gather(*(put(key, content) for key, content in pictures))
