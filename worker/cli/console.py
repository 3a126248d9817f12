"""`image-worker console`: the web console as a service."""

import asyncio
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import structlog
import typer

from worker.bootstrap import open_clients
from worker.cli.support import output
from worker.cli.support.console import open_console
from worker.cli.support.entrypoint import asynchronous, start

app = typer.Typer(add_completion=False)
log = structlog.get_logger()


@app.command()
@asynchronous
async def console() -> None:
    """
    Run the web console: see images, failures, queues and users, and act on them.

    Runs until SIGTERM or SIGINT. Prints the address, with a link that signs in once. It needs the extra
    `console`.

    Example: image-worker console
    """
    settings = start()
    async with (
        open_clients(settings) as clients,
        open_console(settings, clients) as link,
        _stop_signal() as stopped,
    ):
        log.info("console.started", host=settings.console_host, port=settings.console_port)
        output.stderr_console().print(f"The web console is at [bold]{link}[/]", soft_wrap=True)
        await stopped.wait()


@asynccontextmanager
async def _stop_signal() -> AsyncIterator[asyncio.Event]:
    """Yield an event that SIGTERM and SIGINT set while the body runs."""
    loop, stopped = asyncio.get_running_loop(), asyncio.Event()
    signals = (signal.SIGTERM, signal.SIGINT)
    for each in signals:
        loop.add_signal_handler(each, stopped.set)
    try:
        yield stopped
    finally:
        for each in signals:
            loop.remove_signal_handler(each)
