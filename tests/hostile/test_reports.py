"""A decoder that an upload has taken over reports what it likes: the record and the results stay true."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.hostile.tampering import MARK
from tests.support.pictures import encoded, opened, quadrants
from tests.support.whole_worker import (
    USER,
    running_worker,
    upload,
    wait_until_processed,
    wait_until_queue_is_empty,
)
from worker.bootstrap import build_queries
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

CHANGE_DETAIL = """
def tamper(header, body):
    if header.get("step") == {step!r}:
        header["detail"].update({changes})
    return [(header, body)]
"""
CHANGE_HEADER = """
def tamper(header, body):
    if header["kind"] == {kind!r}:
        header.update({changes})
    return [(header, body)]
"""
CHANGE_BODY = """
def tamper(header, body):
    return [(header, ({body}) if header["kind"] == "rendition" else body)]
"""
SVG = b"<svg xmlns='http://www.w3.org/2000/svg'><script>alert(1)</script></svg>"

TAMPERING = {
    "the status of a step": CHANGE_DETAIL.format(step="validation", changes={"status": "owned"}),
    "the status of the last step": CHANGE_DETAIL.format(step="watermark", changes={"status": "owned"}),
    "the times of a step": CHANGE_DETAIL.format(step="resize", changes={"startedAt": 7, "completedAt": []}),
    "a number of forty digits": CHANGE_DETAIL.format(step="validation", changes={"frames": 10**40}),
    "a negative number": CHANGE_DETAIL.format(step="validation", changes={"orientation": -1}),
    "a fraction": CHANGE_DETAIL.format(step="validation", changes={"frames": 1.5}),
    "not a number": CHANGE_DETAIL.format(step="validation", changes="{'frames': float('nan')}"),
    "a surrogate": CHANGE_DETAIL.format(step="validation", changes="{'profile': chr(0xd800)}"),
    "long text": CHANGE_DETAIL.format(step="validation", changes="{'profile': 'x' * 50_000}"),
    "a deep value": CHANGE_DETAIL.format(
        step="resize", changes="{'dimensions': __import__('json').loads('[' * 900 + ']' * 900)}"
    ),
    "unknown metadata": CHANGE_HEADER.format(kind="report", changes={"metadata": {"status": "owned"}}),
    "a header without bound": CHANGE_HEADER.format(kind="report", changes="{'more': 'x' * 10_000_000}"),
    "another step": CHANGE_HEADER.format(kind="report", changes={"step": "watermark"}),
    "a failed step": CHANGE_HEADER.format(kind="report", changes={"move": "failed"}),
    "a rejection for another reason": CHANGE_HEADER.format(
        kind="report", changes={"kind": "rejected", "code": "source_missing", "message": ""}
    ),
    "other dimensions": CHANGE_HEADER.format(kind="rendition", changes={"width": 1}),
    "another format": CHANGE_HEADER.format(kind="rendition", changes={"format": "png"}),
    "a format of scripts": CHANGE_HEADER.format(kind="rendition", changes={"format": "svg"}),
    "a script as a picture": CHANGE_BODY.format(body=repr(SVG)),
    "a script after the picture": CHANGE_BODY.format(body=f"body + {SVG!r}"),
    "a picture of other dimensions": CHANGE_BODY.format(body=repr(encoded(quadrants(3, 2)))),
    "half of a picture": CHANGE_BODY.format(body="body[: len(body) // 2]"),
    "nothing": CHANGE_BODY.format(body=b""),
}


@pytest.fixture(autouse=True)
def _decoders_that_can_be_taken_over(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    executable = tmp_path / "python"
    executable.write_text(f'#!/bin/sh\nexec {sys.executable} -m tests.hostile.tampering "$@"\n')
    executable.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(executable))


def texts_in(value: object) -> Iterator[str]:
    """Yield every name and text in a document."""
    if isinstance(value, dict):
        for name, inner in value.items():
            yield name
            yield from texts_in(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from texts_in(inner)
    elif isinstance(value, str):
        yield value


async def test_nothing_that_a_decoder_invents_is_recorded_or_stored(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    picture = encoded(quadrants(320, 200))
    ids = {f"img-{number}": name for number, name in enumerate(TAMPERING)}
    async with running_worker(provisioned):
        for image_id, name in ids.items():
            await upload(s3, provisioned, image_id, picture + MARK + TAMPERING[name].encode())
        await upload(s3, provisioned, "good", picture)
        images = await wait_until_processed(dynamodb, provisioned, *ids, "good")
        await wait_until_queue_is_empty(sqs, provisioned)

    ended = {
        ids.get(image.image_id, ""): (image.status, image.error and image.error.code) for image in images
    }
    assert ended == {"": ("completed", None)} | dict.fromkeys(TAMPERING, ("failed", "decoder_crashed"))
    for image in images:
        document = to_item(image, Table("t", 8))
        assert "owned" not in texts_in(document)
        assert max(map(len, texts_in(document))) < 1000
    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="processed/")
    assert [found["Key"] for found in listed["Contents"]] == [f"processed/{USER}/good.jpg"]


async def test_a_rendition_has_the_content_type_of_its_content(
    s3: "S3Client", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    picture = encoded(quadrants(320, 200))
    code = CHANGE_HEADER.format(kind="rendition", changes={"content_type": "text/html"})
    async with running_worker(provisioned):
        await upload(s3, provisioned, "typed", picture + MARK + code.encode())
        await upload(s3, provisioned, "good", picture, ContentType="text/html")
        typed, good = await wait_until_processed(dynamodb, provisioned, "typed", "good")

    assert (typed.status, good.status) == ("failed", "completed")
    response: Any = await s3.get_object(Bucket=provisioned.bucket, Key=f"processed/{USER}/good.jpg")
    assert response["ContentType"] == "image/jpeg"
    assert opened(await response["Body"].read()).format == "JPEG"


async def test_messages_left_for_the_next_image_do_not_become_its_results(
    s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    code = """
def tamper(header, body):
    messages = [(header, body)]
    if header["kind"] == "rendition":
        messages.append(({"kind": "accepted"}, b""))
        messages.append(({"kind": "rejected", "code": "corrupt", "message": "x"}, b""))
    return messages
"""
    picture = encoded(quadrants(320, 200))
    async with running_worker(provisioned.model_copy(update={"processes": 1})):
        await upload(s3, provisioned, "hostile", picture + MARK + code.encode())
        await wait_until_processed(dynamodb, provisioned, "hostile")
        for number in range(4):
            await upload(s3, provisioned, f"img-{number}", picture)
        await wait_until_processed(dynamodb, provisioned, *(f"img-{number}" for number in range(4)))

    page = await build_queries(dynamodb, provisioned).images_of_user(USER)
    assert {image.status for image in page.images} == {"completed"}
