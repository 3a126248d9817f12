"""Detect responses that are not of AWS, such as the login page of a proxy."""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Any, Final

from botocore.exceptions import BotoCoreError
from botocore.parsers import ResponseParserError

from worker.aws.calls import Call, Client, Output, wrap_calls
from worker.aws.errors import UnreadableResponseError
from worker.domain.errors import ConfigurationError

_PARSER_ERRORS: Final = (
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    ResponseParserError,
    TypeError,
    ValueError,
)
"""What botocore's parsers raise for JSON of another shape, damaged XML, or bytes that are not text."""

_AWS_HEADERS: Final = ("x-amz-request-id", "x-amzn-requestid")
"""AWS sends one of these with every response; an S3 object may itself be a web page."""


def reject_non_aws_responses(client: Client) -> None:
    """
    Make the client's calls raise an error that names the cause when the response is not of AWS.

    The calls raise `ConfigurationError` for a web page, and `UnreadableResponseError`, which is transient,
    for any other response that cannot be parsed.
    """
    client.meta.events.register("before-parse", _reject_web_page)
    wrap_calls(client, _with_readable_response)


def _with_readable_response(_operation: str, call: Call) -> Call:
    async def readable(**parameters: Any) -> Output:  # noqa: ANN401 - as the client's own method
        try:
            return await call(**parameters)
        except BotoCoreError:
            raise
        except _PARSER_ERRORS as error:
            raise UnreadableResponseError(error=repr(error)) from error

    return readable


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
