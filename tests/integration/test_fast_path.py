"""The calls of each picture, made directly: the same answers and refusals as botocore's, and no others."""

import asyncio
import base64
import json
import zlib
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from typing import Any, cast

import pytest
from aiobotocore.awsrequest import AioAWSResponse
from aiobotocore.config import AioConfig
from botocore import UNSIGNED
from botocore.exceptions import ChecksumError, ClientError, FlexibleChecksumError

from tests.support.adapters import sources_of
from tests.support.builders import a_job
from tests.support.emulators import SESSION, Service, client, unique_settings
from worker.aws.errors import is_transient
from worker.aws.fast_path.direct import make_directly
from worker.bootstrap import open_client
from worker.domain.errors import ConfigurationError, TransientError
from worker.settings import Settings

KEY = "uploads/user_1/sömé key~+&.jpg"


class Built:
    """Counts the calls of a client that botocore builds."""

    def __init__(self, opened: Any) -> None:  # noqa: ANN401 - of any service
        self.count = 0
        opened.meta.events.register("before-parameter-build", self._built)

    def _built(self, **_event: object) -> None:
        self.count += 1


def plain(answer: Mapping[str, Any]) -> dict[str, Any]:
    """Return an answer without what tells one request from the next."""
    return {name: value for name, value in answer.items() if name not in {"Body", "ResponseMetadata"}}


async def refusal(call: Any) -> tuple[str, dict[str, Any], int]:  # noqa: ANN401 - a call of any client
    """Return what a call is refused with: the exception's name, what it carries, the status."""
    with pytest.raises(ClientError) as refused:
        await call()
    response = refused.value.response
    return type(refused.value).__name__, plain(response), response["ResponseMetadata"]["HTTPStatusCode"]


@asynccontextmanager
async def answering(*answers: bytes, sent: list[bytes] | None = None) -> AsyncIterator[str]:
    """
    Run a server that gives each request, on a connection of its own, the next of the answers as it is.

    The bodies of the requests are left in `sent`.
    """
    left = list(answers)

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        if b"100-continue" in head:
            writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        _, _, rest = head.partition(b"content-length: ")
        body = await reader.readexactly(int(rest.partition(b"\r\n")[0] or 0))
        if sent is not None:
            sent.append(body)
        writer.write(left.pop(0))
        await writer.drain()
        writer.close()
        await writer.wait_closed()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"


def http(body: bytes, *headers: str) -> bytes:
    """Return an answer as it goes over the wire."""
    lines = ("HTTP/1.1 200 OK", f"Content-Length: {len(body)}", "Connection: close", *headers)
    return "\r\n".join(lines).encode() + b"\r\n\r\n" + body


