"""`/dead-letters`: why messages became dead letters, listed on demand, and their redrive."""

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from aiohttp import web

from worker.console.context import CONTEXT, ConsoleContext
from worker.console.page import Content, respond, see_other
from worker.console.security.actions import log_action
from worker.console.views.operations import by
from worker.domain.bounds import bounded_text
from worker.presentation.words import error_words
from worker.repair.redrive import LIST_VISIBILITY_S, Diagnosis, diagnose, images_of
from worker.sqs.dead_letters import LONG_POLL_S, DeadLetter
from worker.sqs.queue_stats import read_depth

MAX_LISTED: Final = 1000
"""Dead letters that are listed at most."""

_SHOWN: Final = 50
"""Dead letters that the page shows of each reason."""

_LIST_TIMEOUT_S: Final = 60.0
_MAX_BODY_BYTES: Final = 1024
_MAX_REASON_BYTES: Final = 1024


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """
    The dead letters as they were read.

    Attributes:
        at: When they were read.
        by: Who asked for it.
        letters: The dead letters, in the order in which SQS returned them.
        has_more: Whether there may be more than were read.
    """

    at: datetime
    by: str
    letters: tuple[Content, ...]
    has_more: bool


@dataclass(slots=True)
class Listings:
    """The last listing of this console; only one is made at a time."""

    last: Listing | None = None
    lock: asyncio.Lock = field(default_factory=asyncio.Lock)


LISTINGS: Final = web.AppKey("dead_letters", Listings)
"""Key of the last listing in the application."""


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app[LISTINGS] = Listings()
    app.router.add_get("/dead-letters", dead_letters, name="dead-letters")
    app.router.add_post("/dead-letters/list", list_dead_letters, name="dead-letters-list")


async def dead_letters(request: web.Request) -> web.Response:
    """Show how many dead letters there are, and the last listing of them by reason."""
    context, listing = request.app[CONTEXT], request.app[LISTINGS].last
    depth = await read_depth(context.sqs, context.dead_letter_queue_url, context.retry.queue)
    return respond(
        request,
        "dead_letters.html",
        {
            "queueName": context.dead_letter_queue_name,
            "approximateCount": depth.total,
            "listing": listing
            and {
                "at": listing.at,
                "by": listing.by,
                "count": len(listing.letters),
                "hasMore": listing.has_more,
                "groups": groups(listing.letters),
            },
            "limit": MAX_LISTED,
            "shown": _SHOWN,
        },
    )


async def list_dead_letters(request: web.Request) -> web.Response:
    """Read the dead letters, release them at once, and redirect to the page that shows them."""
    listings, user = request.app[LISTINGS], by(request)
    async with asyncio.timeout(_LIST_TIMEOUT_S), listings.lock:
        listings.last = await _read(request.app[CONTEXT], by=user)
    log_action(by=user, action="queue dead", filter={}, count=len(listings.last.letters))
    see_other(request, "dead-letters")


async def _read(context: ConsoleContext, *, by: str) -> Listing:
    queue = await context.open_dead_letters(visibility_timeout_s=LIST_VISIBILITY_S, wait_time_s=LONG_POLL_S)
    found: list[Content] = []
    has_more = False
    to_release: list[DeadLetter] = []
    try:
        async for batch in queue.read():
            to_release += batch
            images = await images_of(batch, context.queries)
            found += [_letter(diagnose(letter, images)) for letter in batch]
            if len(found) >= MAX_LISTED:
                has_more = True
                break
    finally:
        await queue.release(to_release)
    return Listing(at=context.clock(), by=by, letters=tuple(found[:MAX_LISTED]), has_more=has_more)


def _letter(diagnosis: Diagnosis) -> Content:
    letter = diagnosis.letter
    return {
        "messageId": letter.message_id,
        "at": letter.at,
        "code": diagnosis.code,
        "reason": bounded_text(diagnosis.reason, _MAX_REASON_BYTES),
        "images": [
            {"imageId": job.image_id, "userId": job.user_id, "key": job.key} for job in letter.jobs[:10]
        ],
        "body": bounded_text(letter.body, _MAX_BODY_BYTES),
    }


def groups(letters: Sequence[Content]) -> list[Content]:
    """Return the dead letters by reason, the most frequent first, each with the last sent first."""
    by_code: dict[str, list[Content]] = {}
    for letter in sorted(letters, key=lambda letter: str(letter["at"]), reverse=True):
        by_code.setdefault(letter["code"], []).append(letter)
    return [
        {
            "code": code,
            "count": len(each),
            "firstAt": each[-1]["at"],
            "lastAt": each[0]["at"],
            "cause": error_words(code).cause,
            "advice": error_words(code).advice,
            "isRedrivable": any(letter["images"] for letter in each),
            "letters": each[:_SHOWN],
        }
        for code, each in sorted(by_code.items(), key=lambda entry: (-len(entry[1]), entry[0]))
    ]
