"""The stream of an image's page."""

import asyncio
from typing import TYPE_CHECKING

import aiohttp

from tests.support.console import RunningConsole, running_console
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import Storage
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client


async def until(response: aiohttp.ClientResponse, *words: str) -> str:
    """Return what a stream sends until it has sent all words."""
    text = ""
    async with asyncio.timeout(60):
        while not all(word in text for word in words):
            text += (await response.content.readany()).decode()
    return text


async def test_the_page_follows_a_request_of_the_console_after_the_image_has_ended(
    console: RunningConsole, provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    async with running_worker(provisioned, console.clients, decoders=1):
        await upload(s3, provisioned, "img_1", encoded(quadrants(64, 64)))
        await wait_until_processed(dynamodb, provisioned, "img_1")
        async with console.browser.get(f"/images/img_1/events?user={USER}") as response:
            await until(response, "event: image", "completed")
            async with console.browser.post(f"/images/img_1/reprocess?user={USER}") as redirected:
                assert redirected.status == 200
            await until(response, "Attempt 2", "data-ended")


async def test_a_page_that_is_up_to_date_is_sent_nothing(
    console: RunningConsole, provisioned: Settings, s3: "S3Client", dynamodb: "DynamoDBClient"
) -> None:
    async with running_worker(provisioned, console.clients, decoders=1):
        await upload(s3, provisioned, "img_1", encoded(quadrants(64, 64)))
        await wait_until_processed(dynamodb, provisioned, "img_1")
        content = await console.json(f"/images/img_1?user={USER}")
        path = f"/images/img_1/events?user={USER}&after={content['position']}"
        async with console.browser.get(path) as response:
            async with console.browser.post(f"/images/img_1/reprocess?user={USER}"):
                pass
            text = await until(response, "Attempt 2")
    first = text[: text.index("event: image")].rpartition("id: ")[2]
    assert int(first) > content["position"]


async def test_an_image_that_does_not_exist_shows_that_there_is_no_record(console: RunningConsole) -> None:
    async with console.browser.get("/images/none/events?user=alice") as response:
        assert "does not exist any more" in await until(response, "event: image", "</p>")


async def test_ids_that_no_image_can_have_are_not_found(console: RunningConsole) -> None:
    for path in ("/images/user_profile/events?user=alice", "/images/a/events", "/images/a/events?user="):
        async with console.browser.get(path) as response:
            assert response.status == 404


async def test_streams_end_with_the_console(storage: Storage) -> None:
    async with running_console(storage.settings, clients=storage.clients) as console:
        response = await console.browser.get("/queue/events")
        await until(response, "event: depth")
        started = asyncio.get_running_loop().time()
    assert asyncio.get_running_loop().time() - started < 5  # with all else that a console closes
    names = [task.get_name() for task in asyncio.all_tasks()]
    assert not [name for name in names if name.startswith(("poll ", "read "))]
