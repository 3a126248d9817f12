"""Actions are accepted only from the console's own pages."""

import pytest

from tests.support.secured import Headers, secured
from worker.console.security import SecurityOptions

NONE = SecurityOptions(authentication="none")
OWN = "http://{own}"

ACCEPTED: dict[str, Headers] = {
    "from a page of the console": [("Sec-Fetch-Site", "same-origin"), ("Origin", OWN)],
    "from a page without referrers": [("Sec-Fetch-Site", "same-origin"), ("Origin", "null")],
    "without an origin": [("Sec-Fetch-Site", "same-origin")],
    "from an old browser": [("Origin", OWN)],
}
REJECTED: dict[str, Headers] = {
    "no evidence": [],
    "another site": [("Sec-Fetch-Site", "cross-site"), ("Origin", "https://evil.example")],
    "another site with our origin": [("Sec-Fetch-Site", "cross-site"), ("Origin", OWN)],
    "another subdomain or port": [("Sec-Fetch-Site", "same-site"), ("Origin", OWN)],
    "typed by the user": [("Sec-Fetch-Site", "none")],
    "our site with another origin": [("Sec-Fetch-Site", "same-origin"), ("Origin", "https://evil.example")],
    "an empty site": [("Sec-Fetch-Site", ""), ("Origin", OWN)],
    "two sites": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "same-origin")],
    "two different sites": [("Sec-Fetch-Site", "same-origin"), ("Sec-Fetch-Site", "cross-site")],
    "another spelling": [("Sec-Fetch-Site", "Same-Origin")],
    "an opaque origin": [("Origin", "null")],
    "an empty origin": [("Origin", "")],
    "two origins": [("Origin", OWN), ("Origin", OWN)],
    "an origin of another scheme": [("Origin", "https://{own}")],
    "an origin of another port": [("Origin", "http://127.0.0.1:1")],
    "an origin of another name": [("Origin", "http://localhost:{port}")],
    "an origin without its port": [("Origin", "http://127.0.0.1")],
    "an origin with a path": [("Origin", "http://{own}/")],
    "an origin that starts like ours": [("Origin", "http://{own}.evil.example")],
    "only a referrer": [("Referer", "http://{own}/")],
}


def of(console_port: int, headers: Headers) -> Headers:
    own = f"127.0.0.1:{console_port}"
    return [(name, value.format(own=own, port=console_port)) for name, value in headers]


@pytest.mark.parametrize("case", ACCEPTED)
async def test_an_action_of_the_own_page_is_accepted(case: str) -> None:
    async with secured(NONE) as console:
        response = await console.request("POST", "/act", of(console.port, ACCEPTED[case]))
        assert (response.status, response.text) == (200, "alice True")


@pytest.mark.parametrize("case", REJECTED)
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
async def test_an_action_of_another_page_is_rejected(case: str, method: str) -> None:
    async with secured(NONE) as console:
        response = await console.request(method, "/act", of(console.port, REJECTED[case]))
        assert response.status == 403


async def test_the_method_cannot_be_overridden() -> None:
    async with secured(NONE) as console:
        headers = [
            ("X-HTTP-Method-Override", "POST"),
            ("X-Method-Override", "POST"),
            ("X-HTTP-Method", "POST"),
        ]
        assert (await console.request("GET", "/act?_method=POST", headers)).status == 405
        headers = [("X-HTTP-Method-Override", "GET"), ("X-Method-Override", "GET")]
        assert (await console.request("POST", "/act?_method=GET", headers)).status == 403


@pytest.mark.parametrize("method", ["OPTIONS", "TRACE", "PROPFIND", "post", "Get"])
async def test_methods_that_are_not_known_to_be_safe_need_the_same_evidence(method: str) -> None:
    async with secured(NONE) as console:
        assert (await console.request(method, "/")).status in {400, 403}


async def test_a_cors_preflight_allows_nothing() -> None:
    async with secured(NONE) as console:
        headers = [("Origin", "https://evil.example"), ("Access-Control-Request-Method", "POST")]
        response = await console.request("OPTIONS", "/act", headers)
        assert response.status == 403
        assert not any(name.lower().startswith("access-control-") for name in response.headers)


@pytest.mark.parametrize("destination", ["image", "script", "iframe", "empty", "document"])
@pytest.mark.parametrize("site", ["cross-site", "same-site"])
async def test_a_page_of_another_site_embeds_and_loads_nothing(site: str, destination: str) -> None:
    async with secured(NONE) as console:
        headers = [("Sec-Fetch-Site", site), ("Sec-Fetch-Mode", "no-cors"), ("Sec-Fetch-Dest", destination)]
        assert (await console.request(headers=headers)).status == 403
        assert (await console.request("HEAD", headers=headers)).status == 403


async def test_a_page_of_another_site_cannot_frame_the_console() -> None:
    async with secured(NONE) as console:
        headers = [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "iframe"),
        ]
        assert (await console.request(headers=headers)).status == 403


async def test_links_to_the_console_work_everywhere() -> None:
    async with secured(NONE) as console:
        headers = [
            ("Sec-Fetch-Site", "cross-site"),
            ("Sec-Fetch-Mode", "navigate"),
            ("Sec-Fetch-Dest", "document"),
        ]
        assert (await console.request(headers=headers)).status == 200
        assert (await console.request(headers=[("Sec-Fetch-Site", "none")])).status == 200
