"""Find what a person would see as broken in the layout of a page."""

from pathlib import Path
from typing import Final

from playwright.async_api import Page

_CHECK: Final = Path(__file__).with_suffix(".js").read_text(encoding="utf-8")
_MAX_HEIGHT_PX: Final = 20_000


async def layout_problems(page: Page, *, width_px: int) -> list[str]:
    """
    Return what is wrong with the layout of the page in a window of this width, one sentence each.

    The window gets as high as the page, so that no part of it has to be scrolled into view.
    """
    await page.set_viewport_size({"width": width_px, "height": 800})
    height = await page.evaluate("document.documentElement.scrollHeight")
    await page.set_viewport_size({"width": width_px, "height": min(max(height, 800), _MAX_HEIGHT_PX)})
    found: list[str] = await page.evaluate(_CHECK)
    return found
