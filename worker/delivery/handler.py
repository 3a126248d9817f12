"""
One delivery, from its receipt to its disposition: the path of an event, readable top to bottom.

claim -> fetch -> validate, resize, watermark (in a child) -> store -> complete
"""

import asyncio
import math
from collections.abc import Callable
from contextlib import aclosing
from dataclasses import dataclass
from datetime import timedelta
from functools import partial
from uuid import uuid4

import structlog

from worker.delivery.outcome import GAVE_UP, Ending, Verdict, outcome_of, wait_s
from worker.delivery.ports import (
    Hold,
    Ledger,
    MessageQueue,
    Observation,
    Observer,
    Pool,
    Recipes,
    Results,
    Sources,
)
from worker.delivery.step_writer import StepWriter
from worker.domain import transition
from worker.domain.claim import AlreadyDone, Claimant, Claimed, LeasedByAnother
from worker.domain.clock import Clock
from worker.domain.errors import ImageWorkerError, LeaseLostError, TransientError
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.message import Abandon, Delete, Disposition, Message, Release, Unreadable
from worker.domain.recipe import Recipe
from worker.domain.status import StepName
from worker.domain.step import EncodedRendition, StepReport, with_type_mismatch
from worker.domain.transition import Transition

log = structlog.get_logger(__name__)

_RELEASE_S = 5.0
"""How long giving an image back may take; after that the lease ends by itself."""

