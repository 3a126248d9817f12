"""The layout check itself, on pages made for it."""

from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from playwright.async_api import Browser, Page

from tests.browser.layout import layout_problems

WORD = "Donaudampfschifffahrtsgesellschaft" * 3
ELLIPSIS = "overflow: hidden; text-overflow: ellipsis; white-space: nowrap"
FOR_READERS = "position: absolute; width: 1px; height: 1px; overflow: hidden"


@pytest_asyncio.fixture(loop_scope="session")
async def blank_page(browser: Browser) -> AsyncIterator[Page]:
    page = await browser.new_page()
    yield page
    await page.close()


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (f"<p>{WORD}</p>", "the page is "),
        (f'<div style="overflow-x: auto"><p>{WORD}</p></div>', "needs a horizontal scroll"),
        (f'<p style="overflow: hidden">{WORD}</p>', "is cut off by <p>"),
        (
            f'<p style="{ELLIPSIS}" title="short">{WORD}</p>',
            "is cut off by <p>",
        ),
        ('<p>below</p><p style="margin-top: -2.2em">above</p>', '"above" and "below" overlap'),
        (
            '<p>below</p><div style="position: absolute; inset: 0; background: white"></div>',
            '"below" is behind <div>',
        ),
        (
            '<button>first</button><button style="margin-left: -3em">second</button>',
            "<button> and <button> overlap",
        ),
        ('<input placeholder="image id, user id or file name" style="width: 5em">', "the placeholder"),
        (f'<body style="overflow-x: hidden"><p>{WORD}</p></body>', "lies outside of the window"),
    ],
    ids=["wide", "scroller", "cut", "wrong-title", "overlap", "covered", "buttons", "placeholder", "outside"],
)
async def test_a_broken_layout_is_reported(blank_page: Page, body: str, problem: str) -> None:
    await blank_page.set_content(f"<!doctype html><html lang=en><title>A</title>{body}")
    found = await layout_problems(blank_page, width_px=320)
    assert any(problem in one for one in found), found


@pytest.mark.parametrize(
    "body",
    [
        f'<p style="overflow-wrap: anywhere">{WORD}</p>',
        f'<p style="{ELLIPSIS}" title="{WORD}">{WORD}</p>',
        '<p>one</p><p>two <a href="#">three</a> <b>four</b></p><label>five <input></label>',
        f'<span style="{FOR_READERS}">for readers</span><p>shown</p>',
        "<details><summary>more</summary><p>closed</p></details><p>shown</p>",
        '<p style="line-height: 1.1">' + "word " * 100 + "</p>",
    ],
    ids=["wraps", "titled", "inline", "readers", "closed", "tight"],
)
async def test_a_sound_layout_has_no_findings(blank_page: Page, body: str) -> None:
    await blank_page.set_content(f"<!doctype html><html lang=en><title>A</title>{body}")
    assert await layout_problems(blank_page, width_px=320) == []
