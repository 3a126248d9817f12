"""One poller for each watched image: when it reads, and what its viewers get."""

import asyncio
from collections.abc import AsyncIterator, Iterable
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass

import pytest

from tests.support.fakes.live import FakeImageReader, ManualTime
from tests.support.image_states import claimed, completed, reprocessed
from worker.console.live.image_pollers import INTERVAL_S, ImagePollers, TooManyWatchedError, Watched
from worker.console.live.owned_tasks import OwnedTasks
from worker.domain.errors import TransientError, UnreadableRecordError
from worker.domain.history import entry_count
from worker.domain.image import Image

UNAVAILABLE = TransientError("could not read the image in 10 attempts: timeout")


@dataclass
class Polling:
    """Pollers of images on a fake table, in time that the test controls."""

    pollers: ImagePollers
    reader: FakeImageReader
    time: ManualTime
    tasks: OwnedTasks


@asynccontextmanager
async def polling(*results: Image | Exception | None, max_images: int = 500) -> AsyncIterator[Polling]:
    reader, time, tasks = FakeImageReader(results), ManualTime(), OwnedTasks()
    pollers = ImagePollers(reader, tasks=tasks, max_images=max_images, sleep=time.sleep)
    yield Polling(pollers, reader, time, tasks)
    await tasks.close()


def poller_tasks() -> list[str]:
    return [task.get_name() for task in asyncio.all_tasks() if task.get_name().startswith("poll image")]


async def until_published(polled: Iterable[Watched | None]) -> None:
    while None in polled:
        await asyncio.sleep(0)


async def test_all_viewers_of_an_image_share_one_poller() -> None:
    async with polling(claimed()) as polled:
        with ExitStack() as viewers:
            watched = [viewers.enter_context(polled.pollers.watching("img_1", "user_1")) for _ in range(20)]
            await polled.time.pass_on()
            await polled.time.pass_on()
            assert poller_tasks() == ["poll image 'img_1'"]
            assert len(polled.reader.reads) == 3
            assert {id(latest) for latest in watched} == {id(watched[0])}


async def test_the_poller_ends_when_its_last_viewer_leaves() -> None:
    async with polling(claimed()) as polled:
        with polled.pollers.watching("img_1", "user_1"):
            with polled.pollers.watching("img_1", "user_1"):
                await polled.time.until_asleep()
            assert poller_tasks()
        await polled.tasks.close()
        assert not poller_tasks()


async def test_an_image_that_is_processing_is_read_every_300_milliseconds() -> None:
    async with polling(claimed()) as polled:
        with polled.pollers.watching("img_1", "user_1"):
            for _ in range(5):
                await polled.time.pass_on()
    assert set(polled.time.sleeps) == {INTERVAL_S}


async def test_an_image_without_a_record_is_read_less_and_less_often_but_at_least_every_two_seconds() -> None:
    async with polling(None) as polled:
        with polled.pollers.watching("img_1", "user_1"):
            for _ in range(20):
                await polled.time.pass_on()
    assert polled.time.sleeps[0] < 0.5
    assert polled.time.sleeps == sorted(polled.time.sleeps)
    assert polled.time.sleeps[-1] == 2.0


async def test_an_image_that_has_ended_is_not_read_again() -> None:
    async with polling(claimed(), completed()) as polled:
        with polled.pollers.watching("img_1", "user_1") as latest:
            await polled.time.until_asleep()
            polled.time.end_sleeps()
            while not (latest.value and latest.value.has_ended):
                await asyncio.sleep(0)
            for _ in range(10):
                await asyncio.sleep(0)
            assert len(polled.reader.reads) == 2
            assert polled.time.sleeps == [INTERVAL_S]


async def test_an_ended_image_is_read_again_after_an_action_requeued_it() -> None:
    ended = completed()
    again = reprocessed(ended)
    async with polling(ended, ended, again, claimed(again)) as polled:
        with polled.pollers.watching("img_1", "user_1") as latest:
            await polled.reader.has_read.wait()
            await asyncio.sleep(0)
            polled.pollers.requeued("img_1", "user_1")
            for _ in range(3):
                await polled.time.pass_on()
            assert latest.value == Watched(claimed(again))


async def test_an_action_on_an_image_that_nobody_watches_has_no_effect() -> None:
    async with polling(completed()) as polled:
        polled.pollers.requeued("img_1", "user_1")
        assert not polled.reader.reads


async def test_while_the_table_is_unavailable_viewers_keep_the_last_state_and_see_why() -> None:
    async with polling(claimed(), UNAVAILABLE, UNAVAILABLE, completed()) as polled:
        with polled.pollers.watching("img_1", "user_1") as latest:
            await polled.time.pass_on()
            assert latest.value
            assert latest.value.image == claimed()
            assert latest.value.problem
            assert "The table is unavailable (could not read the image" in latest.value.problem
            await polled.time.pass_on()
            polled.time.end_sleeps()
            while latest.value.problem:
                await asyncio.sleep(0)
            assert latest.value == Watched(completed())


@pytest.mark.parametrize(
    ("error", "sentence"),
    [
        (
            UnreadableRecordError(image_id="img_1", user_id="user_1", reason="damaged"),
            "cannot be read: damaged",
        ),
        (RuntimeError("a bug"), "error in the console"),
    ],
)
async def test_a_record_that_cannot_be_read_does_not_end_the_page(error: Exception, sentence: str) -> None:
    async with polling(error, claimed()) as polled:
        with polled.pollers.watching("img_1", "user_1") as latest:
            await polled.time.until_asleep()
            assert latest.value
            assert sentence in (latest.value.problem or "")
            await polled.time.pass_on()
            assert latest.value == Watched(claimed())


async def test_the_number_of_watched_images_is_limited() -> None:
    async with polling(claimed(), max_images=2) as polled:
        with polled.pollers.watching("img_1", "user_1"), polled.pollers.watching("img_2", "user_1"):
            with polled.pollers.watching("img_1", "user_1"):
                pass
            with (
                pytest.raises(TooManyWatchedError, match="2 images are watched already"),
                polled.pollers.watching("img_3", "user_1"),
            ):
                pass
        with polled.pollers.watching("img_3", "user_1"):
            pass


def test_the_position_grows_with_every_entry_even_when_the_history_is_summarised() -> None:
    image = claimed()
    positions = [entry_count(image.history)]
    for _ in range(12):
        image = reprocessed(completed(image))
        positions.append(Watched(image).position)
        image = claimed(image)
        positions.append(Watched(image).position)
    assert positions == sorted(set(positions))
    assert positions[-1] > len(image.history)
    assert Watched(None).position == 0
