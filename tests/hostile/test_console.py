"""Every route of the web console under attack: by anonymous clients, viewers, and pages of other sites."""

import asyncio
import logging
import re
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Final

import pytest
from structlog.testing import capture_logs

from tests.support.console import a_context, running_console
from tests.support.emulators import a_free_port
from tests.support.secured import SAME_ORIGIN, Headers, RawClient, secured
from worker.bootstrap import open_clients
from worker.cli.support.console import open_console
from worker.console.app import build_app
from worker.console.security import SecurityOptions, build_security
from worker.console.security.headers import CONTENT_SECURITY_POLICY
from worker.settings import Settings

HEADER_MODE: Final = {
    "console_authentication": "header",
    "console_user_header": "X-Forwarded-User",
    "console_proxies": ["127.0.0.1"],
    "console_operators": ["alice"],
}
OPERATOR: Headers = [("X-Forwarded-User", "alice")]
VIEWER: Headers = [("X-Forwarded-User", "bob")]
MANY_STREAMS: Final = 40
OPEN: Final = frozenset({"healthz", "static", "login"})


def routes() -> list[tuple[str, str, str]]:
    """Return the method, path and name of every route, with a value for each variable part."""
    app = build_app(a_context(), build_security(SecurityOptions(), user="alice"))
    return sorted(
        (route.method, re.sub(r"\{[^}]*\}", "x", route.resource.canonical), route.name or "")
        for route in app.router.routes()
        if route.resource is not None
    )


CLOSED: Final = [(method, path) for method, path, name in routes() if name not in OPEN]
READS: Final = [path for method, path in CLOSED if method == "GET"]
ACTIONS: Final = [(method, path) for method, path in CLOSED if method not in ("GET", "HEAD")]


@asynccontextmanager
async def console(settings: Settings, **changes: object) -> AsyncIterator[RawClient]:
    """Run the console; return a client of it."""
    port = a_free_port()
    settings = settings.model_copy(update={"console_port": port, **changes})
    async with open_clients(settings) as clients, open_console(settings, clients, is_local=True):
        yield RawClient(port)


def test_only_the_named_routes_are_open() -> None:
    assert {name for _, _, name in routes()} >= OPEN
    assert {(method, name) for method, _, name in routes() if name in OPEN} <= {
        ("GET", "healthz"),
        ("HEAD", "healthz"),
        ("GET", "static"),
        ("HEAD", "static"),
        ("GET", "login"),
    }


@pytest.mark.parametrize("accept", ["text/html", "application/json"])
async def test_an_anonymous_client_sees_nothing(provisioned: Settings, accept: str) -> None:
    async with console(provisioned) as client:
        for method, path in CLOSED:
            response = await client.request(method, path, [("Accept", accept), *SAME_ORIGIN])
            assert response.status == 401, (method, path)
            assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY
            assert response.headers["Cache-Control"] == "no-store"
            assert provisioned.table_name not in response.text
            assert provisioned.bucket not in response.text


