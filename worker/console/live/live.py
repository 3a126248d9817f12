"""The pollers and streams of one console; they start and end with it."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from aiohttp import web

from worker.aws.single_flight import SingleFlightCache
from worker.console.context import CONTEXT, ConsoleContext
from worker.console.live.fleet import Fleet, read_fleet
from worker.console.live.image_pollers import ImagePollers
from worker.console.live.latest import Latest
from worker.console.live.owned_tasks import OwnedTasks
from worker.console.live.problems import Problem, read_or_problem
from worker.console.live.queue_poller import QueuePoller
from worker.console.live.recent_uploads import RecentUploads
from worker.console.live.requeued import ObservedRepairs
from worker.console.live.shared_poller import SharedPoller
from worker.console.live.streams import Streams
from worker.sqs.queue_stats import QueueDepth, read_depth, read_oldest_age_s

FLEET_INTERVAL_S: Final = 15.0
"""Time between two reads of completions and workers, while a page shows them."""

_FLEET_TIMEOUT_S: Final = 10.0
_SOON_S: Final = 0.15
_AGE_CACHE_S: Final = 60.0
"""CloudWatch has one value a minute, and bills every request."""

_KEY: Final = "all"


@dataclass(frozen=True, slots=True)
class FleetState:
    """
    The fleet as it was last read.

    Attributes:
        fleet: Completions and workers; None if they could not be read yet.
        oldest_age_s: Age of the oldest message in the queue; None if CloudWatch has no recent value.
        problem: Why the fleet cannot be read at present, as a sentence; None if it can.
    """

    fleet: Fleet | None
    oldest_age_s: int | None = None
    problem: str | None = None


class Live:
    """
    What the live pages of a console share.

    Attributes:
        streams: The open streams.
        images: The pollers of watched images.
        queue: The poller of the queue's depths.
        fleet: The poller of completions and workers.
        uploads: The uploads that this console has stored last.
    """

    def __init__(self, context: ConsoleContext) -> None:
        self._context = context
        self._tasks = OwnedTasks()
        self.streams = Streams()
        self.uploads = RecentUploads()
        self.images = ImagePollers(context.queries, tasks=self._tasks)
        self.queue = QueuePoller(self._read_depths, clock=context.clock)
        self.fleet: SharedPoller[FleetState] = SharedPoller(
            self._poll_fleet, tasks=self._tasks, name="poll fleet"
        )
        self._fleets = SingleFlightCache(
            self._load_fleet, ttl_s=FLEET_INTERVAL_S * 0.9, max_size=1, name="read fleet"
        )
        self._ages = SingleFlightCache(self._load_age, ttl_s=_AGE_CACHE_S, max_size=1, name="read queue age")

    async def running(self, _: web.Application) -> AsyncIterator[None]:
        """Run the poller of the queue until the application ends, and end all others with it."""
        self._tasks.start(self.queue.run(), name="poll queue")
        yield
        await self._tasks.close()
        await self._fleets.close()
        await self._ages.close()

    async def end_streams(self, _: web.Application) -> None:
        """End all streams, when the server shuts down."""
        self.streams.close()

    async def fleet_state(self) -> FleetState:
        """Return completions and workers as they were within the last interval, or why they are not known."""
        found = await read_or_problem(
            lambda: asyncio.gather(self._fleets.get(_KEY), self._ages.get(_KEY)),
            what="The table",
            timeout_s=_FLEET_TIMEOUT_S,
        )
        return FleetState(None, problem=found.sentence) if isinstance(found, Problem) else FleetState(*found)

    async def fleet_state_soon(self) -> FleetState:
        """Return what `fleet_state` does, or a state without a fleet if it is not known within a moment."""
        try:
            async with asyncio.timeout(_SOON_S):  # the reading itself goes on
                return await self.fleet_state()
        except TimeoutError:
            return FleetState(None)

    async def _poll_fleet(self, latest: Latest[FleetState]) -> None:
        while True:
            state = await self.fleet_state()
            if state.problem and latest.value:
                state = FleetState(latest.value.fleet, latest.value.oldest_age_s, state.problem)
            latest.publish(state)
            await asyncio.sleep(FLEET_INTERVAL_S)

    async def _load_fleet(self, _: str, __: Fleet | None) -> Fleet:
        return await read_fleet(self._context.queries, now=self._context.clock())

    async def _load_age(self, _: str, __: int | None) -> int | None:
        context = self._context
        return await read_oldest_age_s(context.cloudwatch, context.queue_name, context.retry.queue)

    async def _read_depths(self) -> tuple[QueueDepth, QueueDepth]:
        context = self._context
        read = partial(read_depth, context.sqs, retry=context.retry.queue)
        return await asyncio.gather(read(context.queue_url), read(context.dead_letter_queue_url))


LIVE: Final = web.AppKey("live", Live)
"""Key of the pollers and streams in the application: `request.app[LIVE]`."""


def add_live(app: web.Application) -> None:
    """Add the pollers and streams to an application that has its context, whose repairs they observe."""
    context = app[CONTEXT]
    live = app[LIVE] = Live(context)
    app[CONTEXT] = replace(context, open_repairs=ObservedRepairs(context.open_repairs, live.images))
    app.on_shutdown.append(live.end_streams)
    app.cleanup_ctx.append(live.running)
