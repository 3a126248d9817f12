"""Errors of AWS as the commands print them."""

import pytest

from tests.acceptance.conftest import Command
from tests.support.emulators import failing_aws

COMMANDS = (("run",), ("provision",), ("images", "recent"))
NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"}


async def error_of(command: Command, line: tuple[str, ...], **settings: str) -> str:
    """Run a command that fails with a usage error; return the message, which has to be one line."""
    ended = await command.run(*line, **settings)
    assert (ended.status, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    return ended.stderr.removeprefix("image-worker: ").rstrip("\n")


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
async def test_missing_credentials_are_reported_with_where_to_set_them(
    command: Command, line: tuple[str, ...]
) -> None:
    assert await error_of(command, line, **NO_CREDENTIALS) == (
        "no usable AWS credentials were found (unable to locate credentials); set AWS_PROFILE, or "
        "AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role provides them"
    )


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        (
            ("queue", "dead"),
            "AWS rejected the credentials (GetQueueUrl: they have expired); sign in again",
        ),
        # The response to HEAD has no body with the reason.
        (
            ("run",),
            "AWS rejected HeadBucket without a reason, most often because the credentials have expired",
        ),
    ],
)
async def test_expired_credentials_are_reported(
    command: Command, line: tuple[str, ...], sentence: str
) -> None:
    async with failing_aws("ExpiredToken", status=400) as endpoint_url:
        assert (await error_of(command, line, AWS_ENDPOINT_URL=endpoint_url)).startswith(sentence)


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
async def test_an_unreachable_endpoint_is_reported(
    command: Command, line: tuple[str, ...], free_port: int
) -> None:
    sentence = await error_of(command, line, AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}")

    assert sentence.startswith(f"http://127.0.0.1:{free_port}/")
    assert sentence.endswith(
        "cannot be reached (EndpointConnectionError); check AWS_ENDPOINT_URL, AWS_REGION and the network"
    )


async def test_an_invalid_endpoint_url_is_reported_with_a_valid_one(command: Command) -> None:
    assert await error_of(command, ("images", "recent"), AWS_ENDPOINT_URL="localhost:4566") == (
        "AWS_ENDPOINT_URL is 'localhost:4566': write it as http://localhost:4566"
    )


async def test_an_unknown_profile_is_reported(command: Command) -> None:
    assert await error_of(command, ("images", "recent"), AWS_PROFILE="bob") == (
        "the config profile (bob) could not be found; set AWS_PROFILE to one of `aws configure list-profiles`"
    )


async def test_the_ids_of_images_that_were_not_processed_in_time_are_printed(
    with_resources: Command,
) -> None:
    (with_resources.folder / "picture.jpg").write_bytes(b"a picture")

    ended = await with_resources.run(
        "upload", "picture.jpg", "--user", "alice", "--wait", "--timeout-s", "0.1"
    )

    assert (ended.status, ended.stdout[:4]) == (1, "img_")
    assert ended.stderr == (
        "1 image not processed within 0.1 s; see `image-worker images list --user alice`\n"
    )
