"""The repair commands as processes, together with a worker."""

import json
from typing import TYPE_CHECKING

import pytest

from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, quadrants
from worker.bootstrap import queue_url
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

KEY = "uploads/alice/img_1.png"


async def fail(command: Command, s3: "S3Client", settings: Settings) -> None:
    """Upload an image, which fails because of a low limit."""
    async with command.started("run", WORKER_MAX_BYTES="1024") as worker:
        await until_logged(worker, "service.started")
        await s3.put_object(Bucket=settings.bucket, Key=KEY, Body=encoded(quadrants(640, 480)))
        await until_logged(worker, "image.failed")
        worker.terminate()  # a pending receive of a killed worker could still hide the next message
        await until_logged(worker, "service.drained")
        await worker.wait()


async def test_a_failed_image_is_retried_and_reprocessed(
    with_resources: Command, provisioned: Settings, s3: "S3Client"
) -> None:
    await fail(with_resources, s3, provisioned)

    dry = await with_resources.run("images", "retry", "img_1", "--dry-run", "--json")
    assert json.loads(dry.stdout)["counts"] == {"retried": 1}
    retried = await with_resources.run("images", "retry", "img_1")
    assert (retried.status, retried.stdout.splitlines()) == (0, ["img_1  alice  retried", "1 retried"])
    repeated = await with_resources.run("images", "retry", "img_1")
    assert (repeated.status, repeated.stdout.splitlines()) == (0, ["1 already pending"])
    async with with_resources.started("run") as worker:
        await until_logged(worker, "image.completed")
        up_to_date = await with_resources.run("images", "reprocess", "--recipe-changed", "--json")
        assert json.loads(up_to_date.stdout)["counts"] == {"up to date": 1}
        asked = await with_resources.run("images", "reprocess", "img_1", "--user", "alice", "--json")
        assert json.loads(asked.stdout)["images"] == [
            {"imageId": "img_1", "userId": "alice", "action": "reprocessed"}
        ]
        await until_logged(worker, "image.completed")


async def test_dead_letters_are_listed_with_reasons_and_kept_until_redriven(
    with_resources: Command, provisioned: Settings, sqs: "SQSClient"
) -> None:
    # S3 sends a test message for a new notification configuration.
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, provisioned.queue_name))
    url = await queue_url(sqs, provisioned.dead_letter_queue_name)
    body = json.dumps({"version": 1, "bucket": provisioned.bucket, "key": KEY})
    reasons = {"code": "unavailable", "reason": "the bucket was unavailable"}
    await sqs.send_message(
        QueueUrl=url,
        MessageBody=body,
        MessageAttributes={
            name: {"DataType": "String", "StringValue": value} for name, value in reasons.items()
        },
    )

    printed = await with_resources.run("queue", "dead")
    assert "unavailable" in printed.stdout
    assert KEY in printed.stdout
    listed = json.loads((await with_resources.run("queue", "dead", "--json")).stdout)
    (letter,) = listed["deadLetters"]
    assert (letter["code"], letter["reason"]) == ("unavailable", "the bucket was unavailable")
    assert letter["images"] == [{"imageId": "img_1", "userId": "alice", "key": KEY}]
    before = json.loads((await with_resources.run("queue", "stats", "--json")).stdout)
    assert (before["waiting"], before["deadLetters"], before["oldestAgeSeconds"]) == (0, 1, None)
    redriven = await with_resources.run("queue", "redrive", "--code", "unavailable", "--json")
    assert json.loads(redriven.stdout)["counts"] == {"redriven": 1}
    after = json.loads((await with_resources.run("queue", "stats", "--json")).stdout)
    assert (after["waiting"], after["deadLetters"]) == (1, 0)
    assert "dead letters" in (await with_resources.run("queue", "stats")).stdout
    assert (await with_resources.run("queue", "dead")).stdout == "There are no dead letters.\n"


