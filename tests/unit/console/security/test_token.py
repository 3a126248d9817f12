"""A link signs in one browser once; its session is a cookie that no other site can use."""

import asyncio

import pytest
from aiohttp.test_utils import make_mocked_request
from structlog.testing import capture_logs

from tests.support.secured import SAME_ORIGIN, Secured, secured
from worker.console.security import Role, SecurityOptions, TokenAuthentication
from worker.console.security.token import MAX_FAILURES_PER_MINUTE, MAX_SESSIONS, SESSION_S


class Clock:
    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def link(console: Secured, *, role: Role = Role.OPERATOR, prefix: str = "") -> str:
    """Return the path and query of a new link."""
    authentication = console.security.authentication
    assert isinstance(authentication, TokenAuthentication)
    return authentication.start_link(f"http://a{prefix}", role=role).removeprefix("http://a")


async def test_without_a_session_every_page_is_closed_and_says_what_to_do() -> None:
    async with secured() as console:
        for target in (
            "/",
            "/images/1",
            "/unknown",
            "/login/",
            "/LOGIN",
            "/static/unknown",
            "/login%3ftoken=1",
        ):
            response = await console.request(target=target)
            assert response.status == 401
            assert "Open the link" in response.text
            assert "Set-Cookie" not in response.headers


async def test_a_link_signs_in_once() -> None:
    async with secured() as console:
        target = link(console)
        first, second = await console.request(target=target), await console.request(target=target)
        assert (first.status, first.headers["Location"]) == (303, "/")
        assert (second.status, "Set-Cookie" in second.headers) == (401, False)
        cookie = first.headers["Set-Cookie"].partition(";")[0]
        assert (await console.request(headers=[("Cookie", cookie)])).text == "alice True"


async def test_of_many_simultaneous_uses_of_a_link_one_succeeds() -> None:
    async with secured() as console:
        target = link(console)
        responses = await asyncio.gather(*(console.request(target=target) for _ in range(20)))
        assert sorted(response.status for response in responses)[:2] == [303, 401]


async def test_the_cookie_is_for_this_console_only() -> None:
    async with secured() as console:
        cookie = (await console.request(target=link(console))).headers["Set-Cookie"]
        name, *attributes = cookie.split("; ")
        assert name.startswith(f"image-worker-console-{console.port}=")
        assert set(attributes) == {"HttpOnly", f"Max-Age={int(SESSION_S)}", "Path=/", "SameSite=Strict"}


@pytest.mark.parametrize(("prefix", "name"), [("", "__Host-"), ("/a/b", "__Secure-")])
async def test_over_https_the_cookie_is_secure_and_no_subdomain_can_set_it(prefix: str, name: str) -> None:
    options = SecurityOptions(url="https://console.example.com", prefix=prefix)
    async with secured(options) as console:
        response = await console.request(target=link(console), host="console.example.com")
        cookie = response.headers["Set-Cookie"]
        assert cookie.startswith(f"{name}image-worker-console=")
        assert set(cookie.split("; ")[1:]) == {
            "HttpOnly",
            f"Max-Age={int(SESSION_S)}",
            f"Path={prefix or '/'}",
            "SameSite=Strict",
            "Secure",
        }
        assert response.headers["Location"] == f"{prefix}/"


async def test_only_get_uses_up_a_link() -> None:
    async with secured() as console:
        target = link(console)
        for method in ("HEAD", "OPTIONS"):
            assert (await console.request(method, target)).status in {401, 403, 405}
        assert (await console.request("POST", target, SAME_ORIGIN)).status in {401, 405}
        for header in ("Sec-Purpose", "Purpose"):
            assert (
                await console.request(target=target, headers=[(header, "prefetch;prerender")])
            ).status == 403
        assert (await console.request(target=target)).status == 303


