"""Pages that record what must not happen on any page: console errors, CSP violations, foreign requests."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Final, Literal, Protocol

from playwright.async_api import BrowserContext, ConsoleMessage, Dialog, Page, Request, ViewportSize, WebError

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


class Visit(Protocol):
    """Opens pages of the console, signed in, in a tab that other tests have used and will use."""

    async def __call__(
        self,
        path: str,
        *,
        statuses: Sequence[int] = (200,),
        viewport: ViewportSize = ...,
        color_scheme: Literal["light", "dark"] = "light",
        java_script_enabled: bool = True,
    ) -> Page:
        """
        Open a page of the console; the page must not change what other tests see, such as the stored cookies.

        Args:
            path: Path of the page, without the prefix.
            statuses: HTTP statuses that the page may have.
            viewport: Size of the window.
            color_scheme: Theme that the system prefers.
            java_script_enabled: Whether scripts run.
        """
        ...


async def report_violations(context: BrowserContext) -> None:
    """Let all pages of a context report violations of their content security policy as errors."""
    await context.add_init_script(_REPORT_VIOLATIONS)


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
        await report_violations(context)
        self.listen(context)

    def listen(self, context: BrowserContext) -> None:
        """Record the problems of a context whose pages report violations."""
        context.on("console", self._on_console)
        context.on("weberror", self._on_error)
        context.on("dialog", self._on_dialog)
        context.on("request", self._on_request)

    def stop(self, context: BrowserContext) -> None:
        """Record no problems of a context any more."""
        context.remove_listener("console", self._on_console)
        context.remove_listener("weberror", self._on_error)
        context.remove_listener("dialog", self._on_dialog)
        context.remove_listener("request", self._on_request)

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
