"""Fixtures of the browser tests."""

from collections.abc import AsyncIterator, Generator, Sequence
from pathlib import Path
from typing import Any, Literal

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page, StorageState, ViewportSize, expect

from tests.browser.stack import Stack, stack
from tests.browser.watch import OpenPage, Problems, Visit, report_violations
from tests.support.chromium import MISSING, chromium, chromium_path

FOLDER = Path(__file__).parent
DESKTOP: ViewportSize = {"width": 1280, "height": 800}
TIMEOUT_MS = 20_000
"""For what a page or a worker does, on a machine that other tests keep busy."""

expect.set_options(timeout=TIMEOUT_MS)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the tests of this folder on the event loop of the session, which the browser belongs to."""
    for item in items:
        if item.path.is_relative_to(FOLDER) and pytest_asyncio.is_async_test(item):
            item.add_marker(pytest.mark.asyncio(loop_scope="session"), append=False)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Report all tests that were skipped without Chromium at one place, which makes one line of them."""
    report = yield
    if report.skipped and isinstance(report.longrepr, tuple) and MISSING in report.longrepr[2]:
        report.longrepr = (str(FOLDER), 1, report.longrepr[2])
    return report


@pytest.fixture(scope="session")
def chromium_executable() -> str:
    """The path of Chromium; without one, the tests are skipped."""
    path = chromium_path()
    if path is None:
        pytest.skip(MISSING)
    return path


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def browser(chromium_executable: str) -> AsyncIterator[Browser]:
    """A headless Chromium."""
    async with chromium(chromium_executable) as opened:
        yield opened


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def running(browser: Browser) -> AsyncIterator[Stack]:
    """A worker and a console with images, for all tests of the session."""
    async with stack() as started:
        yield started


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def signed_in(browser: Browser, running: Stack) -> StorageState:
    """The cookies of a browser that has signed in, requested a bulk action and listed the dead letters."""
    context = await browser.new_context()
    page = await context.new_page()
    await page.goto(str(running.console.link))
    await page.goto(running.url("/failures/truncated"))
    await page.get_by_role("button", name="Retry group").click()
    await page.get_by_role("button", name="Discard").wait_for()
    running.operation_id = page.url.rpartition("/")[2]
    await page.goto(running.url("/dead-letters"))
    await page.get_by_role("button", name="List dead letters").click()
    await page.get_by_text("Listed by").wait_for()
    state = await context.storage_state()
    await context.close()
    return state


@pytest.fixture
def problems(running: Stack) -> Problems:
    """The problems of the test's pages; the test fails when there are some that it did not expect."""
    return Problems(running.console.origin)


@pytest_asyncio.fixture(loop_scope="session")
async def open_page(
    browser: Browser, running: Stack, signed_in: StorageState, problems: Problems
) -> AsyncIterator[OpenPage]:
    """Return a function that opens a page of the console, signed in; options are those of a context."""
    contexts = []

    async def open_(path: str, *, statuses: Sequence[int] = (200,), **options: Any) -> Page:
        context = await browser.new_context(
            storage_state=signed_in,
            **({"viewport": DESKTOP, "color_scheme": "light", "reduced_motion": "reduce"} | options),
        )
        context.set_default_timeout(TIMEOUT_MS)
        contexts.append(context)
        await problems.watch(context)
        page = await context.new_page()
        if path:
            response = await page.goto(running.url(path))
            assert response is not None
            assert response.status in statuses, await response.text()
        return page

    yield open_
    for context in contexts:
        await context.close()
    assert problems.unexpected == []


@pytest_asyncio.fixture(scope="session", loop_scope="session")
async def tabs() -> AsyncIterator[dict[bool, Page]]:
    """The tabs with and without JavaScript in which tests that change nothing follow each other."""
    pages: dict[bool, Page] = {}
    yield pages
    for page in pages.values():
        await page.context.close()


@pytest_asyncio.fixture(loop_scope="session")
async def visit(
    browser: Browser, running: Stack, signed_in: StorageState, problems: Problems, tabs: dict[bool, Page]
) -> AsyncIterator[Visit]:
    """Return a function that opens a page of the console in a tab that other tests have used."""
    visited = []

    async def visit_(
        path: str,
        *,
        statuses: Sequence[int] = (200,),
        viewport: ViewportSize = DESKTOP,
        color_scheme: Literal["light", "dark"] = "light",
        java_script_enabled: bool = True,
    ) -> Page:
        page = tabs.get(java_script_enabled)
        if page is None:
            context = await browser.new_context(
                storage_state=signed_in, reduced_motion="reduce", java_script_enabled=java_script_enabled
            )
            context.set_default_timeout(TIMEOUT_MS)
            await report_violations(context)
            page = tabs[java_script_enabled] = await context.new_page()
        problems.listen(page.context)
        visited.append(page)
        await page.set_viewport_size(viewport)
        await page.emulate_media(color_scheme=color_scheme)
        response = await page.goto(running.url(path))
        assert response is not None
        assert response.status in statuses, await response.text()
        return page

    yield visit_
    for page in visited:
        problems.stop(page.context)
        await page.goto("about:blank")
    assert problems.unexpected == []
