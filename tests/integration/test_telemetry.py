"""Metrics of AWS calls, and the HTTP endpoint of a worker."""

import asyncio
import socket
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest
from botocore.exceptions import ClientError

from tests.support.emulators import client, failing_aws, unique_settings
from tests.support.scrape import value_of
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.bootstrap import open_clients, open_consumer
from worker.domain.errors import ConfigurationError, TransientError
from worker.settings import Settings
from worker.telemetry.aws_calls import watch_calls
from worker.telemetry.metrics import Metrics
from worker.telemetry.readiness import Readiness
from worker.telemetry.traces import NoTracing

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

QUICK = RetryPolicy(attempts=3, timeout_s=5, attempt_timeout_s=2, wait_initial_s=0.001)


def watched(client: Any) -> tuple[Metrics, Readiness]:
    metrics = Metrics()
    readiness = Readiness(metrics)
    watch_calls(client, metrics=metrics, tracing=NoTracing(), readiness=readiness)
    return metrics, readiness


async def test_throttled_calls_are_counted_with_their_retries_and_are_not_responses() -> None:
    code = "ProvisionedThroughputExceededException"
    async with (
        failing_aws(code, status=400) as endpoint_url,
        client("dynamodb", unique_settings(endpoint_url)) as dynamodb,
    ):
        metrics, _ = watched(dynamodb)
        with pytest.raises(TransientError):
            await call_with_retry(
                lambda: dynamodb.describe_table(TableName="images"), QUICK, what="describe the table"
            )

    names = {"service": "dynamodb", "operation": "DescribeTable"}
    assert value_of(metrics, "aws_calls_total", **names, code=code) == 3
    assert value_of(metrics, "aws_retries_total", **names) == 2
    assert value_of(metrics, "aws_throttles_total", **names) == 3
    assert value_of(metrics, "ready", dependency="table") == 0


async def test_a_failed_condition_counts_as_a_response_and_a_denied_call_does_not(
    dynamodb: "DynamoDBClient", provisioned: Settings
) -> None:
    metrics, _ = watched(dynamodb)
    with pytest.raises(ClientError, match="ConditionalCheckFailed"):
        await dynamodb.delete_item(
            TableName=provisioned.table_name,
            Key={"imageId": {"S": "a"}, "userId": {"S": "b"}},
            ConditionExpression="attribute_exists(imageId)",
        )
    assert value_of(metrics, "ready", dependency="table") == 1
    assert value_of(metrics, "aws_throttles_total", service="dynamodb", operation="DeleteItem") == 0

    async with (
        failing_aws("AccessDeniedException", status=400) as endpoint_url,
        client("dynamodb", unique_settings(endpoint_url)) as denied,
    ):
        metrics, _ = watched(denied)
        with pytest.raises(ClientError, match="AccessDenied"):
            await denied.describe_table(TableName="images")
    assert value_of(metrics, "ready", dependency="table") == 0


async def test_a_missing_bucket_does_not_count_as_a_response() -> None:
    async with (
        failing_aws("NoSuchBucket", status=404) as endpoint_url,
        client("s3", unique_settings(endpoint_url)) as s3,
    ):
        metrics, _ = watched(s3)
        with pytest.raises(ClientError):
            await s3.head_bucket(Bucket="gone")

    assert value_of(metrics, "ready", dependency="bucket") == 0


async def test_a_call_whose_caller_stopped_waiting_is_counted_as_abandoned() -> None:
    with socket.socket() as listener:  # accepts connections and never reads from them
        listener.bind(("127.0.0.1", 0))
        listener.listen()
        endpoint_url = f"http://127.0.0.1:{listener.getsockname()[1]}"
        async with client("dynamodb", unique_settings(endpoint_url)) as dynamodb:
            metrics, _ = watched(dynamodb)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(0.05):
                    await dynamodb.describe_table(TableName="images")

    names = {"service": "dynamodb", "operation": "DescribeTable"}
    assert value_of(metrics, "aws_calls_total", **names, code="Abandoned") == 1
    assert value_of(metrics, "aws_call_seconds_count", **names) == 1


async def get(port: int, path: str) -> tuple[int, str]:
    async with (
        aiohttp.ClientSession() as session,
        session.get(f"http://127.0.0.1:{port}/{path}") as response,
    ):
        return response.status, await response.text()


async def until(port: int, path: str, expected: tuple[int, str]) -> None:
    async with asyncio.timeout(10):
        while await get(port, path) != expected:
            await asyncio.sleep(0.02)


async def test_a_worker_serves_health_readiness_and_metrics(provisioned: Settings, free_port: int) -> None:
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
    assert "has not responded yet" in before[1]
    assert draining == (503, "draining\n")
    assert "image_worker_slots 4.0" in text
    assert 'image_worker_decoders{state="idle"} 1.0' in text
    assert 'image_worker_decoder_restarts_total{reason="not_intact"} 0.0' in text
    assert 'image_worker_queue_messages{state="visible"}' in text


async def test_a_port_in_use_is_reported_with_the_setting_to_change(provisioned: Settings) -> None:
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
