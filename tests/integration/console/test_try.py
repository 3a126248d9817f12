"""The Try page: upload through the console, and watch the images from their upload to their end."""

import asyncio
import re
import sys
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from html import unescape
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

import aiohttp
import pytest

from tests.support import killed_worker
from tests.support.console import JSON, RunningConsole, running_console
from tests.support.emulators import variables_of
from tests.support.killed_worker import KILLER
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import Storage
from tests.support.whole_worker import running_worker, wait_until_processed
from worker.bootstrap import build_queries
from worker.local.embedded_aws import embedded_environment
from worker.s3.uploads import Upload, Uploads
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client

HOSTILE_NAME = "<img src=x onerror=alert(1)>\N{RIGHT-TO-LEFT OVERRIDE}gnp.jpg"

BOUNDED = "multipart/form-data; boundary=x"
ENCODED = b"--x\r\nContent-Disposition: form-data; name=a\r\nContent-Transfer-Encoding: "
FIELD = b"--x\r\nContent-Disposition: form-data; name="


def a_form(*files: tuple[str, bytes], user: str = "alice", images: str = "") -> aiohttp.FormData:
    form = aiohttp.FormData(quote_fields=False)
    form.add_field("user", user)
    form.add_field("images", images)
    for name, content in files:
        form.add_field("file", BytesIO(content), filename=name, content_type="image/jpeg")
    return form


async def post(console: RunningConsole, form: aiohttp.FormData) -> tuple[int, dict[str, Any]]:
    """Send a form as a program does; return the status and the JSON."""
    async with console.browser.post("/try", data=form, headers=JSON) as response:
        return response.status, await response.json()


async def objects_of(s3: "S3Client", settings: Settings) -> list[str]:
    response = await s3.list_objects_v2(Bucket=settings.bucket, Prefix="uploads/")
    return [found["Key"] for found in response.get("Contents", [])]


async def test_a_form_without_scripts_leads_to_the_page_with_the_images(console: RunningConsole) -> None:
    form = a_form(("a.jpg", b"one"), ("b.jpg", b"two"))
    async with console.browser.post("/try", data=form, allow_redirects=False) as response:
        assert response.status == 303
        location = response.headers["Location"]
    assert re.fullmatch(r"/try\?user=alice&images=img_[0-9a-f]{16}(,|%2C)img_[0-9a-f]{16}", location)
    page = await console.html(location)
    assert page.count('<article class="card journey"') == 2
    assert "a.jpg" in page
    assert "b.jpg" in page


async def test_uploads_are_stored_as_the_command_line_stores_them(
    console: RunningConsole, provisioned: Settings, dynamodb: "DynamoDBClient"
) -> None:
    content = encoded(quadrants(64, 64))
    status, body = await post(console, a_form((HOSTILE_NAME, content), ("film.mov", content)))
    assert status == 201
    assert body["rejected"] == []
    ids = [each["imageId"] for each in body["images"]]
    assert ids[1].endswith(".mov"), "the image id is the one that the worker derives from the key"
    async with running_worker(provisioned, console.clients, decoders=1):
        images = await wait_until_processed(dynamodb, provisioned, *ids, user_id="alice")
    assert [(image.status, image.file_name) for image in images] == [
        ("completed", HOSTILE_NAME),
        ("completed", "film.mov"),
    ]
    assert [image.key for image in images] == [each["key"] for each in body["images"]]


async def test_an_image_is_shown_with_its_stages_its_result_and_its_saving(
    console: RunningConsole, provisioned: Settings, dynamodb: "DynamoDBClient"
) -> None:
    content = encoded(quadrants(1600, 1200))
    _, body = await post(console, a_form(("photo.jpg", content), ("broken.png", b"not an image")))
    ids = [each["imageId"] for each in body["images"]]
    path = f"/try?user=alice&images={','.join(ids)}"
    (waiting, _) = (await console.json(path))["images"]
    assert (waiting["status"], waiting["originalFileName"]) == ("uploaded", "photo.jpg")
    assert waiting["originalFileSize"] == len(content)
    assert [stage["status"] for stage in waiting["attempts"][0]["stages"]] == ["done", *["waiting"] * 6]

    async with running_worker(provisioned, console.clients, decoders=1):
        await wait_until_processed(dynamodb, provisioned, *ids, user_id="alice")
    done, failed = (await console.json(path))["images"]
    (attempt,) = done["attempts"]
    assert [stage["name"] for stage in attempt["stages"]] == [
        *("uploaded", "claimed", "validated", "resized", "watermarked", "stored", "completed")
    ]
    assert all(stage["elapsedMs"] >= 0 for stage in attempt["stages"][1:])
    assert done["elapsedMs"] == attempt["elapsedMs"] == attempt["stages"][-1]["elapsedMs"]
    assert done["result"]["bytes"] < len(content)
    assert done["result"]["savingPercent"] == round(100 * (1 - done["result"]["bytes"] / len(content)))
    assert failed["error"]["code"] == "not_an_image"
    assert failed["error"]["advice"]
    page = await console.html(path)
    assert f"/media/alice/{ids[0]}/medium" in page
    assert "What to do:" in page


