"""Every route of the web console under attack: by anonymous clients, viewers, and pages of other sites."""

import logging
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, Final

import pytest
from structlog.testing import capture_logs

from tests.support.console import running_console
from tests.support.emulators import a_free_port
from tests.support.secured import SAME_ORIGIN, Headers, RawClient
from worker.bootstrap import open_clients
from worker.cli.support.console import open_console
from worker.console.app import build_app
from worker.console.security import SecurityOptions, build_security
from worker.console.security.headers import CONTENT_SECURITY_POLICY
from worker.domain.clock import utc_now
from worker.settings import Settings

HEADER_MODE: Final = {
    "console_authentication": "header",
    "console_user_header": "X-Forwarded-User",
    "console_proxies": ["127.0.0.1"],
    "console_operators": ["alice"],
}
OPERATOR: Headers = [("X-Forwarded-User", "alice")]
VIEWER: Headers = [("X-Forwarded-User", "bob")]
OPEN: Final = frozenset({"healthz", "static", "login"})


def routes() -> list[tuple[str, str, str]]:
    """Return the method, path and name of every route, with a value for each variable part."""
    context: Any = SimpleNamespace(
        table=SimpleNamespace(name="t"), region="eu-west-1", is_local=True, clock=utc_now
    )
    app = build_app(context, build_security(SecurityOptions(), user="alice"))
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
