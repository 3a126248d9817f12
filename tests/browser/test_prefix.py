"""The console under a path prefix: every link, file, form and stream has it."""

import re
from collections.abc import AsyncIterator
from html.parser import HTMLParser
from urllib.parse import urljoin

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect
from yarl import URL

from tests.browser.stack import USER, Stack
from tests.browser.test_upload import drop
from tests.browser.views import VIEWS
from tests.browser.watch import Problems
from tests.support.console import signed_in
from tests.support.console_process import ConsoleProcess, console_process

PREFIX = "/a/b"
_URLS = ("href", "src", "action", "formaction", "hx-get", "hx-post", "sse-connect")
_MAX_PAGES = 150


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def prefixed(running: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConsoleProcess]:
    folder = tmp_path_factory.mktemp("prefixed")
    endpoint_url = str(running.settings.endpoint_url)
    async with console_process(
        running.settings, folder, endpoint_url=endpoint_url, WORKER_CONSOLE_PREFIX=PREFIX
    ) as started:
        yield started


class _Urls(HTMLParser):
    """Collects the URLs of a page: those that a browser or a person gets, and those that forms send to."""

    def __init__(self) -> None:
        super().__init__()
        self.read: set[str] = set()
        self.sent: set[str] = set()
        self.streams: set[str] = set()

    def handle_starttag(self, tag: str, attributes: list[tuple[str, str | None]]) -> None:
        values = {name: value for name, value in attributes if value}
        is_post = tag == "form" and values.get("method", "get").lower() == "post"
        for name in _URLS:
            if name not in values:
                continue
            if name == "sse-connect":
                self.streams.add(values[name])
            elif is_post or name in {"hx-post", "formaction"}:
                self.sent.add(values[name])
            else:
                self.read.add(values[name])


async def test_every_page_file_and_form_that_links_lead_to_has_the_prefix(prefixed: ConsoleProcess) -> None:
    async with signed_in(str(prefixed.link)) as client:
        waiting = [f"{PREFIX}/", *(PREFIX + view.path for view in VIEWS)]
        seen: set[str] = set()
        while waiting and len(seen) < _MAX_PAGES:
            path = waiting.pop(0)
            if path in seen:
                continue
            seen.add(path)
            text = await read(client, path)
            urls = _Urls()
            urls.feed(text)
            found = {urljoin(path, url) for url in urls.read | urls.sent | urls.streams if url[0] != "#"}
            assert [url for url in found if not url.startswith(f"{PREFIX}/")] == [], path
            waiting += sorted(urljoin(path, url).partition("#")[0] for url in urls.read if url[0] != "#")
    assert len(seen) > len(VIEWS) + 10


async def read(client: aiohttp.ClientSession, path: str) -> str:
    """Return the HTML of a page that exists; empty for other files."""
    async with client.get(URL(path, encoded=True)) as response:
        assert response.status == 200, f"{path}: {response.status}"
        assert response.url.raw_path.startswith(f"{PREFIX}/"), f"{path} redirects to {response.url}"
        return await response.text() if response.content_type == "text/html" else ""


async def test_an_image_is_uploaded_and_followed_under_the_prefix(
    browser: Browser, running: Stack, prefixed: ConsoleProcess
) -> None:
    problems = Problems(prefixed.origin + PREFIX)
    context = await browser.new_context()
    await problems.watch(context)
    page = await context.new_page()
    await page.goto(str(prefixed.link))
    await page.goto(f"{prefixed.origin}{PREFIX}/try")
    await page.get_by_label("User").fill(USER)
    await drop(page, running.pictures / "tulips.webp")
    await expect(page.get_by_role("article").locator("header")).to_contain_text("completed", timeout=15_000)
    await page.get_by_role("article").get_by_role("link").last.click()
    await page.wait_for_url(re.compile(rf"{PREFIX}/images/"))
    await context.close()
    assert problems.unexpected == []
