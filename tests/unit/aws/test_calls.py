from typing import Any

from aiobotocore.session import AioSession

from tests.support.emulators import unique_settings
from worker.aws.calls import Call, Output, wrap_calls
from worker.bootstrap import open_client


async def test_methods_paginators_and_waiters_make_their_calls_through_the_wrapper() -> None:
    calls: list[tuple[str, dict[str, object]]] = []

    def record(operation: str, _original: Call) -> Call:
        async def recorded(**parameters: Any) -> Output:
            calls.append((operation, parameters))
            return {"ResponseMetadata": {"HTTPStatusCode": 200}}

        return recorded

    async with open_client("s3", unique_settings("http://127.0.0.1:9"), session=AioSession()) as client:
        wrap_calls(client, record)
        await client.head_bucket(Bucket="a")
        async for _page in client.get_paginator("list_objects_v2").paginate(Bucket="a"):
            pass
        await client.get_waiter("bucket_exists").wait(Bucket="b", WaiterConfig={"MaxAttempts": 1})
    assert calls == [
        ("HeadBucket", {"Bucket": "a"}),
        ("ListObjectsV2", {"Bucket": "a"}),
        ("HeadBucket", {"Bucket": "b"}),
    ]