async def test_a_viewer_can_send_no_action(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        for method, path in ACTIONS:
            if path == "/logout":
                continue
            response = await client.request(method, path, [*VIEWER, *SAME_ORIGIN])
            assert response.status == 403, (method, path)
            assert "Only operators" in response.text


async def test_a_page_for_viewers_has_no_action(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        for path in READS:
            response = await client.request("GET", path, [*VIEWER, ("Accept", "text/html")])
            assert response.status < 500, path
            forms = re.findall(r"<form[^>]*>", response.text)
            assert not [form for form in forms if re.search(r"method=.?post", form, re.IGNORECASE)], path
            assert not re.search(r"hx-(post|put|patch|delete)", response.text), path


@pytest.mark.parametrize(
    "headers",
    [[], [("Sec-Fetch-Site", "cross-site")], [("Origin", "https://evil.example")], [("Origin", "null")]],
    ids=["nothing", "cross-site", "another origin", "null"],
)
async def test_no_other_page_can_send_an_action(provisioned: Settings, headers: Headers) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        for method, path in ACTIONS:
            response = await client.request(method, path, [*OPERATOR, *headers])
            assert response.status in {403, 404}, (method, path)
            assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY


async def test_no_route_accepts_another_host(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        for method, path in CLOSED:
            response = await client.request(method, path, [*OPERATOR, *SAME_ORIGIN], host="evil.example")
            assert response.status == 421, (method, path)


async def test_every_page_has_the_security_headers(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        for path in READS:
            response = await client.request("GET", path, [*OPERATOR])
            assert response.headers["Content-Security-Policy"] == CONTENT_SECURITY_POLICY, path
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["Referrer-Policy"] == "no-referrer"
            assert response.headers["Cache-Control"].startswith(("no-store", "private")), path


@pytest.mark.parametrize("prefix", ["", "/a/b"])
async def test_paths_that_proxies_and_servers_read_differently_open_nothing(
    provisioned: Settings, prefix: str
) -> None:
    async with console(provisioned, console_prefix=prefix) as client:
        for path in (
            "/static/../images",
            "/static/%2e%2e/images",
            "/static/..%2fimages",
            "/static//images",
            "//images",
            "/./images",
            "/images;/static/x",
            "/images%3f/static/x.js",
            "/images/.css",
            "/healthz/../images",
            "/healthz%2f..%2fimages",
            "/login/../images",
            "/LOGIN",
            "/login%00",
            "/%6cogout",
            "/a/b/../../images",
        ):
            response = await client.request(target=f"{prefix}{path}")
            assert response.status in {400, 401, 404}, path
            assert provisioned.table_name not in response.text


async def test_secrets_are_in_no_page_and_no_log(
    provisioned: Settings, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a-secret-of-aws")
    caplog.set_level(logging.DEBUG, "worker")
    with capture_logs() as logged:
        async with running_console(provisioned, is_local=True) as running:
            cookies = [morsel.value for morsel in running.browser.cookie_jar]
            pages = []
            for path in READS:
                async with running.browser.get(path, headers={"Accept": "text/html"}) as response:
                    if response.content_type != "text/event-stream":
                        pages.append(await response.text(errors="replace"))
            async with running.browser.get("/login?token=this-is-secret") as response:
                pages.append(await response.text())
    assert cookies
    for secret in (*cookies, "this-is-secret", "a-secret-of-aws"):
        assert secret not in repr(logged)
        assert secret not in caplog.text
        assert not any(secret in page for page in pages)


SMUGGLED = b"GET /healthz HTTP/1.1\r\nHost: a\r\n\r\n"
LENGTH = b"Content-Length: %d\r\n" % len(SMUGGLED)
BODIES: Final = {
    "a body that is not read": LENGTH,
    "length and chunks": LENGTH + b"Transfer-Encoding: chunked\r\n",
    "chunks and length": b"Transfer-Encoding: chunked\r\n" + LENGTH,
    "two lengths": b"Content-Length: 0\r\n" + LENGTH,
    "a list of lengths": b"Content-Length: 0, %d\r\n" % len(SMUGGLED),
    "a signed length": b"Content-Length: +%d\r\n" % len(SMUGGLED),
    "a negative length": b"Content-Length: -1\r\n",
    "an unknown encoding": b"Transfer-Encoding: xchunked\r\n",
    "chunks not last": b"Transfer-Encoding: chunked, identity\r\n",
    "a space before the colon": b"Content-Length : %d\r\n" % len(SMUGGLED),
    "a folded line": b"X: a\r\n Content-Length: 0\r\n" + LENGTH,
    "a bare line feed": b"X: a\nContent-Length: 0\r\n" + LENGTH,
    "a bare carriage return": b"X: a\rContent-Length: 0\r\n" + LENGTH,
    "an expectation": b"Expect: 100-continue\r\n" + LENGTH,
    "an upgrade": b"Connection: Upgrade\r\nUpgrade: websocket\r\n" + LENGTH,
    "HTTP/2": b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAAA\r\n" + LENGTH,
}


@pytest.mark.parametrize("case", BODIES)
async def test_a_body_is_never_read_as_a_request(case: str) -> None:
    async with secured() as client, asyncio.timeout(20):
        reader, writer = await asyncio.open_connection("127.0.0.1", client.port)
        host = f"Host: 127.0.0.1:{client.port}\r\n".encode()
        writer.write(b"POST /act HTTP/1.1\r\n" + host + BODIES[case] + b"\r\n" + SMUGGLED)
        writer.write_eof()
        responses = await reader.read()
        writer.close()
    statuses = re.findall(rb"HTTP/1.1 (\d+)", responses)
    assert [status for status in statuses if status not in (b"400", b"401", b"100", b"417")] == []


@pytest.mark.parametrize(
    "headers",
    [
        [("Cookie", "a=" + "b" * 100_000)],
        [("Cookie", "; ".join(f"a{number}=b" for number in range(800)))] * 20,
        [("Cookie", ";" * 8_000)] * 20,
        [(f"X-{number}", "a") for number in range(2_000)],
    ],
    ids=["one long cookie", "many cookies", "many semicolons", "many headers"],
)
async def test_huge_headers_are_rejected_at_once(headers: Headers) -> None:
    async with secured() as client:
        before_s = time.process_time()
        response = await client.request(headers=headers)
        assert response.status in {400, 401, 431}
        assert time.process_time() - before_s < 1


async def test_streams_that_are_not_read_leave_the_console_to_others(provisioned: Settings) -> None:
    async with AsyncExitStack() as stack:
        client = await stack.enter_async_context(console(provisioned, **HEADER_MODE))
        stream = (
            f"GET /queue/events HTTP/1.1\r\nHost: 127.0.0.1:{client.port}\r\nX-Forwarded-User: bob\r\n\r\n"
        )
        for _ in range(MANY_STREAMS):
            _, writer = await asyncio.open_connection("127.0.0.1", client.port, limit=1)
            stack.callback(writer.close)
            writer.write(stream.encode())
        async with asyncio.timeout(10):
            response = await client.request("GET", "/queue", OPERATOR)
        assert response.status == 200


async def test_a_hostile_user_name_is_text_on_every_page(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        name = "<script>alert(1)</script>'\"&{{7*7}}{%raw%}"
        for path in READS:
            response = await client.request(
                "GET", path, [("X-Forwarded-User", name), ("Accept", "text/html")]
            )
            assert "<script>alert" not in response.text, path
            assert "49" not in re.findall(r"title=\"Signed in as ([^\"]*)\"", response.text), path


async def test_a_response_does_not_repeat_the_address_as_markup(provisioned: Settings) -> None:
    async with console(provisioned, **HEADER_MODE) as client:
        attack = "%22%3E%3Cscript%3Ealert(1)%3C%2Fscript%3E%0d%0aSet-Cookie:%20a=b"
        for path in READS:
            for target in (
                f"{path}/{attack}",
                f"{path}?{attack}={attack}&q={attack}&user={attack}&token={attack}",
            ):
                response = await client.request("GET", target, [*OPERATOR, ("Accept", "text/html")])
                assert response.status < 500, target
                assert "<script>alert" not in response.text, target
                assert "Set-Cookie" not in response.headers, target
                assert "evil" not in response.headers.get("Location", "")
