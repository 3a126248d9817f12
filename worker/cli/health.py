"""`image-worker health`: what a container's health check asks."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, ip_address

import typer

from worker.domain.errors import ConfigurationError
from worker.settings import Settings

app = typer.Typer(add_completion=False)

_ANSWER_S = 3.0
_LONGEST_ANSWER = 1000


@app.command()
def health() -> int:
    """
    Ask the worker on this machine whether it is alive: 0 it is, 1 it is not, or nobody answers.

    It asks http://WORKER_HTTP_HOST:WORKER_HTTP_PORT/healthz.
    """
    settings = Settings()
    if not settings.http_port:
        message = "health is not served: WORKER_HTTP_PORT is 0; set it to a port"
        raise ConfigurationError(message)
    host, port = _reachable(settings.http_host), settings.http_port
    # Not aiohttp, which takes longer to import than the rest: this runs every few seconds.
    connection = HTTPConnection(host, port, timeout=_ANSWER_S)
    try:
        connection.request("GET", "/healthz")
        answer = connection.getresponse()
        is_alive, told = answer.status == HTTPStatus.OK, answer.read(_LONGEST_ANSWER).decode().strip()
    except (OSError, HTTPException) as error:
        is_alive = False
        told = f"nobody answers at http://{host}:{port} ({type(error).__name__}); is the worker running?"
    finally:
        connection.close()
    typer.echo(told, err=not is_alive)
    return 0 if is_alive else 1


def _reachable(host: str) -> str:
    """Return where to ask for what listens at the address: on this machine, if that stands for all of it."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if isinstance(address, IPv4Address):
        return "127.0.0.1" if address.is_unspecified else host
    return "[::1]" if address.is_unspecified else f"[{host}]"
