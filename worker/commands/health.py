"""`image-worker health`: what a container's health check asks."""

from http import HTTPStatus
from ipaddress import IPv4Address, ip_address

import aiohttp
import typer

from config.settings import Settings
from worker.commands.running import asynchronous
from worker.domain.errors import ConfigurationError

app = typer.Typer(add_completion=False)

_ANSWER_S = 3.0


@app.command()
@asynchronous
async def health() -> None:
    """
    Ask the worker on this machine whether it is alive: 0 it is, 1 it is not, or nobody answers.

    It asks http://WORKER_HTTP_HOST:WORKER_HTTP_PORT/healthz.
    """
    settings = Settings()
    if not settings.http_port:
        message = "health is not served: WORKER_HTTP_PORT is 0; set it to a port"
        raise ConfigurationError(message)
    url = f"http://{_reachable(settings.http_host)}:{settings.http_port}/healthz"
    try:
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ANSWER_S)) as session,
            session.get(url) as answer,
        ):
            is_alive, told = answer.status == HTTPStatus.OK, (await answer.text()).strip()
    except (aiohttp.ClientError, TimeoutError) as error:
        is_alive, told = False, f"nobody answers at {url} ({type(error).__name__}); is the worker running?"
    typer.echo(told, err=not is_alive)
    raise typer.Exit(0 if is_alive else 1)


def _reachable(host: str) -> str:
    """Return where to ask for what listens at the address: on this machine, if that stands for all of it."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return "127.0.0.1" if address.is_unspecified else host
    return "[::1]" if address.is_unspecified else f"[{host}]"
