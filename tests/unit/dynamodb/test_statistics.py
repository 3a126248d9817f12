import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.builders import a_claimant, a_job, after, all_transitions
from tests.support.expressions import resolved
from worker.bootstrap import RETRY_POLICIES
from worker.domain.claim import Claimed, decide
from worker.domain.errors import LeaseLostError, RecordRejectedError, TransientError
from worker.domain.image import Image
from worker.domain.step import Json
from worker.domain.transition import apply_all
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.items import Item, to_item
from worker.dynamodb.statistics import Settlement, StatisticsWriter
from worker.dynamodb.table import Table

TABLE = Table("table", index_shards=8)
HELD: Mapping[str, Any] = {"Code": "None"}
"""The cancellation reason of an item whose condition held."""


def rejected_by(item: Item | None) -> Mapping[str, Any]:
    reason: dict[str, Any] = {"Code": "ConditionalCheckFailed"}
    return reason | ({"Item": encode_map(item)} if item else {})


def profile_with(**statistics: Json) -> Item:
    return {"imageId": "user_profile", "userId": "user_1", "statistics": statistics}


class FakeClient:
    """A DynamoDB client that cancels transactions for the given reasons, one list for each, unless empty."""

    def __init__(self, *cancellations: Sequence[Mapping[str, Any]]) -> None:
        self.cancellations = list(cancellations)
        self.transactions: list[list[Any]] = []

    async def transact_write_items(self, *, TransactItems: list[Any], **_: object) -> None:
        self.transactions.append([each["Update"] for each in TransactItems])
        if self.cancellations and (reasons := self.cancellations.pop(0)):
            error = {"Code": "TransactionCanceledException"}
            response: Any = {"Error": error, "CancellationReasons": reasons}
            raise ClientError(response, "TransactWriteItems")

    @property
    def image_ids(self) -> list[list[str]]:
        """The images of each transaction."""
        return [[update["Key"]["imageId"]["S"] for update in updates[:-1]] for updates in self.transactions]

    @property
    def statistics_updates(self) -> list[str]:
        return [resolved(updates[-1], "UpdateExpression") for updates in self.transactions]


def claimed(image_id: str = "img_1", *, worker: str = "worker-a", seconds: float = 0) -> Image:
    decision = decide(None, a_job(image_id), a_claimant(f"{worker}/1", now=after(seconds)))
    assert isinstance(decision, Claimed)
    return decision.image


def completed(image_id: str = "img_1") -> Settlement:
    before = claimed(image_id)
    after_all = apply_all(before, all_transitions(image_id))
    counted = replace(after_all, counted_bytes=after_all.total_bytes())
    return Settlement(before=before, after=counted, counted_before=None)


async def settled(client: FakeClient, *settlements: Settlement) -> list[BaseException | None]:
    """Settle images at the same time; return the error of each."""
    dynamodb: Any = client
    writer = StatisticsWriter(dynamodb, table=TABLE, retry=RETRY_POLICIES.table)
    return await asyncio.gather(*map(writer.settle, settlements), return_exceptions=True)


async def test_concurrent_settlements_of_a_user_are_written_in_one_transaction() -> None:
    client = FakeClient()

    errors = await settled(client, completed("img_1"), completed("img_2"), completed("img_3"))

    assert errors == [None, None, None]
    assert client.image_ids == [["img_1", "img_2", "img_3"]]
    assert "statistics.totalImages = statistics.totalImages + 3" in client.statistics_updates[0]
    assert "statistics.totalStorageUsed = statistics.totalStorageUsed + 3300" in client.statistics_updates[0]


@pytest.mark.parametrize("profile", [None, {"imageId": "user_profile", "userId": "user_1"}])
async def test_missing_statistics_are_created(profile: Item | None) -> None:
    client = FakeClient([HELD, rejected_by(profile)])

    assert await settled(client, completed()) == [None]

    assert "statistics = {'totalImages': 1, 'totalStorageUsed': 1100, " in client.statistics_updates[1]
    assert resolved(client.transactions[1][-1], "ConditionExpression") == "attribute_not_exists(statistics)"


async def test_the_time_of_the_last_upload_moves_forward_only() -> None:
    newer = profile_with(totalImages=1, lastUploadAt="2025-01-01T12:00:00.000Z")
    client = FakeClient([HELD, rejected_by(newer)])

    assert await settled(client, completed()) == [None]

    assert ["lastUploadAt" in update for update in client.statistics_updates] == [True, False]


async def test_an_image_whose_lease_is_lost_is_left_out_and_the_others_are_written() -> None:
    other = to_item(claimed(worker="worker-b"), TABLE)
    client = FakeClient([rejected_by(other), HELD, HELD])

    errors = await settled(client, completed("img_1"), completed("img_2"))

    assert [type(error) for error in errors] == [LeaseLostError, type(None)]
    assert client.image_ids == [["img_1", "img_2"], ["img_2"]]
    assert "statistics.totalImages + 1" in client.statistics_updates[1]


async def test_an_image_that_was_written_before_is_left_out_without_an_error() -> None:
    settlement = completed()
    client = FakeClient([rejected_by(to_item(settlement.after, TABLE)), HELD])

    assert await settled(client, settlement) == [None]

    assert client.image_ids == [["img_1"]]


async def test_an_image_that_was_written_in_part_is_written_from_there() -> None:
    settlement = completed()
    half = apply_all(settlement.before, all_transitions()[:2])
    client = FakeClient([rejected_by(to_item(half, TABLE)), HELD])

    assert await settled(client, settlement) == [None]

    condition = resolved(client.transactions[1][0], "ConditionExpression")
    assert condition.endswith(f"size(history) = {len(half.history)}")


async def test_any_other_reason_fails_the_whole_batch() -> None:
    client = FakeClient([HELD, {"Code": "DuplicateItem"}, HELD])

    errors = await settled(client, completed("img_1"), completed("img_2"))

    assert [type(error) for error in errors] == [TransientError] * 2
    assert "DuplicateItem" in str(errors[0])


@pytest.mark.parametrize("code", ["ValidationError", "ItemCollectionSizeLimitExceeded"])
async def test_an_image_whose_content_is_rejected_does_not_keep_others_from_being_settled(code: str) -> None:
    rejected = {"Code": code, "Message": "Item size to update has exceeded the maximum allowed size"}
    client = FakeClient([HELD, rejected, HELD], [], [rejected, HELD])

    errors = await settled(client, completed("img_1"), completed("img_2"))

    assert [type(error) for error in errors] == [type(None), RecordRejectedError]
    assert client.image_ids == [["img_1", "img_2"], ["img_1"], ["img_2"]]


async def test_a_batch_fails_when_its_statistics_keep_changing() -> None:
    client = FakeClient(*[[HELD, rejected_by(None)]] * 100)

    (error,) = await settled(client, completed())

    assert isinstance(error, TransientError)
    assert len(client.transactions) == 20
