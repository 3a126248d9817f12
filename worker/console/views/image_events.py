"""`/images/{image_id}/events`: the stream of an image's page."""

from functools import partial

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.image_content import image_content
from worker.console.live.image_pollers import TooManyWatchedError, Watched
from worker.console.live.live import LIVE
from worker.console.live.streams import Feed
from worker.console.page import render
from worker.console.record import is_key


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/images/{image_id:[^/]+}/events", events, name="image-events", allow_head=False)


async def events(request: web.Request) -> web.StreamResponse:
    """Stream the part of the page that changes while the image is processed."""
    live = request.app[LIVE]
    image_id, user_id = request.match_info["image_id"], request.query.get("user", "")
    if not is_key(image_id=image_id, user_id=user_id):
        raise web.HTTPNotFound(text=f"Image {image_id} of user {user_id} cannot exist.")
    try:
        with live.images.watching(image_id, user_id) as latest:
            feed = Feed(
                name="image",
                latest=latest,
                render=partial(_render, request),
                position=lambda watched: watched.position,
                is_final=lambda watched: watched.has_ended and not watched.problem,
                problem=lambda watched: watched.problem,
            )
            return await live.streams.send(request, [feed])
    except TooManyWatchedError as error:
        raise web.HTTPServiceUnavailable(text=f"{error}.") from error


def _render(request: web.Request, watched: Watched) -> str:
    content = image_content(watched.image, request.app[CONTEXT].table) if watched.image else {}
    return render(request, "_image_part.html", content)
