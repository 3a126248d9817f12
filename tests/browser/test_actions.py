"""Actions on many images: a dry run, a confirmation, and progress until the end."""

import asyncio
import re

from playwright.async_api import expect

from tests.browser.stack import RETRIED, RETRIED_CODE, USER, Stack
from tests.browser.watch import OpenPage
from tests.support.pictures import encoded, quadrants
from worker.domain.status import ImageStatus


async def test_a_failure_group_is_retried_after_a_dry_run_and_a_confirmation(
    open_page: OpenPage, running: Stack
) -> None:
    page = await open_page("/failures")
    group = page.get_by_role("region", name=RETRIED_CODE)
    await expect(group).to_contain_text(f"{len(RETRIED)} images")
    await group.get_by_role("button", name="Retry group").click()
    await page.wait_for_url(re.compile(r"/operations/[^/]+$"))

    await page.get_by_role("button", name=f"Retry {len(RETRIED)}").click()
    await expect(page.locator("main")).to_contain_text(f"{len(RETRIED)} of {len(RETRIED)}")

    for image_id in RETRIED:
        image = await running.ended(image_id)
        assert image.status is ImageStatus.COMPLETED
        (entry,) = [entry for entry in image.history if entry.detail.get("reason") == "retried"]
        assert entry.detail["via"] == "console"
    await page.goto(running.url("/failures"))
    await expect(page.get_by_role("region", name="truncated")).to_be_visible()
    async with asyncio.timeout(30):  # a page shows the groups read before while new ones take long to read
        while await page.get_by_role("region", name=RETRIED_CODE).count():
            await page.reload()


async def test_a_listed_dead_letter_is_redriven(open_page: OpenPage, running: Stack) -> None:
    page = await open_page("/dead-letters")
    await page.get_by_role("button", name="List dead letters").click()
    row = page.get_by_role("row", name=f"uploads/{USER}/redriven.jpg")
    await row.get_by_role("button", name="Redrive").click()
    await page.wait_for_url(re.compile(r"/operations/[^/]+$"))
    await page.get_by_role("button", name="Redrive 1").click()

    assert (await running.ended("redriven")).status is ImageStatus.COMPLETED


async def test_an_unconfirmed_operation_can_be_discarded(open_page: OpenPage) -> None:
    page = await open_page("/failures/truncated")
    await page.get_by_role("button", name="Reprocess group").click()
    await page.get_by_role("button", name="Discard").click()
    await expect(page.get_by_role("button", name="Discard")).to_have_count(0)


async def test_an_image_is_deleted_and_its_user_forgotten_from_their_pages(
    open_page: OpenPage, running: Stack
) -> None:
    for image_id in ("first", "second"):
        await running.put(f"{image_id}.jpg", encoded(quadrants(96, 72)), user_id="erin")
        await running.ended(image_id, "erin")
    page = await open_page("/images/first?user=erin")
    await page.get_by_role("button", name="Delete").click()
    await page.wait_for_url(re.compile(r"/operations/[^/]+$"))
    await expect(page.locator("main")).to_contain_text("1 image would be deleted")
    await page.get_by_role("button", name="Delete 1").click()
    await expect(page.locator("main")).to_contain_text("1 of 1")
    assert await running.image("first", "erin") is None

    page = await open_page("/users/erin")
    await page.get_by_role("button", name="Forget").click()
    await page.get_by_label("Type 2 to confirm").fill("2")
    await page.get_by_role("button", name="Forget 2").click()
    await expect(page.locator("main")).to_contain_text("2 of 2")
    assert await running.image("second", "erin") is None
