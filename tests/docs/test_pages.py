"""The commands in the documentation run, and its options, files and headings exist."""

import json
import re
import shlex
import shutil
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from pathlib import Path
from typing import Any

import aiohttp
import pytest
import pytest_asyncio
from typer.core import TyperGroup
from typer.main import get_command

from docs.make_reference import pages
from tests.docs.not_run import NOT_RUN, Check
from tests.docs.pages import PAGES, ROOT, Block, Line, blocks, inline_commands, lines
from tests.support.fork_server import shared_fork_server
from worker.cli.app import COMMANDS, app
from worker.local.demo_images import bundled_image, phone_exif
from worker.local.embedded_aws import embedded_aws, embedded_environment

RunPage = Callable[[list[dict[str, Any]], dict[str, str]], None]

RUN_PAGE = Path(__file__).with_name("run_page.py")
README = ROOT / "README.md"
RECORD = ROOT / "docs" / "record.md"


def name_of(page: Path) -> str:
    return str(page.relative_to(ROOT).with_suffix(""))


def check_of(line: Line) -> Check | None:
    """Return the check that replaces running the line; None for a line that is run."""
    return next((check for pattern, _, check in NOT_RUN if re.fullmatch(pattern, line.text)), None)


def shell_lines(page: Path) -> list[Line]:
    return [line for block in blocks(page) if block.language == "sh" for line in lines(block)]


def python_blocks(page: Path) -> list[Block]:
    return [block for block in blocks(page) if block.language == "python"]


def is_demo_of_the_readme(page: Path, line: Line) -> bool:
    """Whether the README runs the same demo, which uses nothing of a page."""
    is_demo = (line.arguments or ("",))[0] == "demo"
    return is_demo and page != README and line.arguments in {each.arguments for each in shell_lines(README)}


def steps(page: Path) -> list[dict[str, Any]]:
    """Return the steps of a page that are run, in the order of the page."""
    python = [{"python": block.text, "line": block.line} for block in python_blocks(page)]
    shell = [
        {"arguments": line.arguments, "line": line.number}
        for line in shell_lines(page)
        # The worker is already running.
        if line.arguments and line.arguments != ("run",) and not check_of(line)
        if not is_demo_of_the_readme(page, line)
    ]
    return sorted([*python, *shell], key=lambda step: step["line"])


def variables(page: Path) -> dict[str, str]:
    """Return the environment variables that a page sets."""
    return {name: value for line in shell_lines(page) for name, value in line.variables.items()}


@pytest.mark.parametrize("path", pages(), ids=name_of)
def test_a_generated_page_is_up_to_date(path: Path) -> None:
    assert path.read_text(encoding="utf-8") == pages()[path], "run: make docs"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_shell_command_is_run_or_checked_otherwise(page: Path) -> None:
    for line in shell_lines(page):
        check = check_of(line)
        if check:
            check(line)
        else:
            assert line.variables or line.arguments, f"{page.name}:{line.number}: {line.text}"


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_command_in_the_text_exists_with_its_options(page: Path) -> None:
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
def test_every_link_has_a_target(page: Path) -> None:
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        file, _, anchor = target.partition("#")
        if "://" in file:
            continue
        leads_to = page.parent / file if file else page
        assert leads_to.exists(), f"{page.name}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.+)$", leads_to.read_text(encoding="utf-8"), re.MULTILINE)
            anchors = {re.sub(r"[^\w -]", "", heading).lower().replace(" ", "-") for heading in headings}
            assert anchor in anchors, f"{page.name}: {target}"


@pytest_asyncio.fixture(scope="module", loop_scope="session")
async def emulator() -> AsyncIterator[str]:
    """The endpoint of an emulator for the pages, because they use the default names of resources."""
    async with embedded_aws() as url:
        yield url


@pytest.fixture
async def endpoint_url(emulator: str) -> str:
    """The endpoint of an emulator without resources."""
    async with aiohttp.ClientSession() as session, session.post(f"{emulator}/_ministack/reset") as response:
        response.raise_for_status()
    return emulator


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with the images and the configuration file that the pages use."""
    (tmp_path / "Pictures").mkdir()
    for name in ("beach.jpg", "Pictures/beach.jpg"):
        bundled_image("forest").save(tmp_path / name, exif=phone_exif())
    (tmp_path / "config").mkdir()
    shutil.copy(ROOT / "config" / "image-worker.toml", tmp_path / "config")
    return tmp_path


@pytest.fixture
def run_page(folder: Path, endpoint_url: str, free_port: int) -> RunPage:
    """Return a function that runs steps in the folder while a worker is running."""
    environment = {
        **embedded_environment(endpoint_url),
        "PATH": "",
        "HOME": str(folder),
        "WORKER_PROCESSES": "2",
        "WORKER_WAIT_TIME_S": "1",
        "WORKER_HTTP_PORT": str(free_port),
    }

    def run(steps: list[dict[str, Any]], variables: dict[str, str]) -> None:
        document = json.dumps({"variables": variables, "steps": steps})
        status, _, stderr = shared_fork_server().run(
            [document], folder=folder, environment=environment, program=RUN_PAGE
        )
        assert status == 0, stderr

    return run


@pytest.mark.parametrize("page", [page for page in PAGES if steps(page) and page != RECORD], ids=name_of)
def test_the_commands_of_a_page_run_in_order(page: Path, run_page: RunPage) -> None:
    run_page(steps(page), variables(page))


@pytest.mark.parametrize("page", [page for page in PAGES if variables(page) and not steps(page)], ids=name_of)
def test_the_settings_on_a_page_are_valid(page: Path, tmp_path: Path) -> None:
    status, _, stderr = shared_fork_server().run(
        ["settings", "--json"], folder=tmp_path, environment={"PATH": "", **variables(page)}
    )
    assert status == 0, stderr
    assert stderr == "", "a variable that is not a setting"


def shape(value: object) -> object:
    """Return a JSON value with types in place of scalars, and distinct shapes in place of list entries."""
    if isinstance(value, dict):
        return {name: shape(member) for name, member in value.items()}
    if isinstance(value, list):
        return sorted({json.dumps(shape(entry), sort_keys=True) for entry in value})
    return type(value).__name__


def test_the_record_page_runs_and_shows_items_as_a_worker_stores_them(
    run_page: RunPage, folder: Path
) -> None:
    image, profile, _operation = (
        json.loads(block.text) for block in blocks(RECORD) if block.language == "json"
    )
    stored = [
        {"arguments": ["images", "get", image["imageId"], "--json"], "line": 1, "into": "image"},
        {"arguments": ["users", "set", "alice", "--size", "medium", "--json"], "line": 2, "into": "profile"},
    ]

    run_page([*stored, *steps(RECORD)], variables(RECORD))

    assert shape(json.loads((folder / "image").read_text())) == shape(image)
    assert shape(json.loads((folder / "profile").read_text())) == shape(profile)
