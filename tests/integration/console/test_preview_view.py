"""The recipe preview: pages over an emulator, with real decoder processes."""

import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from html import unescape
from typing import Any
from urllib.parse import quote, urlencode

import pytest
import pytest_asyncio
from yarl import URL

from tests.support.console import RunningConsole, running_console
from tests.support.pictures import encoded, opened, quadrants
from tests.support.shared_storage import provisioned_storage
from tests.support.whole_worker import USER, running_worker, upload, wait_until_processed
from worker.bootstrap import build_profile_store
from worker.domain.clock import utc_now
from worker.domain.keys import PROFILE_IMAGE_ID

PHOTO = f"image={USER}%2Fphoto"
NOTE = "Recipe 1 of the configuration file applies to this image, in place of the recipe that is previewed."


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def processed(ministack_endpoint: str) -> AsyncIterator[RunningConsole]:
    """A console whose worker has completed an image, failed another, and stopped."""
    async with provisioned_storage(ministack_endpoint) as storage:
        clients, settings = storage.clients, storage.settings
        async with running_worker(settings, clients, decoders=1):
            await upload(clients.s3, settings, "photo", encoded(quadrants(960, 600), "JPEG"))
            await upload(clients.s3, settings, "text", b"not an image")
            await wait_until_processed(clients.dynamodb, settings, "photo", "text")
        async with running_console(settings, clients=clients) as console:
            yield console


@asynccontextmanager
async def changed_preferences(console: RunningConsole, **preferences: Any) -> AsyncIterator[None]:
    """Change the preferences of the owner, and restore the profile at the end."""
    dynamodb, table_name = console.clients.dynamodb, console.settings.table_name
    key: Any = {"imageId": {"S": PROFILE_IMAGE_ID}, "userId": {"S": USER}}
    before = (await dynamodb.get_item(TableName=table_name, Key=key, ConsistentRead=True))["Item"]
    await build_profile_store(dynamodb, console.settings).set_preferences(USER, preferences, now=utc_now())
    try:
        yield
    finally:
        await dynamodb.put_item(TableName=table_name, Item=before)


async def test_without_a_chosen_image_the_page_shows_the_recipe_of_the_worker(
    console: RunningConsole,
) -> None:
    content = await console.json("/preview")
    assert content["fields"]["width"]["value"] == "800"
    assert content["recipe"]["changed"] == content["recipe"]["current"]
    assert (content["environment"], content["images"], content["recent"]) == ({}, [], [])
    page = await console.html("/preview")
    assert "This is the worker&#39;s current recipe" in page or "This is the worker's current recipe" in page


async def test_the_preview_of_an_unchanged_recipe_equals_the_stored_rendition(
    processed: RunningConsole,
) -> None:
    (image,) = (await processed.json(f"/preview?{PHOTO}"))["images"]
    for name in ("format", "width", "height", "bytes"):
        assert image["preview"][name] == image["stored"][name]
    assert image["preview"]["ms"] == sum(image["preview"]["steps"].values())
    assert (image["error"], image["notes"]) == (None, [])


async def test_a_changed_recipe_is_shown_with_its_file_and_its_settings(processed: RunningConsole) -> None:
    content = await processed.json(
        f"/preview?{PHOTO}&width=300&height=300&fit=cover&format=webp&watermark=off"
    )
    (image,) = content["images"]
    made = image["preview"]
    assert (made["format"], made["width"], made["height"]) == ("webp", 300, 300)
    assert content["environment"] == {
        "WORKER_SIZES": '{"medium":{"width":300,"height":300,"fit":"cover","format":"webp"}}',
        "WORKER_WATERMARK_ENABLED": "false",
    }
    async with processed.browser.get(made["url"]) as response:
        assert (response.status, response.content_type) == (200, "image/webp")
        file = await response.read()
    assert (len(file), opened(file).size) == (made["bytes"], (300, 300))


