"""`/healthz`, `/readyz` and `/metrics` over HTTP."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from worker.domain.errors import ConfigurationError
from worker.telemetry.metrics import Metrics

_OK: Final = 200
_UNAVAILABLE: Final = 503
_SILENCE_S: Final = 75.0
"""How long a connection is kept on which nothing is asked; by default it would be an hour."""


@asynccontextmanager
async def endpoint(
    *,
    host: str,
    port: int,
    metrics: Metrics,
    why_unhealthy: Callable[[], str | None],
    why_unready: Callable[[], str | None],
) -> AsyncIterator[None]:
    """
    Answer while the body runs: 200, or 503 and the reason.

    Args:
        host: The address to listen at.
        port: The port.
        metrics: What `/metrics` shows.
        why_unhealthy: What makes a restart worth while, if anything does.
        why_unready: What the service waits for, if for anything.

    Raises:
        ConfigurationError: The port cannot be had.
    """

    def stating(why: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def state(_: web.Request) -> web.Response:
            reason = why()
            return web.Response(text=f"{reason or 'ok'}\n", status=_UNAVAILABLE if reason else _OK)

        return state

    async def show(_: web.Request) -> web.Response:
        return web.Response(body=metrics.exposition(), headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application()
    app.router.add_get("/healthz", stating(why_unhealthy))
    app.router.add_get("/readyz", stating(why_unready))
    app.router.add_get("/metrics", show)
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0, keepalive_timeout=_SILENCE_S)
    await runner.setup()
    try:
        try:
            await web.TCPSite(runner, host, port).start()
        except OSError as error:
            message = (
                f"cannot listen at {host}:{port} ({error.strerror or error}): set WORKER_HTTP_PORT to a port "
                "that is free, or to 0 for no health and metrics"
            )
            raise ConfigurationError(message) from error
        yield
    finally:
        await runner.cleanup()
