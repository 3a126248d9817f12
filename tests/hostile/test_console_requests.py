"""Requests to the console with hostile paths, queries and headers: no traceback, and no active content."""

import asyncio
import re
from html.parser import HTMLParser
from urllib.parse import quote

import pytest

from tests.support.console import JSON, RunningConsole
from tests.support.shared_storage import console, shared_storage, storage

__all__ = ["console", "shared_storage", "storage"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")

VALUES = (
    "",
    "<script>alert(1)</script>",
    "\x00\x1b[31m\u202e",
    "9" * 400,
    "-1",
    "../../etc/passwd",
    "%ff",
    "{}",
)
PARAMETERS = ("user", "status", "day", "token", "q", "code", "size", "id", "since", "name", "limit", "image")
PATHS = (
    *("/images/{}", "/users/{}", "/failures/{}", "/operations/{}", "/{}"),
    *("/media/{}/a/original", "/media/a/{}/medium", "/media/a/b/{}"),
    *("/static/{}/console.css", "/static/00/{}"),
)


class Fields(HTMLParser):
    """The names of the fields of a page's GET forms, and whether the page contains a script of its own."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.names: set[str] = set()
        self.has_script = False
        self._is_get = False
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.has_script |= tag == "script" and "src" not in found
        if tag == "form":
            self._is_get = (found.get("method") or "get").lower() == "get"
        if self._is_get and tag in {"input", "select", "textarea", "button"} and (name := found.get("name")):
            self.names.add(name)


async def request_html(console: RunningConsole, path: str) -> None:
    """Request a page, and assert that it is neither an internal error nor shows hostile text as it is."""
    async with console.browser.get(path, headers={"Accept": "text/html"}) as response:
        text = await response.text()
        assert response.status < 500, (path, text)
        if response.content_type == "text/html":
            assert not Fields(text).has_script, path
            assert "\x1b" not in text, path
            assert "\u202e" not in text, path


async def request_json(console: RunningConsole, path: str) -> None:
    """Request the content of a page, and assert that it is no internal error."""
    async with console.browser.get(path, headers=JSON) as response:
        assert response.status < 500, path
        assert response.content_type != "text/html", path


@pytest.mark.timeout(300)
async def test_no_query_is_an_internal_error(console: RunningConsole) -> None:
    views = re.findall(r'<a href="([^"]+)" data-key', await console.html("/images"))
    assert views
    for path in views:
        fields = Fields(await console.html(path)).names
        queries = [f"{quote(name)}={quote(''.join(VALUES[1:3]))}" for name in sorted(fields)]
        names = sorted(fields | set(PARAMETERS))
        queries += ["&".join(f"{quote(name)}={quote(value)}" for name in names) for value in VALUES]
        await asyncio.gather(*(request_html(console, f"{path}?{query}") for query in queries))
        await request_json(console, f"{path}?{queries[-1]}")


async def test_no_path_is_an_internal_error(console: RunningConsole) -> None:
    for path in PATHS:
        for value in VALUES:
            await request_html(console, path.format(quote(value, safe="")))
        await request_json(console, path.format(quote(VALUES[1], safe="")))
    for raw in ("/images/%ff%fe", "/users/%zz", "/images//", "/images?%"):
        await request_html(console, raw)


async def test_no_accept_header_is_an_error(console: RunningConsole) -> None:
    for accept in ("", ",", ";q=1", "application/json;q=1e999", "\u00ff", "a" * 5000):
        async with console.browser.get("/images", headers={"Accept": accept}) as response:
            assert response.status == 200
