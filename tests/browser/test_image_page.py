"""The slider between an original and its result."""

from playwright.async_api import Page

from tests.browser.views import image_path
from tests.browser.watch import OpenPage

PATH = image_path("mountains-at-dawn")


async def shown_share(page: Page) -> float:
    """Return the part of the result that the original covers, in percent."""
    clip: str = await page.locator("img.after").first.evaluate("image => getComputedStyle(image).clipPath")
    return float(clip.rpartition(" ")[2].rstrip("%)"))


async def test_the_slider_moves_by_the_keyboard_and_by_the_pointer(open_page: OpenPage) -> None:
    page = await open_page(PATH)
    slider = page.get_by_role("slider", name="Part of the original that is shown, medium")
    assert await shown_share(page) == 50
    await slider.focus()
    await page.keyboard.press("ArrowLeft")
    assert await shown_share(page) == 49
    await page.keyboard.press("End")
    assert await shown_share(page) == 100

    box = await page.locator("[data-compare]").first.bounding_box()
    assert box is not None
    await page.mouse.move(box["x"] + box["width"] * 0.8, box["y"] + 20)
    await page.mouse.down()
    await page.mouse.move(box["x"] + box["width"] * 0.25, box["y"] + 20)
    await page.mouse.up()
    assert abs(await shown_share(page) - 25) <= 1
    assert await slider.input_value() == "25"


async def test_without_javascript_the_original_and_the_result_are_next_to_each_other(
    open_page: OpenPage,
) -> None:
    page = await open_page(PATH, java_script_enabled=False)
    before = await page.locator("img.before").first.bounding_box()
    after = await page.locator("img.after").first.bounding_box()
    assert before is not None
    assert after is not None
    assert before["x"] + before["width"] <= after["x"]
    assert await page.get_by_role("slider").count() == 0


async def test_the_original_and_the_result_are_loaded(open_page: OpenPage) -> None:
    page = await open_page(PATH)
    for name, width in (("before", 1350), ("after", 800)):
        await page.wait_for_function(
            "([name, width]) => document.querySelector(`img.${name}`).naturalWidth === width",
            arg=[name, width],
        )
