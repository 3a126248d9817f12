"""Sending a request over the connections of a client of aiobotocore, and what may go wrong on the way."""

import io
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final

import aiohttp
from aiobotocore.httpsession import AIOHTTPSession
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)
from yarl import URL

_MOST_AT_ONCE: Final = 2**20
"""A longer body is sent in pieces, so that it does not hold up the loop."""


async def session_for(client: Any, url: str) -> aiohttp.ClientSession | None:  # noqa: ANN401 - any service's
    """Return what a client sends by; None where it is not aiohttp's, or a proxy is in between."""
    http: Any = client._endpoint.http_session  # noqa: SLF001 - nothing public tells
    is_aiohttp = isinstance(http, AIOHTTPSession)
    if not is_aiohttp or http._proxy_config.proxy_url_for(url):  # noqa: SLF001
        return None
    session: aiohttp.ClientSession = await http._get_session(None)  # noqa: SLF001
    return session


async def exchange(
    session: aiohttp.ClientSession, method: str, url: str, headers: Mapping[str, str], body: bytes
) -> aiohttp.ClientResponse:
    """
    Send a request and wait for the head of its answer; time-outs are the session's.

    Raises:
        BotoCoreError: What went wrong on the way, as botocore names it for calls of its own.
    """
    with failures_named(url):
        return await session.request(
            method,
            URL(url, encoded=True),
            headers={**headers, "accept-encoding": "identity"},  # as aiobotocore has it; it is not signed
            data=io.BytesIO(body) if len(body) > _MOST_AT_ONCE else body or None,
        )


@contextmanager
def failures_named(url: str) -> Iterator[None]:
    """Raise what botocore raises where aiohttp raises an error of its own."""
    try:
        yield
    except aiohttp.ClientSSLError as error:
        raise SSLError(endpoint_url=url, error=error) from error
    except (aiohttp.ServerDisconnectedError, aiohttp.ClientPayloadError) as error:
        raise ConnectionClosedError(endpoint_url=url, error=error) from error
    except aiohttp.ConnectionTimeoutError as error:
        raise ConnectTimeoutError(endpoint_url=url, error=error) from error
    except TimeoutError as error:
        raise ReadTimeoutError(endpoint_url=url, error=error) from error
    except aiohttp.ClientConnectionError as error:
        raise EndpointConnectionError(endpoint_url=url, error=error) from error
    except aiohttp.ClientError as error:
        raise HTTPClientError(error=error) from error
