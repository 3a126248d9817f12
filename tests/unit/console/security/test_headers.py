"""Every response has the headers that confine a page, errors included."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.secured import Secured, secured
from worker.console.security import SecurityOptions, attachment

NONE = SecurityOptions(authentication="none")

POLICY = {
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self'",
    "connect-src 'self'",
    "form-action 'self'",
    "frame-ancestors 'none'",
    "base-uri 'none'",
}


@pytest.mark.parametrize(
    ("method", "target", "host", "status"),
    [
        ("GET", "/", None, 200),
        ("HEAD", "/", None, 200),
        ("GET", "/unknown", None, 404),
        ("POST", "/act", None, 403),
        ("PUT", "/", None, 403),
        ("GET", "/act", None, 405),
        ("GET", "/", "evil.example", 421),
        ("GET", "//evil.example", None, 400),
        ("GET", "/crash", None, 500),
        ("GET", "/files/a", None, 200),
        ("GET", "/static/console.css", None, 200),
        ("GET", "/healthz", "10.0.0.1", 200),
    ],
)
async def test_every_response_has_the_security_headers(
    method: str, target: str, host: str | None, status: int
) -> None:
    async with secured(NONE) as console:
        response = await console.request(method, target, host=host)
        assert response.status == status
        assert set(response.headers["Content-Security-Policy"].split("; ")) == POLICY
        assert response.headers["X-Content-Type-Options"] == "nosniff"
        assert response.headers["Referrer-Policy"] == "no-referrer"
        assert response.headers["X-Frame-Options"] == "DENY"
        assert response.headers["Cross-Origin-Resource-Policy"] == "same-origin"
        assert response.headers["Cross-Origin-Opener-Policy"] == "same-origin"
        assert "Python" not in response.headers["Server"]


async def test_pages_are_not_stored() -> None:
    async with secured(NONE) as console:
        assert await caching(console, "/") == "no-store"
        assert await caching(console, "/unknown") == "no-store"
        assert await caching(console, "/public") == "no-store"
        assert await caching(console, "/private") == "private, max-age=60"
        assert await caching(console, "/static/console.css") == "public, max-age=60"


async def caching(console: Secured, target: str) -> str:
    return (await console.request(target=target)).headers["Cache-Control"]


async def test_a_cache_in_front_of_the_console_is_not_misled_by_a_path_that_looks_static() -> None:
    async with secured() as console:
        cookie = await console.signed_in()
        for target in (
            "/images/a.css",
            "/images/a%2fstatic%2fconsole.css",
            "/;/static/console.css",
            "/static/../",
        ):
            response = await console.request(target=target, headers=cookie)
            assert response.headers["Cache-Control"] == "no-store"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("photo.jpg", "photo.jpg"),
        ('a"; filename=evil.html', "a%22%3B%20filename%3Devil.html"),
        ("a\r\nSet-Cookie: b=c", "a%EF%BF%BD%20Set-Cookie%3A%20b%3Dc"),
        ("../../etc/passwd", ".._.._etc_passwd"),
        ("..\\evil.exe", ".._evil.exe"),
        ("Zoë.png", "Zo%C3%AB.png"),
        ("gpj.\u202eexe", "gpj.%EF%BF%BDexe"),
        ("\udcff.jpg", "%3F.jpg"),
        ("", "image"),
    ],
)
def test_a_file_name_cannot_change_the_header(name: str, expected: str) -> None:
    assert attachment(name) == f"attachment; filename*=UTF-8''{expected}"


@settings(deadline=None)
@given(st.text(st.characters(), max_size=300))
def test_any_file_name_is_one_short_ascii_parameter(name: str) -> None:
    value = attachment(name)
    prefix, _, encoded = value.partition("''")
    assert prefix == "attachment; filename*=UTF-8"
    assert encoded.isascii()
    assert not set(encoded) & set(" ;,\"'\\/\r\n\t=")
    assert 0 < len(encoded) <= 3 * 4 * 200


async def test_a_file_is_saved_under_its_hostile_name() -> None:
    async with secured(NONE) as console:
        response = await console.request(target="/files/a%22%0d%0aSet-Cookie:%20b=c")
        assert response.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''a%22")
        assert "Set-Cookie" not in response.headers