async def test_hostile_names_are_shown_as_text(console: RunningConsole) -> None:
    _, body = await post(console, a_form((HOSTILE_NAME, b"x"), user="<b>\x1b[2J"))
    (stored,) = body["images"]
    async with console.browser.get(
        "/try", params={"user": "<b>\x1b[2J", "images": f"{stored['imageId']},<script>,%22"}
    ) as response:
        page = await response.text()
    assert "<img src=x" not in page
    assert "<script>" not in page
    assert "<b>" not in page
    assert "\x1b" not in page
    assert "\N{RIGHT-TO-LEFT OVERRIDE}" not in page
    assert "<img src=x onerror=alert(1)>" in unescape(page)


@pytest.mark.parametrize(
    ("files", "user", "reason"),
    [
        ([("empty.jpg", b"")], "alice", "it is empty; choose a file with an image"),
        ([("large.jpg", b"x" * 2_000_001)], "alice", "it has 2,000,001 bytes, above the limit of 2,000,000;"),
        ([("a.jpg", b"x")], "a/b", "the user id is 'a/b'"),
        ([("\N{SNOWMAN}" * 400, b"x")], "alice", "longer than the 2,048 bytes"),
    ],
)
async def test_a_file_that_is_not_uploaded_has_one_sentence_with_the_reason(
    storage: Storage,
    provisioned: Settings,
    s3: "S3Client",
    files: list[tuple[str, bytes]],
    user: str,
    reason: str,
) -> None:
    async with running_console(storage.settings, clients=storage.clients, max_bytes=2_000_000) as console:
        form = a_form(*files, ("good.jpg", b"x"), user=user) if user == "alice" and files else None
        status, body = await post(console, form or a_form(*files, user=user))
        assert status == 422
        assert reason in body["rejected"][0]["reason"]
        assert len(body["images"]) == (1 if form else 0), "the other files are uploaded"
        async with console.browser.post("/try", data=a_form(*files, user=user)) as response:
            assert response.status == 422
            assert reason in unescape(await response.text())
    assert len(await objects_of(s3, provisioned)) == (1 if form else 0)


async def test_a_form_without_a_file_says_so(console: RunningConsole) -> None:
    nothing = FIELD + b'"file"; filename=""\r\nContent-Type: application/octet-stream\r\n\r\n\r\n--x--\r\n'
    async with console.browser.post("/try", data=nothing, headers={"Content-Type": BOUNDED}) as response:
        assert response.status == 422
        assert "no file was chosen; choose one or several images" in await response.text()


async def test_files_beyond_the_number_of_one_form_are_not_stored(console: RunningConsole) -> None:
    status, body = await post(console, a_form(*((f"{n}.jpg", b"x") for n in range(22))))
    assert (status, len(body["images"]), len(body["rejected"])) == (422, 20, 2)
    assert "takes 20 at once" in body["rejected"][0]["reason"]


