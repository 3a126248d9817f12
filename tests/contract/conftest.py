"""One suite, every ledger: memory, MiniStack and moto."""

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass

import pytest

from tests.emulators import client, create_table, unique_settings
from tests.fakes.ledger import MemoryLedger
from worker.domain.image import Image
from worker.domain.profile import Statistics
from worker.ports import Ledger
from worker.record.ledger import DynamoLedger
from worker.record.profiles import CachedProfiles
from worker.record.queries import Queries


@dataclass
class LedgerUnderTest:
    """A ledger, and how to look behind it."""

    ledger: Ledger
    image: Callable[[str, str], Awaitable[Image | None]]
    statistics: Callable[[str], Awaitable[Statistics]]


@pytest.fixture(params=["memory", "ministack", "moto"])
async def under_test(
    request: pytest.FixtureRequest, ministack_endpoint: str, moto_endpoint: str
) -> AsyncIterator[LedgerUnderTest]:
    if request.param == "memory":
        memory = MemoryLedger()

        async def image(image_id: str, user_id: str) -> Image | None:
            return memory.images.get((image_id, user_id))

        async def statistics(user_id: str) -> Statistics:
            return memory.statistics[user_id]

        yield LedgerUnderTest(ledger=memory, image=image, statistics=statistics)
        return
    settings = unique_settings(ministack_endpoint if request.param == "ministack" else moto_endpoint)
    async with client("dynamodb", settings) as dynamodb:
        await create_table(dynamodb, settings)
        ledger = DynamoLedger(dynamodb, table=settings.table_name, index_shards=settings.index_shards)
        queries = Queries(dynamodb, table=settings.table_name)
        profiles = CachedProfiles(dynamodb, table=settings.table_name, cache_s=0)

        async def stored_image(image_id: str, user_id: str) -> Image | None:
            return await queries.image(image_id, user_id, consistent=True)

        async def stored_statistics(user_id: str) -> Statistics:
            profile = await profiles.get(user_id)
            return profile.statistics if profile else Statistics()

        yield LedgerUnderTest(ledger=ledger, image=stored_image, statistics=stored_statistics)
        await ledger.close()
