"""`image-worker local`: an AWS of one's own with a worker on it."""

import asyncio
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Annotated

import typer
from rich.markup import escape

from worker.cli.run import stopped_by_signals
from worker.cli.support import output
from worker.cli.support.embedded import Embedded, embedded_worker
from worker.cli.support.entrypoint import asynchronous, start
from worker.local.embedded_aws import embedded_environment

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def local(
    *,
    state: Annotated[
        Path | None, typer.Option("--state", metavar="DIR", help="Keep everything here for the next time.")
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Of 127.0.0.1; 0 takes any.")] = 4566,
) -> None:
    """
    Run an embedded AWS and the worker until Ctrl-C.

    It prints the endpoint and what to try in another terminal.

    Example: image-worker local --state ./state
    """
    start()
    async with AsyncExitStack() as stack:
        with output.working("starting an AWS and a worker"):
            embedded = await stack.enter_async_context(
                embedded_worker(state_dir=state, port=port, has_http=True)
            )
        with stopped_by_signals(embedded.service):
            _say_what_to_try(embedded, state)
            await asyncio.wait([embedded.running])


def _say_what_to_try(embedded: Embedded, state: Path | None) -> None:
    endpoint_url = embedded.settings.endpoint_url or ""
    wanted = ("AWS_ENDPOINT_URL", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
    variables = embedded_environment(endpoint_url)
    kept = f"kept in {state}" if state else "gone when it stops (use --state DIR to keep it)"
    console = output.stderr_console()
    console.print(f"An AWS of your own at [bold]{endpoint_url}[/], with a worker on it.")
    console.print(f"Everything is {escape(kept)}.")
    console.print("Try in another terminal:\n")
    console.print("  export " + " ".join(f"{name}={variables[name]}" for name in wanted), soft_wrap=True)
    console.print("  image-worker upload PICTURE.jpg --user alice --wait")
    console.print("  image-worker images get IMAGE_ID")
    if port := embedded.settings.http_port:
        console.print(f"  curl http://127.0.0.1:{port}/metrics")
    console.print("\nCtrl-C stops it.")
