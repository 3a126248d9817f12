import re
from urllib.parse import quote

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer, make_mocked_request
from hypothesis import given
from hypothesis import strategies as st

from tests.support.console_app import an_app
from worker.console.urls import add_prefix, url


async def echo(request: web.Request) -> web.Response:
    return web.json_response(dict(request.match_info) | dict(request.query))


def app_with_prefix(prefix: str) -> web.Application:
    app = web.Application()
    app.router.add_get("/users/{user_id:[^/]+}/{image_id:[^/]+}", echo, name="image")
    app.router.add_get("/images", echo, name="images")
    if prefix:
        add_prefix(app, prefix)
    return app


@pytest.mark.parametrize("prefix", ["", "/a/b"])
@pytest.mark.parametrize(
    "name",
    ["a b", "a/b", "%2F", "%", "?#&=", "{user_id}", "<script>", "ünïcode", "\u202e\x1b[31m", "a+b", "~"],
)
async def test_any_name_reaches_the_handler_unchanged(prefix: str, name: str) -> None:
    app = app_with_prefix(prefix)
    path = url(app, "image", user_id=name, image_id=name, query={"q": name, "token": None, "day": ""})
    assert path.startswith(f"{prefix}/users/")
    async with TestClient(TestServer(app)) as client, client.get(path) as response:
        assert await response.json() == {"user_id": name, "image_id": name, "q": name}


@given(st.text(min_size=1), st.text())
def test_a_url_is_printable_ascii_without_characters_of_html(name: str, value: str) -> None:
    path = url(app_with_prefix(""), "image", user_id=name, image_id=name, query={"q": value})
    assert path.isascii()
    assert path.isprintable()
    assert not set("<>\"'` ") & set(path)


async def test_without_its_prefix_no_page_is_found() -> None:
    async with TestClient(TestServer(app_with_prefix("/a/b"))) as client:
        async with client.get("/images") as response:
            assert response.status == 404
        async with client.get("/a/b/images") as response:
            assert response.status == 200


def test_a_route_that_does_not_exist_is_an_error() -> None:
    with pytest.raises(KeyError):
        url(app_with_prefix(""), "no-such-route")


async def test_every_route_accepts_any_name() -> None:
    app = an_app()
    for name, resource in app.router.named_resources().items():
        parts = set(re.findall(r"\{(\w+)\}", resource.canonical)) - {"change"}
        if not parts or name == "static":
            continue
        path = resource.canonical.replace("{change}", "stop")
        for part in parts:
            path = path.replace(f"{{{part}}}", quote("{a}/b c", safe=""))
        matches = [await app.router.resolve(make_mocked_request(method, path)) for method in ("GET", "POST")]
        assert any(match.http_exception is None for match in matches), name
