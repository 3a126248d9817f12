"""Requests with another `Host` than a name of the console are rejected: DNS rebinding reaches nothing."""

import pytest

from tests.support.secured import secured
from worker.console.security import SecurityOptions

NONE = SecurityOptions(authentication="none")


@pytest.mark.parametrize("host", ["127.0.0.1:{port}", "localhost:{port}", "[::1]:{port}", "LocalHost:{port}"])
async def test_the_names_of_the_loopback_interface_are_accepted(host: str) -> None:
    async with secured(NONE) as console:
        assert (await console.request(host=host.format(port=console.port))).status == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "evil.example:{port}",
        "127.0.0.1",
        "localhost",
        "127.0.0.1:{other}",
        "localhost.:{port}",
        "127.0.0.1.:{port}",
        "127.0.0.1:0{port}",
        "127.0.0.1:{port}, evil.example",
        "user@127.0.0.1:{port}",
        "127.0.0.1:{port}@evil.example",
        "evil.example#127.0.0.1:{port}",
        "127.1:{port}",
        "2130706433:{port}",
        "[::ffff:127.0.0.1]:{port}",
        "[0:0:0:0:0:0:0:1]:{port}",
        "0.0.0.0:{port}",
        "localhost.evil.example:{port}",
        "127.0.0.1.nip.io:{port}",
        "127.0.0.1:{port}/",
        "127.0.0.1:{port}:80",
        "\x00127.0.0.1:{port}",
        "*",
    ],
)
async def test_every_other_name_is_rejected(host: str) -> None:
    async with secured(NONE) as console:
        response = await console.request(host=host.format(port=console.port, other=console.port + 1))
        assert response.status in {400, 421}
        assert "alice" not in response.text


@pytest.mark.parametrize(
    "head",
    [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\r\n",
        "GET / HTTP/1.1\r\nHost:\r\n",
        "GET / HTTP/1.1\r\nHost: {own}\r\nHost: {own}\r\n",
        "GET / HTTP/1.1\r\nHost: {own}\r\nHost: evil.example\r\n",
        "GET / HTTP/1.1\r\nHost: {own}\r\n folded\r\n",
        "GET / HTTP/1.1\r\nHost : {own}\r\n",
        "GET http://evil.example/ HTTP/1.1\r\nHost: {own}\r\n",
        "GET http://{own}/ HTTP/1.1\r\nHost: {own}\r\n",
        "GET http://{own}/ HTTP/1.1\r\nHost: evil.example\r\n",
        "GET //evil.example/ HTTP/1.1\r\nHost: {own}\r\n",
        "GET /\\evil.example/ HTTP/1.1\r\nHost: {own}\r\n",
        "GET evil.example HTTP/1.1\r\nHost: {own}\r\n",
        "GET * HTTP/1.1\r\nHost: {own}\r\n",
        "CONNECT {own} HTTP/1.1\r\nHost: {own}\r\n",
        "CONNECT evil.example:443 HTTP/1.1\r\nHost: {own}\r\n",
        "OPTIONS * HTTP/1.1\r\nHost: {own}\r\n",
        "TRACE / HTTP/1.1\r\nHost: {own}\r\n",
    ],
)
async def test_a_request_without_one_clear_host_and_path_is_rejected(head: str) -> None:
    async with secured(NONE) as console:
        request = f"{head.format(own=f'127.0.0.1:{console.port}')}Connection: close\r\n\r\n"
        response = await console.send(request.encode())
        assert 400 <= response.status < 500
        assert "alice" not in response.text


async def test_forwarded_names_do_not_count() -> None:
    async with secured() as console:
        headers = [("X-Forwarded-Host", f"127.0.0.1:{console.port}"), ("Forwarded", "host=127.0.0.1")]
        assert (await console.request(headers=headers, host="evil.example")).status == 421


async def test_a_health_check_may_name_any_host_and_learns_only_that_it_runs() -> None:
    async with secured() as console:
        assert (await console.request(target="/healthz", host="10.0.3.4:8081")).status == 200
        assert (await console.request(target="/images/healthz", host="10.0.3.4:8081")).status == 421
        assert (await console.request("POST", target="/healthz", host="10.0.3.4:8081")).status == 421


async def test_the_host_of_the_url_is_accepted_with_and_without_its_port() -> None:
    async with secured(SecurityOptions(url="https://console.example.com")) as console:
        for host in ("console.example.com", "console.example.com:443"):
            assert (await console.request(host=host)).status == 401
        for host in ("console.example.com:80", f"console.example.com:{console.port}", "console.example.com."):
            assert (await console.request(host=host)).status == 421