async def test_objects_are_written_and_read_as_botocore_writes_and_reads_them(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as direct, client("s3", provisioned) as usual:
        built = Built(direct)
        for key in (KEY, f"{KEY}2", f"{KEY}3"):
            written: dict[str, Any] = {
                "Bucket": provisioned.bucket,
                "Body": f"picture {key}".encode() * 30_000,
                "ContentType": "image/jpeg",
                "Metadata": {"attempt": "1", "Tags": "two  blanks", "empty": ""},
            }
            ours = await direct.put_object(Key=key, **written)
            theirs = await usual.put_object(Key=f"their {key}", **written)
            assert plain(ours) == plain(theirs)

            of_ours: dict[str, Any] = {"Bucket": provisioned.bucket, "Key": key, "IfMatch": ours["ETag"]}
            read, as_usual = await direct.get_object(**of_ours), await usual.get_object(**of_ours)
            assert plain(read) == plain(as_usual)
            async with read["Body"] as body:
                assert await body.read() == written["Body"]
            async with as_usual["Body"] as body:
                await body.read()
    assert built.count == 2  # the first write and the first read


async def test_what_an_object_says_of_itself_is_read_as_botocore_reads_it(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as direct, client("s3", provisioned) as usual:
        written: list[dict[str, Any]] = [
            {"ContentType": "application/x-amz-json-1.0"},  # of which an answer of DynamoDB would be
            {"ContentType": "text/html", "CacheControl": "max-age=60", "ContentLanguage": "de"},
            {"Expires": datetime(2027, 1, 1, tzinfo=UTC), "Metadata": {"filename": "s%C3%B6mmer.jpg"}},
        ]
        for number, saying in enumerate([{}, *written]):
            at = {"Bucket": provisioned.bucket, "Key": f"uploads/user/{number}.jpg"}
            await usual.put_object(**at, Body=b"[1]", **saying)
            read, as_usual = await direct.get_object(**at), await usual.get_object(**at)
            assert plain(read) == plain(as_usual)
            for answer in (read, as_usual):
                async with answer["Body"] as body:
                    assert await body.read() == b"[1]"


async def test_a_version_is_read_directly(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as direct, client("s3", provisioned) as usual:
        await usual.put_bucket_versioning(
            Bucket=provisioned.bucket, VersioningConfiguration={"Status": "Enabled"}
        )
        versions = [
            (await usual.put_object(Bucket=provisioned.bucket, Key=KEY, Body=body))["VersionId"]
            for body in (b"first", b"second", b"third")
        ]
        built = Built(direct)
        for version, content in zip(versions, (b"first", b"second", b"third"), strict=True):
            answer = await direct.get_object(Bucket=provisioned.bucket, Key=KEY, VersionId=version)
            async with answer["Body"] as body:
                assert await body.read() == content
    assert built.count == 1


async def test_objects_are_refused_as_botocore_has_it(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as direct, client("s3", provisioned) as usual:
        put: dict[str, Any] = {"Bucket": provisioned.bucket, "Key": KEY, "Body": b"a"}
        await direct.put_object(**put, IfNoneMatch="*")
        for _ in range(2):  # the first read of a client is botocore's
            absent = {"Bucket": provisioned.bucket, "Key": "uploads/nobody/nothing.jpg"}
            for call in (
                lambda one: one.get_object(**absent),  # noqa: B023 - called at once
                lambda one: one.get_object(Bucket=provisioned.bucket, Key=KEY, IfMatch='"another"'),
                lambda one: one.put_object(**put, IfNoneMatch="*"),
                lambda one: one.put_object(**put, IfMatch='"another"'),
            ):
                ours = await refusal(lambda: call(direct))  # noqa: B023
                assert ours == await refusal(lambda: call(usual))  # noqa: B023
            answer = await direct.get_object(Bucket=provisioned.bucket, Key=KEY)
            async with answer["Body"]:
                pass


async def test_the_record_is_written_and_refused_as_botocore_has_it(provisioned: Settings) -> None:
    def update(image_id: str, **condition: str) -> dict[str, Any]:
        return {
            "TableName": provisioned.table_name,
            "Key": {"imageId": {"S": image_id}, "userId": {"S": "sömebody"}},
            "UpdateExpression": "SET #a = :a",
            "ExpressionAttributeNames": {"#a": "attempt"},
            "ExpressionAttributeValues": {":a": {"M": {"n": {"N": "1"}, "l": {"L": [{"BOOL": True}]}}}},
            **condition,
        }

    absent = {
        "ConditionExpression": "attribute_not_exists(imageId)",
        "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
    }
    async with open_client("dynamodb", provisioned) as direct, client("dynamodb", provisioned) as usual:
        built = Built(direct)
        for number in range(3):
            ours = await direct.update_item(**update(f"ours_{number}", **absent))
            assert plain(ours) == plain(await usual.update_item(**update(f"theirs_{number}", **absent)))
            items = [{"Update": update(f"both_{number}")}, {"Update": update(f"and_{number}")}]
            ours = await direct.transact_write_items(TransactItems=items, ClientRequestToken=f"o{number}")
            theirs = await usual.transact_write_items(TransactItems=items, ClientRequestToken=f"t{number}")
            assert plain(ours) == plain(theirs)
        assert built.count == 2

        refused = update("ours_0", **absent)
        got = await refusal(lambda: direct.update_item(**refused))
        assert got == await refusal(lambda: usual.update_item(**refused))
        assert got[0] == "ConditionalCheckFailedException"
        assert got[1]["Item"]["userId"] == {"S": "sömebody"}
        several = [{"Update": refused}, {"Update": update("new")}]
        got = await refusal(
            lambda: direct.transact_write_items(TransactItems=several, ClientRequestToken="oa")
        )
        assert got == await refusal(
            lambda: usual.transact_write_items(TransactItems=several, ClientRequestToken="ta")
        )
        codes = [reason["Code"] for reason in got[1]["CancellationReasons"]]
        assert codes == ["ConditionalCheckFailed", "None"]
        assert built.count == 2


async def test_half_a_surrogate_pair_is_written_and_read_as_botocore_has_it() -> None:
    body = rb'{"Attributes": {"eTag": {"S": "\ud800"}}}'
    answer = http(body, "Content-Type: application/x-amz-json-1.0")
    sent: list[bytes] = []
    async with (
        answering(answer, answer, sent=sent) as endpoint_url,
        open_client("dynamodb", unique_settings(endpoint_url)) as direct,
    ):
        for _ in range(2):
            update = {"TableName": "t", "Key": {"imageId": {"S": "\ud800"}}}
            assert plain(await direct.update_item(**update)) == {"Attributes": {"eTag": {"S": "\ud800"}}}
    by_botocore, directly = (json.loads(body) for body in sent)
    assert by_botocore == directly == update


async def test_messages_are_received_hidden_and_deleted_as_botocore_has_it(provisioned: Settings) -> None:
    async with open_client("sqs", provisioned) as direct, client("sqs", provisioned) as usual:
        url = (await direct.get_queue_url(QueueName=provisioned.dead_letter_queue_name))["QueueUrl"]
        built = Built(direct)
        for number in range(3):
            await usual.send_message(QueueUrl=url, MessageBody=f"bödy {number}")
            received = await direct.receive_message(
                QueueUrl=url, WaitTimeSeconds=2, MessageSystemAttributeNames=["ApproximateReceiveCount"]
            )
            (message,) = received["Messages"]
            assert message["Body"] == f"bödy {number}"
            assert message["Attributes"]["ApproximateReceiveCount"] == "1"
            handle = message["ReceiptHandle"]
            entries = [{"Id": "0", "ReceiptHandle": handle, "VisibilityTimeout": 60}]
            hidden = await direct.change_message_visibility_batch(QueueUrl=url, Entries=entries)
            assert hidden["Successful"] == [{"Id": "0"}]
            deleted = await direct.delete_message_batch(
                QueueUrl=url, Entries=[{"Id": "0", "ReceiptHandle": handle}]
            )
            assert deleted["Successful"] == [{"Id": "0"}]
        assert built.count == 3
        nowhere = url.replace(provisioned.dead_letter_queue_name, "no-such-queue")
        got = await refusal(lambda: direct.receive_message(QueueUrl=nowhere))
        assert got == await refusal(lambda: usual.receive_message(QueueUrl=nowhere))
        assert built.count == 3


async def test_what_is_not_written_down_is_left_to_botocore(provisioned: Settings) -> None:
    async with open_client("s3", provisioned) as direct:
        built = Built(direct)
        for _ in range(2):
            await direct.put_object(
                Bucket=provisioned.bucket, Key=KEY, Body=b"a", CacheControl="max-age=60", ContentType="a/b"
            )
            await direct.head_object(Bucket=provisioned.bucket, Key=KEY)
    assert built.count == 4


async def test_what_others_add_to_the_requests_is_carried_along(provisioned: Settings) -> None:
    seen: list[str] = []

    def add(request: Any, **_event: object) -> None:  # noqa: ANN401 - as botocore has it
        request.headers.add_header("x-added", "by a plug-in")

    def look(request: Any, **_event: object) -> None:  # noqa: ANN401
        value = request.headers["x-added"]
        seen.append(value.decode() if isinstance(value, bytes) else value)

    async with open_client("s3", provisioned) as direct:
        direct.meta.events.register_first("request-created", add)
        direct.meta.events.register("before-send", look)
        for _ in range(3):
            await direct.put_object(Bucket=provisioned.bucket, Key=KEY, Body=b"a")
    assert seen == 3 * ["by a plug-in"]


async def test_what_answers_in_place_of_aws_is_heard(provisioned: Settings) -> None:
    class Canned:
        async def read(self) -> bytes:
            return b'{"Attributes": {"attempt": {"N": "7"}}}'

    def answer(**_event: object) -> Any:  # noqa: ANN401 - as botocore has it
        return AioAWSResponse("http://nowhere", 200, cast("Any", {}), cast("Any", Canned()))

    update: dict[str, Any] = {
        "TableName": provisioned.table_name,
        "Key": {"imageId": {"S": "a"}, "userId": {"S": "b"}},
    }
    async with open_client("dynamodb", provisioned) as direct:
        await direct.update_item(**update)
        direct.meta.events.register("before-send.dynamodb.UpdateItem", answer)
        built = Built(direct)
        assert (await direct.update_item(**update))["Attributes"] == {"attempt": {"N": "7"}}
        assert built.count == 0


async def test_where_botocore_says_something_else_it_goes_on_saying_it(provisioned: Settings) -> None:
    def change(params: Mapping[str, Any], **_event: object) -> None:
        params["headers"]["Content-Type"] = "image/png"

    async with open_client("s3", provisioned) as direct:
        direct.meta.events.register("before-call.s3.PutObject", change)
        built = Built(direct)
        for _ in range(3):
            await direct.put_object(Bucket=provisioned.bucket, Key=KEY, Body=b"a", ContentType="image/jpeg")
        assert (await direct.head_object(Bucket=provisioned.bucket, Key=KEY))["ContentType"] == "image/png"
    assert built.count == 4


async def test_requests_that_nobody_signs_stay_unsigned(provisioned: Settings) -> None:
    signatures: list[bool] = []
    async with SESSION.create_client(
        "s3",
        region_name=provisioned.region,
        endpoint_url=provisioned.endpoint_url,
        config=AioConfig(signature_version=UNSIGNED),
    ) as anonymous:
        make_directly(anonymous, await SESSION.get_credentials())
        anonymous.meta.events.register(
            "before-send", lambda request, **_event: signatures.append("Authorization" in request.headers)
        )
        for _ in range(2):
            await anonymous.put_object(Bucket=provisioned.bucket, Key=KEY, Body=b"a")
    assert signatures == [False, False]


@pytest.mark.parametrize(
    ("service", "first", "call", "parameters"),
    [
        (
            "dynamodb",
            http(b"{}", "Content-Type: application/x-amz-json-1.0"),
            "update_item",
            {"TableName": "t"},
        ),
        ("s3", http(b"", 'ETag: "a"'), "put_object", {"Bucket": "b", "Key": "k", "Body": b"a"}),
    ],
)
async def test_a_page_and_a_broken_connection_are_told_apart_from_answers(
    service: Service, first: bytes, call: str, parameters: dict[str, Any]
) -> None:
    page = http(b"<html>log in</html>", "Content-Type: text/html")
    async with (
        answering(first, page, b"") as endpoint_url,
        open_client(service, unique_settings(endpoint_url)) as direct,
    ):
        built = Built(direct)
        await getattr(direct, call)(**parameters)
        with pytest.raises(ConfigurationError, match="a web page responded in place of AWS"):
            await getattr(direct, call)(**parameters)
        with pytest.raises(Exception, match="Connection was closed") as broken:
            await getattr(direct, call)(**parameters)
        assert is_transient(broken.value)
        assert built.count == 1


async def test_an_answer_that_is_not_what_its_checksum_says_is_refused() -> None:
    of_json = "Content-Type: application/x-amz-json-1.0"
    right, wrong = (f"x-amz-crc32: {zlib.crc32(body)}" for body in (b"{}", b"[]"))
    async with (
        answering(
            http(b"{}", of_json, right), http(b"{}", of_json, right), http(b"{}", of_json, wrong)
        ) as endpoint_url,
        open_client("dynamodb", unique_settings(endpoint_url)) as direct,
    ):
        update: dict[str, Any] = {"TableName": "t", "Key": {"imageId": {"S": "a"}, "userId": {"S": "b"}}}
        for _ in range(2):
            await direct.update_item(**update)
        with pytest.raises(ChecksumError):
            await direct.update_item(**update)


async def test_content_that_is_not_what_its_checksum_says_is_refused() -> None:
    checksum = base64.b64encode(zlib.crc32(b"picture").to_bytes(4, "big")).decode()
    headers = ('ETag: "a"', f"x-amz-checksum-crc32: {checksum}")
    async with (
        answering(http(b"picture", *headers), http(b"PICTURE", *headers)) as endpoint_url,
        open_client("s3", unique_settings(endpoint_url)) as direct,
    ):
        first = await direct.get_object(Bucket="b", Key="k")
        async with first["Body"] as body:
            assert await body.read() == b"picture"
        second = await direct.get_object(Bucket="b", Key="k")
        async with second["Body"] as body:
            with pytest.raises(FlexibleChecksumError):
                await body.read()


async def test_an_upload_that_is_not_what_its_checksum_says_is_not_taken() -> None:
    checksum = base64.b64encode(zlib.crc32(b"picture").to_bytes(4, "big")).decode()
    headers = ('ETag: "a"', f"x-amz-checksum-crc32: {checksum}")
    job = a_job()
    async with (
        answering(http(b"picture", *headers), http(b"PICTURE", *headers)) as endpoint_url,
        open_client("s3", unique_settings(endpoint_url)) as direct,
    ):
        sources = sources_of(direct)
        assert (await sources.fetch(job, max_bytes=7)).content == b"picture"
        with pytest.raises(TransientError, match="did not match calculated checksum"):
            await sources.fetch(job, max_bytes=7)
