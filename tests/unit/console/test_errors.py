"""Errors of handlers: what a page says, and that it never shows a traceback or a secret."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import fields
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestClient, TestServer
from botocore.exceptions import ClientError, EndpointConnectionError

from tests.support.builders import NOON
from worker.aws.retry import RetryPolicies
from worker.console.app import build_app
from worker.console.context import ConsoleContext
from worker.console.security import SecurityOptions, build_security
from worker.domain.errors import (
    ConfigurationError,
    PageTokenError,
    TransientError,
    UnreadableRecordError,
)
from worker.dynamodb.table import Table
from worker.s3.sources import S3Sources


def a_context(**changes: Any) -> ConsoleContext:
    """Return a context whose clients are absent."""
    absent: dict[str, Any] = dict.fromkeys(field.name for field in fields(ConsoleContext))
    present = {
        "is_local": False,
        "region": "eu-west-1",
        "table": Table("metadata", index_shards=8),
        "max_bytes": 1000,
        "retry": RetryPolicies(),
        "sources": S3Sources(absent["s3"], retry=RetryPolicies().bucket),
        "clock": lambda: NOON,
    }
    return ConsoleContext(**absent | present | changes)


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

    app = build_app(a_context(), build_security(SecurityOptions(authentication="none"), user="alice"))
    app.router.add_get("/fail", fail)
    async with TestClient(TestServer(app), headers={"Host": "127.0.0.1:8081"}) as client:

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


async def test_secrets_in_errors_are_masked(
    failing: Callable[[Exception], Awaitable[tuple[int, dict]]],
) -> None:
    error = client_error("InternalError", "https://queue/?X-Amz-Signature=0123456789abcdef0123456789abcdef")
    _, content = await failing(caused_by(error))
    assert "0123456789abcdef" not in content["message"]
