"""Without authentication, only this machine has access."""

import pytest
from aiohttp.test_utils import make_mocked_request

from tests.support.secured import secured
from tests.unit.console.security.test_rules import Transport
from worker.console.security import SecurityOptions
from worker.console.security.loopback import LoopbackAuthentication

NONE = SecurityOptions(authentication="none")


@pytest.mark.parametrize(
    ("peer", "local", "is_accepted"),
    [
        ("127.0.0.1", "127.0.0.1", True),
        ("::1", "::1", True),
        ("::ffff:127.0.0.1", "::ffff:127.0.0.1", True),
        ("10.0.0.9", "10.0.0.5", False),
        ("10.0.0.5", "10.0.0.5", False),
        ("10.0.0.9", "127.0.0.1", False),
        ("127.0.0.1", "10.0.0.5", False),
        ("::ffff:10.0.0.9", "::ffff:10.0.0.5", False),
        ("fe80::1%eth0", "fe80::2%eth0", False),
    ],
)
async def test_both_ends_of_the_connection_are_loopback_addresses(
    peer: str, local: str, is_accepted: bool
) -> None:
    request = make_mocked_request("GET", "/", transport=Transport(peer, local))
    identity = await LoopbackAuthentication(name="alice").identify(request)
    assert (identity is not None) is is_accepted


async def test_a_connection_without_addresses_is_rejected() -> None:
    request = make_mocked_request("GET", "/", transport=Transport("", ""))
    assert await LoopbackAuthentication(name="alice").identify(request) is None


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "Via", "X-Real-IP"])
async def test_a_proxy_on_this_machine_cannot_open_the_console_to_others(header: str) -> None:
    async with secured(NONE) as console:
        response = await console.request(headers=[(header, "127.0.0.1")])
        assert response.status == 401
        assert "Set WORKER_CONSOLE_AUTHENTICATION" in response.text


async def test_there_is_nothing_to_sign_in_to() -> None:
    async with secured(NONE) as console:
        assert (await console.request(target="/login?token=a")).status == 404
        assert (await console.request("POST", "/logout", [("Sec-Fetch-Site", "same-origin")])).status == 404
