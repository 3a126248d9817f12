"""The console under a path prefix; tests/integration/console/test_every_link.py follows every link."""

import re
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, expect

from tests.browser.stack import USER, Stack
from tests.browser.test_upload import drop
from tests.browser.watch import Problems
from tests.support.console_process import ConsoleProcess, console_process

PREFIX = "/a/b"


@pytest_asyncio.fixture(loop_scope="session")
async def prefixed(running: Stack, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[ConsoleProcess]:
    folder = tmp_path_factory.mktemp("prefixed")
    endpoint_url = str(running.settings.endpoint_url)
    async with console_process(
        running.settings, folder, endpoint_url=endpoint_url, WORKER_CONSOLE_PREFIX=PREFIX
    ) as started:
        yield started


async def test_an_image_is_uploaded_and_followed_under_the_prefix(
    browser: Browser, running: Stack, prefixed: ConsoleProcess
) -> None:
    problems = Problems(prefixed.origin + PREFIX)
    context = await browser.new_context()
    await problems.watch(context)
    page = await context.new_page()
    await page.goto(str(prefixed.link))
    await page.goto(f"{prefixed.origin}{PREFIX}/try")
    await page.get_by_label("User", exact=True).fill(USER)
    await drop(page, running.pictures / "tulips.webp")
    await expect(page.get_by_role("article").locator("header")).to_contain_text("completed", timeout=15_000)
    await page.get_by_role("article").get_by_role("link").last.click()
    await page.wait_for_url(re.compile(rf"{PREFIX}/images/"))
    await context.close()
    assert problems.unexpected == []
