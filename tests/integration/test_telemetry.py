"""Calls of AWS that are counted, and what the worker serves over HTTP."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from botocore.exceptions import ClientError

from tests.support.emulators import client, refusing, unique_settings
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.bootstrap import open_clients, open_consumer
from worker.domain.errors import ConfigurationError, TransientError
from worker.settings import Settings
from worker.telemetry.aws_calls import watch_calls
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness
from worker.telemetry.traces import Untraced

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

QUICKLY = RetryPolicy(attempts=3, timeout_s=5, attempt_timeout_s=2, wait_initial_s=0.001)


def watched(client: Any) -> tuple[Metrics, Readiness]:  # noqa: ANN401 - of any service
    metrics = Metrics()
    readiness = Readiness(metrics)
    watch_calls(client, metrics=metrics, tracing=Untraced(), readiness=readiness)
    return metrics, readiness


async def test_throttled_calls_are_counted_with_their_retries_and_are_no_answers() -> None:
    code = "ProvisionedThroughputExceededException"
    async with (
        refusing(code, status=400) as endpoint_url,
        client("dynamodb", unique_settings(endpoint_url)) as dynamodb,
    ):
        metrics, _ = watched(dynamodb)
        with pytest.raises(TransientError):
            await call_with_retry(lambda: dynamodb.describe_table(TableName="images"), QUICKLY, what="look")

    names = {"service": "dynamodb", "operation": "DescribeTable"}
    assert metrics.value("aws_calls_total", **names, code=code) == 3
    assert metrics.value("aws_retries_total", **names) == 2
    assert metrics.value("aws_throttles_total", **names) == 3
    assert metrics.value("ready", dependency="table") == 0


async def test_a_refusal_that_means_something_is_an_answer_and_a_denial_is_none(
    dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    metrics, _ = watched(dynamodb)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        await dynamodb.delete_item(
            TableName=provisioned.table_name,
            Key={"imageId": {"S": "a"}, "userId": {"S": "b"}},
            ConditionExpression="attribute_exists(imageId)",
        )
    assert metrics.value("ready", dependency="table") == 1
    assert metrics.value("aws_throttles_total", service="dynamodb", operation="DeleteItem") == 0

    async with (
        refusing("AccessDeniedException", status=400) as endpoint_url,
        client("dynamodb", unique_settings(endpoint_url)) as denied,
    ):
        metrics, _ = watched(denied)
        with pytest.raises(ClientError, match="AccessDenied"):
            await denied.describe_table(TableName="images")
    assert metrics.value("ready", dependency="table") == 0


async def test_a_bucket_that_is_gone_is_no_answer() -> None:
    async with (
        refusing("NoSuchBucket", status=404) as endpoint_url,
        client("s3", unique_settings(endpoint_url)) as s3,
    ):
        metrics, _ = watched(s3)
        with pytest.raises(ClientError):
            await s3.head_bucket(Bucket="gone")

    assert metrics.value("ready", dependency="bucket") == 0


async def test_a_call_that_nobody_waits_for_any_longer_is_counted_as_abandoned() -> None:
    with socket.socket() as deaf:  # it takes connections, and never reads from them
        deaf.bind(("127.0.0.1", 0))
        deaf.listen()
        endpoint_url = f"http://127.0.0.1:{deaf.getsockname()[1]}"
        async with client("dynamodb", unique_settings(endpoint_url)) as dynamodb:
            metrics, _ = watched(dynamodb)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await dynamodb.describe_table(TableName="images")

    names = {"service": "dynamodb", "operation": "DescribeTable"}
    assert metrics.value("aws_calls_total", **names, code="Abandoned") == 1
    assert metrics.value("aws_call_seconds_count", **names) == 1


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as answer,
    ):
        return answer.status, await answer.text()


async def until(port: int, path: str, expected: tuple[int, str]) -> None:
    async with asyncio.timeout(10):
        while await get(port, path) != expected:  # noqa: ASYNC110 - what is asked has no event to wait for
            await asyncio.sleep(0.02)


async def test_a_worker_tells_over_http_how_it_is(provisioned: Settings, free_port: int) -> None:
    settings = provisioned.model_copy(
        update={"http_port": free_port, "http_host": "127.0.0.1", "processes": 1}
    )
    async with open_clients(settings) as clients, open_consumer(settings, clients) as service:
        assert await get(free_port, "healthz") == (200, "ok\n")
        before = await get(free_port, "readyz")
        running = asyncio.create_task(service.run())
        await until(free_port, "readyz", (200, "ok\n"))
        _, text = await get(free_port, "metrics")
        service.stop()
        draining = await get(free_port, "readyz")
        await running

    assert before[0] == 503
    assert "has not answered yet" in before[1]
    assert draining == (503, "draining\n")
    assert "image_worker_slots 4.0" in text
    assert 'image_worker_decoders{state="idle"} 1.0' in text
    assert "image_worker_decoder_restarts_total 0.0" in text
    assert 'image_worker_queue_messages{state="visible"}' in text


async def test_a_port_that_is_taken_is_named_with_the_way_out(provisioned: Settings) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        settings = provisioned.model_copy(
            update={"http_port": port, "http_host": "127.0.0.1", "processes": 1}
        )
        async with open_clients(settings) as clients:
            with pytest.raises(ConfigurationError, match=f"127.0.0.1:{port} .*WORKER_HTTP_PORT"):
                async with open_consumer(settings, clients):
                    pass
