"""Decide from the settings who may reach the console, and reject those that open it to every client."""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from worker.console.security.application import Security
from worker.console.security.header import HeaderAuthentication
from worker.console.security.hosts import hosts_of_url, is_loopback, loopback_hosts
from worker.console.security.identity import Authentication, Operators, Role
from worker.console.security.loopback import LoopbackAuthentication
from worker.console.security.token import TokenAuthentication
from worker.domain.errors import ConfigurationError

_PREFIX: Final = re.compile(r"(/[A-Za-z0-9_~-][A-Za-z0-9._~-]*)*")


@dataclass(frozen=True, slots=True, kw_only=True)
class SecurityOptions:
    """
    The settings of the console's security; each is `WORKER_CONSOLE_` and its name in capitals.

    Attributes:
        authentication: `none`, `token`, `alb` or `header`.
        host: Address that the console listens on.
        port: Port that the console listens on.
        prefix: Path prefix of the console: empty, or such as `/images`.
        url: URL that browsers use, if it is not that of the loopback interface.
        operators: Names of the users who are operators, with `alb` and `header`.
        operator_groups: Groups whose members are operators, with `alb` and `header`.
        alb_arn: ARN of the load balancer, with `alb`.
        alb_issuer: Issuer of the identity provider, with `alb`.
        alb_client_id: Client id of the load balancer, with `alb`.
        name_claim: Claim with the name of a user, with `alb`.
        groups_claim: Claim with the groups of a user, with `alb`.
        user_header: Header with the name of a user, with `header`.
        groups_header: Header with the groups of a user, with `header`.
        proxies: Addresses or networks of the authenticating proxy, with `header`.
    """

    authentication: str = "token"
    host: str = "127.0.0.1"
    port: int = 8081
    prefix: str = ""
    url: str | None = None
    operators: tuple[str, ...] = ()
    operator_groups: tuple[str, ...] = ()
    alb_arn: str | None = None
    alb_issuer: str | None = None
    alb_client_id: str | None = None
    name_claim: str = "email"
    groups_claim: str | None = None
    user_header: str | None = None
    groups_header: str | None = None
    proxies: tuple[str, ...] = ()


def build_security(
    options: SecurityOptions,
    *,
    user: str,
    on_sign_in: Callable[[Role], None] | None = None,
    alb_key_url: str | None = None,
) -> Security:
    """
    Return the security of the console.

    Args:
        options: The settings.
        user: Name of the operator with `none` and `token`: the user of the operating system.
        on_sign_in: With `token`, called after a link was used.
        alb_key_url: URL of the public keys with `alb`, for tests.

    Raises:
        ConfigurationError: The settings would open the console to every client, or contradict each other.
    """
    if not _PREFIX.fullmatch(options.prefix):
        message = (
            f"WORKER_CONSOLE_PREFIX is {options.prefix!r}, which is not a path: "
            "set it to one such as /images, without a slash at its end, or leave it empty"
        )
        raise ConfigurationError(message)
    hosts = loopback_hosts(options.port)
    base_url = f"{hosts[f'127.0.0.1:{options.port}']}{options.prefix}"
    if options.url is not None:
        hosts |= hosts_of_url(options.url, prefix=options.prefix)
        base_url = options.url.rstrip("/").removesuffix(options.prefix) + options.prefix
    return Security(
        hosts=hosts,
        authentication=_authentication(options, user=user, on_sign_in=on_sign_in, alb_key_url=alb_key_url),
        base_url=base_url,
    )


def _authentication(
    options: SecurityOptions,
    *,
    user: str,
    on_sign_in: Callable[[Role], None] | None,
    alb_key_url: str | None,
) -> Authentication:
    operators = Operators(
        names=frozenset(options.operators), groups=frozenset(options.operator_groups) - {""}
    )
    match options.authentication:
        case "none":
            _require_loopback(options)
            return LoopbackAuthentication(name=user)
        case "token":
            return TokenAuthentication(name=user, prefix=options.prefix, on_sign_in=on_sign_in)
        case "alb":
            from worker.console.security.alb import AlbAuthentication

            return AlbAuthentication(
                arn=options.alb_arn,
                issuer=options.alb_issuer,
                client_id=options.alb_client_id,
                name_claim=options.name_claim,
                groups_claim=options.groups_claim,
                operators=operators,
                key_url=alb_key_url,
            )
        case "header":
            return HeaderAuthentication(
                header=options.user_header,
                groups_header=options.groups_header,
                proxies=options.proxies,
                operators=operators,
            )
        case other:
            message = f"WORKER_CONSOLE_AUTHENTICATION is {other!r}: set it to none, token, alb or header"
            raise ConfigurationError(message)


def _require_loopback(options: SecurityOptions) -> None:
    if not is_loopback(options.host):
        message = (
            f"WORKER_CONSOLE_HOST is {options.host!r} and WORKER_CONSOLE_AUTHENTICATION is none, which would "
            "open the console to every client of this address: set WORKER_CONSOLE_AUTHENTICATION to token, "
            "alb or header, or WORKER_CONSOLE_HOST to 127.0.0.1"
        )
        raise ConfigurationError(message)
    if options.url is not None and not any(
        origin.startswith("http://") for origin in hosts_of_url(options.url, prefix=options.prefix).values()
    ):
        message = (
            f"WORKER_CONSOLE_URL is {options.url!r} and WORKER_CONSOLE_AUTHENTICATION is none, which would "
            "open the console to every client of this URL: set WORKER_CONSOLE_AUTHENTICATION to token, "
            "alb or header"
        )
        raise ConfigurationError(message)
