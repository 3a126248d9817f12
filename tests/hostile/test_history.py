"""A key that is replaced without end: the record stays small, and lost responses are still recognised."""

from collections.abc import AsyncIterator
from dataclasses import replace
from datetime import timedelta
from math import ceil
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.builders import a_claimant, a_job, a_report, a_requester, after, all_transitions
from tests.support.crash_points import (
    Fault,
    FaultInjector,
    FaultKind,
    InterceptedClient,
    check_history,
)
from tests.support.emulators import client, create_table, unique_settings
from tests.support.fakes.metered_table import item_bytes
from worker.bootstrap import RETRY_POLICIES, build_ledger, build_profile_store, build_queries, table_of
from worker.domain.claim import Claimed, decide
from worker.domain.history import KEPT_ATTEMPTS, MAX_ENTRIES, entry_count, outcomes
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.status import ImageStatus, StepName
from worker.domain.transition import apply_all, image_released, step_ended, step_started
from worker.dynamodb.attributes import encode, encode_map
from worker.dynamodb.batches import put_items
from worker.dynamodb.items import to_item
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.repair_writes import RepairWrites
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient

FAILURE = Failure(code="unavailable", message="S3 is unreachable", step=None, retryable=True)
STEADY_BYTES = 8 * 1024
"""Size of the item of a photograph that is replaced all the time."""
MAX_RUN = MAX_ENTRIES + 8


