"""Serve `/healthz`, `/readyz` and `/metrics` over HTTP."""

import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from http import HTTPStatus
from typing import Final

from aiohttp import web
from prometheus_client import CONTENT_TYPE_LATEST

from worker.domain.errors import ConfigurationError
from worker.telemetry.http_server import http_server
from worker.telemetry.metrics import Metrics

_METRICS_CACHE_S: Final = 0.5
"""How long the metrics are sent again, so that many requests do not keep the worker from its images."""

_MAX_BODY_BYTES: Final = 1024
"""Requests of health and metrics have no body."""


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
    Serve health and metrics while the body runs.

    `/healthz` and `/readyz` respond with 200, or with 503 and the reason.

    Args:
        host: Address to listen on.
        port: Port to listen on.
        metrics: Content of `/metrics`.
        why_unhealthy: Returns why the worker should be restarted, or None.
        why_unready: Returns why the worker does not process images at present, or None.

    Raises:
        ConfigurationError: The address or port is not available.
    """

    def status_handler(why: Callable[[], str | None]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def handle(_: web.Request) -> web.Response:
            reason = why()
            status = HTTPStatus.SERVICE_UNAVAILABLE if reason else HTTPStatus.OK
            return web.Response(text=f"{reason or 'ok'}\n", status=status)

        return handle

    exposition, expires_at = b"", 0.0

    async def handle_metrics(_: web.Request) -> web.Response:
        nonlocal exposition, expires_at
        if (now := time.monotonic()) >= expires_at:
            exposition, expires_at = metrics.exposition(), now + _METRICS_CACHE_S
        return web.Response(body=exposition, headers={"Content-Type": CONTENT_TYPE_LATEST})

    app = web.Application(client_max_size=_MAX_BODY_BYTES)
    app.router.add_get("/healthz", status_handler(why_unhealthy))
    app.router.add_get("/readyz", status_handler(why_unready))
    app.router.add_get("/metrics", handle_metrics)
    async with AsyncExitStack() as stack:
        try:
            await stack.enter_async_context(http_server(app, host=host, port=port))
        except OSError as error:
            message = (
                f"cannot listen on {host}:{port} ({error.strerror or error}): set WORKER_HTTP_PORT to a free "
                "port, or to 0 to serve neither health nor metrics"
            )
            raise ConfigurationError(message) from error
        yield
