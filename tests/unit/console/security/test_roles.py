"""Viewers read, operators act: decided on the server for every request."""

import pytest

from tests.support.secured import SAME_ORIGIN, secured
from worker.console.security import Identity, Role, SecurityOptions
from worker.console.security.identity import Operators

PROXY = ("127.0.0.1",)


def options(**others: tuple[str, ...]) -> SecurityOptions:
    return SecurityOptions(
        authentication="header",
        user_header="X-Forwarded-User",
        groups_header="X-Forwarded-Groups",
        proxies=PROXY,
        **others,  # type: ignore[arg-type] # operators and groups
    )


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_a_viewer_can_read_and_not_act(method: str) -> None:
    async with secured(options(operators=("alice",))) as console:
        user = [("X-Forwarded-User", "bob")]
        assert (await console.request(headers=user)).text == "bob False"
        response = await console.request(method, "/act", [*user, *SAME_ORIGIN])
        assert response.status == 403
        assert "Only operators" in response.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_an_operator_can_act(method: str) -> None:
    async with secured(options(operators=("alice",))) as console:
        response = await console.request(method, "/act", [("X-Forwarded-User", "alice"), *SAME_ORIGIN])
        assert (response.status, response.text) == (200, "alice True")


async def test_members_of_a_group_can_act() -> None:
    async with secured(options(operator_groups=("admins",))) as console:
        for groups, expected in (("staff, admins", "bob True"), ("staff", "bob False"), ("", "bob False")):
            headers = [("X-Forwarded-User", "bob"), ("X-Forwarded-Groups", groups)]
            assert (await console.request(headers=headers)).text == expected


async def test_unless_named_every_user_is_a_viewer() -> None:
    async with secured(options()) as console:
        headers = [("X-Forwarded-User", "alice"), ("X-Forwarded-Groups", "admins")]
        assert (await console.request(headers=headers)).text == "alice False"


@pytest.mark.parametrize(
    "name", ["ALICE", "alice ", " alice", "alic\u0435", "alice\u200b", "a", "alice,bob", "*"]
)
def test_names_of_operators_are_compared_exactly(name: str) -> None:
    identity = Operators(names=frozenset({"alice"})).identity(name)
    assert identity is None or identity.role is Role.VIEWER


@pytest.mark.parametrize(
    "name", ["", " ", "a\nb", "a\x1b[31m", "a\u202eb", "a\u2028b", "\udcff", "a" * 257, "a\x00"]
)
def test_a_name_that_could_falsify_a_log_or_page_is_no_name(name: str) -> None:
    assert Operators(names=frozenset({name})).identity(name) is None


def test_any_other_name_is_kept_as_it_is() -> None:
    assert Operators().identity("Zoë Müller <zoe@example.com>") == Identity(
        "Zoë Müller <zoe@example.com>", Role.VIEWER
    )
