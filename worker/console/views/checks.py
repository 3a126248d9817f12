"""`/checks`: what `image-worker check` finds, run on demand."""

from collections.abc import Sequence
from dataclasses import asdict
from typing import Any

from aiohttp import web

from worker.checks.confinement import check_confinement, unconfined
from worker.checks.finding import Finding
from worker.console.check_runs import CheckRuns, as_seen_by_console
from worker.console.context import CONTEXT
from worker.console.page import respond, see_other
from worker.console.previews import PREVIEWS, Previews
from worker.domain import clock
from worker.domain.errors import ConfigurationError, TransientError

_RUNS = web.AppKey("check runs", CheckRuns)


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    context, previews = app[CONTEXT], app[PREVIEWS]

    async def check() -> Sequence[Finding]:
        return [*map(as_seen_by_console, await context.check()), await _check_decoder(previews)]

    app[_RUNS] = CheckRuns(check, clock=context.clock)
    app.router.add_get("/checks", checks, name="checks")
    app.router.add_post("/checks", run_checks)


async def checks(request: web.Request) -> web.Response:
    """Show the findings of the newest run."""
    run = request.app[_RUNS].newest
    content: dict[str, Any] = {
        "checkedAt": None,
        "elapsedMs": None,
        "ok": None,
        "failed": None,
        "findings": [],
    }
    if run is not None:
        content = {
            "checkedAt": clock.to_text(run.checked_at),
            "elapsedMs": run.elapsed_ms,
            "ok": not run.failed,
            "failed": run.failed,
            "findings": [asdict(finding) for finding in run.findings],
        }
    return respond(request, "checks.html", content)


async def run_checks(request: web.Request) -> web.Response:
    """Run the checks, and show their findings."""
    await request.app[_RUNS].run()
    see_other(request, "checks")


async def _check_decoder(previews: Previews) -> Finding:
    """Return what the confinement of the console's own decoder guarantees, which it starts."""
    try:
        return check_confinement(await previews.guarantees())
    except (ConfigurationError, TransientError) as error:
        return unconfined(str(error))
