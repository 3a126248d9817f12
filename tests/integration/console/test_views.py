"""The pages of images and users, and the files they show, over the emulator."""

import json
import random
import re
from dataclasses import replace
from datetime import timedelta
from html import unescape
from io import BytesIO
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest
from aiohttp import ClientError
from PIL import Image as Pixels

from tests.support.builders import a_claimant, a_job, a_rendition, all_transitions
from tests.support.console import RunningConsole, running_console
from tests.support.emulators import delete_table
from tests.support.fault_proxy import ProxyFault, fault_proxy
from tests.support.pictures import encoded, quadrants
from worker.console.views.media import MAX_STREAMS
from worker.domain import clock
from worker.domain.claim import Claimed, decide
from worker.domain.clock import utc_now
from worker.domain.image import Image, Rendition
from worker.domain.job import SourceVersion
from worker.domain.printable import UNPRINTABLE
from worker.domain.status import ImageStatus, StepName
from worker.domain.transition import apply_all
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

HOSTILE_IDS = [
    "a/b.c",
    "%2F%00%",
    "<img src=x onerror=alert(1)>",
    "{image_id}?#&=+ ~",
    "\x1b[31m\u202e'; rm -rf /;",
    "-rf",
    "ünï☺",
]


def completed(
    settings: Settings, image_id: str = "img_1", user_id: str = "user_1", *, minutes_ago: float = 1
) -> Image:
    """Return a completed image that was uploaded shortly before now."""
    decision = decide(None, a_job(image_id, user_id), a_claimant())
    assert isinstance(decision, Claimed)
    image = apply_all(decision.image, all_transitions(image_id, user_id))
    at = utc_now() - timedelta(minutes=minutes_ago)
    return replace(
        image,
        bucket=settings.bucket,
        created_at=at,
        version=SourceVersion(e_tag=None, version_id=None, sequencer=None, uploaded_at=at),
        history=tuple(replace(entry, at=at + (entry.at - image.created_at)) for entry in image.history),
        processed_at=at + timedelta(seconds=2),
    )


async def put_record(dynamodb: "DynamoDBClient", settings: Settings, image: Image, **attributes: Any) -> None:
    item = to_item(image, Table(settings.table_name, index_shards=settings.index_shards)) | attributes
    await dynamodb.put_item(TableName=settings.table_name, Item=encode_map(item))


async def status_of(console: RunningConsole, path: str, **headers: str) -> int:
    async with console.browser.get(path, headers=headers) as response:
        await response.read()
        return response.status


def image_path(image_id: str, user_id: str | None = None) -> str:
    query = f"?user={quote(user_id, safe='')}" if user_id is not None else ""
    return f"/images/{quote(image_id, safe='')}{query}"


def media_path(image: Image, size: str) -> str:
    return f"/media/{quote(image.user_id, safe='')}/{quote(image.image_id, safe='')}/{quote(size, safe='')}"


async def stored(s3: "S3Client", settings: Settings, key: str, content: bytes) -> str:
    """Store an object; return its ETag."""
    response = await s3.put_object(Bucket=settings.bucket, Key=key, Body=content)
    return response["ETag"].strip('"')


# The list


