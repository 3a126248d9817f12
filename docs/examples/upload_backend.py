"""
A backend for browser uploads: gives the page a form for each upload, and returns the record of an image.

`.venv/bin/python docs/examples/upload_backend.py [PORT]`, then open http://localhost:8000. A real backend
makes the form in its own language (any AWS SDK has presigned POST) for the user who is signed in, and learns
from events that an image has ended.
"""

import json
import subprocess
import sys
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote

PAGE = Path(__file__).with_name("browser_upload.html")
SIGNED_IN_USER = "alice"
MAX_BYTES = 10_000_000


class Backend(BaseHTTPRequestHandler):
    """Serves the page, forms and images."""

    def do_GET(self) -> None:
        """Send the page, or an image of the user."""
        if self.path == "/":
            self._send(200, PAGE.read_bytes(), "text/html; charset=utf-8")
        elif self.path.startswith("/images/"):
            image_id = unquote(self.path.removeprefix("/images/"))
            found = image_worker("images", "get", "--json", f"--user={SIGNED_IN_USER}", "--", image_id)
            self._send(200, found or b'{"status": "pending"}')  # not recorded yet
        else:
            self.send_error(404)

    def do_POST(self) -> None:
        """Send a form for one upload."""
        if self.path != "/form":
            self.send_error(404)
            return
        form = image_worker("upload-form", "--user", SIGNED_IN_USER, "--max-bytes", str(MAX_BYTES))
        if form is None:
            self.send_error(502, "there is no form")
        else:
            self._send(200, form)

    def _send(self, status: int, body: bytes, content_type: str = "application/json") -> None:
        self.send_response(status)
        self.send_header("Content-Type", content_type)
        self.send_header("Cache-Control", "no-store")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Do not log each request."""


def image_worker(*arguments: str) -> bytes | None:
    """Return the JSON that a command prints; None if it failed."""
    command = [sys.executable, "-m", "worker", *arguments]
    ended = subprocess.run(command, capture_output=True, check=False, timeout=60)
    return json.dumps(json.loads(ended.stdout)).encode() if ended.returncode == 0 else None


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Backend)
    except OSError as error:
        sys.exit(f"port {port} cannot be used ({error.strerror}): choose another one as the argument")
    with suppress(KeyboardInterrupt):
        server.serve_forever()
