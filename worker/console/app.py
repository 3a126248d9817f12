"""
The console's web application: middlewares, static files, templates and the routes of all views.

To add a view, add a module with `add_routes(app)` to `views/`, and an entry to `VIEWS`.
"""

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Final

from aiohttp import web
from jinja2 import Environment, FileSystemLoader, StrictUndefined, select_autoescape
from markupsafe import Markup

from worker.console.context import CONTEXT, ConsoleContext
from worker.console.errors import error_pages, mark_begun
from worker.console.filters import filters
from worker.console.forms import read_forms
from worker.console.live.live import add_live
from worker.console.navigation import navigation
from worker.console.page import TEMPLATES
from worker.console.previews import add_previews
from worker.console.security import Security
from worker.console.static_files import add_static_files
from worker.console.urls import add_prefix, url
from worker.console.views import (
    checks,
    dead_letters,
    failures,
    home,
    image,
    image_actions,
    image_events,
    images,
    media,
    operations,
    preview,
    queue,
    similar,
    upload,
    users,
)
from worker.domain.printable import printable

VIEWS: Final = (
    home,
    upload,
    images,
    image,
    image_events,
    image_actions,
    similar,
    users,
    media,
    failures,
    dead_letters,
    queue,
    preview,
    operations,
    checks,
)
"""The modules whose routes the application has."""


def build_app(context: ConsoleContext, security: Security, *, prefix: str = "") -> web.Application:
    """
    Return the application.

    Args:
        context: The dependencies of the views.
        security: Authentication, roles, and the rules for requests of browsers.
        prefix: Path prefix of all pages, without a slash at the end.
    """
    app = web.Application(middlewares=[error_pages, *security.middlewares, read_forms])
    app.on_response_prepare.append(mark_begun)
    app[CONTEXT] = context
    add_live(app)
    static_url = add_static_files(app)
    app[TEMPLATES] = _templates(app, context, static_url)
    add_previews(
        app,
        build_pool=context.build_decoder_pool,
        fetch=partial(context.sources.fetch, max_bytes=context.max_bytes),
        requires_scan=context.requires_scan,
    )
    security.add_routes(app)
    for view in VIEWS:
        view.add_routes(app)
    if prefix:
        add_prefix(app, prefix)
        app.router.add_get(prefix, home.home)
    return app


def _finalize(value: object) -> object:
    """Return a value without the characters that change how the text around it is shown."""
    # Markup is the result of a macro, or of the filter `e` where a hidden field needs the exact value.
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value


def _templates(
    app: web.Application, context: ConsoleContext, static_url: Callable[[str], str]
) -> Environment:
    templates = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=select_autoescape(default=True, default_for_string=True),
        finalize=_finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        auto_reload=False,
    )
    templates.filters.update(filters(context.clock))
    templates.globals.update(
        url=partial(url, app),
        static=static_url,
        navigation=partial(navigation, app),
        routes=app.router.named_resources(),
        table_name=context.table.name,
        region=context.region,
        is_local=context.is_local,
    )
    return templates
