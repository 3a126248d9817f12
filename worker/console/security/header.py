"""Take the user from a header that an authenticating proxy sets."""

import ipaddress
import re
from collections.abc import Sequence
from typing import Final

from aiohttp import web

from worker.console.security.hosts import ip_of
from worker.console.security.identity import Identity, Operators
from worker.domain.errors import ConfigurationError

_MIN_PREFIX_LENGTH: Final = {4: 16, 6: 64}
"""A network with more addresses than a VPC is not the network of a proxy."""

_MAX_NETWORKS: Final = 32
_HEADER_NAME: Final = re.compile(r"[A-Za-z0-9-]{1,64}")
_RESERVED_HEADERS: Final = frozenset(
    {"host", "origin", "cookie", "authorization", "content-length", "connection"}
)

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


class HeaderAuthentication:
    """
    Takes the name of the user from a header of requests that come from a proxy.

    Args:
        header: Name of the header with the user's name, which the proxy sets or removes on every request.
        groups_header: Name of a header with the user's groups, separated by commas.
        proxies: Addresses or networks of the proxy.
        operators: The users who are operators.

    Raises:
        ConfigurationError: Any client could set the header.
    """

    hint = "The proxy in front of the console did not name the user. Sign in at the proxy."

    def __init__(
        self, *, header: str | None, groups_header: str | None, proxies: Sequence[str], operators: Operators
    ) -> None:
        if header is None:
            message = (
                "WORKER_CONSOLE_USER_HEADER is not set, so no user can be authenticated: "
                "set it to the header with the user's name, such as X-Forwarded-User"
            )
            raise ConfigurationError(message)
        self._header = _checked_header(header, "WORKER_CONSOLE_USER_HEADER")
        self._groups_header = groups_header and _checked_header(groups_header, "WORKER_CONSOLE_GROUPS_HEADER")
        self._networks = _networks(proxies)
        self._operators = operators

    async def identify(self, request: web.Request) -> Identity | None:
        """Return the user that the proxy names; None if the peer is another, or a header occurs twice."""
        peer = ip_of(request.get_extra_info("peername"))
        if peer is None or not any(peer in network for network in self._networks):
            return None
        names = request.headers.getall(self._header, [])
        groups = request.headers.getall(self._groups_header, []) if self._groups_header else []
        if len(names) != 1 or len(groups) > 1:
            return None
        group_names = frozenset(each.strip() for each in groups[0].split(",")) if groups else frozenset()
        return self._operators.identity(names[0], group_names)

    async def close(self) -> None:
        """Do nothing."""


def _checked_header(name: str, setting: str) -> str:
    if not _HEADER_NAME.fullmatch(name) or name.lower() in _RESERVED_HEADERS:
        message = (
            f"{setting} is {name!r}, which is not a header for users: set it to one such as X-Forwarded-User"
        )
        raise ConfigurationError(message)
    return name


def _networks(proxies: Sequence[str]) -> tuple[Network, ...]:
    remedy = "set it to the addresses of the proxy, such as 10.0.3.17 or 10.0.3.0/24"
    if not 0 < len(proxies) <= _MAX_NETWORKS:
        message = (
            f"WORKER_CONSOLE_PROXIES has {len(proxies)} entries instead of 1 to {_MAX_NETWORKS}, and without "
            f"the addresses of the proxy every client could take the name of an operator: {remedy}"
        )
        raise ConfigurationError(message)
    networks = []
    for proxy in proxies:
        try:
            network = ipaddress.ip_network(proxy)
        except ValueError as error:
            message = f"WORKER_CONSOLE_PROXIES has {proxy!r}, which is not a network ({error}): {remedy}"
            raise ConfigurationError(message) from error
        if network.prefixlen < _MIN_PREFIX_LENGTH[network.version] or "%" in proxy:
            message = (
                f"WORKER_CONSOLE_PROXIES has {proxy}, a network of {network.num_addresses:,} addresses, each "
                f"of which could take the name of an operator: {remedy}"
            )
            raise ConfigurationError(message)
        networks.append(network)
    return tuple(networks)
