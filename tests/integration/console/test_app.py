"""The console as a whole: pages, static files and errors."""

import re

import pytest

from tests.support.console import JSON, RunningConsole, running_console
from tests.support.shared_storage import Storage


async def test_static_files_are_cached_forever_by_their_content(console: RunningConsole) -> None:
    page = await console.html("/")
    paths = re.findall(r'(?:href|src)="(/static/[^"]+)"', page)
    assert len(paths) >= 5
    for path in paths:
        async with console.browser.get(path) as response:
            assert response.status == 200
            assert response.headers["Cache-Control"] == "public, max-age=31536000, immutable"
            assert response.headers["Content-Encoding"] == "gzip"
    former = re.sub("/static/[0-9a-f]+/", "/static/0123456789ab/", paths[1])
    async with console.browser.get(former) as response:
        assert response.headers["Cache-Control"] == "no-cache"


async def test_the_first_page_is_small(console: RunningConsole) -> None:
    page = await console.html("/")
    total = 0
    for path in ["/", *re.findall(r'(?:href|src)="(/static/[^"]+)"', page)]:
        async with console.browser.get(path) as response:
            total += int(response.headers["Content-Length"])
    assert total < 60_000


@pytest.mark.parametrize("path", ["/no-such-page", "/static/00/no-such-file.js", "/static/00/../app.py"])
async def test_an_unknown_address_has_a_page_that_says_what_to_do(console: RunningConsole, path: str) -> None:
    async with console.browser.get(path) as response:
        assert (response.status, response.content_type) == (404, "text/html")
        assert "There is no such page." in await response.text()
    async with console.browser.get(path, headers=JSON) as response:
        assert (response.status, response.content_type) == (404, "application/json")
        assert (await response.json())["error"]["status"] == 404


async def test_all_links_have_the_path_prefix(storage: Storage) -> None:
    async with running_console(storage.settings, clients=storage.clients, console_prefix="/a/b") as console:
        page = await console.html("/a/b/")
        assert page == await console.html("/a/b")
        links = re.findall(r'(?:href|src|action)="(/[^"]*)"', page)
        assert links
        assert [link for link in links if not link.startswith("/a/b/")] == []
