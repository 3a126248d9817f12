"""Telling an AWS from whatever else may listen at AWS_ENDPOINT_URL: a web site, the login of a proxy."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from worker.domain.errors import ConfigurationError

_WEB_PAGE: Final = "text/html"
_OF_AN_AWS: Final = ("x-amz-request-id", "x-amzn-requestid")
"""Each AWS sends one of these with each answer; an object in a bucket may well be a web page."""


def reject_non_aws_responses(client: Any) -> None:  # noqa: ANN401 - a client of any service
    """Let the client's calls end in a `ConfigurationError` where a web page answers them."""
    client.meta.events.register("before-parse", _refuse_a_web_page)


def _refuse_a_web_page(response_dict: Mapping[str, Any], **_other: object) -> None:
    # Parsed as what the service would say, a page becomes an answer in which everything is missing.
    headers = response_dict["headers"]
    is_page = str(headers.get("content-type", "")).startswith(_WEB_PAGE)
    # A load balancer of AWS tells of its troubles by a page, too: those pass.
    is_dependency_failure = response_dict["status_code"] >= HTTPStatus.INTERNAL_SERVER_ERROR
    if is_page and not is_dependency_failure and not any(name in headers for name in _OF_AN_AWS):
        message = (
            "a web page answers in place of AWS; check AWS_ENDPOINT_URL, and any proxy on the way "
            "(HTTPS_PROXY, NO_PROXY)"
        )
        raise ConfigurationError(message)
