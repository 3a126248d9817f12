"""Chromium for the browser tests: Debian's, by the path of its executable; Playwright downloads none."""

import os
import shutil
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Final

from playwright.async_api import Browser, async_playwright

NAMES: Final = ("chromium", "chromium-browser", "google-chrome")
MISSING: Final = (
    "Chromium was not found, so the browser tests do not run; install it with: apt-get install chromium"
)

_ARGUMENTS: Final = (
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",  # requests of the browser itself, which no test makes
    "--disable-component-update",
    "--disable-sync",
    "--force-color-profile=srgb",
    "--font-render-hinting=none",
)


def chromium_path() -> str | None:
    """Return the path of an installed Chromium; None if there is none in PATH."""
    return next((path for name in NAMES if (path := shutil.which(name))), None)


@asynccontextmanager
async def chromium(path: str, *, more: Sequence[str] = ()) -> AsyncIterator[Browser]:
    """Run a headless Chromium with an empty profile."""
    # Chromium does not start its sandbox as root, as which containers and CI run the tests.
    arguments = [*_ARGUMENTS, *more, *(["--no-sandbox"] if os.geteuid() == 0 else [])]
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=arguments)
        try:
            yield browser
        finally:
            await browser.close()
