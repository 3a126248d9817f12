import ssl
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiobotocore.httpsession import AIOHTTPSession
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import (
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    ReadTimeoutError,
    SSLError,
)

from worker.aws.errors import is_transient
from worker.aws.fast_path.wire import failures_named, session_for

URL = "https://dynamodb.eu-west-1.amazonaws.com/"
KEY = ConnectionKey(
    "dynamodb.eu-west-1.amazonaws.com",
    443,
    is_ssl=True,
    ssl=True,
    proxy=None,
    proxy_auth=None,
    proxy_headers_hash=None,
)


@pytest.mark.parametrize(
    ("raised", "named"),
    [
        (aiohttp.ServerDisconnectedError(), ConnectionClosedError),
        (aiohttp.ClientPayloadError("cut short"), ConnectionClosedError),
        (aiohttp.ConnectionTimeoutError("connect"), ConnectTimeoutError),
        (aiohttp.SocketTimeoutError("read"), ReadTimeoutError),
        (TimeoutError(), ReadTimeoutError),
        (aiohttp.ClientConnectorError(KEY, OSError(111, "refused")), EndpointConnectionError),
        (aiohttp.ClientOSError(104, "reset by peer"), EndpointConnectionError),
        (aiohttp.ClientConnectorCertificateError(KEY, ssl.SSLError("self-signed")), SSLError),
        (aiohttp.ClientConnectorSSLError(KEY, ssl.SSLError("no TLS")), SSLError),
        (aiohttp.InvalidURL("nonsense"), HTTPClientError),
    ],
)
def test_what_goes_wrong_on_the_way_has_botocores_names_and_passes(
    raised: Exception, named: type[Exception]
) -> None:
    with pytest.raises(named) as seen, failures_named(URL):
        raise raised
    assert type(seen.value) is named
    assert seen.value.__cause__ is raised
    assert is_transient(seen.value)


@pytest.mark.parametrize(("proxies", "is_direct"), [({}, True), ({"https": "http://proxy.test:3128"}, False)])
async def test_what_goes_through_a_proxy_is_left_to_botocore(
    proxies: dict[str, str], *, is_direct: bool
) -> None:
    async with AIOHTTPSession(proxies=proxies) as http:
        client: Any = SimpleNamespace(_endpoint=SimpleNamespace(http_session=http))
        assert (await session_for(client, URL) is not None) is is_direct


async def test_another_http_library_is_left_to_botocore() -> None:
    client: Any = SimpleNamespace(_endpoint=SimpleNamespace(http_session=object()))
    assert await session_for(client, URL) is None
