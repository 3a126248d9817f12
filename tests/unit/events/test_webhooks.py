"""Webhooks are signed as Standard Webhooks describes, and sent until they are accepted."""

import base64
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from worker.domain.errors import ConfigurationError
from worker.events.webhooks import (
    Webhook,
    WebhookFailedError,
    WebhookGoneError,
    signature,
    signed_headers,
    signing_key,
)

SECRET = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw"  # noqa: S105 - that of the published example
BODY = b'{"test": 2432232314}'


def test_the_signature_is_that_of_the_published_example() -> None:
    signed = signature(
        signing_key(SECRET), webhook_id="msg_p5jXN8AQM9LWM0D4loKWxJek", timestamp_s=1614265330, body=BODY
    )
    assert signed == "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="


def test_the_id_of_a_webhook_is_that_of_its_event_and_fits_into_a_header() -> None:
    first, again = (
        signed_headers(b"k" * 32, event_id="zoë\r\nx: y/img/1/completed", timestamp_s=at, body=BODY)
        for at in (1, 2)
    )
    assert first["webhook-id"] == again["webhook-id"]
    assert first["webhook-signature"] != again["webhook-signature"]
    assert all(value.isascii() and value.isprintable() for value in first.values())


@pytest.mark.parametrize(
    "secret", ["", "whsec_", "whsec_c2hvcnQ=", "whsec_!", base64.b64encode(bytes(32)).decode()]
)
def test_a_secret_of_another_form_is_a_configuration_error(secret: str) -> None:
    with pytest.raises(ConfigurationError, match="WORKER_WEBHOOK_SECRET is not whsec_"):
        signing_key(secret)


@asynccontextmanager
async def endpoint(respond: Callable[[], web.Response]) -> AsyncIterator[tuple[Webhook, list[web.Request]]]:
    received: list[web.Request] = []

    async def handle(request: web.Request) -> web.Response:
        await request.read()
        received.append(request)
        return respond()

    async def no_wait(_: float) -> None:
        return None

    app = web.Application()
    app.router.add_post("/hooks", handle)
    async with TestServer(app) as server, aiohttp.ClientSession() as session:
        url = str(server.make_url("/hooks"))
        yield Webhook(session, url, key=signing_key(SECRET), attempts=3, sleep=no_wait), received


async def test_an_event_is_repeated_until_it_is_accepted() -> None:
    statuses = iter([500, 302, 204])
    async with endpoint(lambda: web.Response(status=next(statuses))) as (webhook, received):
        await webhook.send(BODY, event_id="u/i/1/completed")
    assert len({request.headers["webhook-id"] for request in received}) == 1
    assert len(received) == 3
    for request in received:
        expected = signature(
            signing_key(SECRET),
            webhook_id=request.headers["webhook-id"],
            timestamp_s=int(request.headers["webhook-timestamp"]),
            body=await request.read(),
        )
        assert request.headers["webhook-signature"] == expected


async def test_an_event_that_is_not_accepted_names_the_last_reason() -> None:
    async with endpoint(lambda: web.Response(status=503)) as (webhook, received):
        with pytest.raises(
            WebhookFailedError, match=r"not accepted the event u/i/1/failed in 3 attempts: .*503"
        ):
            await webhook.send(BODY, event_id="u/i/1/failed")
    assert len(received) == 3


async def test_an_endpoint_that_cannot_be_reached_is_a_failure_with_its_reason() -> None:
    async with aiohttp.ClientSession() as session:
        webhook = Webhook(session, "http://127.0.0.1:1/hooks", key=signing_key(SECRET), attempts=1)
        with pytest.raises(WebhookFailedError, match=r"in 1 attempts: Cannot connect to host 127\.0\.0\.1:1"):
            await webhook.send(BODY, event_id="u/i/1/failed")


async def test_an_endpoint_that_is_gone_gets_no_more_events() -> None:
    async with endpoint(lambda: web.Response(status=410)) as (webhook, received):
        with pytest.raises(WebhookGoneError):
            await webhook.send(BODY, event_id="u/i/1/completed")
    assert len(received) == 1
