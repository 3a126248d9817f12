"""Accept requests only for the names of the console, so that DNS rebinding reaches nothing."""

import ipaddress
import re
from collections.abc import Mapping
from http import HTTPStatus
from typing import Final
from urllib.parse import urlsplit

from aiohttp import hdrs, web
from aiohttp.typedefs import Handler, Middleware

from worker.console.security.routes import HEALTH, route_name
from worker.domain.errors import ConfigurationError

LOOPBACK_NAMES: Final = ("127.0.0.1", "localhost", "[::1]")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_HOST_NAME: Final = re.compile(
    r"(?=.{1,253}$)[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*"
)
_MAX_PORT: Final = 65_535

ORIGIN: Final = web.RequestKey("origin", str)
"""The origin of the console for the browser that sends a request: `https://console.example.com`."""


def loopback_hosts(port: int) -> dict[str, str]:
    """Return each value of `Host` for the loopback interface, with the origin of its pages."""
    return {host: origin for name in LOOPBACK_NAMES for host, origin in _hosts_of("http", name, port).items()}


def hosts_of_url(url: str, *, prefix: str) -> dict[str, str]:
    """
    Return each value of `Host` that a browser sends for a URL, with the origin of its pages.

    Raises:
        ConfigurationError: The URL is not one that browsers can reach the console at safely.
    """

    def error(why: str, remedy: str) -> ConfigurationError:
        return ConfigurationError(f"WORKER_CONSOLE_URL is {url!r}, {why}: {remedy}")

    example = f"set it to a URL such as https://images.example.com{prefix}"
    try:
        parts = urlsplit(url)
        name, port = parts.hostname or "", parts.port
    except ValueError as invalid:
        raise error(f"which is not a URL ({invalid})", example) from invalid
    is_printable = url.isprintable() and " " not in url  # urlsplit drops line feeds
    if (
        parts.scheme not in _DEFAULT_PORTS
        or not name
        or parts.username is not None
        or port == 0
        or not is_printable
    ):
        raise error("which is not an http or https URL of a host", example)
    if (
        parts.query
        or parts.fragment
        or "?" in url
        or "#" in url
        or parts.path.rstrip("/") not in {"", prefix}
    ):
        raise error(
            f"whose path is not the prefix {prefix or '/'!r}", f"{example}, or set WORKER_CONSOLE_PREFIX"
        )
    if "%" in name or not (_is_address(name) or _HOST_NAME.fullmatch(name)):
        raise error(f"whose host {name!r} is not a host name", f"{example}, with the host in ASCII")
    if parts.scheme == "http" and not is_loopback(name):
        raise error(
            "which sends passwords and pages in plain text",
            "set an https URL, or reach the console at its loopback address through a tunnel",
        )
    literal = f"[{ipaddress.ip_address(name)}]" if ":" in name else name
    return _hosts_of(parts.scheme, literal, port or _DEFAULT_PORTS[parts.scheme])


def _hosts_of(scheme: str, name: str, port: int) -> dict[str, str]:
    if port == _DEFAULT_PORTS[scheme]:
        return {name: f"{scheme}://{name}", f"{name}:{port}": f"{scheme}://{name}"}
    return {f"{name}:{port}": f"{scheme}://{name}:{port}"}


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def is_loopback(host: str) -> bool:
    """
    Return whether a host is certainly this machine's loopback interface.

    Other names, and unusual spellings of addresses, depend on how the system resolves them.
    """
    if host == "localhost":
        return True
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False
    # Python 3.13 counts IPv4-mapped addresses too.
    is_mapped = isinstance(address, ipaddress.IPv6Address) and address.ipv4_mapped is not None
    return address.is_loopback and not is_mapped and "%" not in host


def is_loopback_address(address: object) -> bool:
    """Return whether the address of a socket, as the system reports it, is a loopback address."""
    ip = ip_of(address)
    return ip is not None and ip.is_loopback


def ip_of(address: object) -> ipaddress.IPv4Address | ipaddress.IPv6Address | None:
    """Return the IP address of a socket's address, an IPv4-mapped one as IPv4; None if it has none."""
    if not isinstance(address, tuple) or not address:
        return None
    try:
        ip = ipaddress.ip_address(str(address[0]).partition("%")[0])
    except ValueError:
        return None
    return (ip.ipv4_mapped or ip) if isinstance(ip, ipaddress.IPv6Address) else ip


def check_host(hosts: Mapping[str, str]) -> Middleware:
    """
    Return a middleware that rejects requests for other hosts and requests with an unusual target.

    Args:
        hosts: Each accepted value of `Host`, in lower case, with the origin of its pages.
    """

    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        # An absolute URL as the target would replace `Host`; `//host` in a redirect is another host.
        if not request.raw_path.startswith("/") or request.raw_path.startswith(("//", "/\\")):
            raise web.HTTPBadRequest(
                text="The target of the request is not a path. Send a path such as /images."
            )
        if route_name(request) == HEALTH:
            return await handler(request)
        values = request.headers.getall(hdrs.HOST, [])
        origin = hosts.get(values[0].lower()) if len(values) == 1 else None
        if origin is None:
            raise _misdirected(values)
        request[ORIGIN] = origin
        return await handler(request)

    return middleware


class _Misdirected(web.HTTPClientError):
    status_code = HTTPStatus.MISDIRECTED_REQUEST


def _misdirected(values: list[str]) -> web.HTTPException:
    name = repr(values[0][:100]) if len(values) == 1 else f"{len(values)} values"
    return _Misdirected(
        text=f"The header Host has {name}, which is not a name of this console. "
        "Use the address that the console printed at its start, or set WORKER_CONSOLE_URL to this one."
    )
