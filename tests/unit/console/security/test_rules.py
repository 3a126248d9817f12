"""No combination of settings opens the console without authentication to other machines."""

import base64
import json
import time
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from hypothesis import given, settings
from hypothesis import strategies as st
from multidict import CIMultiDict

from worker.console.security import SecurityOptions, build_security
from worker.domain.errors import ConfigurationError

ARN = "arn:aws:elasticloadbalancing:eu-west-1:123456789012:loadbalancer/app/console/0123456789abcdef"
LOCAL_HOSTS = ["127.0.0.1", "localhost", "::1", "127.0.0.2"]
OPEN_HOSTS = [
    "0.0.0.0",  # noqa: S104 - nothing listens
    "::",
    "",
    "*",
    "0",
    "127.1",
    "0x7f.1",
    "2130706433",
    "10.0.0.5",
    "192.168.1.20",
    "169.254.10.1",
    "fe80::1%eth0",
    "::1%eth0",
    "2001:db8::1",
    "::ffff:127.0.0.1",
    "::ffff:0.0.0.0",
    "console.example.com",
    "localhost.example.com",
    "LOCALHOST.",
    "localhost.",
    "localhost,0.0.0.0",
    "127.0.0.1 ",
    "127.0.0.1\n",
    "[::1]",
]
PROXIES = [
    "10.0.3.17",
    "10.0.3.0/24",
    "fd00::1",
    "0.0.0.0/0",
    "::/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
]
ATTACKERS = ["203.0.113.9", "10.9.8.7", "10.0.4.1", "2001:db8::9", "fe80::9%eth0", "::ffff:203.0.113.9", "::"]

HEADERS = ["X-Forwarded-User", "Remote-User", "Host", "x-amzn-oidc-data"]

options = st.builds(
    SecurityOptions,
    authentication=st.sampled_from(["none", "token", "alb", "header", "", "None", "off"]),
    host=st.sampled_from(LOCAL_HOSTS + OPEN_HOSTS) | st.ip_addresses().map(str) | st.text(max_size=12),
    port=st.integers(0, 65_535),
    prefix=st.sampled_from(["", "/a", "/a/b", "/", "//evil.example", "/a/", "a", "/a;b", "/../b"]),
    url=st.none()
    | st.sampled_from(
        [
            "https://console.example.com",
            "http://console.example.com",
            "http://127.0.0.1:8081",
            "https://console.example.com/a",
            "http://localhost@evil.example",
        ]
    ),
    operators=st.sampled_from([(), ("mallory",), ("",), ("alice", "mallory")]),
    operator_groups=st.sampled_from([(), ("",), ("admins",)]),
    alb_arn=st.none() | st.sampled_from(["", ARN, "*", f"{ARN} ", ARN.replace("app", "net")]),
    name_claim=st.sampled_from(["email", "sub", ""]),
    groups_claim=st.none() | st.sampled_from(["groups", ""]),
    user_header=st.none() | st.sampled_from(HEADERS),
    groups_header=st.none() | st.sampled_from([*HEADERS, "X-Forwarded-Groups"]),
    proxies=st.lists(st.sampled_from(PROXIES), max_size=3).map(tuple) | st.just(("",)),
)


class Transport:
    """The addresses of a connection."""

    def __init__(self, peer: str, local: str) -> None:
        self._addresses: dict[str, Any] = {"peername": (peer, 40_000, 0, 0), "sockname": (local, 8081, 0, 0)}

    def get_extra_info(self, name: str, default: object = None) -> object:
        return self._addresses.get(name, default)


def forged_token() -> str:
    def encoded(value: object) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).decode()

    expires_at = int(time.time()) + 600
    header = {"alg": "ES256", "kid": "12345678-1234-1234-1234-123456789012", "signer": ARN, "exp": expires_at}
    claims = {"sub": "mallory", "exp": expires_at, "groups": ["admins"]}
    return f"{encoded(header)}.{encoded(claims)}.{encoded('signature')}"


def attack(peer: str, local: str, host: str) -> web.Request:
    """Return the request of an attacker who sends everything but a proof."""
    headers = CIMultiDict(dict.fromkeys(HEADERS[:2], "mallory"))
    headers["Host"] = host
    headers["X-Forwarded-For"] = "127.0.0.1"
    headers["X-Forwarded-Groups"] = "admins"
    headers["x-amzn-oidc-data"] = forged_token()
    headers["Cookie"] = "; ".join(f"{name}image-worker-console-8081=" for name in ("", "__Host-"))
    return make_mocked_request("POST", "/?token=", headers=headers, transport=Transport(peer, local))


@settings(deadline=None)
@given(options=options, peer=st.sampled_from(ATTACKERS), host=st.sampled_from(OPEN_HOSTS + LOCAL_HOSTS))
async def test_no_settings_give_an_anonymous_client_access(
    options: SecurityOptions, peer: str, host: str
) -> None:
    try:
        security = build_security(options, user="alice", alb_key_url="http://127.0.0.1:1")
    except ConfigurationError:
        return
    local = options.host if options.host in OPEN_HOSTS else "127.0.0.1"
    try:
        identity = await security.authentication.identify(attack(peer, local, host))
    except web.HTTPServiceUnavailable:  # the key of the load balancer cannot be read
        identity = None
    await security.authentication.close()
    assert identity is None


@settings(deadline=None)
@given(options=options)
def test_without_authentication_only_the_loopback_interface_is_accepted(options: SecurityOptions) -> None:
    options = replace(options, authentication="none")
    try:
        security = build_security(options, user="alice")
    except ConfigurationError:
        return
    assert options.host in LOCAL_HOSTS or options.host.startswith("127.")
    assert all(origin.startswith("http://") for origin in security.hosts.values())


