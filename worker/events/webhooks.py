"""Sign and send events to a URL, as Standard Webhooks describes (https://www.standardwebhooks.com)."""

import asyncio
import base64
import binascii
import hashlib
import hmac
import time
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Final

import aiohttp

from worker.aws.retry import backoff_s
from worker.domain.errors import ConfigurationError, ImageWorkerError

_PREFIX: Final = "whsec_"
_MIN_BYTES, _MAX_BYTES = 24, 64
_MAX_REASON: Final = 200


class WebhookFailedError(ImageWorkerError):
    """Raised when an endpoint has not accepted an event in any attempt."""


class WebhookGoneError(ImageWorkerError):
    """Raised when an endpoint responds that it no longer wants events (410)."""


def signing_key(secret: str) -> bytes:
    """
    Return the key in a secret of the form `whsec_<base64>`.

    Raises:
        ConfigurationError: The secret has another form.
    """
    try:
        key = base64.b64decode(secret.removeprefix(_PREFIX), validate=True)
    except binascii.Error:
        key = b""
    if not secret.startswith(_PREFIX) or not _MIN_BYTES <= len(key) <= _MAX_BYTES:
        message = (
            f"WORKER_WEBHOOK_SECRET is not {_PREFIX} and {_MIN_BYTES} to {_MAX_BYTES} bytes in base64; "
            "make one with: echo whsec_$(head -c 32 /dev/urandom | base64)"
        )
        raise ConfigurationError(message)
    return key


def signed_headers(key: bytes, *, event_id: str, timestamp_s: int, body: bytes) -> dict[str, str]:
    """
    Return the headers that identify and sign a webhook.

    Args:
        key: Key that the receiver has too.
        event_id: The `id` of the event; its hash is the webhook's id, since a header cannot contain any text.
        timestamp_s: Seconds since 1970.
        body: The bytes that are sent.
    """
    webhook_id = f"evt_{hashlib.sha256(event_id.encode()).hexdigest()[:32]}"
    return {
        "webhook-id": webhook_id,
        "webhook-timestamp": str(timestamp_s),
        "webhook-signature": signature(key, webhook_id=webhook_id, timestamp_s=timestamp_s, body=body),
    }


def signature(key: bytes, *, webhook_id: str, timestamp_s: int, body: bytes) -> str:
    """Return the signature of a webhook, with its version: `v1,<base64>`."""
    signed = f"{webhook_id}.{timestamp_s}.".encode() + body
    return f"v1,{base64.b64encode(hmac.digest(key, signed, 'sha256')).decode()}"


class Webhook:
    """
    Sends events to a URL, and repeats those that it does not accept.

    Args:
        session: HTTP session, with a timeout.
        url: URL of the endpoint.
        key: Key of the signatures.
        attempts: Maximum number of attempts for each event.
        now_s: Current time in seconds since 1970.
        sleep: Waits for a number of seconds.
    """

    def __init__(
        self,
        session: aiohttp.ClientSession,
        url: str,
        *,
        key: bytes,
        attempts: int,
        now_s: Callable[[], float] = time.time,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._session, self._url, self._key, self._attempts = session, url, key, attempts
        self._now_s, self._sleep = now_s, sleep

    async def send(self, body: bytes, *, event_id: str) -> None:
        """
        Send an event until the endpoint responds with a status of success.

        Raises:
            WebhookFailedError: It did not in any attempt.
            WebhookGoneError: It responds that it no longer wants events.
        """
        reason = ""
        for attempt in range(self._attempts):
            if attempt:
                await self._sleep(backoff_s(attempt - 1))
            headers = signed_headers(self._key, event_id=event_id, timestamp_s=int(self._now_s()), body=body)
            reason_or_none = await self._attempt(body, headers)
            if reason_or_none is None:
                return
            reason = reason_or_none
        message = f"{self._url} has not accepted the event {event_id} in {self._attempts} attempts: {reason}"
        raise WebhookFailedError(message)

    async def _attempt(self, body: bytes, headers: Mapping[str, str]) -> str | None:
        """Make one attempt; return why it failed, or None."""
        try:
            async with self._session.post(
                self._url,
                data=body,
                headers={"Content-Type": "application/json", **headers},
                allow_redirects=False,
            ) as response:
                if response.status == HTTPStatus.GONE:
                    message = f"{self._url} responds with 410 (Gone): it no longer wants events"
                    raise WebhookGoneError(message)
                is_accepted = HTTPStatus.OK <= response.status < HTTPStatus.MULTIPLE_CHOICES
                return None if is_accepted else f"it responds with {response.status} {response.reason}"
        except TimeoutError:
            return "it does not respond in time"
        except aiohttp.ClientError as error:
            return str(error)[:_MAX_REASON] or type(error).__name__
