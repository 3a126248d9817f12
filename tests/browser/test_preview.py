"""The recipe preview: results that follow the form, without a reload."""

from playwright.async_api import expect

from tests.browser.stack import USER
from tests.browser.watch import OpenPage

PHOTO = f"/preview?image={USER}%2Fmountains-at-dawn"


async def test_the_newest_image_is_previewed_when_the_page_opens(open_page: OpenPage) -> None:
    page = await open_page("/preview")
    await expect(page.locator("#preview-results img").last).to_be_visible(timeout=30_000)


async def test_the_results_follow_the_form_and_the_focus_stays(open_page: OpenPage) -> None:
    page = await open_page(PHOTO)
    results = page.locator("#preview-results")
    await page.get_by_label("Width").fill("300")
    await page.keyboard.press("Tab")
    await expect(results).to_contain_text('"width":300')
    await expect(page.get_by_label("Height", exact=True)).to_be_focused()
    await expect(results.locator("figcaption").last).to_contain_text("300")
    await page.get_by_label("Format").select_option("webp")
    await expect(results.locator("figcaption").last).to_contain_text("WEBP")
    assert "width=300" in page.url
    assert (
        await results.locator("img").last.evaluate("image => image.decode().then(() => image.naturalWidth)")
        == 300
    )


async def test_an_invalid_value_is_explained_beside_its_field_until_it_is_corrected(
    open_page: OpenPage,
) -> None:
    page = await open_page(PHOTO)
    await page.get_by_label("Quality").fill("1000")
    await page.keyboard.press("Tab")
    await expect(page.locator("#error-quality")).to_have_text(
        "Quality is '1000'; write a number from 1 to 100."
    )
    await expect(page.locator("#preview-results")).to_contain_text("Correct the fields that are marked.")
    await page.get_by_label("Quality").fill("10")
    await page.keyboard.press("Tab")
    await expect(page.locator("#preview-results")).to_contain_text("WORKER_QUALITY=10")
    await expect(page.locator("#error-quality")).to_be_empty()


async def test_the_images_that_would_change_are_counted_on_request(open_page: OpenPage) -> None:
    page = await open_page(f"{PHOTO}&quality=40")
    await page.get_by_role("button", name="Count the images that would change").click()
    await expect(page.locator("#preview-results")).to_contain_text("newest 1,000 completed images")
