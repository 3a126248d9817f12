"""The security headers of every response, and of files for download."""

from typing import Final
from urllib.parse import quote

from aiohttp import hdrs, web

from worker.console.security.routes import STATIC, route_name
from worker.domain.printable import printable

CONTENT_SECURITY_POLICY: Final = "; ".join(
    (
        "default-src 'none'",
        "script-src 'self'",
        "style-src 'self'",
        "img-src 'self'",
        "connect-src 'self'",
        "form-action 'self'",
        "frame-ancestors 'none'",
        "base-uri 'none'",
    )
)

_HEADERS: Final = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "no-referrer",
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
}

_MAX_FILE_NAME_LENGTH: Final = 200


async def add_headers(request: web.Request, response: web.StreamResponse) -> None:
    """Add the security headers to a response; only private ones and static files may be stored."""
    response.headers.update(_HEADERS)
    if route_name(request) != STATIC and not response.headers.get(hdrs.CACHE_CONTROL, "").startswith(
        "private"
    ):
        response.headers[hdrs.CACHE_CONTROL] = "no-store"


def attachment(file_name: str) -> str:
    """Return the `Content-Disposition` that makes browsers save a file under a name, and never show it."""
    name = printable(file_name).replace("/", "_").replace("\\", "_").replace("\t", " ").replace("\n", " ")
    encoded = quote(name[:_MAX_FILE_NAME_LENGTH].encode("utf-8", "replace"), safe="")
    return f"attachment; filename*=UTF-8''{encoded or 'image'}"