async def test_the_page_shows_both_renditions_and_the_lines_to_set(processed: RunningConsole) -> None:
    page = await processed.html(f"/preview?{PHOTO}&quality=40")
    assert "WORKER_QUALITY=40" in page
    assert "/preview/rendition?quality=40&amp;image=user_1%2Fphoto" in page


async def test_the_images_that_would_change_are_counted(processed: RunningConsole) -> None:
    assert (await processed.json("/preview?quality=40"))["count"] is None
    unchanged = (await processed.json("/preview?count=yes"))["count"]
    changed = (await processed.json("/preview?count=yes&quality=40"))["count"]
    assert unchanged == {"counted": 1, "limit": 1000, "outdated": 0, "changing": 0}
    assert changed == {"counted": 1, "limit": 1000, "outdated": 0, "changing": 1}
    assert "newest 1,000 completed images" in await processed.html("/preview?count=yes")


async def test_the_preferences_of_the_owner_apply_and_are_mentioned(processed: RunningConsole) -> None:
    async with changed_preferences(processed, watermarkEnabled=False):
        (image,) = (await processed.json(f"/preview?{PHOTO}&text=Other"))["images"]
        count = (await processed.json("/preview?count=yes&text=Other"))["count"]
    assert image["notes"] == [
        "The stored rendition was made by another recipe than the worker's current one.",
        f"The preferences of {USER} change the recipe.",
    ]
    assert count["outdated"] == 1


async def test_an_image_with_a_recipe_of_its_own_is_mentioned_and_counted_by_that(
    processed: RunningConsole,
) -> None:
    rules = [{"match": [f"uploads/{USER}/*"], "sizes": ["small"]}]
    async with running_console(processed.settings, clients=processed.clients, recipes=rules) as console:
        (image,) = (await console.json(f"/preview?{PHOTO}"))["images"]
        assert image["notes"] == [
            "The stored rendition was made by another recipe than the worker's current one.",
            NOTE,
        ]
        count = (await console.json("/preview?count=yes&quality=40"))["count"]
    assert (count["outdated"], count["changing"]) == (1, 0)


async def test_an_image_that_cannot_be_decoded_is_explained(processed: RunningConsole) -> None:
    content = await processed.json(f"/preview?id=text&{PHOTO}")
    errors = {image["imageId"]: image["error"] for image in content["images"]}
    assert errors["photo"] is None
    assert "not an image in any known format" in errors["text"]
    async with processed.browser.get(f"/preview/rendition?image={USER}%2Ftext") as response:
        assert response.status == 422
        assert "not an image in any known format" in await response.text()


@pytest.mark.parametrize(
    "query",
    [
        "image=nobody%2Fnothing",
        "image=nothing",
        "id=nothing",
        "image=%2F",
        "image=user_1%2Fuser_profile",
        f"id={'a' * 2049}",
    ],
)
async def test_an_image_that_does_not_exist_is_named(console: RunningConsole, query: str) -> None:
    (problem,) = (await console.json(f"/preview?{query}"))["problems"]
    assert problem.startswith("There is no image ")
    assert problem in await console.html(f"/preview?{query}")
    async with console.browser.get(f"/preview/rendition?{query}") as response:
        assert response.status == 404


async def test_an_invalid_value_is_explained_beside_its_field(console: RunningConsole) -> None:
    content = await console.json("/preview?width=0")
    assert content["environment"] is None
    assert content["fields"]["width"]["error"] == "Width is '0'; write a number from 1 to 4,096."
    page = await console.html("/preview?width=0")
    assert (
        page.index('name="width"')
        < page.index("write a number from 1 to 4,096.")
        < page.index('name="height"')
    )
    async with console.browser.get("/preview/rendition?width=0") as response:
        assert response.status == 400
        assert "write a number from 1 to 4,096." in await response.text()


HOSTILE = "<script>alert(1)</script>\"'\u202e\x1b[31m"