@pytest.mark.parametrize("host", OPEN_HOSTS)
def test_an_open_address_without_authentication_is_an_error_that_names_the_remedy(host: str) -> None:
    with pytest.raises(ConfigurationError, match="set WORKER_CONSOLE_AUTHENTICATION to token"):
        build_security(SecurityOptions(authentication="none", host=host), user="alice")


@pytest.mark.parametrize("host", LOCAL_HOSTS)
def test_a_loopback_address_needs_no_authentication(host: str) -> None:
    build_security(SecurityOptions(authentication="none", host=host), user="alice")


def test_a_url_of_another_host_needs_authentication() -> None:
    options = SecurityOptions(authentication="none", url="https://console.example.com")
    with pytest.raises(ConfigurationError, match="set WORKER_CONSOLE_AUTHENTICATION"):
        build_security(options, user="alice")


def test_no_authentication_at_all_is_not_the_default() -> None:
    assert SecurityOptions().authentication == "token"
    assert SecurityOptions().host == "127.0.0.1"


@pytest.mark.parametrize(
    "arn", [None, "", "*", ARN.replace("/app/", "/net/"), f"{ARN}\n", ARN[:-1], "arn:aws:iam::1:role/a"]
)
def test_alb_needs_the_arn_of_a_load_balancer(arn: str | None) -> None:
    with pytest.raises(ConfigurationError, match="set it to arn:aws:elasticloadbalancing"):
        build_security(SecurityOptions(authentication="alb", host="::", alb_arn=arn), user="alice")


@pytest.mark.parametrize(
    "proxies",
    [
        (),
        ("",),
        ("0.0.0.0/0",),
        ("::/0",),
        ("0.0.0.0/1", "128.0.0.0/1"),
        ("10.0.0.0/8",),
        ("proxy.local",),
        ("10.0.0.1/24",),
    ],
    ids=repr,
)
def test_header_needs_the_addresses_of_a_proxy(proxies: tuple[str, ...]) -> None:
    options = SecurityOptions(authentication="header", user_header="X-Forwarded-User", proxies=proxies)
    with pytest.raises(ConfigurationError, match="set it to the addresses of the proxy"):
        build_security(options, user="alice")


@pytest.mark.parametrize("header", [None, "", "Host", "Cookie", "X User", "X-User\r\nX: y", "X_User"])
def test_header_needs_a_header_for_users(header: str | None) -> None:
    options = SecurityOptions(authentication="header", user_header=header, proxies=("10.0.0.1",))
    with pytest.raises(ConfigurationError, match="WORKER_CONSOLE_USER_HEADER"):
        build_security(options, user="alice")


def test_an_unknown_authentication_is_an_error() -> None:
    with pytest.raises(ConfigurationError, match="set it to none, token, alb or header"):
        build_security(SecurityOptions(authentication="basic"), user="alice")


@pytest.mark.parametrize(
    "prefix", ["/", "a", "/a/", "//evil.example", "/..", "/a/./b", "/a b", "/a%2f", "/a;b", "/\n", "/é"]
)
def test_a_prefix_that_is_not_a_plain_path_is_an_error(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="WORKER_CONSOLE_PREFIX"):
        build_security(SecurityOptions(prefix=prefix), user="alice")


@pytest.mark.parametrize(
    "url",
    [
        "http://console.example.com",
        "http://10.0.0.5:8081",
        "console.example.com",
        "ftp://console.example.com",
        "https://",
        "https://user:password@console.example.com",
        "https://console.example.com/other",
        "https://console.example.com/a?next=b",
        "https://console.example.com/a#b",
        "https://console.example.com:99999/a",
        "https://console.example.com:0/a",
        "https://con sole.example.com/a",
        "https://con\nsole.example.com/a",
        "https://console.example.com/a\t",
        "https://console.example.com\\@evil.example/a",
        "https://*.example.com/a",
        "https://café.example/a",
        "https://[fe80::1%25eth0]/a",
        "https://console.example.com./a",
    ],
)
def test_a_url_that_browsers_cannot_use_safely_is_an_error(url: str) -> None:
    with pytest.raises(ConfigurationError, match="WORKER_CONSOLE_URL"):
        build_security(SecurityOptions(url=url, prefix="/a"), user="alice")


@pytest.mark.parametrize(
    ("options", "base_url"),
    [
        (SecurityOptions(), "http://127.0.0.1:8081"),
        (SecurityOptions(port=80), "http://127.0.0.1"),
        (SecurityOptions(prefix="/a/b"), "http://127.0.0.1:8081/a/b"),
        (SecurityOptions(url="https://c.example"), "https://c.example"),
        (SecurityOptions(url="https://c.example/", prefix="/a/b"), "https://c.example/a/b"),
        (SecurityOptions(url="https://c.example/a/b/", prefix="/a/b"), "https://c.example/a/b"),
    ],
    ids=["default", "port-80", "prefix", "url", "url-without-its-prefix", "url-with-its-prefix"],
)
def test_the_address_for_browsers_contains_the_prefix(options: SecurityOptions, base_url: str) -> None:
    assert build_security(options, user="alice").base_url == base_url


def test_names_are_accepted_with_their_exact_ports() -> None:
    options = SecurityOptions(url="https://Console.Example.com", port=8081)
    assert build_security(options, user="alice").hosts == {
        "127.0.0.1:8081": "http://127.0.0.1:8081",
        "localhost:8081": "http://localhost:8081",
        "[::1]:8081": "http://[::1]:8081",
        "console.example.com": "https://console.example.com",
        "console.example.com:443": "https://console.example.com",
    }
