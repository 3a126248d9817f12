"""Sign in with a link that works once, and keep the session in a cookie."""

import hashlib
import hmac
import secrets
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

import structlog
from aiohttp import hdrs, web

from worker.console.security.hosts import ORIGIN
from worker.console.security.identity import Identity, Role

log = structlog.get_logger(__name__)

SESSION_S: Final = 12 * 3600.0
MAX_SESSIONS: Final = 1000
MAX_FAILURES_PER_MINUTE: Final = 10

_MINUTE_S: Final = 60.0
_TOKEN_BYTES: Final = 32


@dataclass(frozen=True, slots=True)
class _Session:
    identity: Identity
    expires_at: float


class TokenAuthentication:
    """
    Sessions of browsers that have opened a link with a token.

    Tokens and session ids are random and kept as digests, in memory only: a restart ends all sessions.

    Args:
        name: Name of the operator who opens a link, for the history of images.
        prefix: Path prefix of the console.
        on_sign_in: Called with the role after a link was used, to print the next one.
        clock: Returns the time in seconds.
    """

    hint = (
        "You are not signed in. "
        "Open the link that the console printed at its start. It works once, for one browser; "
        "restart the console for another one."
    )

    def __init__(
        self,
        *,
        name: str,
        prefix: str = "",
        on_sign_in: Callable[[Role], None] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._identities = {
            Role.OPERATOR: Identity(name, Role.OPERATOR),
            Role.VIEWER: Identity("viewer", Role.VIEWER),
        }
        self._prefix = prefix
        self._on_sign_in = on_sign_in
        self._clock = clock
        self._tokens: dict[Role, bytes] = {}
        self._sessions: OrderedDict[bytes, _Session] = OrderedDict()  # in the order of expiry
        self._failures: deque[float] = deque(maxlen=MAX_FAILURES_PER_MINUTE)

    def start_link(self, base_url: str, *, role: Role = Role.OPERATOR) -> str:
        """
        Return a new link that signs in one browser once; an earlier unused link of the role no longer works.

        Args:
            base_url: URL of the console, prefix included.
            role: Role of who opens the link.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        self._tokens[role] = _digest(token)
        return f"{base_url.rstrip('/')}/login?token={token}"

    async def identify(self, request: web.Request) -> Identity | None:
        """
        Return the user of the session that the cookie names; None if there is none or it has ended.

        Raises:
            web.HTTPUnauthorized: The request follows a link of another site, for which browsers withhold the
                cookie; the page repeats it, and then they send it.
        """
        session = self._sessions.get(_digest(_cookie_value(request, self._cookie_name(request)) or ""))
        if session is not None and self._clock() < session.expires_at:
            return session.identity
        if request.method == hdrs.METH_GET and _is_link_of_another_site(request):
            headers = {"Refresh": f"0; url={request.raw_path}"}
            raise web.HTTPUnauthorized(text=self.hint, headers=headers)
        return None

    async def close(self) -> None:
        """End all sessions."""
        self._tokens.clear()
        self._sessions.clear()

    async def sign_in(self, request: web.Request) -> web.StreamResponse:
        """Use up the token of a link, and start a session."""
        home = f"{self._prefix}/"
        if "prefetch" in request.headers.get("Sec-Purpose", request.headers.get("Purpose", "")):
            raise web.HTTPForbidden(text="A link to sign in is not loaded in advance. Open it.")
        role = self._use(request.query.getall("token", []))
        if role is None:
            if await self.identify(request) is not None:
                raise web.HTTPSeeOther(home)
            raise self._failed(request)
        response = web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: home})
        if _is_link_of_another_site(request):  # browsers withhold the cookie from a redirect, too
            response = web.Response(text="Signed in.\n", headers={"Refresh": f"0; url={home}"})
        self._set_cookie(
            request, response, self._start_session(self._identities[role]), max_age_s=int(SESSION_S)
        )
        log.info("console.signed_in", by=self._identities[role].name, role=role.value, client=request.remote)
        if self._on_sign_in is not None:
            self._on_sign_in(role)
        return response

    async def sign_out(self, request: web.Request) -> web.StreamResponse:
        """End the session of the cookie."""
        self._sessions.pop(_digest(_cookie_value(request, self._cookie_name(request)) or ""), None)
        response = web.Response(status=HTTPStatus.SEE_OTHER, headers={hdrs.LOCATION: f"{self._prefix}/login"})
        self._set_cookie(request, response, "", max_age_s=0)
        return response

    def _use(self, tokens: list[str]) -> Role | None:
        """Return the role of a valid token, which becomes invalid."""
        given = _digest(tokens[0]) if len(tokens) == 1 else b""
        matches = [role for role, digest in self._tokens.items() if hmac.compare_digest(digest, given)]
        for role in matches:
            del self._tokens[role]
        return matches[0] if matches else None

    def _start_session(self, identity: Identity) -> str:
        now = self._clock()
        while self._sessions and (
            next(iter(self._sessions.values())).expires_at <= now or len(self._sessions) >= MAX_SESSIONS
        ):
            self._sessions.popitem(last=False)
        session_id = secrets.token_urlsafe(_TOKEN_BYTES)
        self._sessions[_digest(session_id)] = _Session(identity, now + SESSION_S)
        return session_id

    def _failed(self, request: web.Request) -> web.HTTPException:
        """
        Return the response to an attempt to sign in without a valid token.

        A valid token is accepted at any time: pages of other sites can cause failures in the user's browser.
        """
        if not request.query_string:
            return web.HTTPUnauthorized(text=self.hint)
        now = self._clock()
        if len(self._failures) == MAX_FAILURES_PER_MINUTE and now - self._failures[0] < _MINUTE_S:
            return web.HTTPTooManyRequests(
                text="Too many links within a minute were not valid. Wait a minute, then open the link.",
                headers={hdrs.RETRY_AFTER: "60"},
            )
        self._failures.append(now)
        log.warning("console.sign_in_failed", client=request.remote)
        return web.HTTPUnauthorized(
            text="The link is not valid, or was used before. " + self.hint.partition(". ")[2]
        )

    def _cookie_name(self, request: web.Request) -> str:
        """
        Return the name of the cookie.

        Browsers accept names with `__Host-` only from the host itself, and with `__Secure-` only over https.
        Without https, all ports of a host share its cookies, so that the name has the port.
        """
        origin = urlsplit(request.get(ORIGIN, ""))
        if origin.scheme == "https":
            return f"{'__Secure-' if self._prefix else '__Host-'}image-worker-console"
        return f"image-worker-console-{origin.port or 80}"

    def _set_cookie(
        self, request: web.Request, response: web.StreamResponse, value: str, *, max_age_s: int
    ) -> None:
        """Set the cookie: over https it is Secure; on http://127.0.0.1 Safari discards Secure cookies."""
        response.set_cookie(
            self._cookie_name(request),
            value,
            max_age=max_age_s,
            path=self._prefix or "/",
            secure=request.get(ORIGIN, "").startswith("https:"),
            httponly=True,
            samesite="Strict",
        )


def _is_link_of_another_site(request: web.Request) -> bool:
    is_navigation = request.headers.get("Sec-Fetch-Mode") == "navigate"
    return is_navigation and request.headers.get("Sec-Fetch-Site") in {"cross-site", "same-site"}


def _digest(secret: str) -> bytes:
    return hashlib.sha256(secret.encode("utf-8", "replace")).digest()


def _cookie_value(request: web.Request, name: str) -> str | None:
    """Return the value of a cookie; None if it is absent or ambiguous."""
    pairs = (
        pair.strip().partition("=")
        for line in request.headers.getall(hdrs.COOKIE, [])
        for pair in line.split(";")
    )
    values = [value for key, _, value in pairs if key == name]
    return values[0] if len(values) == 1 else None
