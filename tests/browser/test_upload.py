"""The Try page: drop an image, and see it completed."""

import asyncio
import base64
import re
from pathlib import Path

from playwright.async_api import Page, expect

from tests.browser.stack import USER, Stack
from tests.browser.watch import OpenPage
from tests.support.killed_worker import KILLER

STAGES = ("uploaded", "claimed", "validated", "resized", "watermarked", "stored", "completed")

DROP = """([name, content]) => {
  const bytes = Uint8Array.from(atob(content), (character) => character.charCodeAt(0));
  const dataTransfer = new DataTransfer();
  dataTransfer.items.add(new File([bytes], name, {type: "image/jpeg"}));
  for (const type of ["dragover", "drop"])
    document.body.dispatchEvent(new DragEvent(type, {dataTransfer, bubbles: true, cancelable: true}));
}"""


async def drop(page: Page, path: Path) -> None:
    """Drop a file on the page."""
    content = await asyncio.to_thread(path.read_bytes)
    await page.evaluate(DROP, [path.name, base64.b64encode(content).decode()])


async def keep_this_document(page: Page) -> None:
    """Mark the document, which a reload would replace."""
    await page.evaluate("window.isSameDocument = true")


async def expect_no_reload(page: Page) -> None:
    """Expect the document that was marked."""
    assert await page.evaluate("window.isSameDocument") is True


async def test_a_dropped_image_goes_through_every_stage_to_completed(
    open_page: OpenPage, running: Stack
) -> None:
    page = await open_page("/try")
    await page.get_by_label("User", exact=True).fill(USER)
    await keep_this_document(page)
    await drop(page, running.pictures / "forest-from-a-phone.jpg")

    card = page.get_by_role("article")
    await expect(card.locator("header")).to_contain_text("completed")
    stages = card.get_by_role("listitem")
    await expect(stages).to_have_text([*map(text_of_stage, STAGES)])
    await expect(card.get_by_role("img", name="Result of forest-from-a-phone.jpg")).to_be_visible()
    await expect(page.get_by_role("log")).to_contain_text("forest-from-a-phone.jpg completed")
    await expect_no_reload(page)


def text_of_stage(name: str) -> re.Pattern[str]:
    """Return a pattern of a stage with its milliseconds."""
    return re.compile(rf"^\s*{name}(\s+[\d,]+ ms)?\s*$")


async def test_a_broken_image_fails_with_the_reason_and_what_to_do(
    open_page: OpenPage, running: Stack
) -> None:
    page = await open_page("/try")
    await page.get_by_label("User", exact=True).fill(USER)
    await page.get_by_label("Images", exact=True).set_input_files(running.pictures / "broken-on-purpose.jpg")
    card = page.get_by_role("article")
    await expect(card.locator("header")).to_contain_text("failed")
    await expect(card).to_contain_text("truncated")
    await expect(card).to_contain_text("upload it again")


async def test_images_are_uploaded_without_javascript(open_page: OpenPage, running: Stack) -> None:
    page = await open_page("/try", java_script_enabled=False)
    await page.get_by_label("User", exact=True).fill(USER)
    await page.get_by_label("Images", exact=True).set_input_files(running.pictures / "tulips.webp")
    await page.get_by_role("button", name="Upload").click()
    await expect(page.get_by_role("article")).to_contain_text("tulips.webp")
    image_id = page.url.partition("images=")[2]
    await running.ended(image_id)
    await page.reload()
    await expect(page.get_by_role("article").locator("header")).to_contain_text("completed")


async def test_a_killed_worker_shows_as_an_expired_lease_a_second_attempt_and_the_completion(
    open_page: OpenPage, running: Stack
) -> None:
    page = await open_page("/try")
    await page.get_by_label("User", exact=True).fill(KILLER)
    await keep_this_document(page)
    await drop(page, running.pictures / "tulips.webp")

    card = page.get_by_role("article")
    await expect(card.locator("header")).to_contain_text("processing")
    await expect(card).to_contain_text("lease expired", timeout=60_000)
    await expect(card).to_contain_text("Attempt 2", timeout=60_000)
    await expect(card.locator("header")).to_contain_text("completed", timeout=60_000)
    await expect(card).to_contain_text("Attempt 1")
    await expect_no_reload(page)
    assert running.workers.killed_by_images == 1
