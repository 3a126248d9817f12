"""A real worker that is scraped and traced: its metrics and traces agree with the table."""

import asyncio
import json
import signal
import sys
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import aiohttp
from aiohttp import web
from aiohttp.test_utils import TestServer
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest

from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, noise
from tests.support.scrape import scrape
from tests.support.user_profiles import profile_of
from tests.support.whole_worker import wait_until_processed
from worker.bootstrap import queue_url
from worker.domain.confinement import REQUIRED
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

UPLOADS = 30
UPLOADER = "Root=1-5759e988-bd862e3fe1be46a994272793;Parent=53995c3f42cd8ad8;Sampled=1"


async def upload(s3: "S3Client", settings: Settings) -> dict[str, int]:
    """Upload pictures, every fifth of them cut short; return their ids and sizes."""
    sizes = {}
    for number in range(UPLOADS):
        content = encoded(noise(900, 700, seed=number))
        if number % 5 == 0:
            content = content[: len(content) // 2]
        await s3.put_object(Bucket=settings.bucket, Key=f"uploads/u/img_{number}.jpg", Body=content)
        sizes[f"img_{number}"] = len(content)
    return sizes


async def test_the_metrics_of_a_worker_under_load_agree_with_the_records(
    with_resources: Command,
    provisioned: Settings,
    s3: "S3Client",
    sqs: "SQSClient",
    dynamodb: "DynamoDBClient",
    free_port: int,
) -> None:
    async with with_resources.started("run", WORKER_HTTP_PORT=str(free_port)) as worker:
        if sys.platform == "linux":
            await until_logged(worker, "decoder.confine")
        await until_logged(worker, "service.started")
        sizes = await upload(s3, provisioned)
        url = await queue_url(sqs, provisioned.queue_name)
        await sqs.send_message(QueueUrl=url, MessageBody="what nobody can read")
        images = await wait_until_processed(dynamodb, provisioned, *sizes, user_id="u")
        health = await with_resources.run("health", WORKER_HTTP_PORT=str(free_port))
        async with asyncio.timeout(10), aiohttp.ClientSession() as session:
            while (told := await scrape(session, free_port)).value("in_flight"):
                await asyncio.sleep(0.05)  # the last message is still being deleted
        worker.send_signal(signal.SIGTERM)
        async with asyncio.timeout(20):
            _, log = await worker.communicate()

    by_code = Counter(image.error.code if image.error else "" for image in images)
    assert by_code == {"": 24, "truncated": 6}
    assert told.value("images_total", status="completed", code="") == by_code[""]
    assert told.value("images_total", status="failed", code="truncated") == by_code["truncated"]
    assert told.value("event_to_done_seconds_count") == UPLOADS
    assert told.value("bytes_total", direction="in") == sum(sizes.values())
    stored = [one.size_bytes for image in images for one in image.renditions.values()]
    assert told.value("bytes_total", direction="out") == sum(stored)
    profile = await profile_of(dynamodb, provisioned, "u")
    assert profile
    assert told.value("images_total", status="completed", code="") == profile.statistics.total_images

    assert told.value("step_seconds_count", step="validation") == UPLOADS - 6
    assert told.value("step_seconds_count", step="fetch") == UPLOADS
    assert told.value("step_seconds_count", step="store") == len(stored)
    # One is unreadable, and one is what S3 sends to try a new notification.
    assert told.value("message_age_seconds_count") == UPLOADS + 2
    assert told.value("aws_calls_total", service="s3", operation="PutObject", code="OK") == len(stored)
    assert told.value("aws_calls_total", service="sqs", operation="SendMessage", code="OK") == 1
    assert told.value("slots") == 8
    assert 2 <= told.value("decoders", state="idle") <= 2 + 2 * 2, "two fresh ones, and those that are kept"
    if sys.platform == "linux":
        for guarantee in REQUIRED:
            assert told.value("decoder_guarantee", guarantee=guarantee) == 1
    decoders = told.value("resident_bytes", process="decoders")
    assert told.value("resident_bytes", process="worker") > decoders / 10 > 0
    assert told.value("loop_lag_seconds_count") > 0
    assert (health.status, health.stdout) == (0, "ok\n")

    lines = [json.loads(line) for line in log.decode().splitlines()]
    of_images = Counter(line["event"] for line in lines if line["event"].startswith("image."))
    assert of_images == {"image.completed": 24, "image.failed": 6}


async def test_health_fails_when_no_worker_responds(command: Command, free_port: int) -> None:
    health = await command.run("health", WORKER_HTTP_PORT=str(free_port))

    assert (health.status, health.stdout) == (1, "")
    assert "no response from" in health.stderr
    assert "Traceback" not in health.stderr


@asynccontextmanager
async def collector() -> AsyncIterator[tuple[str, list[Any]]]:
    """Run what an OpenTelemetry collector is to the worker; yield its address and the spans that it gets."""
    spans: list[Any] = []

    async def take(request: web.Request) -> web.Response:
        export = ExportTraceServiceRequest.FromString(await request.read())
        spans.extend(
            span
            for resource in export.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        )
        return web.Response(body=b"", content_type="application/x-protobuf")

    app = web.Application(client_max_size=2**26)
    app.router.add_post("/v1/traces", take)
    async with TestServer(app) as server:
        yield str(server.make_url("/")).rstrip("/"), spans


async def announce_with_trace(s3: "S3Client", sqs: "SQSClient", settings: Settings) -> None:
    """Upload a picture, and put the uploader's trace into its event, as S3 does when it is traced."""
    content = encoded(noise(640, 480, seed=1))
    await s3.put_object(Bucket=settings.bucket, Key="uploads/u/img_1.jpg", Body=content)
    url = await queue_url(sqs, settings.queue_name)
    received = (await sqs.receive_message(QueueUrl=url, MaxNumberOfMessages=10))["Messages"]
    for message in received:
        await sqs.delete_message(QueueUrl=url, ReceiptHandle=message["ReceiptHandle"])
    (event,) = (message for message in received if "Records" in message["Body"])
    await sqs.send_message(
        QueueUrl=url,
        MessageBody=event["Body"],
        MessageSystemAttributes={"AWSTraceHeader": {"DataType": "String", "StringValue": UPLOADER}},
    )


async def test_a_picture_s_spans_go_on_with_the_trace_of_its_uploader(
    with_resources: Command, provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    await announce_with_trace(s3, sqs, provisioned)
    async with collector() as (address, spans):
        tracing = {"WORKER_TRACES": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": address}
        async with with_resources.started("run", **tracing) as worker:
            line = json.loads(await until_logged(worker, "image.completed"))
            worker.send_signal(signal.SIGTERM)
            async with asyncio.timeout(20):
                await worker.communicate()

    trace_id, parent_id = "5759e988bd862e3fe1be46a994272793", "53995c3f42cd8ad8"
    assert line["trace_id"] == trace_id
    ours = {span.name: span for span in spans if span.trace_id.hex() == trace_id}
    image = ours["image"]
    assert image.parent_span_id.hex() == parent_id
    inside = {span.name for span in ours.values() if span.parent_span_id == image.span_id}
    assert inside >= {"fetch", "compute", "store", "settle", "dynamodb.UpdateItem"}
    steps = {span.name for span in ours.values() if span.parent_span_id == ours["compute"].span_id}
    assert steps >= {"validation", "resize", "watermark"}
    assert ours["s3.GetObject"].parent_span_id == ours["fetch"].span_id
    assert ours["s3.PutObject"].parent_span_id == ours["store"].span_id
    # The transaction that ends it is shared with others of its moment; the picture's own part is "settle".
    assert {span.name for span in spans} == {span.name for span in ours.values()}
    attributes = {one.key: one.value.string_value for one in image.attributes}
    assert attributes["image_worker.image_id"] == "img_1"
