"""The header with the user counts only from the proxy."""

import sys

import pytest

from tests.support.secured import Headers, secured
from worker.console.security import SecurityOptions

OPTIONS = SecurityOptions(
    authentication="header",
    user_header="X-Forwarded-User",
    groups_header="X-Forwarded-Groups",
    proxies=("127.0.0.1", "10.0.3.0/24"),
    operators=("alice",),
    operator_groups=("admins",),
)
USER = ("X-Forwarded-User", "alice")


async def test_the_proxy_names_the_user() -> None:
    async with secured(OPTIONS) as console:
        assert (await console.request(headers=[USER])).text == "alice True"


@pytest.mark.skipif(sys.platform != "linux", reason="127.0.0.2 is an address of Linux's loopback interface")
@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP"])
async def test_a_direct_peer_is_rejected_whatever_it_claims(header: str) -> None:
    async with secured(OPTIONS) as console:
        response = await console.request(headers=[USER, (header, "10.0.3.17")], source="127.0.0.2")
        assert response.status == 401


@pytest.mark.parametrize(
    "headers",
    [
        [],
        [("X-Forwarded-User", "")],
        [USER, USER],
        [USER, ("x-forwarded-user", "bob")],
        [("X-Forwarded-User", "bob"), ("X-Forwarded-Groups", "staff"), ("X-Forwarded-Groups", "admins")],
        [("X_Forwarded_User", "alice")],
        [("X-Forwarded-User", "alice\x7f")],
        [("X-Forwarded-User", "a" * 300)],
    ],
    ids=[
        "none",
        "empty",
        "twice",
        "twice in another spelling",
        "groups twice",
        "underscores",
        "control character",
        "long",
    ],
)
async def test_a_missing_or_ambiguous_user_is_rejected(headers: Headers) -> None:
    async with secured(OPTIONS) as console:
        assert (await console.request(headers=headers)).status in {400, 401}


async def test_health_and_static_files_are_open() -> None:
    async with secured(OPTIONS) as console:
        assert (await console.request(target="/healthz")).text == "None False"
        assert (await console.request(target="/static/console.css")).status == 200
        assert (await console.request(target="/login?token=a")).status == 401
