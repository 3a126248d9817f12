"""The fast path against botocore: the same outputs and errors, and every call reaches AWS exactly once."""

import asyncio
import base64
import gzip
import json
import zlib
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from types import SimpleNamespace
from typing import Any, Literal, NoReturn
from unittest.mock import patch

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from aiobotocore.credentials import AioCredentials, AioRefreshableCredentials
from botocore import UNSIGNED, httpchecksum
from botocore.exceptions import (
    ChecksumError,
    ClientError,
    ConnectionClosedError,
    CredentialRetrievalError,
    FlexibleChecksumError,
    HTTPClientError,
)
from structlog.testing import capture_logs
from zlib_ng import zlib_ng

from tests.support.builders import a_job
from tests.support.emulators import SESSION, Service, client, unique_settings
from worker import bootstrap
from worker.aws import fast_path
from worker.aws.clock_skew import ClockSkew
from worker.aws.errors import error_code, is_transient
from worker.aws.fast_path import FastCall, client_config, enable_fast_path
from worker.domain.errors import ConfigurationError, TransientError
from worker.settings import Settings

KEY = "uploads/user_1/sömé key~+&.jpg"
JSON = "Content-Type: application/x-amz-json-1.0"
UPDATE: dict[str, Any] = {"TableName": "t", "Key": {"imageId": {"S": "a"}, "userId": {"S": "b"}}}
CALLS: dict[str, tuple[Service, dict[str, Any]]] = {
    "delete_message_batch": (
        "sqs",
        {"QueueUrl": "http://sqs.test/1/events", "Entries": [{"Id": "0", "ReceiptHandle": "h"}]},
    ),
    "get_object": ("s3", {"Bucket": "b", "Key": KEY}),
    "put_object": ("s3", {"Bucket": "b", "Key": KEY, "Body": b"image", "ContentType": "image/jpeg"}),
    "receive_message": ("sqs", {"QueueUrl": "http://sqs.test/1/events"}),
    "transact_write_items": (
        "dynamodb",
        {"TransactItems": [{"Delete": UPDATE}], "ClientRequestToken": "token"},
    ),
    "update_item": ("dynamodb", UPDATE),
}


def open_client(service: Service, settings: Settings) -> AbstractAsyncContextManager[Any]:
    """Open a client as the worker does, with the service models that earlier tests have read."""
    return bootstrap.open_client(service, settings, session=SESSION)


ONE_OF_EACH_KIND = ("get_object", "put_object", "update_item")


class Built:
    """Counts the calls of a client for which botocore builds a request."""

    def __init__(self, opened: Any) -> None:
        self.count = 0
        opened.meta.events.register("before-parameter-build", self._built)

    def _built(self, **_event: object) -> None:
        self.count += 1


