"""Create and parse page tokens, which are opaque and valid only for the query that returned them."""

import base64
import binascii
import hashlib
import json
from typing import Any

from worker.domain.errors import PageTokenError

_PREFIX = "p1_"  # the version; also keeps a token from starting with a dash
_DIGEST_BYTES = 9


def to_token(position: object, *, query: str) -> str:
    """
    Return a token for a position in a query's results.

    Args:
        position: JSON value.
        query: Identifies the query, with all of its parameters.
    """
    payload = json.dumps(position, separators=(",", ":"), ensure_ascii=False).encode()
    return _PREFIX + base64.urlsafe_b64encode(_digest(payload, query) + payload).decode().rstrip("=")


def from_token(token: str, *, query: str) -> Any:  # noqa: ANN401 - what `to_token` was given
    """
    Return the position in a token.

    Raises:
        PageTokenError: The token is damaged or belongs to another query.
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
    # Not a secret: a token gives no access to anything. The digest only detects mistakes.
    key = hashlib.sha256(query.encode()).digest()
    return hashlib.blake2b(payload, key=key, digest_size=_DIGEST_BYTES).digest()