async def test_images_are_listed_by_status_day_and_user_page_by_page(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    for number in range(60):
        image = completed(console.settings, f"img_{number:02}", f"user_{number % 2}", minutes_ago=number)
        image = replace(image, status=ImageStatus.FAILED if number % 3 == 0 else ImageStatus.COMPLETED)
        await put_record(dynamodb, console.settings, image)
    today = utc_now().date()

    first = await console.json("/images")
    assert [image["imageId"] for image in first["images"]] == [f"img_{number:02}" for number in range(50)]
    assert first["bound"] == "A page of 50 images of the last 7 days, newest first"
    second = await console.json(f"/images?token={first['nextToken']}")
    assert [image["imageId"] for image in second["images"]] == [f"img_{number}" for number in range(50, 60)]
    assert second["nextToken"] is None

    failed = await console.json("/images?status=failed")
    assert len(failed["images"]) == 20
    of_user = await console.json("/images?user=user_1&status=failed")
    assert {image["userId"] for image in of_user["images"]} == {"user_1"}
    assert of_user["bound"].endswith("10 on this page match all filters")
    by_name = await console.json(f"/images?day={today}&name=VACATION")
    assert len(by_name["images"]) in range(1, 51)

    html = await console.html("/images?status=failed")
    assert html.count("<li data-row>") == 20
    (next_page,) = re.findall(r'rel="next" href="([^"]+)"', await console.html("/images"))
    assert "img_59" in await console.html(unescape(next_page))


@pytest.mark.parametrize("query", ["status=odd", "day=yesterday", "day=2024-13-01", "token=x"])
async def test_a_filter_or_token_that_does_not_exist_is_a_page_that_says_so(
    console: RunningConsole, query: str
) -> None:
    assert await status_of(console, f"/images?{query}") == 400


async def test_a_list_without_images_says_what_to_do(console: RunningConsole) -> None:
    assert "No images" in await console.html("/images?user=nobody")
    assert (await console.json("/images"))["images"] == []


# An image


async def test_an_image_is_found_by_its_id_and_by_its_user(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    for user_id in ("alice", "bob"):
        await put_record(dynamodb, console.settings, completed(console.settings, "shared", user_id))
    await put_record(dynamodb, console.settings, completed(console.settings, "own", "alice"))

    assert (await console.json(image_path("own")))["image"]["userId"] == "alice"
    assert (await console.json(image_path("shared", "bob")))["image"]["userId"] == "bob"
    owners = await console.json(image_path("shared"))
    assert {image["userId"] for image in owners["images"]} == {"alice", "bob"}
    assert "2 users have an image with this id, as far as one query finds them" in await console.html(
        image_path("shared")
    )
    for path in (
        image_path("none"),
        image_path("own", "bob"),
        image_path("user_profile"),
        image_path("x" * 3000),
    ):
        assert await status_of(console, path) == 404


@pytest.mark.parametrize("hostile", HOSTILE_IDS, ids=ascii)
async def test_hostile_ids_lead_from_page_to_page_and_are_shown_as_text(
    console: RunningConsole, dynamodb: "DynamoDBClient", hostile: str
) -> None:
    image = completed(console.settings, hostile, hostile)
    image = replace(image, file_name=hostile, metadata={hostile: hostile}, tags=(hostile,))
    await put_record(dynamodb, console.settings, image)
    seen = set()
    waiting = ["/images", "/users", f"/search?q={quote(hostile, safe='')}"]
    while waiting:
        path = waiting.pop()
        seen.add(path)
        html = await console.html(path)
        assert UNPRINTABLE.search(html) is None
        assert "<img src=x" not in html
        links = {unescape(link) for link in re.findall(r'href="(/(?:images|users)[^"]*)"', html)}
        waiting += links - seen - set(waiting)
    quoted = quote(quote(hostile, safe=""), safe="")
    assert (await console.json(f"/images?quoted_user={quoted}"))["filters"]["user"] == hostile
    content = await console.json(image_path(hostile, hostile))
    assert (content["image"]["imageId"], content["image"]["userId"]) == (hostile, hostile)
    assert (await console.json(f"/users/{quote(hostile, safe='')}"))["userId"] == hostile
    assert image_path(hostile, hostile) in seen


async def test_a_record_that_cannot_be_read_is_a_sentence(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    await put_record(dynamodb, console.settings, completed(console.settings, "good"))
    await put_record(dynamodb, console.settings, completed(console.settings, "bad"), createdAt="no time")
    for path in (image_path("bad"), image_path("bad", "user_1")):
        async with console.browser.get(path) as response:
            assert response.status == 502
            assert "createdAt" in await response.text()
    for path in ("/images", "/images?user=user_1", "/users/user_1", "/search?q=bad"):
        assert "createdAt" in await console.html(path)
    assert [image["imageId"] for image in (await console.json("/images"))["images"]] == ["good"]


async def test_an_unavailable_table_is_a_page_that_says_so(own_console: RunningConsole) -> None:
    console = own_console
    await delete_table(console.clients.dynamodb, console.settings.table_name)
    for path in ("/images", image_path("x"), "/users/x", "/search?q=x", "/media/x/x/original"):
        async with console.browser.get(path) as response:
            assert response.status in {502, 503}
            assert "Traceback" not in await response.text()


# The search


async def test_a_search_finds_ids_keys_users_and_recent_file_names(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    image = completed(console.settings, "folder/img_7", "alice")
    await put_record(dynamodb, console.settings, replace(image, file_name="Holiday.jpg"))
    page = image_path("folder/img_7", "alice")
    for query in (
        "folder/img_7",
        " folder/img_7 ",
        "uploads/alice/folder/img_7.jpg",
        f"s3://{console.settings.bucket}/uploads/alice/folder/img_7.jpg",
        "holiday",
    ):
        async with console.browser.get("/search", params={"q": query}, allow_redirects=False) as response:
            assert (response.status, response.headers["Location"]) == (303, page), query
    found = await console.json("/search?q=alice")
    assert found["users"] == [{"userId": "alice"}]
    for nothing in ("nobody", "", "x" * 5000, "%ff%00", "uploads/../x"):
        assert "Nothing found" in await console.html(f"/search?q={nothing}")


# Users


async def test_a_user_has_a_gallery_with_placeholders_statistics_and_preferences(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    image = completed(console.settings)
    resize = next(step for step in image.steps if step == "resize")
    detail = {**image.steps[resize].detail, "blurHash": "LVFs3t%LD*t7~pt7M|ofD*WCofWC"}
    image = replace(image, steps={**image.steps, resize: replace(image.steps[resize], detail=detail)})
    await put_record(dynamodb, console.settings, image)
    html = await console.html("/users/user_1")
    (placeholder,) = re.findall(r'src="(/placeholders/[^"]+)"', html)
    async with console.browser.get(placeholder) as response:
        assert response.content_type == "image/png"
        assert response.headers["Cache-Control"].endswith("immutable")
        assert Pixels.open(BytesIO(await response.read())).size == (32, 24)
    content = await console.json("/users/user_1")
    assert content["statistics"] == {"totalImages": 0, "totalStorageUsed": 0, "lastUploadAt": None}
    assert content["images"][0]["hasResult"] is True
    users = await console.json("/users")
    assert [(user["userId"], user["images"]) for user in users["users"]] == [("user_1", 1)]
    assert await status_of(console, "/users/user_1") == 200
    assert await status_of(console, f"/users/{'x' * 2000}") == 404


async def test_preferences_are_saved_as_the_command_line_saves_them(console: RunningConsole) -> None:
    path = "/users/alice/preferences"
    form = {"defaultImageSize": "large", "watermarkEnabled": "off", "watermarkText": "", "watermarkImage": ""}
    async with console.browser.post(path, data=form, allow_redirects=False) as response:
        assert (response.status, response.headers["Location"]) == (303, "/users/alice")
    content = await console.json("/users/alice")
    assert content["profile"]["profile"]["preferences"] == {
        "defaultImageSize": "large",
        "watermarkEnabled": False,
    }
    assert "<option selected>large</option>" in await console.html("/users/alice")

    # Another operator's change of a field that this form did not change stays.
    stale = {"shown.defaultImageSize": "", "defaultImageSize": "", "watermarkText": "Mine"}
    async with console.browser.post(path, data=stale, allow_redirects=False) as response:
        assert response.status == 303
    content = await console.json("/users/alice")
    assert content["preferences"]["defaultImageSize"] == "large"
    assert content["preferences"]["watermarkText"] == "Mine"


async def test_a_preference_that_cannot_be_used_is_explained_and_not_saved(console: RunningConsole) -> None:
    for form, problem in (
        ({"defaultImageSize": "<b>odd</b>"}, "&lt;b&gt;odd&lt;/b&gt;"),
        ({"watermarkText": "x" * 201}, "201 characters"),
        ({"watermarkText": "a\x1bb"}, "control character"),
    ):
        async with console.browser.post("/users/alice/preferences", data=form) as response:
            assert response.status == 422
            html = await response.text()
            assert problem in html
            assert "<b>odd" not in html
    assert (await console.json("/users/alice"))["profile"] is None


# Media


async def test_a_rendition_is_streamed_with_the_type_of_its_record(
    console: RunningConsole, dynamodb: "DynamoDBClient", s3: "S3Client"
) -> None:
    content = bytes(range(256)) * 4000
    e_tag = await stored(s3, console.settings, "processed/user_1/img_1.jpg", content)
    image = completed(console.settings)
    image = replace(image, renditions={"medium": replace(a_rendition(), e_tag=e_tag)})
    await put_record(dynamodb, console.settings, image)
    for size in ("medium", "@smallest"):
        async with console.browser.get(media_path(image, size)) as response:
            assert await response.read() == content
            assert response.content_type == "image/jpeg"
            assert response.headers["X-Content-Type-Options"] == "nosniff"
            assert response.headers["ETag"] == f'"{e_tag}"'
            assert response.headers["Content-Length"] == str(len(content))
            assert response.headers["Cache-Control"] == "private, no-cache"
    async with console.browser.get(
        media_path(image, "medium"), headers={"If-None-Match": f'"other", "{e_tag}"'}
    ) as response:
        assert (response.status, await response.read()) == (304, b"")
    assert await status_of(console, media_path(image, "none")) == 404


async def test_an_original_is_an_attachment_with_the_type_that_validation_found(
    console: RunningConsole, dynamodb: "DynamoDBClient", s3: "S3Client"
) -> None:
    content = encoded(quadrants(80, 50))
    await s3.put_object(
        Bucket=console.settings.bucket, Key="uploads/user_1/img_1.jpg", Body=content, ContentType="text/html"
    )
    image = replace(completed(console.settings), file_name="<b>naïve\u202e.html")
    await put_record(dynamodb, console.settings, image)
    async with console.browser.get(media_path(image, "original")) as response:
        assert await response.read() == content
        assert response.content_type == "image/jpeg"
        disposition = response.headers["Content-Disposition"]
        assert disposition.startswith("attachment;")
        assert disposition.endswith(".html.jpg")
        assert quote("naïve") in disposition

    unvalidated = replace(image, image_id="img_2", steps={})
    await put_record(dynamodb, console.settings, unvalidated)
    async with console.browser.get(media_path(unvalidated, "original")) as response:
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"].endswith(".html.bin")


async def test_a_file_that_is_gone_or_was_replaced_is_not_found(
    console: RunningConsole, dynamodb: "DynamoDBClient", s3: "S3Client"
) -> None:
    image = completed(console.settings)
    replaced = replace(
        image,
        image_id="img_2",
        key="uploads/user_1/img_2.jpg",
        version=replace(image.version, e_tag="0" * 32),
    )
    await stored(s3, console.settings, replaced.key, b"newer")
    for each in (image, replaced):
        await put_record(dynamodb, console.settings, each)
        assert await status_of(console, media_path(each, "original")) == 404
    assert await status_of(console, media_path(image, "medium")) == 404


async def test_in_a_versioned_bucket_the_upload_is_the_version_of_the_record(
    own_console: RunningConsole,
) -> None:
    console, s3, bucket = own_console, own_console.clients.s3, own_console.settings.bucket
    await s3.put_bucket_versioning(Bucket=bucket, VersioningConfiguration={"Status": "Enabled"})
    image = completed(console.settings)
    first = await s3.put_object(Bucket=bucket, Key=image.key, Body=b"first")
    await s3.put_object(Bucket=bucket, Key=image.key, Body=b"second")
    image = replace(image, version=replace(image.version, version_id=first["VersionId"]))
    await put_record(console.clients.dynamodb, console.settings, image)
    async with console.browser.get(media_path(image, "original")) as response:
        assert await response.read() == b"first"


@pytest.mark.parametrize("e_tag", ["", 'a"b', "a\r\nX-Injected: 1", "ü", "*"], ids=ascii)
async def test_a_damaged_record_cannot_add_headers(
    console: RunningConsole, dynamodb: "DynamoDBClient", s3: "S3Client", e_tag: str
) -> None:
    await stored(s3, console.settings, "processed/user_1/img_1.jpg", b"x")
    rendition: Rendition = replace(a_rendition(), e_tag=e_tag, format="svg+xml\r\nX-Injected: 1")
    image = replace(completed(console.settings), renditions={"medium": rendition})
    await put_record(dynamodb, console.settings, image)
    async with console.browser.get(media_path(image, "medium")) as response:
        assert response.status == 200
        assert response.content_type == "application/octet-stream"
        assert response.headers["Content-Disposition"].startswith("attachment;")
        assert "X-Injected" not in response.headers


async def test_a_download_that_s3_cuts_off_is_not_mistaken_for_a_whole_one(
    provisioned: Settings, dynamodb: "DynamoDBClient", s3: "S3Client"
) -> None:
    content = random.Random(1).randbytes(1_000_000)
    image = completed(provisioned)
    await stored(s3, provisioned, "processed/user_1/img_1.jpg", content)
    await put_record(dynamodb, provisioned, image)
    async with (
        fault_proxy(str(provisioned.endpoint_url), seed=1) as proxy,
        running_console(provisioned, endpoint_url=proxy.endpoint_url) as console,
    ):
        proxy.planned.append(ProxyFault.CUT)
        response = await console.browser.get(media_path(image, "medium"))
        assert response.status == 200
        with pytest.raises(ClientError):
            await response.read()
        async with console.browser.get(media_path(image, "medium")) as response:
            assert await response.read() == content


async def test_clients_that_leave_do_not_keep_the_streams(
    console: RunningConsole, dynamodb: "DynamoDBClient", s3: "S3Client"
) -> None:
    image = completed(console.settings)
    content = bytes(20_000_000)
    await stored(s3, console.settings, "processed/user_1/img_1.jpg", content)
    await put_record(dynamodb, console.settings, image)
    for _ in range(2 * MAX_STREAMS):
        response = await console.browser.get(media_path(image, "medium"))
        assert response.status == 200
        response.close()  # without reading the body
    async with console.browser.get(media_path(image, "medium")) as response:
        assert await response.read() == content


async def test_every_page_has_the_same_content_as_json(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    image = completed(console.settings)
    await put_record(dynamodb, console.settings, image)
    for path in ("/images", "/users", "/users/user_1", image_path("img_1"), "/search?q=user_1"):
        document = json.dumps(await console.json(path))
        html = unescape(await console.html(path))
        for text in ("img_1", "user_1", "vacation-photo.jpg", clock.to_text(image.created_at)):
            assert (text in document) is (text in html), (path, text)


# Similar images


def with_hash(image: Image, digits: str) -> Image:
    resized = image.steps[StepName.RESIZE]
    detail = {**resized.detail, "perceptualHash": digits}
    return replace(image, steps={**image.steps, StepName.RESIZE: replace(resized, detail=detail)})


async def test_similar_images_of_the_same_user_are_listed_nearest_first(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    user_id = "<b>\x1b&user"
    hashes = {"img_1": "f0" * 8, "near": "f0" * 7 + "f1", "nearer": "f0" * 8, "far": "0f" * 8}
    for image_id, digits in hashes.items():
        image = with_hash(completed(console.settings, image_id, user_id), digits)
        await put_record(dynamodb, console.settings, image)
    of_another = with_hash(completed(console.settings, "img_1", "somebody else"), "f0" * 8)
    await put_record(dynamodb, console.settings, of_another)

    page = await console.html(image_path("img_1", user_id))
    (path,) = re.findall(r'href="([^"]+)">Similar images of this user', page)
    content = await console.json(unescape(path))
    assert [(image["imageId"], image["distance"]) for image in content["images"]] == [
        ("nearer", 0),
        ("near", 1),
    ]
    assert (content["searched"], content["maxDistance"]) == (3, 10)
    assert content["bound"].startswith("Compared with 3 other images of this user, at most the newest 1,000")

    html = await console.html(unescape(path))
    assert html.count("<li data-row>") == 2
    assert "1 bit differs" in html
    (quoted,) = re.findall(r'name="quoted_user" value="([^"]+)"', html)
    searched = await console.json(f"/images/img_1/similar?quoted_user={quote(unescape(quoted))}&distance=64")
    assert [image["imageId"] for image in searched["images"]] == ["nearer", "near", "far"]


async def test_an_image_without_a_hash_and_a_user_without_copies_have_a_page_that_says_so(
    console: RunningConsole, dynamodb: "DynamoDBClient"
) -> None:
    image = with_hash(completed(console.settings, "alone"), "f0" * 8)
    await put_record(dynamodb, console.settings, image)
    decision = decide(None, a_job("new"), a_claimant())
    assert isinstance(decision, Claimed)
    await put_record(dynamodb, console.settings, decision.image)
    assert "No similar images" in await console.html("/images/alone/similar?user=user_1")
    assert "No perceptual hash" in await console.html("/images/new/similar?user=user_1")


@pytest.mark.parametrize(
    ("query", "status"),
    [
        ("user=user_1&distance=65", 400),
        ("user=user_1&distance=-1", 400),
        ("user=user_1&distance=1e1", 400),
        ("user=user_1&distance=%D9%A3", 400),
        ("user=nobody", 404),
        ("", 404),
    ],
)
async def test_a_distance_or_image_that_does_not_exist_has_an_error_page(
    console: RunningConsole, query: str, status: int
) -> None:
    assert await status_of(console, f"/images/img_1/similar?{query}") == status
