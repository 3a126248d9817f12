"""
The HTTP session of the AWS clients: it accepts every response header that S3 can send.

aiohttp rejects a response with more than 128 headers or a header of more than 8 kB. An upload may have more:
S3 returns each of its `x-amz-meta-*` entries, of which 2 kB hold hundreds, and encodes values that are not
ASCII (RFC 2047), which multiplies their length. aiobotocore rejects a header that is not UTF-8.

Redirects are left to botocore, which signs the request for the other endpoint; aiohttp would repeat it with
the old signature.
"""

import ssl
from functools import partial
from types import SimpleNamespace
from typing import Any, Final

from aiobotocore.httpsession import AIOHTTPSession

_MAX_HEADERS: Final = 4096
"""More than S3 can return: the names and values of an object's user metadata have at most 2,048 bytes."""

_MAX_HEADER_BYTES: Final = 65_536
"""More than S3 can return: 8 kB of headers are accepted with an upload, at most six times as long encoded."""


_SSL_CONTEXTS: Final[dict[str | bool, ssl.SSLContext]] = {}


class HttpSession(AIOHTTPSession):
    """aiobotocore's session with higher limits for response headers, and one SSL context for all clients."""

    _cert_file: str | None
    _verify: str | bool

    def _build_ssl_contexts(self, proxy_url: str | None) -> tuple[ssl.SSLContext, ssl.SSLContext | None]:
        # Each context reads all certificates, which takes 27 ms of CPU time and 0.7 MB.
        build: Any = super()._build_ssl_contexts  # type: ignore[misc]  # the stubs do not have it
        if proxy_url or self._cert_file:  # which add certificates of their own
            added: tuple[ssl.SSLContext, ssl.SSLContext | None] = build(proxy_url)
            return added
        if self._verify not in _SSL_CONTEXTS:
            _SSL_CONTEXTS[self._verify], _ = build(None)
        return _SSL_CONTEXTS[self._verify], None

    async def _get_session(self, proxy_url: str | None) -> Any:  # noqa: ANN401 - aiobotocore has no types
        # The only place between aiobotocore and aiohttp where a request's options can be set.
        session = await super()._get_session(proxy_url)  # type: ignore[misc]  # the stubs do not have it
        return SimpleNamespace(request=partial(_request, session))


async def _request(session: Any, method: str, **options: Any) -> Any:  # noqa: ANN401 - as above
    response = await session.request(
        method,
        **options,
        allow_redirects=False,
        max_headers=_MAX_HEADERS,
        max_field_size=_MAX_HEADER_BYTES,
    )
    for header in response.raw_headers:
        if not (header[0].isascii() and header[1].isascii()):
            return _Decodable(response)
    return response


class _Decodable:
    """A response whose headers are all UTF-8: one that is not has been read as Latin-1."""

    def __init__(self, response: Any) -> None:  # noqa: ANN401 - as above
        self._response = response
        self.raw_headers = tuple((_as_utf8(name), _as_utf8(value)) for name, value in response.raw_headers)

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - as above
        return getattr(self._response, name)


def _as_utf8(text: bytes) -> bytes:
    try:
        text.decode()
    except UnicodeDecodeError:
        return text.decode("latin-1").encode()
    return text
