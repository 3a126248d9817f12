"""What a browser loads for its first page of the console."""

import gzip

from playwright.async_api import Page, Response

from tests.browser.stack import Stack
from tests.browser.watch import OpenPage

MAX_BYTES = 60_000


async def responses_of(page: Page, url: str) -> list[Response]:
    """Open a URL, and return all responses until the page has loaded."""
    responses: list[Response] = []

    def keep(response: Response) -> None:
        responses.append(response)

    page.on("response", keep)
    await page.goto(url, wait_until="load")
    return responses


async def test_the_first_page_with_its_styles_and_scripts_is_below_60_kb_gzipped(
    open_page: OpenPage, running: Stack
) -> None:
    responses = await responses_of(await open_page(""), running.url("/try"))

    sizes = {
        response.url: len(gzip.compress(await response.body(), 6))
        for response in responses
        if response.ok and response.request.resource_type not in {"eventsource", "fetch", "xhr"}
    }
    assert {"document", "stylesheet", "script"} <= {each.request.resource_type for each in responses}
    assert sum(sizes.values()) < MAX_BYTES, sizes


async def test_styles_and_scripts_are_sent_compressed_and_kept_by_the_browser(
    open_page: OpenPage, running: Stack
) -> None:
    responses = await responses_of(await open_page(""), running.url("/images"))

    files = [each for each in responses if each.request.resource_type in {"stylesheet", "script"}]
    assert files
    for response in files:
        headers = await response.all_headers()
        assert headers.get("content-encoding") in {"gzip", "br", "deflate"}, response.url
        assert "immutable" in headers.get("cache-control", ""), response.url