@pytest.mark.parametrize(
    "name",
    ["size", "width", "fit", "text", "colour", "opacity", "logo", "image", "id", "targetBytes", "count"],
)
async def test_hostile_values_are_shown_as_text(console: RunningConsole, name: str) -> None:
    page = await console.html(f"/preview?{urlencode({name: HOSTILE}, quote_via=quote)}")
    assert "<script>alert" not in page
    assert "\x1b" not in page
    content: dict[str, Any] = await console.json(f"/preview?{urlencode({name: HOSTILE}, quote_via=quote)}")
    assert content["fields"].keys() >= {"width", "text"}


async def test_at_most_four_images_are_rendered(processed: RunningConsole) -> None:
    query = "&".join([PHOTO] * 3 + [f"image=u%2F{number}" for number in range(9)])
    content = await processed.json(f"/preview?{query}")
    assert len(content["images"]) == 1
    assert len(content["problems"]) == 3


async def test_an_upload_is_displayable_in_a_format_that_browsers_show(console: RunningConsole) -> None:
    clients, settings = console.clients, console.settings
    async with running_worker(settings, clients, decoders=1):
        await upload(clients.s3, settings, "scan", encoded(quadrants(64, 48), "TIFF"))
        await wait_until_processed(clients.dynamodb, settings, "scan")
    assert f'src="/preview/original/{USER}/scan" alt="Original"' in await console.html("/images/scan")
    async with console.browser.get(f"/preview/original/{USER}/scan") as response:
        assert (response.status, response.content_type) == (200, "image/webp")
        assert opened(await response.read()).size == (64, 48)
    async with console.browser.get(f"/preview/original/{USER}/nothing") as response:
        assert response.status == 404


async def test_a_logo_below_the_prefix_of_logos_is_previewed(processed: RunningConsole) -> None:
    clients, settings = processed.clients, processed.settings
    logo = encoded(quadrants(64, 48), "PNG")
    await clients.s3.put_object(Bucket=settings.bucket, Key="logos/acme.png", Body=logo)
    (found,) = (await processed.json(f"/preview?{PHOTO}&watermark=logo&logo=acme.png"))["images"]
    (missing,) = (await processed.json(f"/preview?{PHOTO}&watermark=logo&logo=none.png"))["images"]
    assert found["notes"] == []
    (note,) = missing["notes"]
    assert "missing" in note


async def test_an_image_whose_ids_are_not_printable_is_previewed(console: RunningConsole) -> None:
    clients, settings = console.clients, console.settings
    user, name = f"{HOSTILE} %2F".replace("/", "_"), "a/b %2F\u202e\r\n&#"
    async with running_worker(settings, clients, decoders=1):
        await clients.s3.put_object(
            Bucket=settings.bucket, Key=f"uploads/{user}/{name}.png", Body=encoded(quadrants(40, 30), "PNG")
        )
        await wait_until_processed(clients.dynamodb, settings, name, user_id=user)
    (recent,) = (await console.json("/preview"))["recent"]
    page = await console.html("/preview")
    assert f'value="{recent["reference"]}"' in page
    (image,) = (await console.json(f"/preview?{urlencode({'image': recent['reference']})}"))["images"]
    assert (image["userId"], image["imageId"]) == (user, name)
    for address in (image["preview"]["url"], image["stored"]["url"]):
        async with console.browser.get(URL(address, encoded=True)) as response:
            assert (response.status, response.content_type) == (200, "image/png")


async def test_images_whose_recipe_has_changed_are_reprocessed_after_a_dry_run(
    processed: RunningConsole,
) -> None:
    async with changed_preferences(processed, watermarkText="Other"):
        page = await processed.html("/preview")
        (address,) = re.findall(r'method="post" action="(/operations[^"]*)"', page)
        async with processed.browser.post(unescape(address)) as response:
            assert response.status == 200
            assert response.url.path.startswith("/operations/")
