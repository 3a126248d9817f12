"""Completions a minute and the workers of the fleet, from a bounded number of records."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta

from tests.support.builders import NOON, after
from tests.support.image_states import claimed, completed, expired, rejected, retried
from worker.console.live.fleet import MAX_IMAGES, MAX_READ, count_completions, read_fleet, seen_workers
from worker.domain.image import Image, ImageSummary
from worker.dynamodb.queries import Page


def a_summary(image: Image) -> ImageSummary:
    return ImageSummary(
        image_id=image.image_id,
        user_id=image.user_id,
        status=image.status,
        created_at=image.created_at,
        processed_at=image.processed_at,
        file_name=image.file_name,
        file_size=image.file_size,
        key=image.key,
        processed_key=image.processed_key,
        ttl=image.ttl,
    )


def completed_images(count: int, *, every: timedelta) -> list[Image]:
    """Return completed images, the newest first, completed one second after their upload."""
    image = completed()
    return [
        replace(
            image,
            image_id=f"img_{number}",
            created_at=NOON - number * every - timedelta(seconds=1),
            processed_at=NOON - number * every,
        )
        for number in range(count)
    ]


@dataclass
class FakeTable:
    """The records, newest first, with the size of every read."""

    records: Sequence[Image]
    pages: list[int] = field(default_factory=list)
    gets: list[int] = field(default_factory=list)

    async def recent_images(
        self, first_day: date, last_day: date, *, limit: int = 20, token: str | None = None
    ) -> Page:
        days = (first_day, last_day)
        found = [a_summary(image) for image in self.records if image.created_at.date() in days]
        start = int(token or 0)
        page = found[start : start + limit]
        self.pages.append(len(page))
        more = start + limit < len(found)
        return Page(tuple(page), str(start + limit) if more else None)

    async def images(self, keys: Iterable[tuple[str, str]], *, consistent: bool = False) -> list[Image]:
        wanted = set(keys)
        self.gets.append(len(wanted))
        return [image for image in self.records if (image.image_id, image.user_id) in wanted]


async def test_completions_are_counted_by_minute() -> None:
    table = FakeTable(completed_images(120, every=timedelta(seconds=10)))
    fleet = await read_fleet(table, now=NOON)

    assert fleet.completions.last_minute == 6
    assert fleet.completions.per_minute == (0,) * 10 + (6,) * 20
    assert not fleet.completions.is_bounded


async def test_no_more_records_are_read_than_the_bounds_say() -> None:
    table = FakeTable(completed_images(5000, every=timedelta(milliseconds=100)))
    fleet = await read_fleet(table, now=NOON)

    assert fleet.completions.is_bounded
    assert fleet.completions.read == MAX_READ == sum(table.pages)
    assert table.gets == [MAX_IMAGES]
    assert fleet.images_read == MAX_IMAGES


async def test_few_records_are_read_while_all_is_quiet() -> None:
    table = FakeTable(completed_images(5000, every=timedelta(minutes=15)))
    fleet = await read_fleet(table, now=NOON)

    assert table.pages == [100]
    assert fleet.completions.last_minute == 1


async def test_an_empty_table_has_no_completions_and_no_workers() -> None:
    fleet = await read_fleet(FakeTable([]), now=NOON)

    assert fleet.completions.per_minute == (0,) * 30
    assert fleet.workers == ()


def test_a_completion_by_a_worker_whose_clock_is_fast_counts_in_the_last_minute() -> None:
    ahead = replace(a_summary(completed()), processed_at=NOON + timedelta(seconds=30))
    assert count_completions([ahead], now=NOON, is_bounded=False).last_minute == 1


def test_workers_are_those_in_the_histories_with_their_attempts_and_the_ends_of_these() -> None:
    lost = claimed(expired(claimed(worker="worker-a")), worker="worker-b", at=after(60))
    failed = rejected(claimed(worker="worker-b"))
    again = claimed(retried(rejected(claimed(worker="worker-c"))), worker="worker-b", at=after(100))
    found = seen_workers([completed(), lost, failed, again])

    assert [(each.name, each.attempts, each.processing) for each in found] == [
        ("worker-b", 3, 2),
        ("worker-a", 2, 0),
        ("worker-c", 1, 0),
    ]
    assert [(each.completed, each.failed, each.expired) for each in found] == [
        (0, 1, 0),
        (1, 0, 1),
        (0, 1, 0),
    ]
    assert found[0].last_seen_at == after(100)