async def test_uploads_without_a_message_are_enqueued_and_reconcile_finds_nothing_to_do(
    with_resources: Command, provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    await s3.put_object(Bucket=provisioned.bucket, Key=KEY, Body=encoded(quadrants(96, 72)))
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, provisioned.queue_name))
    where = f"s3://{provisioned.bucket}/uploads/"

    enqueued = await with_resources.run("enqueue", where)
    assert (enqueued.status, enqueued.stdout.splitlines()) == (
        0,
        ["img_1  alice  enqueued", "1 enqueued"],
    )
    async with with_resources.started("run") as worker:
        await until_logged(worker, "image.completed")
    assert (await with_resources.run("enqueue", where)).stdout == "1 already recorded\n"
    reconciled = await with_resources.run("reconcile", "--older-than", "0")
    assert (reconciled.status, reconciled.stdout) == (0, "nothing to do\n")
    compared = await with_resources.run("reconcile", "--objects")
    assert (compared.status, compared.stdout) == (0, "1 results as recorded\n")
    await s3.delete_object(Bucket=provisioned.results_bucket, Key="processed/alice/img_1.jpg")
    compared = await with_resources.run("reconcile", "--objects", "--dry-run")
    assert compared.stdout.splitlines()[0] == "img_1  alice  would be requeued: a result is missing"


async def test_a_scheduled_check_counts_uploads_that_no_message_announced(
    with_resources: Command, provisioned: Settings, s3: "S3Client", sqs: "SQSClient"
) -> None:
    async def check(*options: str) -> tuple[int, int]:
        checked = await with_resources.run(
            "enqueue", "--dry-run", "--exit-code", *options, WORKER_LOG_FORMAT="json"
        )
        (line,) = [one for one in checked.stderr.splitlines() if '"uploads.checked"' in one]
        return checked.status, json.loads(line)["unannounced"]

    await s3.put_object(Bucket=provisioned.bucket, Key=KEY, Body=encoded(quadrants(96, 72)))
    await sqs.purge_queue(QueueUrl=await queue_url(sqs, provisioned.queue_name))

    assert await check() == (1, 1)
    assert await check("--older-than", "3600") == (0, 0), "its message could still be in the queue"
    assert await check("--newer-than", "0") == (0, 0), "an earlier check has seen it"
    before = json.loads((await with_resources.run("queue", "stats", "--json")).stdout)
    assert before["waiting"] == 0, "a dry run sends nothing"
    await with_resources.run("enqueue", f"s3://{provisioned.bucket}/uploads/")
    async with with_resources.started("run") as worker:
        await until_logged(worker, "image.completed")
    assert await check("--older-than", "0", "--newer-than", "172800") == (0, 0)


async def test_objects_without_a_record_are_listed_with_their_keys(
    with_resources: Command, provisioned: Settings, s3: "S3Client"
) -> None:
    await s3.put_object(Bucket=provisioned.bucket, Key="processed/readme.txt", Body=b"by hand")

    listed = await with_resources.run("reconcile", "--orphans", "--json")

    assert listed.status == 0
    assert json.loads(listed.stdout)["counts"] == {"too recent to be judged": 1}


@pytest.mark.parametrize(
    ("arguments", "status", "message"),
    [
        (["enqueue", "s3://elsewhere/uploads/"], 2, "serves the bucket"),
        (["images", "retry", "img_none"], 1, "image img_none does not exist"),
        (["images", "reprocess"], 2, "no images selected"),
    ],
)
async def test_an_invalid_repair_is_one_line_on_stderr(
    with_resources: Command, arguments: list[str], status: int, message: str
) -> None:
    ended = await with_resources.run(*arguments)

    assert (ended.status, ended.stdout) == (status, "")
    assert message in ended.stderr
    assert len(ended.stderr.splitlines()) == 1


async def test_an_image_is_deleted_and_a_user_forgotten(
    with_resources: Command, provisioned: Settings, s3: "S3Client"
) -> None:
    await fail(with_resources, s3, provisioned)

    unconfirmed = await with_resources.run("images", "delete", "img_1")
    assert unconfirmed.status == 2
    assert "add --yes" in unconfirmed.stderr
    dry = await with_resources.run("users", "forget", "alice", "--dry-run", "--json")
    assert json.loads(dry.stdout)["counts"] == {"deleted": 1}
    deleted = await with_resources.run("images", "delete", "img_1", "--yes")
    assert (deleted.status, deleted.stdout.splitlines()) == (0, ["img_1  alice  deleted", "1 deleted"])
    missing = await with_resources.run("images", "delete", "img_1", "--yes")
    assert missing.status == 1
    await s3.put_object(Bucket=provisioned.bucket, Key="processed/alice/left over.jpg", Body=b"1")
    forgotten = await with_resources.run("users", "forget", "alice", "--yes", "--json")
    assert forgotten.status == 0
    listed = await s3.list_objects_v2(Bucket=provisioned.bucket, Prefix="uploads/")
    assert listed["KeyCount"] == 0
