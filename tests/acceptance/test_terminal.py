"""Progress and colours, which commands show only on a terminal."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.acceptance.conftest import Command, until_logged
from tests.support.pictures import encoded, quadrants
from tests.support.terminal import run_on_terminal


@pytest.fixture
def three_images(with_resources: Command) -> list[str]:
    names = [f"{number}.png" for number in range(3)]
    for name in names:
        (with_resources.folder / name).write_bytes(encoded(quadrants(320, 240), "PNG"))
    return names


async def test_uploads_have_a_progress_bar_only_on_a_terminal(
    with_resources: Command, three_images: list[str]
) -> None:
    upload = ("upload", *three_images, "--user", "alice", "--wait")
    async with with_resources.started("run") as worker:
        await until_logged(worker, "service.started")
        seen = await run_on_terminal(with_resources, *upload)
        piped = await with_resources.run(*upload)

    assert seen.status == 0
    assert "uploading" in seen.text
    assert "3/3" in seen.text
    assert "processing" in seen.text
    assert seen.text.count("  completed") == 3
    assert seen.has_colours
    assert (piped.status, piped.stderr, piped.stdout.count("  completed")) == (0, "", 3)
    assert "\x1b" not in piped.stdout


async def test_a_repair_shows_its_counts_as_it_proceeds(
    with_resources: Command, three_images: list[str]
) -> None:
    uploaded = await with_resources.run("upload", *three_images, "--user", "alice")
    assert uploaded.status == 0, uploaded.stderr
    where = f"s3://{with_resources.environment['WORKER_BUCKET']}/uploads/"

    seen = await run_on_terminal(with_resources, "enqueue", where, "--dry-run")

    assert seen.status == 0
    assert "enqueueing: 3 enqueued" in seen.text
    assert seen.text.count("would be enqueued") == 3


async def test_no_color_removes_the_colours_but_not_the_text(
    with_resources: Command, three_images: list[str]
) -> None:
    await with_resources.run("upload", *three_images, "--user", "alice")

    coloured = await run_on_terminal(with_resources, "check")
    plain = await run_on_terminal(with_resources, "check", NO_COLOR="1")

    assert (coloured.status, plain.status) == (0, 0)
    assert coloured.has_colours
    assert not plain.has_colours
    assert "All required checks passed." in plain.text


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("image-worker re", {"recipes", "reconcile"}),
        ("image-worker images re", {"recent", "retention", "retry", "reprocess"}),
        ("image-worker images reprocess --re", {"--recipe-changed"}),
        ("image-worker images status p", {"pending", "processing"}),
        ("image-worker users set alice --watermark o", {"on", "off"}),
    ],
)
async def test_bash_completes_commands_options_and_values(
    command: Command, words: str, expected: set[str]
) -> None:
    variables = {"COMP_WORDS": words, "COMP_CWORD": str(len(words.split()) - 1)}
    ended = await command.run(**variables, _IMAGE_WORKER_COMPLETE="complete_bash")

    assert ended.status == 0, ended.stderr
    assert set(ended.stdout.split()) == expected


@pytest.mark.parametrize(
    ("shell", "variables", "line"),
    [
        ("zsh", {}, '"retry":"Retry an image that has failed, or all..."'),
        (
            "fish",
            {"_TYPER_COMPLETE_FISH_ACTION": "get-args"},
            "retry\tRetry an image that has failed, or all...",
        ),
    ],
)
async def test_zsh_and_fish_complete_commands_with_their_help(
    command: Command, shell: str, variables: dict[str, str], line: str
) -> None:
    variables = {**variables, "_TYPER_COMPLETE_ARGS": "image-worker images retr"}
    ended = await command.run(**variables, _IMAGE_WORKER_COMPLETE=f"complete_{shell}")

    assert ended.status == 0, ended.stderr
    assert line in ended.stdout


@pytest.mark.parametrize("option", ["--show-completion", "--install-completion"])
@pytest.mark.parametrize(
    ("shell", "file", "variable"),
    [
        ("bash", ".bash_completions/image-worker.sh", "complete_bash"),
        ("zsh", ".zfunc/_image-worker", "complete_zsh"),
        ("fish", ".config/fish/completions/image-worker.fish", "complete_fish"),
    ],
)
def test_each_shell_gets_its_own_completion_script(
    tmp_path: Path, shell: str, file: str, variable: str, option: str
) -> None:
    # typer detects the shell by the name of the calling process.
    caller = tmp_path / shell
    caller.symlink_to("/bin/bash")
    script = f'"{sys.executable}" -m worker {option}; exit $?'
    ended = subprocess.run(
        [caller, "--norc", "-c", script],
        capture_output=True,
        text=True,
        env={"HOME": str(tmp_path), "PATH": os.defpath},
        check=False,
    )

    assert ended.returncode == 0, ended.stderr
    installed = tmp_path / file
    assert installed.exists() == (option == "--install-completion")
    script = installed.read_text() if installed.exists() else ended.stdout
    assert f"_IMAGE_WORKER_COMPLETE={variable}" in script
