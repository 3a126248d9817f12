"""Hostile text from uploads, keys, EXIF data and messages is text on every page."""

import re
from typing import Any, Final
from urllib.parse import quote

import pytest

from tests.browser.stack import HOSTILE_USER
from tests.browser.views import image_path, user_path
from tests.browser.watch import Problems, Visit

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

# Texts, and attributes that are read to people. The value of a field is sent again as it is, so it stays raw.
_SHOWN: Final = """() => [
  document.documentElement.textContent,
  ...[...document.querySelectorAll("[title], [alt], [aria-label], [placeholder]")].flatMap((element) =>
    ["title", "alt", "aria-label", "placeholder"].map((name) => element.getAttribute(name) || "")),
].join("\\n")"""

_UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


@pytest.mark.parametrize("path", PATHS.values(), ids=PATHS.keys())
async def test_hostile_text_is_shown_as_text(visit: Visit, problems: Problems, path: str) -> None:
    problems.expect("the server responded with a status of 404")
    page = await visit(path, statuses=(200, 404))
    await page.evaluate("document.querySelectorAll('details').forEach((details) => { details.open = true; })")
    foreign: list[Any] = await page.evaluate(_FOREIGN)
    assert foreign == []
    assert _UNPRINTABLE.findall(await page.evaluate(_SHOWN)) == []
    content = await page.locator("main").inner_text()
    assert "<" in content, "the page does not show the hostile text at all"
