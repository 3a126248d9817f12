"""Errors of handlers: what a page says, and that it never shows a traceback or a secret."""

from collections.abc import AsyncIterator, Awaitable, Callable

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.support.console_app import OWN_PAGE, an_app
from worker.domain.errors import (
    ConfigurationError,
    PageTokenError,
    TransientError,
    UnreadableRecordError,
)


def caused_by(error: Exception) -> TransientError:
    """Return the error of a call whose retries have ended."""
    transient = TransientError("cannot query the table")
    transient.__cause__ = error
    return transient


def client_error(code: str, message: str = "") -> ClientError:
    return ClientError({"Error": {"Code": code, "Message": message}}, "Query")


@pytest.fixture
async def failing() -> AsyncIterator[Callable[[Exception], Awaitable[tuple[int, dict]]]]:
    """A console with a page that raises an error; returns the status and the JSON of its response."""
    raised: list[Exception] = []

    async def fail(_: web.Request) -> web.Response:
        raise raised.pop()

    app = an_app()
    app.router.add_get("/fail", fail)
    async with TestClient(TestServer(app), headers=OWN_PAGE) as client:

        async def get(error: Exception) -> tuple[int, dict]:
            raised.append(error)
            async with client.get("/fail") as response:
                html = await response.text()
                assert response.content_type == "text/html"
                assert "Traceback" not in html
                assert html.count("<h1>") == 1
            raised.append(error)
            async with client.get("/fail", headers={"Accept": "application/json"}) as response:
                return response.status, (await response.json())["error"]

        yield get


@pytest.mark.parametrize(
    ("error", "status", "message", "advice"),
    [
        (TransientError("cannot query the table"), 503, "Cannot query the table.", "Try again in a moment."),
        (
            caused_by(client_error("AccessDeniedException", "no")),
            502,
            "AWS does not allow Query (no).",
            "Allow it in the IAM policy of this role or user.",
        ),
        (
            caused_by(client_error("ProvisionedThroughputExceededException")),
            503,
            "Query failed with ProvisionedThroughputExceededException.",
            "Try again in a moment.",
        ),
        (
            EndpointConnectionError(endpoint_url="http://127.0.0.1:1"),
            502,
            "http://127.0.0.1:1 cannot be reached (EndpointConnectionError).",
            "Check AWS_ENDPOINT_URL, AWS_REGION and the network.",
        ),
        (TimeoutError(), 503, "AWS did not respond in time.", "Try again in a moment."),
        (
            PageTokenError(),
            400,
            "The page token is invalid or belongs to another query.",
            "Start again from the first page.",
        ),
        (
            ConfigurationError("queue a does not exist: run `image-worker provision`"),
            502,
            "Queue a does not exist.",
            "Run `image-worker provision`.",
        ),
        (
            UnreadableRecordError(image_id="img_1", user_id="alice", reason="no status"),
            502,
            "The record of image img_1 of user alice cannot be read: no status.",
            (
                "A newer version of image-worker wrote it, or it is damaged: update image-worker, or correct "
                "or delete the item."
            ),
        ),
        (
            ValueError("AKIAIOSFODNN7EXAMPLE"),
            500,
            "The console failed to make this page.",
            "This is a bug: please report it with the traceback in the console's log.",
        ),
        (web.HTTPNotFound(), 404, "There is no such page.", None),
        (
            web.HTTPForbidden(text="bob is a viewer. Ask an operator."),
            403,
            "bob is a viewer.",
            "Ask an operator.",
        ),
        (web.HTTPConflict(), 409, "Conflict.", "Go back and try again."),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
async def test_an_error_becomes_a_sentence_and_advice(
    failing: Callable[[Exception], Awaitable[tuple[int, dict]]],
    error: Exception,
    status: int,
    message: str | None,
    advice: str | None,
) -> None:
    got_status, content = await failing(error)
    assert (got_status, content["status"]) == (status, status)
    assert message in (None, content["message"])
    assert advice in (None, content["advice"])
    assert content["message"]
    assert content["advice"]


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("multipart/form-data; boundary=x", b"no boundary"),
        ("multipart/form-data", b"--x\r\n"),
        ("application/x-www-form-urlencoded; charset=unknown", b"a=b"),
        ("application/x-www-form-urlencoded", b"a=\xff"),
    ],
    ids=["no part", "no boundary", "unknown charset", "not UTF-8"],
)
async def test_a_form_that_cannot_be_read_is_rejected(content_type: str, body: bytes) -> None:
    async def receive(request: web.Request) -> web.Response:
        return web.json_response(list(await request.post()))

    app = an_app()
    app.router.add_post("/form", receive)
    headers = {**OWN_PAGE, "Content-Type": content_type}
    async with (
        TestClient(TestServer(app), headers=headers) as client,
        client.post("/form", data=body) as response,
    ):
        assert response.status == 400
        assert "The form cannot be read." in await response.text()


async def test_a_response_that_fails_half_way_is_cut_short() -> None:
    async def fail(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"half of ")
        message = "the other half is missing"
        raise ValueError(message)

    app = an_app()
    app.router.add_get("/half", fail)
    async with TestClient(TestServer(app), headers=OWN_PAGE) as client:
        with pytest.raises(aiohttp.ClientError):
            async with client.get("/half") as response:
                await response.read()


async def test_secrets_in_errors_are_masked(
    failing: Callable[[Exception], Awaitable[tuple[int, dict]]],
) -> None:
    error = client_error("InternalError", "https://queue/?X-Amz-Signature=0123456789abcdef0123456789abcdef")
    _, content = await failing(caused_by(error))
    assert "0123456789abcdef" not in content["message"]