async def test_a_large_upload_is_not_kept_in_memory(
    storage: Storage, provisioned: Settings, s3: "S3Client", monkeypatch: pytest.MonkeyPatch
) -> None:
    size = 40_000_000
    largest = 0
    store = Uploads.store

    async def chunks() -> AsyncIterator[bytes]:
        for _ in range(size // 100_000):
            yield b"x" * 100_000

    async def spy(self: Uploads, content: Any, **named: Any) -> Upload:
        nonlocal largest
        largest = max(largest, len(content) if isinstance(content, bytes) else 0)
        return await store(self, content, **named)

    monkeypatch.setattr(Uploads, "store", spy)
    async with running_console(storage.settings, clients=storage.clients) as console:
        form = a_form()
        form.add_field("file", chunks(), filename="large.jpg", content_type="image/jpeg")
        status, body = await post(console, form)
    assert status == 201
    head = await s3.head_object(Bucket=provisioned.bucket, Key=body["images"][0]["key"])
    assert head["ContentLength"] == size
    assert largest == 0, "it was received into a file"


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        ("application/x-www-form-urlencoded", b"user=alice"),
        ("multipart/form-data", b"no boundary"),
        (BOUNDED, b"garbage"),
        (BOUNDED, FIELD + b'"file"; filename="a"\r\n\r\nx'),
        (BOUNDED, FIELD + b'"user"\r\n\r\n' + b"x" * 9000 + b"\r\n--x--\r\n"),
        (BOUNDED, b"--x\r\nContent-Type: multipart/mixed; boundary=y\r\n\r\n--y--\r\n--x--\r\n"),
        (
            BOUNDED,
            b'--x\r\nContent-Disposition: form-data; name="images"; filename="\x1b"\r\n\r\na\r\n--x--\r\n',
        ),
        (BOUNDED, b"--x\r\nContent-Disp"),
        (
            BOUNDED,
            ENCODED + b"rot13\r\n\r\nb\r\n--x--",
        ),
        (
            BOUNDED,
            ENCODED + b"base64\r\n\r\n!\r\n--x--",
        ),
    ],
    ids=[
        *("other type", "no boundary", "garbage", "no end", "long field", "nested"),
        *("control character", "half a header", "unknown encoding", "damaged encoding"),
    ],
)
async def test_a_damaged_form_is_rejected(console: RunningConsole, content_type: str, body: bytes) -> None:
    async with console.browser.post("/try", data=body, headers={"Content-Type": content_type}) as response:
        assert response.status in {400, 422}


async def test_while_s3_is_unavailable_the_page_says_so(own_console: RunningConsole) -> None:
    await own_console.clients.s3.delete_bucket(Bucket=own_console.settings.bucket)
    status, body = await post(own_console, a_form(("a.jpg", b"x"), ("b.jpg", b"x")))
    assert status == 503
    assert "could not upload a.jpg" in body["rejected"][0]["reason"]
    assert len(body["rejected"]) == 2


class Watching:
    """The events of a Try page, kept as they arrive."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self.response = response
        self.text = ""

    async def until(self, *words: str, within_s: float = 60) -> None:
        """Read until the stream has sent all words."""
        async with asyncio.timeout(within_s):
            while not all(word in self.text for word in words):
                self.text += (await self.response.content.readany()).decode()


@asynccontextmanager
async def a_worker(
    environment: Mapping[str, str], folder: Path, *program: str
) -> AsyncIterator[asyncio.subprocess.Process]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *program,
        "run",
        cwd=folder,
        env=environment,
        stdin=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.DEVNULL,
    )
    try:
        yield process
    finally:
        if process.returncode is None:
            process.kill()
        await process.wait()


@pytest.mark.timeout(240)
async def test_a_worker_that_is_killed_is_seen_without_a_reload(
    console: RunningConsole, provisioned: Settings, ministack_endpoint: str, tmp_path: Path
) -> None:
    environment = {
        "PATH": "",
        "PYTHONPATH": str(Path(__file__).parents[3]),
        **embedded_environment(ministack_endpoint),
        **variables_of(provisioned),
        "WORKER_PROCESSES": "1",
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_HTTP_PORT": "0",
        "WORKER_VISIBILITY_TIMEOUT_S": "6",
        "KILLED_AT": "decode",
    }
    _, body = await post(console, a_form(("photo.jpg", encoded(quadrants(640, 480))), user=KILLER))
    image_id = body["images"][0]["imageId"]
    async with console.browser.get(f"/try/events?user={KILLER}&images={image_id}") as response:
        watching = Watching(response)
        await watching.until("event: image-0", "uploaded")
        async with a_worker(environment, tmp_path, killed_worker.__file__) as killed:
            await watching.until("processing", "claimed")
            await killed.wait()
        async with a_worker(environment, tmp_path, "-m", "worker"):
            await watching.until("lease expired", "Attempt 2", "data-ended", within_s=120)
        assert "photo.jpg completed after" in watching.text
        ids = [int(each) for each in re.findall(r"^id: (\d+)$", watching.text, re.MULTILINE)]
        assert ids == sorted(ids)
    image = await build_queries(console.clients.dynamodb, provisioned).image(image_id, KILLER)
    assert image
    assert (image.status, image.attempt) == ("completed", 2)
