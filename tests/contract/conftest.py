"""The ledgers that the contract tests run against: in memory, on MiniStack and on moto."""

from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.emulators import client, create_table, unique_settings
from tests.support.fakes.ledger import MemoryLedger
from worker.bootstrap import build_ledger, build_profile_store, build_queries
from worker.delivery.ports import Ledger
from worker.domain.image import Image
from worker.domain.profile import Statistics
from worker.dynamodb.profiles import profile_from_item
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


@dataclass
class LedgerUnderTest:
    """A ledger, and functions that read what it has written."""

    ledger: Ledger
    image: Callable[[str, str], Coroutine[Any, Any, Image | None]]
    statistics: Callable[[str], Coroutine[Any, Any, Statistics]]


def memory_ledger() -> LedgerUnderTest:
    """Return a ledger in memory."""
    memory = MemoryLedger()

    async def image(image_id: str, user_id: str) -> Image | None:
        return memory.images.get((image_id, user_id))

    async def statistics(user_id: str) -> Statistics:
        return memory.statistics[user_id]

    return LedgerUnderTest(ledger=memory, image=image, statistics=statistics)


def table_ledger(dynamodb: "DynamoDBClient", settings: Settings) -> LedgerUnderTest:
    """Return a ledger on a table that exists."""
    queries = build_queries(dynamodb, settings)

    async def image(image_id: str, user_id: str) -> Image | None:
        return await queries.image(image_id, user_id, consistent=True)

    async def statistics(user_id: str) -> Statistics:
        item = await build_profile_store(dynamodb, settings).get(user_id, consistent=True)
        return profile_from_item(item).statistics if item else Statistics()

    ledger = build_ledger(dynamodb, settings)
    return LedgerUnderTest(ledger=ledger, image=image, statistics=statistics)


@pytest.fixture(params=["memory", "ministack", "moto"])
async def under_test(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[LedgerUnderTest]:
    if request.param == "memory":
        yield memory_ledger()
        return
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        yield table_ledger(dynamodb, settings)
