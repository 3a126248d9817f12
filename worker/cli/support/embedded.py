"""The embedded AWS with its resources and a running worker, for `demo` and `local`."""

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
    """A running worker: its settings, clients, consumer, and the task that runs the consumer."""

    settings: Settings
    clients: Clients
    consumer: Consumer
    running: asyncio.Task[None]


@asynccontextmanager
async def embedded_worker(
    *, state_dir: Path | None = None, port: int = 0, has_http: bool = False
) -> AsyncIterator[Embedded]:
    """
    Start the embedded AWS, create its resources, and run the worker until the body ends.

    Args:
        state_dir: Directory that keeps the data of the embedded AWS; None discards it.
        port: Port of the embedded AWS; 0 selects a free port.
        has_http: Whether to serve the health and metrics endpoints.

    Raises:
        ConfigurationError: The embedded AWS is not installed or does not start, or a setting is invalid.
    """
    async with embedded_aws(state_dir, port=port) as endpoint_url:
        os.environ.update(embedded_environment(endpoint_url))
        # Reachable only from this machine.
        host = "127.0.0.1"
        settings = (
            Settings(console_host=host, http_host=host, events=True) if has_http else Settings(http_port=0)
        ).model_copy(update={"require_scan": False})  # the embedded AWS has no GuardDuty
        async with (
            open_client("cloudformation", settings) as cloudformation,
            open_clients(settings) as clients,
        ):
            await deploy_storage(cloudformation, clients.dynamodb, settings)
            async with open_consumer(settings, clients) as consumer:  # noqa: SIM117 - the comment is about the inner one
                # In a task group, an error of the consumer also cancels the body.
                async with asyncio.TaskGroup() as group:
                    running = group.create_task(consumer.run(), name="consumer")
                    try:
                        yield Embedded(settings, clients, consumer, running)
                    finally:
                        consumer.stop()
