"""Serve the console's own style sheets and scripts, under URLs that change with their content."""

import gzip
import hashlib
import mimetypes
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from aiohttp import hdrs, web

from worker.console.security.routes import STATIC as ROUTE
from worker.console.urls import url

FOLDER: Final = Path(__file__).parent / "static"

_FOREVER: Final = "public, max-age=31536000, immutable"
_SUFFIXES: Final = frozenset({".css", ".js", ".svg"})
_DIGITS: Final = 12


@dataclass(frozen=True, slots=True)
class StaticFile:
    """A file in memory: its content as it is and compressed, and a digest of it."""

    content: bytes
    compressed: bytes
    content_type: str
    digest: str


def read_static_files(folder: Path = FOLDER) -> dict[str, StaticFile]:
    """Return the files that are served, by their path in the folder."""
    return {
        path.relative_to(folder).as_posix(): _read(path)
        for path in sorted(folder.rglob("*"))
        if path.suffix in _SUFFIXES
    }


def add_static_files(app: web.Application) -> Callable[[str], str]:
    """Add the route of the static files; return the function that returns the URL of a file."""
    files = read_static_files()

    async def serve(request: web.Request) -> web.Response:
        file = files.get(request.match_info["file"])
        if file is None:
            raise web.HTTPNotFound
        headers: dict[str, str] = {hdrs.VARY: hdrs.ACCEPT_ENCODING}
        # After a deployment, a page of another version may name the file by its former digest.
        is_current = request.match_info["digest"] == file.digest
        headers[hdrs.CACHE_CONTROL] = _FOREVER if is_current else "no-cache"
        body = file.content
        if "gzip" in request.headers.get(hdrs.ACCEPT_ENCODING, "").lower():
            headers[hdrs.CONTENT_ENCODING], body = "gzip", file.compressed
        return web.Response(body=body, headers=headers, content_type=file.content_type, charset="utf-8")

    app.router.add_get("/static/{digest:[0-9a-f]+}/{file:.+}", serve, name=ROUTE)

    def static_url(file: str) -> str:
        return url(app, ROUTE, digest=files[file].digest, file=file).replace("%2F", "/")

    return static_url


def _read(path: Path) -> StaticFile:
    content = path.read_bytes()
    return StaticFile(
        content=content,
        compressed=gzip.compress(content, mtime=0),
        content_type=mimetypes.guess_type(path.name)[0] or "application/octet-stream",
        digest=hashlib.sha256(content).hexdigest()[:_DIGITS],
    )
