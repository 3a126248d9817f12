"""Requests of the fast path compared with the ones that botocore makes for the same calls."""

import json
from collections.abc import AsyncIterator, Mapping
from datetime import datetime
from types import SimpleNamespace
from typing import Any

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.credentials import AioCredentials
from aiobotocore.httpsession import AIOHTTPSession
from botocore import auth
from botocore.awsrequest import AWSRequest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from tests.support.emulators import SESSION, Service, unique_settings
from worker.aws.fast_path import FastCall
from worker.bootstrap import open_client

AT = datetime(2026, 3, 1, 23, 59, 58)  # noqa: DTZ001 - as botocore has it
PRINTABLE = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=30)
METADATA = st.dictionaries(st.sampled_from(["attempt", "Recipe", "b"]), PRINTABLE)
JSON_TEXT = st.text(max_size=20)
ATTRIBUTES = st.dictionaries(
    st.text(min_size=1, max_size=5),
    st.recursive(
        st.fixed_dictionaries({"S": JSON_TEXT}) | st.fixed_dictionaries({"BOOL": st.booleans()}),
        lambda values: (
            st.fixed_dictionaries({"L": st.lists(values, max_size=3)})
            | st.fixed_dictionaries(
                {"M": st.dictionaries(st.text(min_size=1, max_size=5), values, max_size=3)}
            )
        ),
        max_leaves=5,
    ),
    max_size=4,
)
fewer_examples = hypothesis_settings(
    max_examples=30, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None
)


class Sent:
    """The requests that the clients of a test send; all of them succeed."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.requests: list[Any] = []
        monkeypatch.setattr(AIOHTTPSession, "send", self._send)
        monkeypatch.setattr(auth, "get_current_datetime", lambda: AT)

    async def _send(self, request: Any) -> AioAWSResponse:
        self.requests.append(request)
        headers: Any = {"content-type": "application/x-amz-json-1.0", "x-amz-request-id": "1"}
        raw: Any = SimpleNamespace(read=_read_json if request.method == "POST" else _read_nothing)
        return AioAWSResponse(request.url, 200, headers, raw)

    async def compare(self, client: Any, method: str, parameters: Mapping[str, Any]) -> None:
        """Compare the requests of two calls: botocore makes the first, and the fast path learns from it."""
        call = getattr(client, method)
        assert isinstance(call, FastCall)
        call.credentials = AioCredentials("AKID", "secret", "session/token+=")
        call._templates.clear()
        self.requests.clear()
        for _ in range(2):
            await call(**parameters)
        expected, request = self.requests
        assert type(expected) is not type(request)
        assert (request.method, request.url) == (expected.method, expected.url)
        if request.method == "POST":
            assert json.loads(request.body) == json.loads(expected.body)
        else:
            assert (request.body or b"") == (expected.body.getvalue() if expected.body else b"")
        assert _common(request) == _common(expected)
        assert request.headers["Authorization"] == _signed_by_botocore(client, request)


async def _read_json() -> bytes:
    return b"{}"


async def _read_nothing() -> bytes:
    return b""


def _common(request: Any) -> dict[str, str]:
    """Return the headers of a request without those that no two requests share."""
    headers = {k.lower(): v.decode() if isinstance(v, bytes) else v for k, v in request.headers.items()}
    own = {"amz-sdk-invocation-id", "amz-sdk-request", "authorization", "content-length", "expect"}
    return {k: v for k, v in headers.items() if k not in own | {"x-amz-security-token"}}


def _signed_by_botocore(client: Any, request: Any) -> str:
    """Return the signature that botocore gives a request with the same URL, headers and body."""
    kept = {k: v for k, v in request.headers.items() if not k.startswith(("Authorization", "X-Amz-"))}
    same = AWSRequest(request.method, request.url, headers=kept, data=request.body)
    signer = auth.S3SigV4Auth if request.method != "POST" else auth.SigV4Auth
    credentials: Any = AioCredentials("AKID", "secret", "session/token+=")
    signer(credentials, client.meta.service_model.signing_name, client.meta.region_name).add_auth(same)
    return str(same.headers["Authorization"])


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    return Sent(monkeypatch)


@pytest.fixture(
    params=["http://127.0.0.1:4566", "http://[::1]:4566/aws", "https://aws.test"], ids=["IPv4", "IPv6", "TLS"]
)
async def clients(request: pytest.FixtureRequest) -> AsyncIterator[dict[Service, Any]]:
    settings = unique_settings(request.param)
    async with (
        open_client("s3", settings, session=SESSION) as s3,
        open_client("sqs", settings, session=SESSION) as sqs,
        open_client("dynamodb", settings, session=SESSION) as dynamodb,
    ):
        yield {"s3": s3, "sqs": sqs, "dynamodb": dynamodb}


@fewer_examples
@given(key=st.text(min_size=1, max_size=40), version=st.none() | PRINTABLE, e_tag=st.none() | PRINTABLE)
async def test_a_read_of_an_object_is_the_request_that_botocore_makes(
    clients: dict[Service, Any], sent: Sent, key: str, version: str | None, e_tag: str | None
) -> None:
    optional = {"VersionId": version, "IfMatch": e_tag}
    parameters = {"Bucket": "b", "Key": key} | {k: v for k, v in optional.items() if v is not None}
    await sent.compare(clients["s3"], "get_object", parameters)


@fewer_examples
@given(key=st.text(min_size=1, max_size=40), body=st.binary(max_size=40), metadata=METADATA)
async def test_a_write_of_an_object_is_the_request_that_botocore_makes(
    clients: dict[Service, Any], sent: Sent, key: str, body: bytes, metadata: dict[str, str]
) -> None:
    parameters = {"Bucket": "b", "Key": key, "Body": body, "Metadata": metadata, "IfNoneMatch": "*"}
    if clients["s3"].meta.endpoint_url.startswith("https"):
        return  # there botocore streams the body, with its checksum as a trailer
    await sent.compare(clients["s3"], "put_object", parameters)


@fewer_examples
@given(attributes=ATTRIBUTES)
async def test_a_write_of_an_item_is_the_request_that_botocore_makes(
    clients: dict[Service, Any], sent: Sent, attributes: dict[str, Any]
) -> None:
    parameters = {"TableName": "t", "Key": {"id": {"S": "a"}}, "ExpressionAttributeValues": attributes}
    await sent.compare(clients["dynamodb"], "update_item", parameters)
    transaction = {"TransactItems": [{"Update": parameters}], "ClientRequestToken": "token"}
    await sent.compare(clients["dynamodb"], "transact_write_items", transaction)


@fewer_examples
@given(handles=st.lists(JSON_TEXT, min_size=1, max_size=10))
async def test_a_delete_of_messages_is_the_request_that_botocore_makes(
    clients: dict[Service, Any], sent: Sent, handles: list[str]
) -> None:
    entries = [{"Id": str(i), "ReceiptHandle": handle} for i, handle in enumerate(handles)]
    await sent.compare(clients["sqs"], "delete_message_batch", {"QueueUrl": "http://q", "Entries": entries})
