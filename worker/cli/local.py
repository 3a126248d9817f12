"""`image-worker local`: an embedded AWS, the worker and the web console, to try things out."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from worker.cli.app import called_command
from worker.cli.run import stopped_by_signals
from worker.cli.support import output
from worker.cli.support.console import open_console
from worker.cli.support.embedded import Embedded, embedded_worker
from worker.cli.support.entrypoint import asynchronous, start
from worker.local.embedded_aws import embedded_environment

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def local(
    *,
    state: Annotated[
        Path | None,
        typer.Option("--state", metavar="DIR", help="Keep the data in this directory; default: discard it."),
    ] = None,
    port: Annotated[
        int, typer.Option(min=0, max=65535, help="Port of the embedded AWS on 127.0.0.1; 0: any free port.")
    ] = 4566,
) -> None:
    """
    Run an embedded AWS, the worker and the web console until Ctrl-C.

    Prints the link to the web console, the endpoint URL, and commands to try in another terminal.

    Example: image-worker local --state ./state
    """
    start()
    async with AsyncExitStack() as stack:
        with output.working("starting the embedded AWS and the worker"):
            embedded = await stack.enter_async_context(
                embedded_worker(state_dir=state, port=port, has_http=True)
            )
        settings, link = embedded.settings, None
        if settings.console_port:
            link = await stack.enter_async_context(open_console(settings, embedded.clients, is_local=True))
        with stopped_by_signals(embedded.consumer.stop):
            _print_instructions(embedded, state, link)
            await asyncio.wait([embedded.running])


def _print_instructions(embedded: Embedded, state: Path | None, link: str | None) -> None:
    endpoint_url = embedded.settings.endpoint_url or ""
    names = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    variables = embedded_environment(endpoint_url)
    data = f"kept in {state}" if state else "discarded at the end (--state DIR keeps it)"
    console = output.stderr_console()
    if link:
        console.print(f"Web console: [bold]{link}[/]\n", soft_wrap=True)
    console.print(f"The embedded AWS is at [bold]{endpoint_url}[/], and the worker is running.")
    console.print(f"Its data is {escape(data)}.")
    console.print("Try this in another terminal:\n")
    console.print("  export " + " ".join(f"{name}={variables[name]}" for name in names), soft_wrap=True)
    command = escape(called_command())
    console.print(f"  {command} upload IMAGE.jpg --user alice --wait")
    console.print(f"  {command} images get IMAGE_ID")
    if port := embedded.settings.http_port:
        console.print(f"  curl http://127.0.0.1:{port}/metrics")
    console.print("\nPress Ctrl-C to stop.")
