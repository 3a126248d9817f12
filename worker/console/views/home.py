"""`/`: the page that the console opens with, and `/healthz` for load balancers."""

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.security.routes import HEALTH
from worker.console.urls import url


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/", home, name="home")
    app.router.add_get("/healthz", health, name=HEALTH)


async def home(request: web.Request) -> web.Response:
    """Redirect to the Try page in `image-worker local`, and to the images elsewhere."""
    raise web.HTTPFound(url(request, "upload" if request.app[CONTEXT].is_local else "images"))


async def health(_: web.Request) -> web.Response:
    """Respond that the console is running."""
    return web.Response(text="ok\n")
