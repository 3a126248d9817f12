"""`image-worker images` and `image-worker users` as processes."""

import json
from pathlib import Path
from typing import Any

import pytest

from tests.acceptance.conftest import Command, CommandResult, until_logged
from tests.support.pictures import encoded, quadrants


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    file = tmp_path / "picture.jpg"
    file.write_bytes(encoded(quadrants(1000, 800)))
    return file


def document(ended: CommandResult) -> Any:
    assert ended.status == 0, ended.stderr
    return json.loads(ended.stdout)


async def test_preferences_apply_to_new_images_only(with_resources: Command, picture: Path) -> None:
    preferences = ("--size", "small", "--watermark", "off")
    async with with_resources.started("run", WORKER_PROFILE_CACHE_S="0") as worker:
        await until_logged(worker, "service.started")
        before = document(
            await with_resources.run("upload", str(picture), "--user", "alice", "--wait", "--json")
        )
        set_ = document(await with_resources.run("users", "set", "alice", *preferences, "--json"))
        after = document(
            await with_resources.run("upload", str(picture), "--user", "alice", "--wait", "--json")
        )

    first, second = [
        document(await with_resources.run("images", "get", uploaded["images"][0]["imageId"], "--json"))
        for uploaded in (before, after)
    ]
    assert set_["profile"]["preferences"] == {"defaultImageSize": "small", "watermarkEnabled": False}
    assert (first["renditions"].keys(), second["renditions"].keys()) == ({"medium"}, {"small"})
    assert first["processingSteps"]["watermark"]["status"] == "completed"
    assert second["processingSteps"]["watermark"]["status"] == "skipped"
    assert first["recipe"] != second["recipe"]
    user = document(await with_resources.run("users", "get", "alice", "--json"))
    counted = sum(image["countedBytes"] for image in (first, second))
    assert (user["statistics"]["totalImages"], user["statistics"]["totalStorageUsed"]) == (2, counted)


async def test_lists_are_read_page_by_page(with_resources: Command, picture: Path) -> None:
    async with with_resources.started("run") as worker:
        await until_logged(worker, "service.started")
        uploaded = document(
            await with_resources.run("upload", *[str(picture)] * 5, "--user", "bob", "--wait", "--json")
        )
    expected = {image["imageId"] for image in uploaded["images"]}

    for query in (("list", "--user", "bob"), ("status", "completed"), ("recent",)):
        first = document(await with_resources.run("images", *query, "--limit", "3", "--json"))
        token = first["nextToken"]
        second = document(
            await with_resources.run("images", *query, "--limit", "3", "--token", token, "--json")
        )
        images = first["images"] + second["images"]
        assert {image["imageId"] for image in images} == expected
        times = [image["createdAt"] for image in images]
        assert times == sorted(times, reverse=True)
        assert second["nextToken"] is None
    printed = await with_resources.run("images", "list", "--user", "bob")
    assert printed.stdout.count("completed") == 5


async def test_an_invalid_page_token_is_a_usage_error(with_resources: Command) -> None:
    ended = await with_resources.run("images", "status", "failed", "--token", "p1_nonsense")

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "page token" in ended.stderr


@pytest.mark.parametrize("arguments", [("images", "get", "img_1"), ("images", "list", "--user", "a")])
async def test_a_missing_table_is_a_usage_error(with_resources: Command, arguments: tuple[str, ...]) -> None:
    ended = await with_resources.run(*arguments, WORKER_TABLE_NAME="no-such-table")

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1
    assert "image-worker provision" in ended.stderr


async def test_the_retention_of_a_record_is_set_and_cleared(with_resources: Command, picture: Path) -> None:
    async with with_resources.started("run", WORKER_RETENTION_DAYS="30") as worker:
        await until_logged(worker, "service.started")
        uploaded = document(
            await with_resources.run("upload", str(picture), "--user", "carol", "--wait", "--json")
        )
    image_id = uploaded["images"][0]["imageId"]

    by_default = document(await with_resources.run("images", "get", image_id, "--json"))
    longer = await with_resources.run("images", "retention", image_id, "--days", "365")
    kept = document(await with_resources.run("images", "get", image_id, "--consistent", "--json"))
    await with_resources.run("images", "retention", image_id, "--forever")
    cleared = document(await with_resources.run("images", "get", image_id, "--consistent", "--json"))

    assert longer.stdout == f"The record of {image_id} is kept for 365 days.\n"
    assert kept["ttl"] - by_default["ttl"] == pytest.approx(335 * 24 * 60 * 60, abs=120)
    assert "ttl" not in cleared


@pytest.mark.parametrize(
    "arguments",
    [
        ("images", "recent", "--day", "yesterday"),
        ("images", "recent", "--day", "2024-01-01", "--since", "2024-02-01"),
        ("images", "retention", "img_1"),
        ("images", "status", "lost"),
        ("images", "list"),
        ("users", "set", "alice"),
        ("users", "set", "alice", "--size", "enormous"),
        ("users", "set", "alice", "--watermark-text", "x" * 201),
        ("users", "set", "alice", "--watermark-image", "k" * 1020),
    ],
)
async def test_a_usage_error_ends_with_one_line_and_status_2(
    command: Command, arguments: tuple[str, ...]
) -> None:
    ended = await command.run(*arguments)

    assert (ended.status, ended.stdout) == (2, "")
    assert ended.stderr.count("\n") == 1, ended.stderr
    assert "Traceback" not in ended.stderr


async def test_missing_users_and_images_are_reported(with_resources: Command) -> None:
    user = await with_resources.run("users", "get", "mallory")
    retention = await with_resources.run("images", "retention", "img_none", "--days", "3")

    assert (user.status, retention.status) == (1, 1)
    assert user.stderr.startswith("user mallory does not exist")
    assert retention.stderr.startswith("image img_none does not exist")
