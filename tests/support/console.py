"""The web console over an emulator, and a client that is signed in as a browser is."""

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, nullcontext
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

import aiohttp
import pytest
from aiohttp import web
from aiohttp.test_utils import make_mocked_request
from jinja2 import BytecodeCache, Environment
from jinja2.bccache import Bucket
from yarl import URL

from tests.support import console_app
from tests.support.builders import UPLOAD_KEYS, after
from tests.support.emulators import a_free_port
from worker.bootstrap import Clients, open_clients
from worker.cli.support.console import open_console
from worker.console import app as console_application
from worker.console.app import build_app
from worker.console.context import ConsoleContext
from worker.console.page import render
from worker.console.recipe_form import RecipeSettings
from worker.console.security import IDENTITY, Identity, Role, SecurityOptions, build_security
from worker.domain.recipe import Recipe, Size, Watermark
from worker.dynamodb.table import Table
from worker.settings import Settings

JSON = {"Accept": "application/json"}


@dataclass(frozen=True, slots=True)
class RunningConsole:
    """
    A console that accepts requests.

    Attributes:
        settings: Settings of the console.
        clients: Open clients of the emulator.
        browser: A client that has signed in; paths are relative to the address of the console.
    """

    settings: Settings
    clients: Clients
    browser: aiohttp.ClientSession

    async def html(self, path: str) -> str:
        """Return a page as HTML."""
        async with self.browser.get(path, headers={"Accept": "text/html"}) as response:
            assert (response.status, response.content_type) == (200, "text/html"), await response.text()
            return await response.text()

    async def json(self, path: str) -> dict:
        """Return the content of a page as JSON."""
        async with self.browser.get(path, headers=JSON) as response:
            assert (response.status, response.content_type) == (200, "application/json")
            return await response.json()


@asynccontextmanager
async def running_console(
    settings: Settings, *, clients: Clients | None = None, is_local: bool = False, **changes: object
) -> AsyncIterator[RunningConsole]:
    """Run a console on a free port with changed settings; the resources of the settings exist."""
    settings = settings.model_copy(update={"console_port": a_free_port(), **changes})
    async with (
        nullcontext(clients) if clients else open_clients(settings) as used,
        open_console(settings, used, is_local=is_local) as link,
        signed_in(link) as browser,
    ):
        yield RunningConsole(settings, used, browser)


@asynccontextmanager
async def signed_in(link: str) -> AsyncIterator[aiohttp.ClientSession]:
    """Open a client that follows the link to sign in, keeps its cookie, and sends what browsers send."""
    origin = URL(link).origin()
    # Browsers send Secure cookies to the loopback address.
    jar = aiohttp.CookieJar(unsafe=True, treat_as_secure_origin=origin)
    async with aiohttp.ClientSession(
        origin, cookie_jar=jar, headers={"Sec-Fetch-Site": "same-origin"}
    ) as browser:
        async with browser.get(link) as response:
            response.raise_for_status()
        yield browser


class _Compiled(BytecodeCache):
    """The compiled templates, for all consoles of this process."""

    def __init__(self) -> None:
        self._templates: dict[str, bytes] = {}

    def load_bytecode(self, bucket: Bucket) -> None:
        if found := self._templates.get(bucket.key):
            bucket.bytecode_from_string(found)

    def dump_bytecode(self, bucket: Bucket) -> None:
        self._templates[bucket.key] = bucket.bytecode_to_string()


@pytest.fixture(scope="session", autouse=True)
def _templates_are_compiled_once() -> Iterator[None]:
    """Keep compiled templates, which takes longer than to respond with most pages."""
    with pytest.MonkeyPatch.context() as patch:
        environment = partial(Environment, bytecode_cache=_Compiled())
        patch.setattr(console_application, "Environment", environment)
        yield


@pytest.fixture
async def console(provisioned: Settings) -> AsyncIterator[RunningConsole]:
    """A console over the test's resources."""
    async with running_console(provisioned) as running:
        yield running


def a_context(**changes: Any) -> ConsoleContext:
    """Return a context without clients, for what needs only names, sizes and the clock."""
    size = Size(name="medium", width=800, height=600)
    values: dict[str, Any] = {
        "bucket": "image-uploads",
        "upload_keys": UPLOAD_KEYS,
        "results_bucket": "image-uploads",
        "table": Table("image-processing-metadata", index_shards=8),
        "recipe_settings": RecipeSettings(
            standard=Recipe(sizes=(size,), watermark=None),
            sizes={"medium": size},
            custom_sizes=frozenset(),
            watermark=Watermark(text="Mark"),
            logo_prefix="s3://image-uploads/logos/",
        ),
        "clock": lambda: after(3600),
    }
    return console_app.a_context(**(values | changes))


def render_html(template: str, content: Mapping[str, Any], *, role: Role = Role.OPERATOR) -> str:
    """Return the page that a template makes of its content, as the console renders it."""
    request = make_mocked_request("GET", "/", app=_app_without_clients())
    request[IDENTITY] = Identity("somebody", role)
    return render(request, template, content)


@cache
def _app_without_clients() -> web.Application:
    """Return an application that has compiled its templates before."""
    return build_app(a_context(), build_security(SecurityOptions(authentication="none"), user="somebody"))
