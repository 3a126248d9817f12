"""An AWS that cannot be used: what the person at the keyboard is told, whichever command meets it."""

import pytest

from tests.acceptance.conftest import Command
from tests.support.emulators import refusing

COMMANDS = (("run",), ("provision",), ("images", "recent"))
NO_CREDENTIALS = {"AWS_ACCESS_KEY_ID": "", "AWS_SECRET_ACCESS_KEY": "", "HOME": "/nonexistent"}


async def told(command: Command, line: tuple[str, ...], **settings: str) -> str:
    """Run a command that cannot be done; return the one sentence that it says."""
    ended = await command.run(*line, **settings)
    assert (ended.status, ended.stdout, ended.stderr.count("\n")) == (2, "", 1), ended.stderr
    return ended.stderr.removeprefix("image-worker: ").rstrip("\n")


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
async def test_without_credentials_it_is_said_where_they_are_looked_for(
    command: Command, line: tuple[str, ...]
) -> None:
    assert await told(command, line, **NO_CREDENTIALS) == (
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
        # HEAD has no body to say so.
        (
            ("run",),
            "AWS rejected HeadBucket without a reason, most often because the credentials have expired",
        ),
    ],
)
async def test_credentials_that_have_expired_are_to_be_renewed(
    command: Command, line: tuple[str, ...], sentence: str
) -> None:
    async with refusing("ExpiredToken", status=400) as endpoint_url:
        assert (await told(command, line, AWS_ENDPOINT_URL=endpoint_url)).startswith(sentence)


@pytest.mark.parametrize("line", COMMANDS, ids=" ".join)
async def test_an_endpoint_that_nobody_listens_at_is_named(
    command: Command, line: tuple[str, ...], free_port: int
) -> None:
    sentence = await told(command, line, AWS_ENDPOINT_URL=f"http://127.0.0.1:{free_port}")

    assert sentence.startswith(f"http://127.0.0.1:{free_port}/")
    assert sentence.endswith(
        "cannot be reached (EndpointConnectionError); check AWS_ENDPOINT_URL, AWS_REGION and the network"
    )


async def test_an_endpoint_that_is_no_url_is_shown_as_it_should_be_written(command: Command) -> None:
    assert await told(command, ("images", "recent"), AWS_ENDPOINT_URL="localhost:4566") == (
        "AWS_ENDPOINT_URL is 'localhost:4566': write it as http://localhost:4566"
    )


async def test_a_profile_that_is_not_there_is_named(command: Command) -> None:
    assert await told(command, ("images", "recent"), AWS_PROFILE="bob") == (
        "the config profile (bob) could not be found; set AWS_PROFILE to one of `aws configure list-profiles`"
    )


async def test_pictures_that_nobody_processes_in_time_are_told_with_their_ids(
    with_resources: Command,
) -> None:
    (with_resources.folder / "picture.jpg").write_bytes(b"a picture")

    ended = await with_resources.run(
        "upload", "picture.jpg", "--user", "alice", "--wait", "--timeout-s", "0.1"
    )

    assert (ended.status, ended.stdout[:4]) == (1, "img_")
    assert ended.stderr == (
        "1 of the pictures had not ended after 0.1 s; see `image-worker images list --user alice`\n"
    )
