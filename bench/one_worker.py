"""The real service beside an AWS of its own, for the benchmarks that look into one worker."""

import asyncio
import os
import socket
from collections.abc import AsyncIterator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Final

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

from tests.emulators import stack_name_of, unique_settings
from worker.bootstrap import open_client
from worker.local.aws import embedded_aws, embedded_environment
from worker.resources import deploy

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

    from config.settings import Settings

Samples = Mapping[tuple[str, tuple[str, ...]], float]
"""What `/metrics` says: by the name of a sample and the values of its labels, in the order of their names."""

IMAGES: Final = "image_worker_images_total"
CALLS: Final = "image_worker_aws_calls_total"
RESTARTS: Final = "image_worker_decoder_restarts_total"
IN_HAND: Final = "image_worker_in_hand"
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
            await deploy(cloudformation, dynamodb, settings, stack_name=stack_name_of(settings))
        yield settings


async def upload(s3: "S3Client", settings: "Settings", pictures: Iterable[tuple[str, bytes]]) -> None:
    """Put pictures under their keys, several at once."""
    room = asyncio.Semaphore(_AT_ONCE)

    async def put(key: str, content: bytes) -> None:
        async with room:
            await s3.put_object(Bucket=settings.bucket, Key=key, Body=content)

    await asyncio.gather(*(put(key, content) for key, content in pictures))


async def samples(session: aiohttp.ClientSession, port: int) -> Samples:
    """Read `/metrics`."""
    async with session.get(f"http://127.0.0.1:{port}/metrics") as answer:
        text = await answer.text()
    return {
        (one.name, tuple(value for _, value in sorted(one.labels.items()))): one.value
        for family in text_string_to_metric_families(text)
        for one in family.samples
    }


def free_port() -> int:
    """Find a port of 127.0.0.1 on which nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port: int = probe.getsockname()[1]
        return port


def total(seen: Samples, name: str) -> int:
    """Add up the samples of a name."""
    return round(sum(value for (one, _), value in seen.items() if one == name))
