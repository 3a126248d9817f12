"""`image-worker run`: the service."""

import asyncio
import gc
import signal
from collections.abc import Iterator
from contextlib import contextmanager

import structlog
import typer

from worker import checks
from worker.bootstrap import RETRY_POLICIES, open_clients, open_consumer
from worker.cli.support.entrypoint import asynchronous, start
from worker.delivery.consumer import Consumer
from worker.settings import Settings

app = typer.Typer(add_completion=False)
log = structlog.get_logger()


@app.command()
@asynchronous
async def run() -> None:
    """
    Consume the queue until SIGTERM or SIGINT.

    The first signal stops receiving and finishes what is in hand, inside WORKER_DRAIN_TIMEOUT_S; the second
    gives back at once what is in hand. Either way the exit status is 0.

    Example: image-worker run
    """
    await serve(start())


async def serve(settings: Settings) -> None:
    """
    Run the service until it is told to stop.

    Raises:
        ConfigurationError: Something that it cannot start without is missing or wrong.
    """
    async with open_clients(settings) as clients:
        checks.require(
            await checks.check_at_start(
                clients.sqs, clients.s3, clients.dynamodb, settings, retry=RETRY_POLICIES.startup
            )
        )
        async with open_consumer(settings, clients) as service:
            with stopped_by_signals(service):
                log.info(
                    "service.started",
                    queue=settings.queue_name,
                    bucket=settings.bucket,
                    table=settings.table_name,
                    slots=settings.slots,
                    processes=settings.processes,
                )
                # What has been built by now lives as long as the process, and looking through all of it stops
                # the loop for 130 ms: the collector need not do that again.
                gc.collect()
                gc.freeze()
                await service.run()


@contextmanager
def stopped_by_signals(service: Consumer) -> Iterator[None]:
    """Let SIGTERM and SIGINT stop the service while the body runs."""
    loop = asyncio.get_running_loop()
    signals = (signal.SIGTERM, signal.SIGINT)
    for number in signals:
        loop.add_signal_handler(number, service.stop)
    try:
        yield
    finally:
        for number in signals:
            loop.remove_signal_handler(number)
