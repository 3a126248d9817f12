"""What the pages say is so: every command runs, every option, file and heading exists."""

import json
import re
import shlex
import subprocess
import sys
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from typer.core import TyperGroup
from typer.main import get_command

from docs.make_reference import pages
from tests.docs.not_run import NOT_RUN, Check
from tests.docs.pages import PAGES, ROOT, Block, Line, blocks, inline_commands, lines
from worker.cli.app import COMMANDS, app
from worker.local.demo_images import write_demo_images
from worker.local.embedded_aws import embedded_aws, embedded_environment

Play = Callable[[list[dict[str, Any]], dict[str, str]], None]

PLAY = Path(__file__).with_name("play.py")
RECORD = ROOT / "docs" / "record.md"
EXAMPLE = "forest-from-a-phone.jpg"


def name_of(page: Path) -> str:
    return page.stem


def check_of(line: Line) -> Check | None:
    """Return what is looked at in place of running the line; None for a line that is run."""
    return next((check for pattern, _, check in NOT_RUN if re.fullmatch(pattern, line.text)), None)


def shell_lines(page: Path) -> list[Line]:
    return [line for block in blocks(page) if block.language == "sh" for line in lines(block)]


def pythons(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def steps(page: Path) -> list[dict[str, Any]]:
    """Return what can be run of a page, in its order."""
    python = [{"python": one.text, "line": one.line} for one in pythons(page)]
    shell = [
        {"arguments": line.arguments, "line": line.number}
        for line in shell_lines(page)
        # The worker runs already: a page is played to its end beside it.
        if line.arguments and line.arguments != ("run",) and not check_of(line)
    ]
    return sorted([*python, *shell], key=lambda step: step["line"])


def variables(page: Path) -> dict[str, str]:
    """Return all that a page sets."""
    return {name: value for line in shell_lines(page) for name, value in line.variables.items()}


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_what_is_written_by_the_code_is_as_the_code_says(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_line_for_a_shell_is_run_or_has_a_reason_not_to_be(page: Path) -> None:
    for line in shell_lines(page):
        check = check_of(line)
        if check:
            check(line)
        else:
            assert line.variables or line.arguments, f"{page.name}:{line.number}: {line.text}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_the_prose_exists_with_its_options(page: Path) -> None:
    for text in inline_commands(page):
        words = shlex.split(text)
        command = get_command(app)
        if not words[0].startswith("-") and words[0] != "COMMAND":
            module = next((entry.module for entry in COMMANDS if entry.name == words[0]), None)
            assert module, f"{page.name}: {text}"
            command = get_command(import_module(module).app)
            if isinstance(command, TyperGroup) and len(words) > 1:
                assert words[1] in command.commands, f"{page.name}: {text}"
                command = command.commands[words[1]]
        known = {option for parameter in command.params for option in parameter.opts} | {"--help"}
        options = {word.strip("[]").partition("=")[0] for word in words if word.startswith("--")}
        assert options <= known, f"{page.name}: {text}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_link_leads_somewhere(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        leads_to = page.parent / file if file else page
        assert leads_to.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", one).lower().replace(" ", "-") for one in headings}
            assert anchor in anchors, f"{page.name}: {target}"


@pytest.fixture
async def endpoint_url() -> AsyncIterator[str]:
    """An AWS for one page: pages use the names that everybody begins with."""
    async with embedded_aws() as url:
        yield url


@pytest.fixture(scope="session")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("pictures")
    write_demo_images(folder)
    return folder


@pytest.fixture
def folder(tmp_path: Path, pictures: Path) -> Path:
    """A folder with the pictures that the pages name."""
    content = (pictures / EXAMPLE).read_bytes()
    (tmp_path / "Pictures").mkdir()
    for name in ("beach.jpg", "Pictures/beach.jpg"):
        (tmp_path / name).write_bytes(content)
    return tmp_path


@pytest.fixture
def play(folder: Path, endpoint_url: str, free_port: int) -> Play:
    """Return what does steps in the folder, with a worker beside them."""
    environment = {
        **embedded_environment(endpoint_url),
        "PATH": "",
        "HOME": str(folder),
        "WORKER_PROCESSES": "2",
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_HTTP_PORT": str(free_port),
    }

    def do(steps: list[dict[str, Any]], variables: dict[str, str]) -> None:
        ended = subprocess.run(
            [sys.executable, PLAY],
            cwd=folder,
            env=environment,
            input=json.dumps({"variables": variables, "steps": steps}),
            capture_output=True,
            text=True,
            check=False,
        )
        assert ended.returncode == 0, ended.stderr

    return do


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page) and page != RECORD], ids=name_of)
def test_a_page_can_be_done_from_top_to_bottom(page: Path, play: Play) -> None:
    play(steps(page), variables(page))


@pytest.mark.parametrize("page", [page for page in PAGES if variables(page) and not steps(page)], ids=name_of)
def test_settings_that_a_page_shows_are_taken(page: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-m", "worker", "settings", "--json"],
        cwd=tmp_path,
        env={"PATH": "", **variables(page)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stderr == "", "a variable that is no setting"


def shape(value: object) -> object:
    """Return which attributes a value has, and of which type; of a list, those of all its entries."""
    if isinstance(value, dict):
        return {name: shape(one) for name, one in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(one), sort_keys=True) for one in value})
    return type(value).__name__


def test_the_record_s_page_can_be_done_and_shows_items_of_the_shape_that_a_worker_stores(
    play: Play, folder: Path
) -> None:
    image, profile = (json.loads(block.text) for block in blocks(RECORD) if block.language == "json")
    stored = [
        {"arguments": ["images", "get", image["imageId"], "--json"], "line": 1, "into": "image"},
        {"arguments": ["users", "set", "alice", "--size", "medium", "--json"], "line": 2, "into": "profile"},
    ]

    play([*stored, *steps(RECORD)], variables(RECORD))

    assert shape(json.loads((folder / "image").read_text())) == shape(image)
    assert shape(json.loads((folder / "profile").read_text())) == shape(profile)