@dataclass
class Server:
    """An AWS that sends prepared responses in turn, the last one repeatedly, and keeps what it received."""

    responses: list[bytes]
    endpoint_url: str = ""
    lines: list[str] = field(default_factory=list)
    heads: list[str] = field(default_factory=list)
    bodies: list[bytes] = field(default_factory=list)

    async def respond(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        if "100-continue" in head.lower():
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        _, _, rest = head.lower().partition("content-length: ")
        self.bodies.append(await reader.readexactly(int(rest.partition("\r\n")[0] or 0)))
        self.lines.append(head.partition("\r\n")[0])
        self.heads.append(head)
        response = self.responses.pop(0) if len(self.responses) > 1 else self.responses[0]
        writer.write(b"" if head.startswith("HEAD") and not response else response)
        await writer.drain()
        writer.close()
        await writer.wait_closed()


@asynccontextmanager
async def serving(*responses: bytes) -> AsyncIterator[Server]:
    server = Server(list(responses))
    async with await asyncio.start_server(server.respond, "127.0.0.1", 0) as listener:
        server.endpoint_url = f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"
        yield server


def http(body: bytes, *headers: str, status: str = "200 OK") -> bytes:
    """Return a response as it is sent."""
    lines = (f"HTTP/1.1 {status}", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


def success(method: str) -> bytes:
    """Return a successful response to a call of `CALLS`."""
    match method:
        case "get_object":
            return http(b"image", "x-amz-request-id: 1", 'ETag: "a"', "Content-Type: image/jpeg")
        case "put_object":
            return http(b"", "x-amz-request-id: 1", 'ETag: "a"')
    return http(b'{"Attributes": {"n": {"N": "7"}}, "Messages": []}', JSON, "x-amzn-RequestId: 1")


def plain(output: Mapping[str, Any]) -> dict[str, Any]:
    """Return an output without what differs from request to request."""
    return {name: value for name, value in output.items() if name not in {"Body", "ResponseMetadata"}}


async def made(opened: Any, method: str, parameters: Mapping[str, Any] | None = None) -> object:
    """Make a call; return its output, with the content of an object, or describe its error."""
    try:
        output = await getattr(opened, method)(**(CALLS[method][1] if parameters is None else parameters))
        if "Body" not in output:
            return plain(output)
        async with output["Body"] as body:
            return plain(output), await body.read()
    except Exception as error:  # noqa: BLE001 - compared
        return type(error).__name__, error_code(error), is_transient(error)


async def error_of(call: Any) -> tuple[str, dict[str, Any], int]:
    """Return the name, the response and the status of the error that a call ends in."""
    with pytest.raises(ClientError) as raised:
        await call()
    response = raised.value.response
    return type(raised.value).__name__, plain(response), response["ResponseMetadata"]["HTTPStatusCode"]


def disabled(logged: list[Any]) -> list[str]:
    """Return the operations whose fast path was disabled, as they were logged."""
    return [line["operation"] for line in logged if line["event"] == "aws.fast_path_disabled"]


def without(module: object, name: str) -> SimpleNamespace:
    """Return the public names of a module, less one."""
    return SimpleNamespace(**{other: getattr(module, other) for other in dir(module) if other != name})


# Against an emulator: the same outputs, the same errors.


async def test_objects_are_written_and_read_as_by_botocore(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as fast, client("s3", provisioned) as plain_client:
        built = Built(fast)
        for key in (KEY, f"{KEY}2", f"{KEY}3"):
            written: dict[str, Any] = {
                "Bucket": provisioned.bucket,
                "Body": f"image {key}".encode() * 10_000,
                "CacheControl": "public, max-age=31536000, immutable",
                "ContentType": "image/jpeg",
                "Metadata": {"attempt": "1", "Tags": "two  blanks", "empty": ""},
            }
            output = await fast.put_object(Key=key, **written)
            assert plain(output) == plain(await plain_client.put_object(Key=f"their {key}", **written))
            head = await plain_client.head_object(Bucket=provisioned.bucket, Key=key)
            assert head["CacheControl"] == written["CacheControl"]

            read: dict[str, Any] = {"Bucket": provisioned.bucket, "Key": key, "IfMatch": output["ETag"]}
            assert await made(fast, "get_object", read) == await made(plain_client, "get_object", read)
    assert built.count == 2  # the first write and the first read


async def test_the_largest_bodies_are_left_to_botocore(provisioned: Settings) -> None:
    body = bytes(2**20 + 1)
    async with open_client("s3", provisioned) as fast:
        built = Built(fast)
        for _ in range(2):
            await fast.put_object(Bucket=provisioned.bucket, Key=KEY, Body=body)
        read = await fast.get_object(Bucket=provisioned.bucket, Key=KEY)
        async with read["Body"] as content:
            assert await content.read() == body
    assert built.count == 3


async def test_the_headers_of_an_object_are_read_as_by_botocore(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as fast, client("s3", provisioned) as plain_client:
        written: list[dict[str, Any]] = [
            {},
            {"ContentType": "application/x-amz-json-1.0"},  # the type of DynamoDB's responses
            {"ContentType": "text/html", "CacheControl": "max-age=60", "ContentLanguage": "de"},
            {"Expires": datetime(2027, 1, 1, tzinfo=UTC), "Metadata": {"filename": "s%C3%B6mmer.jpg"}},
        ]
        for number, attributes in enumerate(written):
            at = {"Bucket": provisioned.bucket, "Key": f"uploads/user/{number}.jpg"}
            await plain_client.put_object(**at, Body=b"[1]", **attributes)
            assert await made(fast, "get_object", at) == await made(plain_client, "get_object", at)


async def test_versions_of_an_object_are_read(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as fast, client("s3", provisioned) as plain_client:
        await plain_client.put_bucket_versioning(
            Bucket=provisioned.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        contents = (b"first", b"second", b"third")
        versions = [
            (await plain_client.put_object(Bucket=provisioned.bucket, Key=KEY, Body=body))["VersionId"]
            for body in contents
        ]
        built = Built(fast)
        for version, content in zip(versions, contents, strict=True):
            output = await fast.get_object(Bucket=provisioned.bucket, Key=KEY, VersionId=version)
            async with output["Body"] as body:
                assert await body.read() == content
    assert built.count == 1


async def test_errors_of_object_calls_are_those_of_botocore(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as fast, client("s3", provisioned) as plain_client:
        put: dict[str, Any] = {"Bucket": provisioned.bucket, "Key": KEY, "Body": b"a"}
        await fast.put_object(**put)
        missing = {"Bucket": provisioned.bucket, "Key": "uploads/missing/image.jpg"}
        for _ in range(2):  # botocore makes the first read of a client
            for call in (
                lambda one: one.get_object(**missing),
                lambda one: one.get_object(Bucket=provisioned.bucket, Key=KEY, IfMatch='"another"'),
                lambda one: one.put_object(**put, IfNoneMatch="*"),
                lambda one: one.put_object(**put, IfMatch='"another"'),
            ):
                expected = await error_of(lambda: call(plain_client))  # noqa: B023 - called at once
                assert await error_of(lambda: call(fast)) == expected  # noqa: B023 - called at once
            assert await made(fast, "get_object", {"Bucket": provisioned.bucket, "Key": KEY})


async def test_items_are_written_and_rejected_as_by_botocore(provisioned: Settings) -> None:
    def update(image_id: str) -> dict[str, Any]:
        return {
            "TableName": provisioned.table_name,
            "Key": {"imageId": {"S": image_id}, "userId": {"S": "sömebody"}},
            "UpdateExpression": "SET #a = :a",
            "ExpressionAttributeNames": {"#a": "attempt"},
            "ExpressionAttributeValues": {":a": {"M": {"n": {"N": "1"}, "l": {"L": [{"BOOL": True}]}}}},
            "ConditionExpression": "attribute_not_exists(imageId)",
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }

    async with open_client("dynamodb", provisioned) as fast, client("dynamodb", provisioned) as plain_client:
        built = Built(fast)
        for number in range(3):
            output = await fast.update_item(**update(f"fast_{number}"))
            assert plain(output) == plain(await plain_client.update_item(**update(f"plain_{number}")))
            items = [[{"Update": update(f"{name}_{number}")}] for name in ("c", "d")]
            output = await fast.transact_write_items(TransactItems=items[0], ClientRequestToken=f"f{number}")
            expected = await plain_client.transact_write_items(
                TransactItems=items[1], ClientRequestToken=f"p{number}"
            )
            assert plain(output) == plain(expected)
        assert built.count == 2

        existing = update("fast_0")
        error = await error_of(lambda: fast.update_item(**existing))
        assert error == await error_of(lambda: plain_client.update_item(**existing))
        assert error[0] == "ConditionalCheckFailedException"
        assert error[1]["Item"]["userId"] == {"S": "sömebody"}
        several = [{"Update": existing}, {"Update": update("new")}]
        error = await error_of(
            lambda: fast.transact_write_items(TransactItems=several, ClientRequestToken="f")
        )
        assert error == await error_of(
            lambda: plain_client.transact_write_items(TransactItems=several, ClientRequestToken="p")
        )
        codes = [reason["Code"] for reason in error[1]["CancellationReasons"]]
        assert codes == ["ConditionalCheckFailed", "None"]


async def test_messages_are_received_and_deleted_as_by_botocore(provisioned: Settings) -> None:
    async with open_client("sqs", provisioned) as fast, client("sqs", provisioned) as plain_client:
        url = (await fast.get_queue_url(QueueName=provisioned.dead_letter_queue_name))["QueueUrl"]
        built = Built(fast)
        receive = {"WaitTimeSeconds": 2, "MessageSystemAttributeNames": ["ApproximateReceiveCount"]}
        for number in range(3):
            await plain_client.send_message(QueueUrl=url, MessageBody=f"bödy {number}")
            (message,) = (await fast.receive_message(QueueUrl=url, **receive))["Messages"]
            assert message["Body"] == f"bödy {number}"
            assert message["Attributes"]["ApproximateReceiveCount"] == "1"
            entries = [{"Id": "0", "ReceiptHandle": message["ReceiptHandle"]}]
            deleted = await fast.delete_message_batch(QueueUrl=url, Entries=entries)
            assert deleted["Successful"] == [{"Id": "0"}]
        assert built.count == 2
        missing = url.replace(provisioned.dead_letter_queue_name, "no-such-queue")
        for _ in range(2):
            error = await error_of(lambda: fast.receive_message(QueueUrl=missing, **receive))
            assert error == await error_of(lambda: plain_client.receive_message(QueueUrl=missing, **receive))


async def test_a_lone_surrogate_is_written_and_read_as_by_botocore() -> None:
    response = http(rb'{"Attributes": {"eTag": {"S": "\ud800"}}}', JSON)
    update = {"TableName": "t", "Key": {"imageId": {"S": "\ud800"}}}
    async with (
        serving(response) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        for _ in range(2):
            assert plain(await fast.update_item(**update)) == {"Attributes": {"eTag": {"S": "\ud800"}}}
    by_botocore, by_fast_path = (json.loads(body) for body in server.bodies)
    assert by_botocore == by_fast_path == update


async def test_other_operations_and_parameters_are_left_to_botocore(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as fast:
        built = Built(fast)
        for _ in range(2):
            await fast.put_object(
                Bucket=provisioned.bucket, Key=KEY, Body=b"a", ContentLanguage="en", ContentType="a/b"
            )
            await fast.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert built.count == 4


async def test_the_setting_switches_the_fast_path_off(provisioned: Settings) -> None:
    settings = provisioned.model_copy(update={"aws_fast_path": False})
    async with open_client("s3", settings) as opened:
        built = Built(opened)
        for _ in range(3):
            await opened.put_object(Bucket=settings.bucket, Key=KEY, Body=b"a")
    assert built.count == 3


# Event handlers.


async def test_headers_that_a_handler_adds_are_sent() -> None:
    def add(request: Any, **_event: object) -> None:
        request.headers.add_header("x-added", "by a plug-in")

    async with (
        serving(success("put_object")) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        fast.meta.events.register_first("request-created", add)
        for _ in range(3):
            await made(fast, "put_object")
    assert [head.lower().count("x-added: by a plug-in") for head in server.heads] == [1, 1, 1]


@pytest.mark.parametrize("event", ["before-send", "before-call"])
async def test_a_handler_that_responds_in_place_of_aws_is_asked_each_time(event: str) -> None:
    async def respond(**_event: object) -> Any:
        raw: Any = SimpleNamespace(read=lambda: asyncio.sleep(0, b'{"Attributes": {"n": {"N": "1"}}}'))
        response = AioAWSResponse("http://nowhere", 200, {}, raw)  # type: ignore[arg-type] # typed for urllib3
        return response if event == "before-send" else (response, {"Attributes": {"n": {"N": "1"}}})

    async with serving(b"") as server, open_client("dynamodb", unique_settings(server.endpoint_url)) as fast:
        fast.meta.events.register(f"{event}.dynamodb.UpdateItem", respond)
        with capture_logs() as logged:
            for _ in range(3):
                assert await made(fast, "update_item") == {"Attributes": {"n": {"N": "1"}}}
    assert (server.lines, disabled(logged)) == ([], ["UpdateItem"])


async def test_requests_that_a_handler_changes_are_left_to_botocore() -> None:
    def change(params: Mapping[str, Any], **_event: object) -> None:
        params["headers"]["Content-Type"] = "image/png"

    async with (
        serving(success("put_object")) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        fast.meta.events.register("before-call.s3.PutObject", change)
        with capture_logs() as logged:
            for _ in range(3):
                await made(fast, "put_object")
    assert ["image/png" in head for head in server.heads] == [True, True, True]
    assert disabled(logged) == ["PutObject"]


async def test_unsigned_requests_stay_unsigned(provisioned: Settings) -> None:
    signatures: list[bool] = []
    async with SESSION.create_client(
        "s3",
        region_name=provisioned.region,
        endpoint_url=provisioned.endpoint_url,
        config=client_config().merge(AioConfig(signature_version=UNSIGNED)),
    ) as anonymous:
        enable_fast_path(anonymous, await SESSION.get_credentials(), ClockSkew(anonymous))
        anonymous.meta.events.register(
            "before-send", lambda request, **_event: signatures.append("Authorization" in request.headers)
        )
        for _ in range(2):
            await anonymous.put_object(Bucket=provisioned.bucket, Key=KEY, Body=b"a")
    assert signatures == [False, False]


# Names of botocore and aiobotocore that are gone.


@pytest.mark.parametrize("moment", ["before the first call", "after the second call"])
@pytest.mark.parametrize("method", ONE_OF_EACH_KIND)
@pytest.mark.parametrize(
    ("module", "name"),
    [
        ("auth", "SigV4Auth"),
        ("auth", "S3SigV4Auth"),
        ("checksums", "resolve_response_checksum_algorithms"),
        ("endpoint", "convert_to_response_dict"),
        ("httpchecksum", "handle_checksum_body"),
        ("parsers", "PROTOCOL_PARSERS"),
    ],
)
async def test_each_call_lands_once_without_a_name_of_botocore(
    module: str, name: str, method: str, moment: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = without(getattr(fast_path, module), name)
    service, _ = CALLS[method]
    with capture_logs() as logged:
        if moment == "before the first call":
            monkeypatch.setattr(fast_path, module, gone)
        async with (
            serving(success(method)) as server,
            open_client(service, unique_settings(server.endpoint_url)) as fast,
        ):
            outcomes = [await made(fast, method) for _ in range(2)]
            monkeypatch.setattr(fast_path, module, gone)
            outcomes += [await made(fast, method) for _ in range(3)]
    assert outcomes == 5 * [outcomes[0]]
    assert not isinstance(outcomes[0], tuple) or outcomes[0][1] == b"image"
    assert len(server.lines) == 5
    assert len(disabled(logged)) <= 1


@pytest.mark.parametrize("attribute", ["client", "credentials"])
@pytest.mark.parametrize("calls_before", [0, 2])
@pytest.mark.parametrize("method", CALLS)
async def test_each_call_lands_once_without_the_attributes_of_a_client(
    method: str, calls_before: int, attribute: str
) -> None:
    service, _ = CALLS[method]
    async with (
        serving(success(method)) as server,
        open_client(service, unique_settings(server.endpoint_url)) as fast,
    ):
        outcomes = [await made(fast, method) for _ in range(calls_before)]
        call = getattr(fast, method)
        assert isinstance(call, FastCall)
        setattr(call, attribute, object())
        with capture_logs() as logged:
            outcomes += [await made(fast, method) for _ in range(5 - calls_before)]
    assert outcomes == 5 * [outcomes[0]]
    assert (len(server.lines), disabled(logged)) == (5, [call.operation])


async def test_a_client_whose_requests_cannot_be_observed_is_left_to_botocore(provisioned: Settings) -> None:
    async with client("dynamodb", provisioned) as opened:
        credentials = await SESSION.get_credentials() or AioCredentials("key", "secret")
        enable_fast_path(opened, credentials, ClockSkew(opened))
        built = Built(opened)
        update = UPDATE | {"TableName": provisioned.table_name}
        with capture_logs() as logged:
            for _ in range(3):
                await opened.update_item(**update)
    assert (built.count, disabled(logged)) == (3, ["UpdateItem"])


@pytest.mark.parametrize("error", [AttributeError("send"), HTTPClientError(error=TypeError("not a request"))])
async def test_an_unexpected_error_of_sending_is_transient_and_never_repeats_the_call(
    error: Exception,
) -> None:
    async def send_and_fail(request: Any) -> None:
        await send(request)
        raise error

    async with (
        serving(success("update_item")) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        outcome = await made(fast, "update_item")
        (template,) = fast.update_item._templates.values()
        send = template.session.send
        object.__setattr__(template, "session", SimpleNamespace(send=send_and_fail))
        with capture_logs() as logged:
            with pytest.raises(HTTPClientError) as raised:
                await fast.update_item(**UPDATE)
            assert is_transient(raised.value)
            assert len(server.lines) == 2
            assert await made(fast, "update_item") == outcome
    assert (len(server.lines), disabled(logged)) == (3, ["UpdateItem"])


# Responses.

HTML = "Content-Type: text/html"
XML = "Content-Type: application/xml"
REDIRECT = b"<Error><Code>%s</Code><Endpoint>b.s3.eu-west-1.amazonaws.com</Endpoint></Error>"
GZIP = "Content-Encoding: gzip"
RESPONSES = {
    "no response": b"",
    "page": http(b"<html>log in</html>", HTML),
    "page of a load balancer": http(b"<html>503</html>", HTML, status="503 Unavailable"),
    "page with a request ID": http(b"<html></html>", HTML, "x-amz-request-id: 1", "x-amzn-requestid: 1"),
    "gzip": http(gzip.compress(b"{}"), JSON, GZIP, "x-amz-request-id: 1"),
    "half of the JSON": http(b'{"Attributes": {"n": {"N"', JSON, "x-amz-request-id: 1"),
    "half of the body": http(b'{"Attributes": {}}', JSON, "x-amz-request-id: 1")[:-9],
    "half of the headers": http(b"", JSON)[:-9],
    "not HTTP": b"SSH-2.0-OpenSSH_9.2\r\n",
    "error": http(b'{"__type": "a#ConditionalCheckFailedException"}', JSON, status="400 Bad Request"),
    "error of S3": http(b"<Error><Code>SlowDown</Code></Error>", XML, status="503 Slow Down"),
    "error with status 200": http(b"<Error><Code>InternalError</Code></Error>", XML, "x-amz-request-id: 1"),
    "internal error": http(b"", status="500 Internal Server Error"),
    "expired token": http(b'{"__type": "a#ExpiredTokenException"}', JSON, status="400 Bad Request"),
    "not modified": http(b"", status="304 Not Modified"),
    "redirect to a region": http(
        REDIRECT % b"PermanentRedirect",
        XML,
        "x-amz-bucket-region: eu-west-1",
        status="301 Moved Permanently",
    ),
    "temporary redirect": http(
        REDIRECT % b"TemporaryRedirect",
        XML,
        "x-amz-bucket-region: eu-west-1",
        status="307 Temporary Redirect",
    ),
    "redirect without a region": http(REDIRECT % b"PermanentRedirect", XML, status="301 Moved Permanently"),
    "redirect to a location": http(b"", "Location: /elsewhere", status="307 Temporary Redirect"),
    "moved to a location": http(b"", "Location: /elsewhere", status="301 Moved Permanently"),
}


@pytest.mark.parametrize("method", ONE_OF_EACH_KIND)
@pytest.mark.parametrize("response", RESPONSES)
async def test_any_response_has_the_outcome_and_the_requests_that_it_has_with_botocore(
    response: str, method: str
) -> None:
    service, _ = CALLS[method]
    compared = []
    for is_fast in (True, False):
        good = success(method)
        async with (
            serving(good, good, RESPONSES[response], good) as server,
            open_client(service, unique_settings(server.endpoint_url, aws_fast_path=is_fast)) as opened,
        ):
            outcomes = [await made(opened, method) for _ in range(4)]
        compared.append((outcomes, server.lines))
    assert compared[0] == compared[1]


async def test_a_request_is_not_repeated_when_the_connection_breaks() -> None:
    good = success("update_item")
    async with (
        serving(good, good, b"", good) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        with capture_logs() as logged:
            for _ in range(2):
                await made(fast, "update_item")
            with pytest.raises(ConnectionClosedError) as raised:
                await fast.update_item(**UPDATE)
            assert is_transient(raised.value)
            assert len(server.lines) == 3
            built = Built(fast)
            await made(fast, "update_item")
    assert (built.count, len(server.lines), disabled(logged)) == (0, 4, [])


@pytest.mark.parametrize("method", ["update_item", "put_object"])
async def test_a_page_in_place_of_aws_is_an_error_of_configuration(method: str) -> None:
    service, parameters = CALLS[method]
    async with (
        serving(success(method), RESPONSES["page"]) as server,
        open_client(service, unique_settings(server.endpoint_url)) as fast,
    ):
        await getattr(fast, method)(**parameters)
        with pytest.raises(ConfigurationError, match="a web page responded in place of AWS"):
            await getattr(fast, method)(**parameters)
    assert len(server.lines) == 2


async def test_a_response_that_does_not_match_its_checksum_is_an_error() -> None:
    right, wrong = (f"x-amz-crc32: {zlib.crc32(body)}" for body in (b"{}", b"[]"))
    async with (
        serving(http(b"{}", JSON, right), http(b"{}", JSON, right), http(b"{}", JSON, wrong)) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        for _ in range(2):
            await fast.update_item(**UPDATE)
        with pytest.raises(ChecksumError):
            await fast.update_item(**UPDATE)


def object_with_checksum(content: bytes) -> bytes:
    """Return a response with the checksum of b"image"."""
    checksum = base64.b64encode(zlib.crc32(b"image").to_bytes(4, "big")).decode()
    return http(content, "x-amz-request-id: 1", 'ETag: "a"', f"x-amz-checksum-crc32: {checksum}")


async def test_content_that_does_not_match_its_checksum_is_an_error() -> None:
    async with (
        serving(*map(object_with_checksum, (b"image", b"image", b"IMAGE"))) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        for _ in range(2):
            assert await made(fast, "get_object") == (
                {"ETag": '"a"', "ContentLength": 5, "Metadata": {}}
                | {"ChecksumCRC32": base64.b64encode(zlib.crc32(b"image").to_bytes(4, "big")).decode()},
                b"image",
            )
        output = await fast.get_object(Bucket="b", Key=KEY)
        async with output["Body"] as body:
            with pytest.raises(FlexibleChecksumError):
                await body.read()


async def test_checksums_are_computed_by_zlib_ng() -> None:
    async with (
        serving(object_with_checksum(b"image")) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        with patch.object(httpchecksum, "crc32", side_effect=vars(httpchecksum)["crc32"]) as computed:
            await made(fast, "get_object")
    assert computed.side_effect is zlib_ng.crc32
    assert computed.called


async def test_an_upload_that_does_not_match_its_checksum_is_read_again() -> None:
    job = a_job()
    async with (
        serving(*map(object_with_checksum, (b"image", b"IMAGE"))) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        sources = bootstrap.build_sources(fast)
        assert (await sources.fetch(job, max_bytes=5)).content == b"image"
        with pytest.raises(TransientError, match="FlexibleChecksumError"):
            await sources.fetch(job, max_bytes=5)


async def test_a_checksum_that_botocore_cannot_compute_is_ignored() -> None:
    headers = ("x-amz-request-id: 1", 'ETag: "a"', "x-amz-checksum-unheardof: AAAA")
    async with (
        serving(http(b"image", *headers)) as server,
        open_client("s3", unique_settings(server.endpoint_url)) as fast,
    ):
        built = Built(fast)
        for _ in range(3):
            assert (await made(fast, "get_object"))[1] == b"image"  # type: ignore[index] # output, content
    assert built.count == 1


# Clock, credentials, proxies.

SKEWED: dict[Literal["put_object", "update_item"], bytes] = {
    "put_object": http(b"<Error><Code>RequestTimeTooSkewed</Code></Error>", XML, status="403 Forbidden"),
    "update_item": http(
        b'{"__type": "a#InvalidSignatureException", "message": "Signature expired"}',
        JSON,
        status="400 Bad Request",
    ),
}


@pytest.mark.parametrize("minutes", [10, -10])
@pytest.mark.parametrize("is_fast", [True, False], ids=["fast path", "botocore"])
@pytest.mark.parametrize("method", ["put_object", "update_item"])
async def test_a_clock_that_is_ten_minutes_off_costs_one_rejected_request(
    method: Literal["put_object", "update_item"], is_fast: bool, minutes: int
) -> None:
    service_time = datetime.now(UTC) + timedelta(minutes=minutes)
    rejection = SKEWED[method].replace(
        b"Connection: close",
        f"Connection: close\r\nDate: {format_datetime(service_time, usegmt=True)}".encode(),
    )
    good = success(method)
    service, _ = CALLS[method]
    async with serving(good, rejection, good) as server:
        settings = unique_settings(server.endpoint_url).model_copy(update={"aws_fast_path": is_fast})
        async with open_client(service, settings) as opened:
            with capture_logs() as logged:
                outputs = [await made(opened, method) for _ in range(4)]
    assert outputs == 4 * [outputs[0]]
    assert len(server.lines) == 5  # four calls, and the one that was rejected for its date
    dates = [
        datetime.strptime(head.lower().partition("x-amz-date: ")[2][:16], "%Y%m%dt%H%M%Sz").replace(
            tzinfo=UTC
        )
        for head in server.heads
    ]
    early, late = dates[:2], dates[2:]
    assert all(abs(date - service_time) > timedelta(minutes=9) for date in early)
    assert all(abs(date - service_time) < timedelta(minutes=1) for date in late)
    assert [entry["event"] for entry in logged if entry["log_level"] == "warning"] == ["clock.skew_corrected"]


@pytest.mark.parametrize(
    "date_of",
    [format_datetime, lambda now: format_datetime(now.replace(tzinfo=None)), lambda now: "soon"],
    ids=["now", "now without a time zone", "not a date"],
)
async def test_a_rejection_that_the_clock_does_not_explain_is_not_repeated(
    date_of: Callable[[datetime], str],
) -> None:
    date = date_of(datetime.now(UTC))
    rejection = SKEWED["update_item"].replace(
        b"Connection: close", f"Connection: close\r\nDate: {date}".encode()
    )
    async with serving(rejection) as server:
        settings = unique_settings(server.endpoint_url).model_copy(update={"aws_fast_path": False})
        async with open_client("dynamodb", settings) as opened:
            outcome = await made(opened, "update_item")
    assert isinstance(outcome, tuple)
    assert outcome[1] == "InvalidSignatureException"
    assert len(server.lines) == 1


@pytest.mark.parametrize("method", ["put_object", "update_item"])
async def test_a_signature_that_only_botocore_gets_right_costs_one_rejected_request(
    method: Literal["put_object", "update_item"],
) -> None:
    good = success(method)
    service, _ = CALLS[method]
    async with (
        serving(good, SKEWED[method], good) as server,
        open_client(service, unique_settings(server.endpoint_url)) as fast,
    ):
        with capture_logs() as logged:
            outcomes = [await made(fast, method) for _ in range(3)]
    assert outcomes == 3 * [outcomes[0]]
    assert (len(server.lines), len(disabled(logged))) == (4, 1)


async def test_expired_credentials_are_refreshed() -> None:
    async def refresh() -> dict[str, str]:
        await asyncio.sleep(0)
        later = datetime.now(UTC) + timedelta(hours=1)
        return {
            "access_key": "NEW",
            "secret_key": "s",
            "token": "new-token",
            "expiry_time": later.isoformat(),
        }

    expired = {**await refresh(), "access_key": "OLD", "expiry_time": datetime.now(UTC).isoformat()}
    async with (
        serving(success("update_item")) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        await made(fast, "update_item")
        fast.update_item.credentials = AioRefreshableCredentials.create_from_metadata(
            expired, refresh, "test"
        )
        built = Built(fast)
        await made(fast, "update_item")
    assert built.count == 0
    assert "Credential=NEW/" in server.heads[1]
    assert "new-token" in server.heads[1]


async def test_credentials_that_cannot_be_refreshed_are_an_error_and_nothing_is_sent() -> None:
    class Failing(AioCredentials):
        async def get_frozen_credentials(self) -> NoReturn:  # type: ignore[override]  # synchronous in botocore
            raise CredentialRetrievalError(provider="test", error_msg="unreachable")

    async with (
        serving(success("update_item")) as server,
        open_client("dynamodb", unique_settings(server.endpoint_url)) as fast,
    ):
        await made(fast, "update_item")
        credentials = fast.update_item.credentials
        fast.update_item.credentials = Failing("a", "b")
        with capture_logs() as logged, pytest.raises(CredentialRetrievalError):
            await fast.update_item(**UPDATE)
        assert (len(server.lines), disabled(logged)) == (1, [])
        fast.update_item.credentials = credentials
        built = Built(fast)
        await made(fast, "update_item")
    assert (len(server.lines), built.count) == (2, 0)


@pytest.mark.parametrize("method", CALLS)
async def test_calls_go_through_the_proxy_of_the_environment(
    method: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    service, _ = CALLS[method]
    async with serving(success(method)) as proxy:
        monkeypatch.setenv("http_proxy", proxy.endpoint_url)
        monkeypatch.delenv("no_proxy", raising=False)
        monkeypatch.delenv("NO_PROXY", raising=False)
        async with open_client(service, unique_settings(f"http://{service}.test")) as fast:
            built = Built(fast)
            outcomes = [await made(fast, method) for _ in range(3)]
    assert outcomes == 3 * [outcomes[0]]
    assert built.count == 1
    assert [line.split()[1].startswith(f"http://{service}.test/") for line in proxy.lines] == 3 * [True]
