"""`image-worker health`: the health check of a container."""

from http import HTTPStatus
from http.client import HTTPConnection, HTTPException
from ipaddress import IPv4Address, ip_address

import typer

from worker.domain.errors import ConfigurationError
from worker.settings import Settings

app = typer.Typer(add_completion=False)

_TIMEOUT_S = 3.0
_MAX_BODY_BYTES = 1000


@app.command()
def health() -> int:
    """
    Check whether the worker on this machine is healthy.

    Requests http://WORKER_HTTP_HOST:WORKER_HTTP_PORT/healthz.

    Exit status 1: the worker is unhealthy or does not respond.

    Example: image-worker health
    """
    settings = Settings()
    if not settings.http_port:
        message = "WORKER_HTTP_PORT is 0, so the health endpoint is off; set it to a port"
        raise ConfigurationError(message)
    host, port = _connect_address(settings.http_host), settings.http_port
    # This runs every few seconds, and aiohttp takes longer to import than all the rest.
    connection = HTTPConnection(host, port, timeout=_TIMEOUT_S)
    try:
        connection.request("GET", "/healthz")
        response = connection.getresponse()
        is_healthy, text = response.status == HTTPStatus.OK, response.read(_MAX_BODY_BYTES).decode().strip()
    except (OSError, HTTPException) as error:
        is_healthy = False
        text = f"no response from {host} port {port} ({type(error).__name__}); is the worker running?"
    finally:
        connection.close()
    typer.echo(text, err=not is_healthy)
    return 0 if is_healthy else 1


def _connect_address(host: str) -> str:
    """Return the address to connect to for a listen address: the loopback address for a wildcard."""
    try:
        address = ip_address(host)
    except ValueError:
        return host
    if not address.is_unspecified:
        return host
    return "127.0.0.1" if isinstance(address, IPv4Address) else "::1"