async def test_a_new_link_replaces_the_former_one_of_its_role() -> None:
    async with secured() as console:
        former, viewer, new = link(console), link(console, role=Role.VIEWER), link(console)
        assert (await console.request(target=former)).status == 401
        assert (await console.request(target=new)).status == 303
        assert (await console.request(target=viewer)).status == 303


async def test_a_link_for_viewers_gives_no_right_to_act() -> None:
    async with secured() as console:
        cookie = await console.signed_in(role=Role.VIEWER)
        assert (await console.request(headers=cookie)).text == "viewer False"
        assert (await console.request("POST", "/act", [*cookie, *SAME_ORIGIN])).status == 403


@pytest.mark.parametrize(
    "query",
    [
        "",
        "token",
        "token=",
        "token={token}x",
        "token={short}",
        "token={token}&token={token}",
        "Token={token}",
        "token=%00",
        "token=%ed%a0%80",
        "token=%ff",
    ],
)
async def test_other_tokens_are_rejected(query: str) -> None:
    async with secured() as console:
        target = link(console)
        token = target.partition("=")[2]
        query = query.format(token=token, short=token[:-1])
        assert (await console.request(target=f"/login?{query}")).status == 401
        assert (await console.request(target=target)).status == 303


async def test_signing_in_redirects_nowhere_else() -> None:
    async with secured() as console:
        target = f"{link(console)}&next=https://evil.example&redirect=//evil.example&url=/\\evil.example"
        response = await console.request(target=target)
        assert response.headers["Location"] == "/"


async def test_a_link_on_another_site_signs_in_although_browsers_withhold_the_cookie_from_its_redirect() -> (
    None
):
    async with secured() as console:
        response = await console.request(
            target=link(console),
            headers=[
                ("Sec-Fetch-Site", "cross-site"),
                ("Sec-Fetch-Mode", "navigate"),
                ("Sec-Fetch-Dest", "document"),
            ],
        )
        assert (response.status, response.headers["Refresh"]) == (200, "0; url=/")
        assert "Set-Cookie" in response.headers


async def test_links_of_other_sites_reach_their_pages_after_a_page_that_repeats_the_request() -> None:
    async with secured() as console:
        cookie = await console.signed_in()
        link_of_another_site = [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
        ]
        first = await console.request(target="/images/a%0d%0a?b=c;d", headers=link_of_another_site)
        assert (first.status, first.headers["Refresh"]) == (401, "0; url=/images/a%0d%0a?b=c;d")
        second = await console.request(target="/images/a%0d%0a?b=c;d", headers=[*cookie, *SAME_ORIGIN])
        assert second.status == 200
        without_session = await console.request(target="/images/a", headers=SAME_ORIGIN)
        assert (without_session.status, "Refresh" in without_session.headers) == (401, False)


async def test_another_site_cannot_load_a_link_in_the_background() -> None:
    async with secured() as console:
        target = link(console)
        headers = [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "no-cors"),
            ("Sec-Fetch-Dest", "image"),
        ]
        assert (await console.request(target=target, headers=headers)).status == 403
        assert (await console.request(target=target)).status == 303


async def test_failures_are_limited_and_never_lock_out_the_link() -> None:
    clock = Clock()
    async with secured(clock=clock) as console:
        target = link(console)
        statuses = [
            (await console.request(target=f"/login?token={n}")).status
            for n in range(MAX_FAILURES_PER_MINUTE + 5)
        ]
        assert statuses == [401] * MAX_FAILURES_PER_MINUTE + [429] * 5
        assert (await console.request(target=target)).status == 303
        clock.now_s += 61
        assert (await console.request(target="/login?token=x")).status == 401


async def test_a_session_ends() -> None:
    clock = Clock()
    async with secured(clock=clock) as console:
        cookie = await console.signed_in()
        clock.now_s += SESSION_S - 1
        assert (await console.request(headers=cookie)).status == 200
        clock.now_s += 1
        assert (await console.request(headers=cookie)).status == 401


