"""No authentication: every user of this machine is an operator, and no other machine has access."""

from typing import Final

from aiohttp import hdrs, web

from worker.console.security.hosts import is_loopback_address
from worker.console.security.identity import Identity, Role

_PROXY_HEADERS: Final = (hdrs.FORWARDED, hdrs.X_FORWARDED_FOR, hdrs.VIA, "X-Real-IP")


class LoopbackAuthentication:
    """
    Takes every request of this machine as one of the operator.

    The settings allow it on the loopback interface only. Each request is checked as well: names such as
    `localhost` and rules of the firewall decide what reaches the socket, and a proxy on this machine would
    open the console to others.

    Args:
        name: Name of the operator.
    """

    hint = (
        "Without authentication, the console is for this machine only, and not for a proxy. "
        "Set WORKER_CONSOLE_AUTHENTICATION to token, alb or header."
    )

    def __init__(self, *, name: str) -> None:
        self._identity = Identity(name, Role.OPERATOR)

    async def identify(self, request: web.Request) -> Identity | None:
        """Return the operator; None if the request is not from this machine or came through a proxy."""
        ends = (request.get_extra_info("peername"), request.get_extra_info("sockname"))
        is_local = all(is_loopback_address(address) for address in ends)
        is_forwarded = any(name in request.headers for name in _PROXY_HEADERS)
        return self._identity if is_local and not is_forwarded else None

    async def close(self) -> None:
        """Do nothing."""