@pytest.fixture(params=["ministack", "moto"])
async def table(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[tuple["DynamoDBClient", Settings]]:
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        yield dynamodb, settings


async def item_of(dynamodb: "DynamoDBClient", settings: Settings) -> dict[str, Any]:
    """Return the stored item of the image in DynamoDB's format."""
    key = {"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}}
    response = await dynamodb.get_item(TableName=settings.table_name, Key=key, ConsistentRead=True)
    return dict(response["Item"])


async def stored(dynamodb: "DynamoDBClient", settings: Settings) -> Image:
    image = await build_queries(dynamodb, settings).image("img_1", "user_1", consistent=True)
    assert image
    return image


async def claimed(ledger: DynamoLedger, upload: int, *, worker: str = "worker-a", seconds: float) -> Image:
    result = await ledger.claim(a_job(upload=upload), a_claimant(f"{worker}/{upload}", now=after(seconds)))
    assert isinstance(result, Claimed)
    return result.image


async def replaced(ledger: DynamoLedger, upload: int) -> Image:
    """Upload the image again and process it."""
    image = await claimed(ledger, upload, seconds=100 * upload)
    *steps, end = all_transitions(result_bytes=upload)
    later = timedelta(seconds=100 * upload)
    steps, (end,) = ([replace(each, at=each.at + later) for each in part] for part in (steps, [end]))
    return await ledger.settle(await ledger.record(image, steps), [end])


def of_an_older_version(attempts: int) -> Image:
    """Return an image as a version of the worker that keeps every entry has left it."""
    decision = decide(None, a_job(upload=1), a_claimant(now=after(0)))
    assert isinstance(decision, Claimed)
    image = apply_all(decision.image, all_transitions())
    first, *entries = image.history
    history = [first]
    for attempt in range(1, attempts + 1):
        at = timedelta(seconds=10 * attempt)
        history += [replace(entry, at=entry.at + at, attempt=attempt) for entry in entries]
        again = HistoryEntry(at=after(10 * attempt + 9), status="pending", attempt=attempt)
        history.append(replace(again, detail={"reason": "uploaded_again"}))
    return replace(
        image,
        attempt=attempts,
        history=tuple(history[:-1]),
        updated_at=history[-2].at,
        counted_bytes=image.total_bytes(),
    )


def test_two_thousand_replacements_leave_an_item_of_constant_size() -> None:
    """In the domain and the item's encoding, without a table: every write's units are those of its item."""
    table = table_of(Settings())
    decision = decide(None, a_job(upload=1), a_claimant(now=after(0)))
    assert isinstance(decision, Claimed)
    image = decision.image
    sizes: dict[int, int] = {}
    for upload in range(2, 2_001):
        image = apply_all(image, all_transitions())
        if upload % 500 < KEPT_ATTEMPTS:
            sizes[upload] = item_bytes(encode_map(to_item(image, table)))
        decision = decide(image, a_job(upload=upload), a_claimant(f"w/{upload}", now=after(upload)))
        assert isinstance(decision, Claimed)
        image = decision.image

    steady = [size for upload, size in sizes.items() if upload > KEPT_ATTEMPTS + 1]
    assert max(steady) - min(steady) < 64, "only the digits of counters grow"
    assert max(steady) < STEADY_BYTES
    assert outcomes(image.history)["completed"] == 1_999
    assert image.attempt == 2_000


async def test_each_of_many_replacements_of_one_key_costs_the_same(
    table: tuple["DynamoDBClient", Settings], ministack_endpoint: str
) -> None:
    dynamodb, settings = table
    ledger = build_ledger(dynamodb, settings)
    sizes: list[int] = []
    uploads = 40 if settings.endpoint_url == ministack_endpoint else 12  # moto is slow
    for upload in range(1, uploads + 1):
        image = await replaced(ledger, upload)
        if upload > KEPT_ATTEMPTS + 1:
            sizes.append(item_bytes(await item_of(dynamodb, settings)))

    assert {ceil(size / 1024) for size in sizes} == {ceil(sizes[0] / 1024)}
    assert max(sizes) < STEADY_BYTES
    assert await stored(dynamodb, settings) == image
    check_history(image)
    assert outcomes(image.history) == {"completed": uploads, "uploaded_again": uploads - 1}
    profile = await build_profile_store(dynamodb, settings).get("user_1", consistent=True)
    assert profile
    statistics: Any = profile["statistics"]
    assert (statistics["totalImages"], statistics["totalStorageUsed"]) == (1, image.counted_bytes)


async def test_a_record_that_reached_the_limit_is_small_after_its_next_claim(
    table: tuple["DynamoDBClient", Settings],
) -> None:
    dynamodb, settings = table
    large = of_an_older_version(360)
    assert len(str(to_item(large, table_of(settings)))) > 380_000, "close to the limit of an item"
    await put_items(dynamodb, table_of(settings), RETRY_POLICIES.table, [to_item(large, table_of(settings))])
    ledger = build_ledger(dynamodb, settings)

    image = await claimed(ledger, 2, seconds=100_000)

    assert item_bytes(await item_of(dynamodb, settings)) < STEADY_BYTES
    assert await stored(dynamodb, settings) == image
    assert entry_count(image.history) == entry_count(large.history) + 3
    assert outcomes(image.history) == {"completed": 360, "uploaded_again": 360}


@pytest.mark.parametrize("call", range(1, 8))
async def test_a_lost_response_of_any_write_of_a_shortened_record_is_recognised(
    provisioned: Settings, dynamodb: "DynamoDBClient", call: int
) -> None:
    ledger = build_ledger(dynamodb, provisioned)
    for upload in range(1, KEPT_ATTEMPTS + 2):
        await replaced(ledger, upload)
    injector = FaultInjector([Fault(call, FaultKind.RESPONSE_LOST)])
    intercepted: Any = InterceptedClient(dynamodb, injector, injector.new_worker())
    losing = build_ledger(intercepted, provisioned)

    image = await replaced(losing, KEPT_ATTEMPTS + 2)

    assert image == await stored(dynamodb, provisioned)
    assert outcomes(image.history) == {"completed": KEPT_ATTEMPTS + 2, "uploaded_again": KEPT_ATTEMPTS + 1}
    assert entry_count(image.history) == 9 * (KEPT_ATTEMPTS + 2)
    profile = await build_profile_store(dynamodb, provisioned).get("user_1", consistent=True)
    assert profile
    statistics: Any = profile["statistics"]
    assert statistics["totalImages"] == 1


async def test_a_completion_whose_response_was_lost_is_recognised_after_requests_shortened_the_history(
    table: tuple["DynamoDBClient", Settings],
) -> None:
    dynamodb, settings = table
    ledger = build_ledger(dynamodb, settings)
    for upload in range(1, KEPT_ATTEMPTS + 1):
        await replaced(ledger, upload)
    image = await claimed(ledger, KEPT_ATTEMPTS + 1, seconds=10_000)
    released = image_released(FAILURE, at=after(10_001))
    await ledger.settle(image, [released])
    writes = RepairWrites(
        dynamodb,
        table=table_of(settings),
        retry=RETRY_POLICIES.table,
        requester=a_requester("reconcile"),
        clock=lambda: after(20_000),
    )
    for _ in range(40):
        requeued = await writes.requeue(await stored(dynamodb, settings))
        assert requeued
    before = await stored(dynamodb, settings)

    await ledger.settle(image, [released])  # the retry of a request whose response was lost

    assert await stored(dynamodb, settings) == before
    assert len(before.history) <= MAX_RUN
    assert outcomes(before.history)["requeued"] == 40


async def test_of_two_requests_that_read_the_same_full_history_one_is_written(
    table: tuple["DynamoDBClient", Settings],
) -> None:
    dynamodb, settings = table
    ledger = build_ledger(dynamodb, settings)
    await ledger.settle(await claimed(ledger, 1, seconds=0), [image_released(FAILURE, at=after(1))])
    writes, other = (
        RepairWrites(
            dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table, requester=a_requester(command)
        )
        for command in ("reconcile", "images retry")
    )
    for _ in range(MAX_ENTRIES):
        assert await writes.requeue(await stored(dynamodb, settings))
    seen = await stored(dynamodb, settings)

    first = await writes.requeue(seen)
    claim = decide(seen, a_job(), a_claimant("worker-b/1", now=after(3)))
    second = await other.requeue(seen)

    assert len(seen.history) == MAX_ENTRIES
    assert isinstance(claim, Claimed)
    assert first == await stored(dynamodb, settings)
    assert second is None


async def test_workers_of_the_preceding_version_continue_a_shortened_record_and_the_reverse(
    table: tuple["DynamoDBClient", Settings],
) -> None:
    """The preceding version appends to any history and requires its stored length."""
    dynamodb, settings = table
    ledger = build_ledger(dynamodb, settings)
    for upload in range(1, KEPT_ATTEMPTS + 3):
        await replaced(ledger, upload)
    image = await claimed(ledger, KEPT_ATTEMPTS + 3, seconds=10_000)
    moves = [
        step_ended(a_report(StepName.VALIDATION), at=after(10_001)),
        step_started(StepName.RESIZE, at=after(10_001)),
    ]
    entries = apply_all(image, moves).history[len(image.history) :]

    await append_as_preceding_version(dynamodb, settings, image, entries)
    continued = await ledger.record(image, moves)  # recognises the other version's write as its own

    assert continued.history == (await stored(dynamodb, settings)).history
    assert await stored(dynamodb, settings) == replace(continued, steps=image.steps, metadata=image.metadata)
    later = await claimed(ledger, KEPT_ATTEMPTS + 4, worker="worker-b", seconds=20_000)
    assert len(later.history) <= MAX_RUN
    assert outcomes(later.history)["uploaded_again"] == KEPT_ATTEMPTS + 3
    assert later.status is ImageStatus.PROCESSING


async def append_as_preceding_version(
    dynamodb: "DynamoDBClient", settings: Settings, image: Image, entries: tuple[HistoryEntry, ...]
) -> None:
    """Append entries to the history in the way of a version that does not shorten it."""
    added = to_item(replace(image, history=entries), table_of(settings))["history"]
    assert image.lease
    await dynamodb.update_item(
        TableName=settings.table_name,
        Key={"imageId": {"S": image.image_id}, "userId": {"S": image.user_id}},
        UpdateExpression="SET #h = list_append(if_not_exists(#h, :none), :added), #u = :now",
        ConditionExpression="attempt = :attempt AND leaseOwner = :owner AND size(#h) = :length",
        ExpressionAttributeNames={"#h": "history", "#u": "updatedAt"},
        ExpressionAttributeValues={
            ":none": {"L": []},
            ":added": encode(added),
            ":attempt": {"N": str(image.attempt)},
            ":owner": {"S": image.lease.owner},
            ":length": {"N": str(len(image.history))},
            ":now": {"S": "2024-01-01T14:46:41.000Z"},
        },
    )
