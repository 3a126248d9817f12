"""
An endpoint for events: verifies signatures, leaves out repetitions, and prints what happened to each image.

`WORKER_WEBHOOK_SECRET=whsec_... python docs/examples/events_endpoint.py [PORT]`, then in another terminal
`image-worker events forward http://localhost:8000/hooks`. It needs only the standard library.
"""

import base64
import hmac
import json
import os
import sys
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Lock

TOLERANCE_S = 5 * 60
MAX_BYTES = 1_000_000
KEY = base64.b64decode(os.environ["WORKER_WEBHOOK_SECRET"].removeprefix("whsec_"))

latest: dict[tuple[str, str], int] = {}
"""Image and record -> highest attempt that has been handled. A real consumer keeps this in its database."""
lock = Lock()


class Hooks(BaseHTTPRequestHandler):
    """Receives webhooks."""

    def do_POST(self) -> None:
        """Verify and handle one event."""
        body = self.rfile.read(min(int(self.headers.get("content-length", 0)), MAX_BYTES))
        if not is_authentic(body, dict(self.headers.items())):
            self.send_error(401, "the signature is missing, wrong or too old")
            return
        handle(json.loads(body)["detail"])
        self.send_response(204)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Do not log each request."""


def is_authentic(body: bytes, headers: dict[str, str]) -> bool:
    """Return whether a webhook was signed with our key, not more than five minutes ago."""
    headers = {name.lower(): value for name, value in headers.items()}
    try:
        webhook_id, timestamp = headers["webhook-id"], headers["webhook-timestamp"]
        signatures = headers["webhook-signature"].split()
        age_s = abs(time.time() - int(timestamp))
    except (KeyError, ValueError):
        return False
    signed = f"{webhook_id}.{timestamp}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(KEY, signed, "sha256")).decode()
    return age_s <= TOLERANCE_S and any(hmac.compare_digest(expected, each) for each in signatures)


def handle(event: dict[str, str]) -> None:
    """Handle an event once: a repeated or an older one changes nothing."""
    image, attempt = f"{event['userId']}/{event['imageId']}", int(event["attempt"])
    record = image, event["recordId"]  # an image that is uploaded again after its deletion has another record
    with lock:
        if attempt <= latest.get(record, 0):
            return
        latest[record] = attempt
        result = event["code"] if event["status"] == "failed" else event["processedKey"]
        print(f"{image} {event['status']}: {result}", flush=True)


if __name__ == "__main__":
    port = int(sys.argv[1]) if len(sys.argv) > 1 else 8000
    try:
        server = ThreadingHTTPServer(("127.0.0.1", port), Hooks)
    except OSError as error:
        sys.exit(f"port {port} cannot be used ({error.strerror}): choose another one as the argument")
    with suppress(KeyboardInterrupt):
        server.serve_forever()
