from types import SimpleNamespace

import pytest
from botocore.hooks import HierarchicalEmitter

from worker.aws.endpoint_check import reject_non_aws_responses
from worker.domain.errors import ConfigurationError

PAGE = {"content-type": "text/html; charset=utf-8"}


def receive_response(headers: dict[str, str], *, status: int = 200) -> None:
    """Have a client that rejects web pages receive a response."""
    events = HierarchicalEmitter()
    reject_non_aws_responses(SimpleNamespace(meta=SimpleNamespace(events=events, method_to_api_mapping={})))
    events.emit("before-parse.dynamodb.Query", response_dict={"headers": headers, "status_code": status})


@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_a_web_page_in_place_of_aws_is_a_configuration_error(status: int) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL"):
        receive_response(PAGE, status=status)


@pytest.mark.parametrize("header", ["x-amz-request-id", "x-amzn-requestid"])
def test_an_s3_object_that_is_a_web_page_is_accepted(header: str) -> None:
    receive_response({**PAGE, header: "4442587FB7D0A2F9"})


def test_other_responses_and_server_errors_of_a_load_balancer_are_accepted() -> None:
    receive_response({"content-type": "application/x-amz-json-1.0"})
    receive_response(PAGE, status=503)
