"""
Correction of request timestamps when the local clock is wrong.

AWS rejects a request whose signature is dated more than a few minutes off, before it executes it. botocore
does not correct this. Here such a response sets the client's offset to the service's clock, and botocore
sends the request once more.
"""

from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime
from typing import Any, Final

import structlog

log = structlog.get_logger(__name__)

_CODES: Final = frozenset(
    {
        "InvalidSignatureException",
        "RequestExpired",
        "RequestInTheFuture",
        "RequestTimeTooSkewed",
        "SignatureDoesNotMatch",
    }
)
"""Error codes of requests that may have been rejected for their date."""

_TOLERANCE: Final = timedelta(minutes=2)
"""A smaller difference does not explain the rejection; services accept at least five minutes."""

_FORMAT: Final = "%Y%m%dT%H%M%SZ"


class ClockSkew:
    """
    The offset of a client's service clock from the local clock, applied to all requests the client signs.

    Args:
        client: A client that has just been opened.
    """

    def __init__(self, client: Any) -> None:  # noqa: ANN401 - clients of all services
        self._offset = timedelta()
        self._service = client.meta.service_model.service_id.hyphenize()
        client.meta.events.register(f"before-sign.{self._service}", self._date)
        client.meta.events.register(f"needs-retry.{self._service}", self._correct)

    def signing_context(self, context: dict[str, object]) -> dict[str, object]:
        """Return a signing context that dates the request by the service's clock."""
        return _Context(self._offset, context) if self._offset else context

    def _date(self, request: Any, **_event: object) -> None:  # noqa: ANN401 - botocore has no types
        request.context = self.signing_context(request.context)

    def _correct(self, response: Any, attempts: int, **_event: object) -> int | None:  # noqa: ANN401 - as above
        """Return 0, so that the request is sent again at once, if its date was the reason; otherwise None."""
        if response is None or attempts > 1 or response[1].get("Error", {}).get("Code") not in _CODES:
            return None
        try:
            service_time = parsedate_to_datetime(response[0].headers["date"])
        except (KeyError, ValueError):
            return None
        # A date that ends in -0000 is in UTC, and read without a time zone.
        offset = service_time.replace(tzinfo=service_time.tzinfo or UTC) - datetime.now(UTC)
        if abs(offset - self._offset) < _TOLERANCE:
            return None
        self._offset = offset
        log.warning("clock.skew_corrected", service=self._service, offset_s=round(offset.total_seconds()))
        return 0


class _Context(dict[str, object]):
    """A signing context that shifts the timestamp which the signer writes into it."""

    def __init__(self, offset: timedelta, context: dict[str, object]) -> None:
        super().__init__(context)
        self._offset = offset

    def __setitem__(self, name: str, value: object) -> None:
        if name == "timestamp" and isinstance(value, str):
            local = datetime.strptime(value, _FORMAT).replace(tzinfo=UTC)
            value = (local + self._offset).strftime(_FORMAT)
        super().__setitem__(name, value)
