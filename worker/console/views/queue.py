"""`/queue`: the depths of the queue over the last half hour, completions a minute, and the workers seen."""

from datetime import datetime
from typing import Any, Final

from aiohttp import web

from worker.console.context import CONTEXT
from worker.console.live.fleet import MAX_IMAGES, MAX_READ, MINUTES, Fleet
from worker.console.live.live import LIVE, FleetState
from worker.console.live.queue_poller import WINDOW, Depths, QueueHistory
from worker.console.live.sparkline import sparkline
from worker.console.live.streams import Feed
from worker.console.page import prefers_json, render, respond

_DEPTH_PART: Final = "_queue_depth.html"
_FLEET_PART: Final = "_queue_fleet.html"


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app.router.add_get("/queue", queue, name="queue")
    app.router.add_get("/queue/events", events, name="queue-events", allow_head=False)


async def queue(request: web.Request) -> web.Response:
    """Return the page."""
    live = request.app[LIVE]
    is_patient = prefers_json(request)
    fleet_state = await (live.fleet_state() if is_patient else live.fleet_state_soon())
    history = await live.queue.history()
    return respond(
        request,
        "queue.html",
        {
            **depth_content(history, now=request.app[CONTEXT].clock()),
            **fleet_content(fleet_state),
            "queueName": request.app[CONTEXT].queue_name,
            "deadLetterQueueName": request.app[CONTEXT].dead_letter_queue_name,
            "grafanaUrl": request.app[CONTEXT].grafana_url,
            "problem": history.problem or fleet_state.problem,
        },
    )


async def events(request: web.Request) -> web.StreamResponse:
    """Stream the parts of the page."""
    live, clock = request.app[LIVE], request.app[CONTEXT].clock

    def render_depth(history: QueueHistory) -> str:
        return render(request, _DEPTH_PART, depth_content(history, now=clock()))

    def render_fleet(state: FleetState) -> str:
        return render(request, _FLEET_PART, fleet_content(state))

    with live.fleet.reading() as fleet:
        feeds: list[Feed[Any]] = [
            Feed(
                name="depth",
                latest=live.queue.latest,
                render=render_depth,
                position=lambda history: history.count,
                problem=lambda history: history.problem,
            ),
            Feed(
                name="fleet",
                latest=fleet,
                render=render_fleet,
                position=lambda state: int(state.fleet.at.timestamp()) if state.fleet else 0,
                problem=lambda state: state.problem,
            ),
        ]
        return await live.streams.send(request, feeds)


def depth_content(history: QueueHistory, *, now: datetime) -> dict[str, Any]:
    """Return the depths of the queue as JSON-ready values, with the lines that show them."""
    latest = history.samples[-1] if history.samples else None
    lines = {
        "visible": [(sample, sample.queue.visible) for sample in history.samples],
        "inFlight": [(sample, sample.queue.in_flight) for sample in history.samples],
        "deadLetters": [(sample, sample.dead_letters) for sample in history.samples],
    }
    return {
        "depth": _depth(latest) if latest else None,
        "samples": [_depth(sample) for sample in history.samples],
        "depthLines": {
            name: _line([((now - sample.at).total_seconds(), value) for sample, value in series])
            for name, series in lines.items()
        },
    }


def fleet_content(state: FleetState) -> dict[str, Any]:
    """Return completions and workers as JSON-ready values, with the line that shows the completions."""
    fleet = state.fleet
    return {
        "isReading": fleet is None and state.problem is None,
        "oldestAgeSeconds": state.oldest_age_s,
        "completions": _completions(fleet) if fleet else None,
        "workers": _workers(fleet) if fleet else [],
        "imagesRead": fleet.images_read if fleet else 0,
        "maxImages": MAX_IMAGES,
    }


def _depth(sample: Depths) -> dict[str, Any]:
    return {
        "at": sample.at,
        "visible": sample.queue.visible,
        "inFlight": sample.queue.in_flight,
        "delayed": sample.queue.delayed,
        "deadLetters": sample.dead_letters,
    }


def _line(series: list[tuple[float, int]]) -> dict[str, Any]:
    line = sparkline(series, span=WINDOW.total_seconds())
    return {"points": line.points, "latest": line.latest, "highest": line.highest}


def _completions(fleet: Fleet) -> dict[str, Any]:
    completions = fleet.completions
    ages = [(float(MINUTES - 1 - index), count) for index, count in enumerate(completions.per_minute)]
    line = sparkline(ages, span=float(MINUTES - 1))
    return {
        "at": fleet.at,
        "lastMinute": completions.last_minute,
        "perMinute": completions.per_minute,
        "read": completions.read,
        "bound": MAX_READ,
        "isBounded": completions.is_bounded,
        "line": {"points": line.points, "latest": line.latest, "highest": line.highest},
    }


def _workers(fleet: Fleet) -> list[dict[str, Any]]:
    return [
        {
            "worker": worker.name,
            "lastSeenAt": worker.last_seen_at,
            "attempts": worker.attempts,
            "processing": worker.processing,
            "completed": worker.completed,
            "failed": worker.failed,
            "leaseExpired": worker.expired,
        }
        for worker in fleet.workers
    ]
