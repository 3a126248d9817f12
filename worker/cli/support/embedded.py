"""The embedded AWS with its resources and a worker on it: what `demo` and `local` have in common."""

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from worker.bootstrap import Clients, deploy_storage, open_client, open_clients, open_consumer
from worker.delivery.consumer import Consumer
from worker.local.embedded_aws import embedded_aws, embedded_environment
from worker.settings import Settings


@dataclass(frozen=True, slots=True)
class Embedded:
    """A worker at work: its settings, clients, service, and the task that runs it."""

    settings: Settings
    clients: Clients
    service: Consumer
    running: asyncio.Task[None]


@asynccontextmanager
async def embedded_worker(
    *, state_dir: Path | None = None, port: int = 0, has_http: bool = False
) -> AsyncIterator[Embedded]:
    """
    Start an AWS, make the resources, and run the worker until the body ends.

    Args:
        state_dir: Where the AWS keeps its state; nowhere if None.
        port: Of the AWS; any that is free if 0.
        has_http: Whether health and metrics are served.

    Raises:
        ConfigurationError: The AWS is not installed or does not start, or a setting is wrong.
    """
    async with embedded_aws(state_dir, port=port) as endpoint_url:
        os.environ.update(embedded_environment(endpoint_url))
        # For whoever sits at this machine, and nobody else.
        settings = Settings(http_host="127.0.0.1") if has_http else Settings(http_port=0)
        async with (
            open_client("cloudformation", settings) as cloudformation,
            open_clients(settings) as clients,
        ):
            await deploy_storage(cloudformation, clients.dynamodb, settings)
            async with open_consumer(settings, clients) as service:  # noqa: SIM117 - told apart by the comment
                # A task group, so that a service that dies takes the body with it.
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(service.run(), name="service")
                    try:
                        yield Embedded(settings, clients, service, running)
                    finally:
                        service.stop()
