"""Pages stay current while their stream is interrupted."""

import asyncio

from playwright.async_api import Route, expect

from tests.browser.stack import USER, Stack
from tests.browser.test_upload import expect_no_reload, keep_this_document
from tests.browser.watch import OpenPage, Problems
from tests.support.pictures import encoded, quadrants

IMAGE = encoded(quadrants(320, 240))

REPROCESS = "() => fetch(document.querySelector('form[action*=reprocess]').action, {method: 'POST'})"
"""Requests what the button does, without leaving the page."""


async def test_an_image_that_completed_while_the_browser_was_offline_is_shown_when_it_is_online_again(
    open_page: OpenPage, running: Stack, problems: Problems
) -> None:
    problems.expect(r"ERR_INTERNET_DISCONNECTED|ERR_NETWORK_CHANGED|ERR_FAILED|\[object Event\]")
    is_online = asyncio.Event()

    async def connect(route: Route) -> None:
        await (route.continue_() if is_online.is_set() else route.abort())

    page = await open_page("")
    await page.route("**/events*", connect)  # Chromium keeps an open stream while it is said to be offline
    await page.goto(running.url(f"/try?user={USER}&images=offline"))
    await keep_this_document(page)
    await page.context.set_offline(offline=True)
    await running.put("offline.jpg", IMAGE)
    await running.ended("offline")
    await expect(page.get_by_role("article").locator("header")).not_to_contain_text("completed")

    is_online.set()
    await page.context.set_offline(offline=False)

    await expect(page.get_by_role("article").locator("header")).to_contain_text("completed")
    await expect_no_reload(page)


async def test_a_page_without_a_stream_reads_itself_again_and_says_so(
    open_page: OpenPage, running: Stack, problems: Problems
) -> None:
    problems.expect(r"ERR_FAILED|Failed to load resource|\[object Event\]")
    page = await open_page("")
    await page.context.route("**/events*", lambda route: route.abort())
    await page.goto(running.url(f"/try?user={USER}&images=polled"))
    await expect(page.get_by_text("Not connected")).to_be_visible(timeout=30_000)
    await keep_this_document(page)
    await running.put("polled.jpg", IMAGE)

    await expect(page.get_by_role("article").locator("header")).to_contain_text("completed", timeout=30_000)
    await expect_no_reload(page)


async def test_the_page_of_an_image_follows_a_requested_attempt(open_page: OpenPage, running: Stack) -> None:
    await running.put("followed.jpg", IMAGE)
    await running.ended("followed")
    page = await open_page(f"/images/followed?user={USER}")
    await keep_this_document(page)
    await page.evaluate(REPROCESS)

    await expect(page.get_by_text("Attempt 2", exact=True)).to_be_visible()
    await expect_no_reload(page)


async def test_the_page_of_the_queue_shows_a_message_without_a_reload(
    open_page: OpenPage, running: Stack
) -> None:
    page = await open_page("/queue")
    await keep_this_document(page)
    before = await page.locator("main").inner_text()
    await running.send(running.settings.dead_letter_queue_name, "another")
    await expect(page.locator("main")).not_to_have_text(before, timeout=15_000)
    await expect_no_reload(page)
