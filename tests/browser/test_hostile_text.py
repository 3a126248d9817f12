"""Hostile text from uploads, keys, EXIF data and messages is text on every page."""

from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.browser.stack import HOSTILE_USER
from tests.browser.views import image_path, user_path
from tests.browser.watch import OpenPage, Problems

PATHS: Final = {
    "images": "/images",
    "images-of-user": f"/images?user={quote(HOSTILE_USER, safe='')}",
    "image": image_path("photo", HOSTILE_USER),
    "image-failed": image_path("empty", HOSTILE_USER),
    "user": user_path(HOSTILE_USER),
    "failures": "/failures",
    "failure": "/failures/not_an_image",
    "dead-letters": "/dead-letters",
    "search": f"/search?q={quote(HOSTILE_USER, safe='')}",
    "search-markup": f"/search?q={quote('<b>bold</b>', safe='')}",
    "no-such-image": image_path("<b>no</b>", HOSTILE_USER),
}

# Elements, attributes and links that no template of the console has.
_FOREIGN: Final = """() => [
  ...document.querySelectorAll("script:not([src]), img[src='x'], [onerror], [onmouseover], main b, iframe"),
  ...[...document.querySelectorAll("a[href], form[action]")].filter((element) =>
    new URL(element.href || element.action).origin !== location.origin),
].map((element) => element.outerHTML)"""

_UNPRINTABLE: Final = """() => document.documentElement.outerHTML.match(
  /[\\u0000-\\u0008\\u000b\\u000c\\u000e-\\u001f\\u007f-\\u009f\\u202a-\\u202e\\u2066-\\u2069]/g) || []"""


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_hostile_text_is_shown_as_text(open_page: OpenPage, problems: Problems, path: str) -> None:
    problems.expect("the server responded with a status of 404")
    page = await open_page(path, statuses=(200, 404))
    foreign: list[Any] = await page.evaluate(_FOREIGN)
    assert foreign == []
    unprintable: list[str] = await page.evaluate(_UNPRINTABLE)
    assert unprintable == []
    content = await page.locator("main").inner_text()
    assert "<" in content, "the page does not show the hostile text at all"