_TWIN_S = 5.0
"""How long to wait, the first time, for another delivery that works on the same upload."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryConfig:
    """
    The numbers that deliveries go by.

    Attributes:
        worker_id: This process's name in leases and in the audit trail; no slashes.
        lease_s: How long a lease lasts unless it is renewed.
        max_receives: Tries of a message.
        max_bytes: Of an upload.
        record_delay_s: How long a step's outcome may wait to be written with the next one.
        retention: How long records are kept; None keeps them for ever.
    """

    worker_id: str
    lease_s: float
    max_receives: int
    max_bytes: int
    record_delay_s: float
    retention: timedelta | None = None


class MessageHandler:
    """
    Takes messages to their end.

    Args:
        parse: Reads what a message asks for, part by part.
        clock: Tells when things happen.
    """

    def __init__(  # noqa: PLR0913 - the rooms that an event passes
        self,
        *,
        parse: Callable[[Message], list[Job | Unreadable]],
        queue: MessageQueue,
        ledger: Ledger,
        recipes: Recipes,
        sources: Sources,
        pool: Pool,
        results: Results,
        observer: Observer,
        clock: Clock,
        config: DeliveryConfig,
    ) -> None:
        self._parse, self._queue = parse, queue
        self._ledger, self._recipes = ledger, recipes
        self._sources, self._pool, self._results = sources, pool, results
        self._observer, self._clock, self._config = observer, clock, config

    async def handle(self, message: Message, hold: Hold) -> Disposition:
        """
        Settle everything that the message asks for, and say what is to become of it.

        Raises:
            asyncio.CancelledError: The worker stops; what could be given back has been.
        """
        self._observer.received(message)
        dispositions: list[Disposition] = []
        for part in self._parse(message):
            if hold.is_lost:
                return Abandon()
            dispositions.append(await self._settle(part, message, hold))
        waits = [one for one in dispositions if isinstance(one, Release)]
        if waits:
            return Release(max(one.after_s for one in waits), any(one.is_dependency_failure for one in waits))
        return next((one for one in dispositions if isinstance(one, Abandon)), Delete())

    async def _settle(self, part: Job | Unreadable, message: Message, hold: Hold) -> Disposition:
        try:
            if isinstance(part, Unreadable):
                log.warning("message.unreadable", reason=part.reason)
                await self._queue.send_to_dead_letter_queue(
                    part, reasons={"code": "unreadable", "reason": part.reason}
                )
                return Delete()
            with self._observer.observing(part, message) as seen:
                return await self._claim(part, message, hold, seen)
        except TransientError as error:
            # The record could not be told: the message is all that is left to try with.
            log.warning("message.given_back", reason=str(error))
            return Release(wait_s(message.receive_count), is_dependency_failure=True)

    async def _claim(self, job: Job, message: Message, hold: Hold, seen: Observation) -> Disposition:
        """Take the image if nobody else has it and nobody has done it."""
        recipe = await self._recipes.for_user(job.user_id)
        now = self._clock()
        claimant = Claimant(
            owner=f"{self._config.worker_id}/{uuid4().hex[:8]}",
            lease_until=now + timedelta(seconds=self._config.lease_s),
            now=now,
            recipe=recipe.hash,
            retention=self._config.retention,
        )
        answer = await self._ledger.claim(job, claimant)
        match answer:
            case Claimed(image=image):
                with structlog.contextvars.bound_contextvars(attempt=image.attempt):
                    return await self._attempt(image, job, recipe, message, hold, seen)
            case LeasedByAnother(until=until):
                log.info("image.held", until=until.isoformat())
                return Release(_wait_for_another_s((until - now).total_seconds(), message.receive_count))
            case AlreadyDone(image=Image(error=Failure() as why)) if self._may_be_unburied(why, message):
                await self._bury(job, why)
                return Delete()
            case _:
                log.debug("image.not_claimed", answer=type(answer).__name__)
                return Delete()

    def _may_be_unburied(self, failure: Failure, message: Message) -> bool:
        """Tell whether an earlier receive gave the picture up, and may have died before its dead letter."""
        return message.receive_count > self._config.max_receives and failure.code in GAVE_UP

    async def _attempt(
        self, image: Image, job: Job, recipe: Recipe, message: Message, hold: Hold, seen: Observation
    ) -> Disposition:
        """Process a claimed image, and whatever happens, end the attempt in the record."""
        recording = StepWriter(self._ledger, image, delay_s=self._config.record_delay_s, clock=self._clock)
        try:
            with (
                hold.leasing(partial(self._ledger.renew, image)),
                hold.guarding(image_id=image.image_id, attempt=image.attempt),
            ):
                await self._process(image, job, recipe, recording, seen)
        except (Exception, asyncio.CancelledError) as error:
            if not isinstance(error, (ImageWorkerError, asyncio.CancelledError)):
                log.exception("image.attempt_crashed")
            verdict = outcome_of(
                error,
                step=recording.current_step,
                receive_count=message.receive_count,
                max_receives=self._config.max_receives,
            )
            if not isinstance(error, asyncio.CancelledError):
                return await self._end(verdict, job, recording, seen)
            try:
                await self._end(verdict, job, recording, seen)
            except TransientError as failed:  # the lease ends by itself; the stop goes on
                log.warning("image.not_released", reason=str(failed))
            raise
        return Delete()

    async def _process(
        self, image: Image, job: Job, recipe: Recipe, recording: StepWriter, seen: Observation
    ) -> None:
        """Take the picture from the bucket through its steps and back, telling the record as it goes."""
        with seen.step("fetch"):
            source = await self._sources.fetch(job, max_bytes=self._config.max_bytes)
        seen.read(source.description.file_size)
        recording.add(transition.source_described(source.description, at=recording.now()))

        finished: list[EncodedRendition] = []
        with seen.step("compute"):
            async with aclosing(self._pool.run(source.content, recipe)) as outcomes:
                async for outcome in outcomes:
                    match outcome:
                        case StepReport():
                            outcome = with_type_mismatch(  # noqa: PLW2901 - the same report, told more of
                                outcome, content_type=source.description.file_type, key=job.key
                            )
                            recording.add(*_moves_on(outcome, recording))
                            seen.step_reported(outcome)
                        case EncodedRendition():
                            finished.append(outcome)

        main, renditions = recipe.main.name, {}
        with seen.step("store"):
            for one in finished:
                stored = await self._results.store(image, one, is_main=one.size == main)
                renditions[one.size] = stored
                seen.stored(stored.size_bytes)
        with seen.step("settle"):
            await recording.settle(transition.image_completed(renditions, main_size=main, at=recording.now()))
        seen.completed()

    async def _end(self, verdict: Verdict, job: Job, recording: StepWriter, seen: Observation) -> Disposition:
        """Tell the record how an attempt ended that was not completed."""
        failure = verdict.failure
        if verdict.ending is Ending.NOTHING or failure is None:
            await _close_quietly(recording)
            seen.lost()
            return verdict.disposition
        at = recording.now()
        moves: list[Transition]
        if verdict.ending is Ending.FAIL:
            moves = [transition.image_failed(failure, at=at)]
            if failure.step is not None:
                moves.insert(0, transition.step_failed(failure, step=failure.step, at=at))
        else:
            moves = [transition.image_released(failure, at=at)]
        try:
            async with asyncio.timeout(_RELEASE_S if verdict.ending is Ending.RELEASE else None):
                await recording.settle(*moves)
        except LeaseLostError:
            seen.lost()
            return Abandon()
        except TimeoutError:
            log.warning("image.release_timed_out")
            seen.released(failure.code, reason=failure.message)
            return verdict.disposition
        if verdict.ending is Ending.FAIL:
            seen.failed(failure.code, reason=failure.message, step=failure.step)
        else:
            seen.released(failure.code, reason=failure.message)
        if verdict.is_dead:
            await self._bury(job, failure)
        return verdict.disposition

    async def _bury(self, job: Job, failure: Failure) -> None:
        await self._queue.send_to_dead_letter_queue(
            job, reasons={"code": failure.code, "reason": failure.message}
        )


def _wait_for_another_s(left_s: float, receive_count: int) -> float:
    """
    Choose how long to wait for another delivery of the same upload.

    At first it is most likely a duplicate whose twin is done in a moment; after that, the other may be dead,
    and no try must be spent before its lease has ended.
    """
    return max(1, math.ceil(min(left_s, _TWIN_S) if receive_count == 1 else left_s))


def _moves_on(report: StepReport, recording: StepWriter) -> list[Transition]:
    """Return the end of the reported step and, at the same moment, the start of the one after it."""
    at, steps = recording.now(), list(StepName)
    following = steps[steps.index(report.step) + 1 :]
    return [
        transition.step_ended(report, at=at),
        *(transition.step_started(step, at=at) for step in following[:1]),
    ]


async def _close_quietly(recording: StepWriter) -> None:
    try:
        await recording.close()
    except ImageWorkerError as error:
        log.debug("recording.closed", reason=str(error))
