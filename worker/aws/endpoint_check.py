"""Detect a web page, such as the login page of a proxy, that responds in place of AWS."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from worker.domain.errors import ConfigurationError

_AWS_HEADERS: Final = ("x-amz-request-id", "x-amzn-requestid")
"""AWS sends one of these with every response; an S3 object may itself be a web page."""


def reject_non_aws_responses(client: Any) -> None:  # noqa: ANN401 - a client of any service
    """Make the client's calls raise `ConfigurationError` when a web page responds in place of AWS."""
    client.meta.events.register("before-parse", _reject_web_page)


def _reject_web_page(response_dict: Mapping[str, Any], **_other: object) -> None:
    # botocore would parse the page as a response in which every field is missing.
    headers = response_dict["headers"]
    is_web_page = str(headers.get("content-type", "")).startswith("text/html")
    # A load balancer of AWS reports its own errors as web pages too: these are transient.
    is_server_error = response_dict["status_code"] >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_web_page and not is_server_error and not any(name in headers for name in _AWS_HEADERS):
        message = (
            "a web page responded in place of AWS; check AWS_ENDPOINT_URL and the proxy settings "
            "(HTTPS_PROXY, NO_PROXY)"
        )
        raise ConfigurationError(message)
