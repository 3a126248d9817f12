"""Whether it is an AWS that answers."""

from types import SimpleNamespace

import pytest
from botocore.hooks import HierarchicalEmitter

from worker.aws.endpoint_check import reject_non_aws_responses
from worker.domain.errors import ConfigurationError

PAGE = {"content-type": "text/html; charset=utf-8"}


def answer(headers: dict[str, str], *, status: int = 200) -> None:
    """Let a client that insists on an AWS read an answer."""
    events = HierarchicalEmitter()
    reject_non_aws_responses(SimpleNamespace(meta=SimpleNamespace(events=events)))
    events.emit("before-parse.dynamodb.Query", response_dict={"headers": headers, "status_code": status})


@pytest.mark.parametrize("status", [200, 302, 403, 404])
def test_a_web_page_in_place_of_aws_is_a_matter_of_configuration(status: int) -> None:
    with pytest.raises(ConfigurationError, match="AWS_ENDPOINT_URL"):
        answer(PAGE, status=status)


@pytest.mark.parametrize("header", ["x-amz-request-id", "x-amzn-requestid"])
def test_an_object_that_is_a_web_page_is_read_as_any_other(header: str) -> None:
    answer({**PAGE, header: "4442587FB7D0A2F9"})


def test_what_is_no_page_and_the_troubles_of_a_load_balancer_are_left_to_those_who_know_them() -> None:
    answer({"content-type": "application/x-amz-json-1.0"})
    answer(PAGE, status=503)
