"""`image-worker console`: the web console as a service."""

import asyncio

import structlog
import typer

from worker.bootstrap import open_clients
from worker.cli.run import stopped_by_signals
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
    settings, stopped = start(), asyncio.Event()
    async with open_clients(settings) as clients, open_console(settings, clients) as link:
        with stopped_by_signals(stopped.set):
            log.info("console.started", host=settings.console_host, port=settings.console_port)
            output.stderr_console().print(f"The web console is at [bold]{link}[/]", soft_wrap=True)
            await stopped.wait()