async def test_signing_out_ends_the_session_on_the_server() -> None:
    async with secured() as console:
        cookie = await console.signed_in()
        assert (await console.request("POST", "/logout", cookie)).status == 403  # another page cannot
        assert (await console.request("GET", "/logout", cookie)).status == 405
        response = await console.request("POST", "/logout", [*cookie, *SAME_ORIGIN])
        assert (response.status, response.headers["Location"]) == (303, "/login")
        assert "Max-Age=0" in response.headers["Set-Cookie"]
        assert (await console.request(headers=cookie)).status == 401


async def test_a_viewer_can_sign_out() -> None:
    async with secured() as console:
        cookie = await console.signed_in(role=Role.VIEWER)
        assert (await console.request("POST", "/logout", [*cookie, *SAME_ORIGIN])).status == 303


async def test_sessions_are_bounded_and_the_oldest_ends_first() -> None:
    authentication = TokenAuthentication(name="alice")
    cookies = []
    for _ in range(MAX_SESSIONS + 1):
        target = authentication.start_link("")
        response = await authentication.sign_in(make_mocked_request("GET", target))
        cookies.append(response.cookies.output(attrs=[], header="", sep="").strip())
    users = [
        await authentication.identify(make_mocked_request("GET", "/", headers={"Cookie": cookie}))
        for cookie in cookies
    ]
    assert users[0] is None
    assert all(user is not None for user in users[1:])


@pytest.mark.parametrize(
    "cookie",
    [
        "{name}=",
        "{name}",
        "{name}={value}; {name}={value}",
        "{name}={value}; {name}=other",
        "{name}={value}x",
        '{name}="{value}"',
        "{name}={value}%00",
        "other={value}",
        "{upper}={value}",
        "__Host-image-worker-console={value}",
        "{name}={value},{name}={value}",
    ],
)
async def test_other_cookies_are_no_session(cookie: str) -> None:
    async with secured() as console:
        ((_, own),) = await console.signed_in()
        name, _, value = own.partition("=")
        sent = cookie.format(name=name, value=value, upper=name.upper())
        assert (await console.request(headers=[("Cookie", sent)])).status == 401
        assert (await console.request(headers=[("Cookie", f"a=b; {own}; c=d")])).status == 200


async def test_cookies_on_two_lines_are_ambiguous() -> None:
    async with secured() as console:
        (own,) = await console.signed_in()
        assert (await console.request(headers=[own, own])).status == 401


async def test_a_session_of_one_console_is_none_of_another() -> None:
    async with secured() as one, secured() as other:
        ((_, cookie),) = await one.signed_in()
        renamed = cookie.replace(str(one.port), str(other.port))
        assert (await other.request(headers=[("Cookie", renamed)])).status == 401


async def test_a_user_who_is_signed_in_may_open_a_used_link() -> None:
    async with secured() as console:
        cookie = await console.signed_in()
        response = await console.request(target="/login?token=used", headers=cookie)
        assert (response.status, response.headers["Location"]) == (303, "/")


async def test_secrets_are_neither_kept_nor_logged() -> None:
    with capture_logs() as logged:
        async with secured() as console:
            target = link(console)
            response = await console.request(target=target)
            await console.request(target=target)
            secrets = [
                target.partition("=")[2],
                response.headers["Set-Cookie"].partition(";")[0].partition("=")[2],
            ]
            kept = repr(vars(console.security.authentication))
            pages = [
                (await console.request(target=each)).text for each in ("/", target, "/login", "/unknown")
            ]
    assert [entry["event"] for entry in logged] == ["console.signed_in", *["console.sign_in_failed"] * 2]
    for secret in secrets:
        assert secret not in repr(logged)
        assert secret not in kept
        assert not any(secret in page for page in pages)


async def test_the_use_of_a_link_is_reported_with_its_role() -> None:
    used: list[Role] = []
    async with secured(on_sign_in=used.append) as console:
        await console.signed_in(role=Role.VIEWER)
        await console.request(target="/login?token=x")
    assert used == [Role.VIEWER]
