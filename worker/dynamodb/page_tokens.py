"""Page tokens: opaque, safe on a command line, and good for the query that gave them only."""

import base64
import binascii
import hashlib
import json
from typing import Any

from worker.domain.errors import PageTokenError

_PREFIX = "p1_"  # keeps a token from starting with a dash, and tells its form
_DIGEST_BYTES = 9


def to_token(positions: object, *, query: str) -> str:
    """
    Write the positions of a query as a token.

    Args:
        positions: Where each part of the query stands, as JSON holds it.
        query: Everything that makes another query another.
    """
    payload = json.dumps(positions, separators=(",", ":"), ensure_ascii=False).encode()
    return _PREFIX + base64.urlsafe_b64encode(_digest(payload, query) + payload).decode().rstrip("=")


def from_token(token: str, *, query: str) -> Any:  # noqa: ANN401 - what `to_token` was given
    """
    Read the positions from a token.

    Raises:
        PageTokenError: It is damaged, or another query's.
    """
    try:
        text = token.removeprefix(_PREFIX).encode("ascii")
        content = base64.b64decode(text + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (UnicodeEncodeError, binascii.Error, ValueError) as error:
        raise PageTokenError from error
    digest, payload = content[:_DIGEST_BYTES], content[_DIGEST_BYTES:]
    if not token.startswith(_PREFIX) or digest != _digest(payload, query):
        raise PageTokenError
    return json.loads(payload)


def _digest(payload: bytes, query: str) -> bytes:
    # No secret: a token opens nothing that its owner may not ask for anyhow. It guards against mistakes.
    key = hashlib.sha256(query.encode()).digest()
    return hashlib.blake2b(payload, key=key, digest_size=_DIGEST_BYTES).digest()
