"""Bulk actions of the console on an emulator: pages, two consoles, a console that is killed, and a worker."""

import asyncio
import os
import re
import signal
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

from tests.support.console import JSON, RunningConsole, a_context, signed_in
from tests.support.console_process import console_process
from tests.support.emulators import messages_in
from tests.support.failed_images import put_failed_images
from tests.support.pictures import encoded, quadrants
from tests.support.shared_storage import Storage
from tests.support.whole_worker import USER, running_worker, wait_until_processed, wait_until_queue_is_empty
from worker.bootstrap import RETRY_POLICIES, Clients, build_queries, open_clients, open_repairs, table_of
from worker.console.operations.operation import Action, Operation, Selection, State
from worker.console.operations.repairs import Repairs
from worker.console.operations.runner import OperationRunner
from worker.console.operations.store import OperationStore
from worker.domain.clock import utc_now
from worker.domain.errors import PageTokenError
from worker.domain.image import Image
from worker.domain.keys import OPERATION_IMAGE_ID
from worker.domain.status import ImageStatus
from worker.settings import Settings

IMAGE = encoded(quadrants(96, 72))


def store_of(clients: Clients, settings: Settings) -> OperationStore:
    return OperationStore(clients.dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


@asynccontextmanager
async def runner_of(
    clients: Clients, settings: Settings, *, rate_per_s: float = 10_000, ahead: timedelta = timedelta()
) -> AsyncIterator[OperationRunner]:
    """Run operations as a console does, with another rate and clock."""

    def opened(**arguments: Any) -> Any:
        return open_repairs(settings, clients, **arguments)

    runner = OperationRunner(
        store_of(clients, settings),
        Repairs(a_context(open_repairs=opened), rate_per_s=rate_per_s),
        clock=lambda: utc_now() + ahead,
        heartbeat_s=0.1,
    )
    try:
        yield runner
    finally:
        await runner.close()


async def until(
    store: OperationStore, operation_id: str, is_reached: Callable[[Operation], bool]
) -> Operation:
    async with asyncio.timeout(90):
        while True:
            operation = await store.get(operation_id)
            assert operation
            if is_reached(operation):
                return operation
            await asyncio.sleep(0.05)


async def posted(console: RunningConsole, path: str, **fields: str) -> str:
    """Send a form; return the path that it redirects to."""
    async with console.browser.post(path, data=fields, allow_redirects=False) as response:
        assert response.status == 303, await response.text()
        return response.headers["Location"]


async def images(clients: Clients, settings: Settings, image_ids: list[str]) -> list[Image]:
    queries = build_queries(clients.dynamodb, settings)
    return await queries.images([(image_id, USER) for image_id in image_ids], consistent=True)


def retries(image: Image) -> list[Any]:
    return [entry.detail for entry in image.history if entry.detail.get("reason") == "retried"]


async def test_operations_are_in_no_list_of_images_and_newest_first_in_their_own(
    storage: Storage,
) -> None:
    clients, provisioned = storage.clients, storage.settings
    async with runner_of(clients, provisioned) as runner:
        store, queries = store_of(clients, provisioned), build_queries(clients.dynamodb, provisioned)
        ids = []
        for number in range(3):
            operation = await runner.request(Action.RETRY, Selection(code=f"code-{number}"), by="alice")
            await until(store, operation.operation_id, lambda each: each.state is State.COMPLETED)
            ids.append(operation.operation_id)

        first = await store.newest(limit=2)
        second = await store.newest(limit=2, token=first.next_token)
        listed = [each.operation_id for each in (*first.operations, *second.operations)]
        assert listed == ids[::-1]
        with pytest.raises(PageTokenError):
            await store.newest(limit=2, token="p1_AAAA")

        today = utc_now().date()
        pages = [await queries.images_by_status(status) for status in ImageStatus]
        pages.append(await queries.recent_images(today - timedelta(days=1), today))
        pages += [await queries.images_of_user(operation_id) for operation_id in ids]
        assert [page for page in pages if page.images or page.unreadable] == []
        assert await queries.images_with_id(OPERATION_IMAGE_ID) == []
        assert await queries.image(OPERATION_IMAGE_ID, ids[0]) is None


async def test_concurrent_changes_of_two_consoles_are_all_kept_and_damaged_items_are_left_out(
    storage: Storage,
) -> None:
    clients, provisioned = storage.clients, storage.settings
    async with runner_of(clients, provisioned) as runner:
        one, two = store_of(clients, provisioned), store_of(clients, provisioned)
        operation = await runner.request(Action.RETRY, Selection(code="none"), by="alice")
        done = await until(one, operation.operation_id, lambda each: each.state is State.COMPLETED)

        def counted(operation: Operation) -> Operation:
            count = operation.counts.get("seen", 0) + 1
            return replace(operation, counts={"seen": count})

        await asyncio.gather(*(each.change(done.operation_id, counted) for each in (one, two) * 5))
        changed = await one.get(done.operation_id)
        assert changed
        assert changed.counts == {"seen": 10}

        damaged = {"imageId": {"S": OPERATION_IMAGE_ID}, "userId": {"S": "20240101T000000000Z-x"}}
        await clients.dynamodb.put_item(TableName=provisioned.table_name, Item=damaged)
        assert await one.get("20240101T000000000Z-x") is None
        assert [each.operation_id for each in (await one.newest(limit=9)).operations] == [done.operation_id]


async def test_a_group_is_retried_after_a_dry_run_and_a_typed_number_while_a_worker_runs(
    console: RunningConsole,
) -> None:
    settings, clients = console.settings, console.clients
    image_ids = [f"img_{number}" for number in range(101)]
    await put_failed_images(clients, settings, image_ids, content=IMAGE)
    await put_failed_images(clients, settings, ["other"], content=IMAGE, code="corrupt")

    groups = (await console.json("/failures"))["groups"]
    assert [(group["code"], group["count"]) for group in groups] == [("unavailable", 101), ("corrupt", 1)]
    page = await console.html("/failures/unavailable")
    assert "the reason of img_" in page
    assert "Retry group" in page

    path = await posted(console, "/operations", action="retry", code="unavailable")
    ready = await operation_at(console, path, "ready")
    assert (ready["expected"], ready["counted"]) == (101, {"retried": 101})
    assert "Type 101 to confirm" in await console.html(path)
    for typed in ("", "100", "yes"):
        async with console.browser.post(f"{path}/confirm", data={"count": typed}) as response:
            assert response.status == 400
    assert {image.status for image in await images(clients, settings, image_ids)} == {ImageStatus.FAILED}

    async with running_worker(settings, clients, decoders=1):
        await posted(console, f"{path}/confirm", count="101")
        done = await operation_at(console, path, "completed")
        ended = await wait_until_processed(clients.dynamodb, settings, *image_ids)
        await wait_until_queue_is_empty(clients.sqs, settings)
    assert done["counts"] == {"retried": 101}
    assert {image.status for image in ended} == {ImageStatus.COMPLETED}
    name = done["by"]
    assert {str(retries(image)) for image in ended} == {
        str([{"reason": "retried", "by": name, "via": "console", "command": "images retry"}])
    }
    (other,) = await images(clients, settings, ["other"])
    assert other.status is ImageStatus.FAILED
    listed = (await console.json("/operations"))["operations"]
    assert [(each["title"], each["state"]) for each in listed] == [
        ("Retry images that failed with unavailable", "completed")
    ]


async def operation_at(console: RunningConsole, path: str, state: str) -> dict[str, Any]:
    """Wait until the page of an operation shows a state; return its content."""
    async with asyncio.timeout(90):
        while True:
            operation: dict[str, Any] = (await console.json(path))["operation"]
            if operation["state"] == state:
                return operation
            assert operation["isActive"], operation
            await asyncio.sleep(0.05)


async def test_a_console_that_is_killed_in_a_retry_of_300_images_leaves_the_truth_and_it_is_continued(
    provisioned: Settings, tmp_path: Path
) -> None:
    image_ids = [f"img_{number}" for number in range(300)]
    async with open_clients(provisioned) as clients:
        await put_failed_images(clients, provisioned, image_ids, content=IMAGE)
        store = store_of(clients, provisioned)
        endpoint = str(provisioned.endpoint_url)
        async with (
            console_process(
                provisioned, tmp_path, endpoint_url=endpoint, exit_status=-signal.SIGKILL
            ) as process,
            signed_in(str(process.link)) as browser,
        ):
            killed = RunningConsole(provisioned, clients, browser)
            path = await posted(killed, "/operations", action="retry", code="unavailable")
            assert (await operation_at(killed, path, "ready"))["expected"] == 300
            await posted(killed, f"{path}/confirm", count="300")
            operation_id = path.rpartition("/")[2]
            await until(store, operation_id, lambda each: each.handled > 0)
            os.kill(process.pid, signal.SIGKILL)

        recorded = await store.get(operation_id)
        assert recorded
        found = await images(clients, provisioned, image_ids)
        pending = [image for image in found if image.status is ImageStatus.PENDING]
        assert recorded.handled <= len(pending) < 300, "at least what is recorded was done"
        assert recorded.state is State.RUNNING
        assert recorded.as_seen_at(utc_now() + timedelta(seconds=31)).state is State.STOPPED

        async with runner_of(clients, provisioned, ahead=timedelta(seconds=31)) as runner:
            continued = await runner.continue_(operation_id, by="bob")
            assert continued
            ready = await until(store, continued.operation_id, lambda each: each.state is State.READY)
            assert ready.expected == 300 - len(pending)
            await runner.confirm(continued.operation_id, by="bob")
            await until(store, continued.operation_id, lambda each: each.state is State.COMPLETED)
        settled = await store.get(operation_id)
        assert settled
        assert settled.state is State.STOPPED

        found = await images(clients, provisioned, image_ids)
        assert {image.status for image in found} == {ImageStatus.PENDING}
        assert {len(retries(image)) for image in found} == {1}
        assert Counter(str(retries(image)[0]["by"]) for image in found)["bob"] == 300 - len(pending)
        # The killed console may have written the records of one batch without having sent their messages.
        assert 290 <= await messages_in(clients.sqs, provisioned.queue_name) <= 300


async def test_another_console_pauses_and_stops_an_operation(storage: Storage) -> None:
    image_ids = [f"img_{number}" for number in range(60)]
    clients, provisioned = storage.clients, storage.settings
    async with (
        runner_of(clients, provisioned, rate_per_s=100) as owner,
        runner_of(clients, provisioned) as other,
    ):
        await put_failed_images(clients, provisioned, image_ids, content=IMAGE)
        store = store_of(clients, provisioned)
        operation = await owner.request(Action.RETRY, Selection(), by="alice")
        await until(store, operation.operation_id, lambda each: each.state is State.READY)
        await owner.confirm(operation.operation_id, by="alice")
        await until(store, operation.operation_id, lambda each: each.handled > 0)

        pause = await other.pause(operation.operation_id, by="bob")
        assert pause
        await until(store, operation.operation_id, lambda each: each.revision > pause.revision + 2)
        before = Counter(image.status for image in await images(clients, provisioned, image_ids))
        seen = await until(store, operation.operation_id, lambda each: each.revision > pause.revision + 6)
        after = Counter(image.status for image in await images(clients, provisioned, image_ids))
        assert before == after
        assert seen.handled == after[ImageStatus.PENDING] < 60

        await other.stop(operation.operation_id, by="carol")
        ended = await until(store, operation.operation_id, lambda each: each.state is State.STOPPED)
        assert ended.outcome == "stopped by carol"
        assert [event.what for event in ended.events] == ["requested", "confirmed", "paused", "stopped"]
        assert ended.handled == after[ImageStatus.PENDING]


async def test_dead_letters_are_listed_on_demand_and_redriven_by_reason(console: RunningConsole) -> None:
    settings, clients = console.settings, console.clients
    url = (await clients.sqs.get_queue_url(QueueName=settings.dead_letter_queue_name))["QueueUrl"]
    await put_failed_images(clients, settings, ["img_1", "img_2"], content=IMAGE)
    for image_id in ("img_1", "img_2", "<img src=x onerror=alert(1)>"):
        body = f'{{"version": 1, "bucket": "{settings.bucket}", "key": "uploads/{USER}/{image_id}.jpg"}}'
        await clients.sqs.send_message(QueueUrl=url, MessageBody=body)

    page = await console.html("/dead-letters")
    assert "Not listed yet" in page
    assert await posted(console, "/dead-letters/list") == "/dead-letters"
    listing = (await console.json("/dead-letters"))["listing"]
    assert {group["code"]: group["count"] for group in listing["groups"]} == {"unavailable": 2, "unknown": 1}
    page = await console.html("/dead-letters")
    assert "<img src=x" not in page
    assert "&lt;img src=x onerror=alert(1)&gt;" in page
    assert await messages_in(clients.sqs, settings.dead_letter_queue_name) == 3

    path = await posted(console, "/operations", action="redrive", code="unavailable")
    assert (await operation_at(console, path, "ready"))["expected"] == 2
    await posted(console, f"{path}/confirm")
    await operation_at(console, path, "completed")
    assert await messages_in(clients.sqs, settings.dead_letter_queue_name) == 1
    assert await messages_in(clients.sqs, settings.queue_name) == 2

    (letter,) = (await listed(console))["unknown"]
    path = await posted(console, "/operations", action="redrive", message_id=letter["messageId"])
    assert (await operation_at(console, path, "ready"))["expected"] == 1
    await posted(console, f"{path}/discard")
    assert (await console.json(path))["operation"]["state"] == "discarded"
    assert await messages_in(clients.sqs, settings.dead_letter_queue_name) == 1


async def listed(console: RunningConsole) -> dict[str, list[dict[str, Any]]]:
    await posted(console, "/dead-letters/list")
    groups = (await console.json("/dead-letters"))["listing"]["groups"]
    return {group["code"]: group["letters"] for group in groups}


async def test_one_image_is_retried_reprocessed_and_kept_for_some_days(console: RunningConsole) -> None:
    settings, clients = console.settings, console.clients
    await put_failed_images(clients, settings, ["img_1"], content=IMAGE)

    assert "Retry" in await console.html(f"/images/img_1?user={USER}")
    where = await posted(console, f"/images/img_1/retention?user={USER}", days="30")
    assert where == f"/images/img_1?user={USER}"
    await posted(console, f"/images/img_1/retry?user={USER}")
    (image,) = await images(clients, settings, ["img_1"])
    assert image.status is ImageStatus.PENDING
    assert image.ttl is not None
    assert [entry.detail["via"] for entry in image.history[-2:]] == ["console", "console"]
    assert await messages_in(clients.sqs, settings.queue_name) == 1

    for action, status, message in (
        ("retry", 409, "already pending"),
        ("reprocess", 409, "already pending"),
        ("retention", 400, "whole number from 1 to 36,500"),
    ):
        path = f"/images/img_1/{action}?user={USER}"
        async with console.browser.post(path, data={"days": "-1"}, headers=JSON) as response:
            assert response.status == status
            assert message in (await response.json())["error"]["message"]
    async with console.browser.post(f"/images/none/retry?user={USER}") as response:
        assert response.status == 404


@pytest.mark.parametrize(
    ("path", "fields", "status"),
    [
        ("/operations", {}, 400),
        ("/operations", {"action": "explode"}, 400),
        ("/operations", {"action": "retry", "code": "x" * 2000}, 400),
        ("/operations", {"action": "reprocess", "status": "pending"}, 400),
        ("/operations/none/confirm", {}, 404),
        (f"/operations/{'x' * 2000}/confirm", {}, 404),
        ("/operations/none/stop", {}, 404),
        ("/operations/none/explode", {}, 404),
        ("/images/img_1/retry", {}, 400),
    ],
)
async def test_a_form_with_other_fields_is_rejected(
    console: RunningConsole, path: str, fields: dict[str, str], status: int
) -> None:
    async with console.browser.post(path, data=fields) as response:
        assert response.status == status
        assert re.search(r"<h1>[^<]+</h1>", await response.text())


async def test_the_pages_of_operations_have_every_state_and_end_their_polling(
    console: RunningConsole,
) -> None:
    assert "No operations" in await console.html("/operations")
    assert "No images have failed" in await console.html("/failures")
    assert "No image has this code" in await console.html("/failures/%3Cb%3E")
    path = await posted(console, "/operations", action="reconcile", objects="1")
    done = await operation_at(console, path, "completed")
    assert (done["title"], done["outcome"]) == (
        "Reconcile stuck images and results",
        "there was nothing to do",
    )
    async with console.browser.get(f"{path}/progress", headers={"Accept": "text/html"}) as response:
        assert response.status == 286, "htmx asks no more"
        assert "<html" not in await response.text()
    assert "Reconcile stuck images" in await console.html("/operations")


async def test_an_image_is_deleted_and_a_user_forgotten_after_a_confirmation(
    console: RunningConsole,
) -> None:
    settings, clients = console.settings, console.clients
    async with running_worker(settings, clients, decoders=1):
        for image_id in ("img_1", "img_2"):
            await clients.s3.put_object(
                Bucket=settings.bucket, Key=f"uploads/{USER}/{image_id}.jpg", Body=IMAGE
            )
        await wait_until_processed(clients.dynamodb, settings, "img_1", "img_2")
    assert "Delete&hellip;" in await console.html(f"/images/img_1?user={USER}")
    assert "Forget&hellip;" in await console.html(f"/users/{USER}")

    for fields in ({"action": "delete", "user": USER}, {"action": "forget"}):
        async with console.browser.post("/operations", data=fields) as response:
            assert response.status == 400
    path = await posted(console, "/operations", action="delete", image="img_1", user=USER)
    await operation_at(console, path, "ready")
    assert "1 image would be deleted" in await console.html(path)
    assert len(await images(clients, settings, ["img_1", "img_2"])) == 2
    await posted(console, f"{path}/confirm")
    deleted = await operation_at(console, path, "completed")
    assert (deleted["title"], deleted["counts"]) == (f"Delete the image img_1 of {USER}", {"deleted": 1})
    assert [image.image_id for image in await images(clients, settings, ["img_1", "img_2"])] == ["img_2"]

    path = await posted(console, "/operations", action="forget", user=USER)
    ready = await operation_at(console, path, "ready")
    assert (ready["expected"], ready["counted"]) == (2, {"deleted": 1, "profile deleted": 1})
    async with console.browser.post(f"{path}/confirm") as response:
        assert response.status == 400
    await posted(console, f"{path}/confirm", count="2")
    await operation_at(console, path, "completed")
    assert await images(clients, settings, ["img_2"]) == []
    assert "Contents" not in await clients.s3.list_objects_v2(Bucket=settings.bucket)
    assert (await console.json(f"/users/{USER}"))["profile"] is None
