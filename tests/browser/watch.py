"""Pages that record what must not happen on any page: console errors, CSP violations, foreign requests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Protocol

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, WebError

_REPORT_VIOLATIONS: Final = """
addEventListener("securitypolicyviolation", (event) => {
  console.error(`CSP: ${event.effectiveDirective} blocked ${event.blockedURI || "inline code"}`);
});
"""


class OpenPage(Protocol):
    """Opens pages of the console that are watched until the test ends."""

    async def __call__(self, path: str, *, statuses: Sequence[int] = (200,), **options: Any) -> Page:
        """
        Open a page of the console, signed in.

        Args:
            path: Path of the page, without the prefix; an empty page if it is empty.
            statuses: HTTP statuses that the page may have.
            options: Options of a Playwright context.
        """
        ...


@dataclass
class Problems:
    """
    What went wrong on the pages of a browser context.

    Attributes:
        base_url: Start of the URLs that the pages may request.
        found: One sentence for each problem.
        expected: Patterns of problems that the test causes on purpose.
    """

    base_url: str
    found: list[str] = field(default_factory=list)
    expected: list[re.Pattern[str]] = field(default_factory=list)

    def expect(self, pattern: str) -> None:
        """Accept problems that contain the pattern, because the test causes them."""
        self.expected.append(re.compile(pattern))

    @property
    def unexpected(self) -> list[str]:
        """The problems that the test did not expect."""
        return [one for one in self.found if not any(each.search(one) for each in self.expected)]

    async def watch(self, context: BrowserContext) -> None:
        """Record the problems of all pages of a context from now on."""
        await context.add_init_script(_REPORT_VIOLATIONS)
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("dialog", self._on_dialog)
        context.on("request", self._on_request)

    def _on_console(self, message: ConsoleMessage) -> None:
        if message.type in {"error", "warning"}:
            self.found.append(f"console {message.type}: {message.text} ({message.location.get('url')})")

    def _on_error(self, error: WebError) -> None:
        self.found.append(f"uncaught exception: {error.error}")

    async def _on_dialog(self, dialog: Dialog) -> None:
        self.found.append(f"dialog: {dialog.message}")
        await dialog.dismiss()

    def _on_request(self, request: Request) -> None:
        if not request.url.startswith((self.base_url, "data:", "blob:")):
            self.found.append(f"request to another origin: {request.url}")
