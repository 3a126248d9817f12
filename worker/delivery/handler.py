"""
The path of one message, from its receipt to its disposition, readable top to bottom.

claim -> fetch -> validate, resize, watermark (in a decoder process) -> store -> complete -> disposition
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from datetime import timedelta
from functools import partial
from typing import Final
from uuid import uuid4
from zlib import crc32

import structlog

from worker.delivery.isolation import Isolation
from worker.delivery.outcome import (
    RETRIES_EXHAUSTED_CODES,
    WORKER_STOPPED,
    Failed,
    LeaseLost,
    Outcome,
    Released,
    RetriesExhausted,
    outcome_of,
    retry_delay_s,
    upgrade_delay_s,
)
from worker.delivery.ports import (
    Hold,
    Ledger,
    MessageQueue,
    Observation,
    Observer,
    Pool,
    Results,
    Scans,
    Sources,
)
from worker.delivery.recipes import Recipes
from worker.delivery.step_writer import StepWriter
from worker.domain import transition
from worker.domain.claim import (
    AlreadyDone,
    BeingDeleted,
    Claimant,
    Claimed,
    LeasedByAnother,
    Superseded,
    Suspect,
    has_killed,
    is_deleted,
    worker_killed,
)
from worker.domain.clock import Clock
from worker.domain.errors import (
    ImageWorkerError,
    LaterResultError,
    LeaseLostError,
    NewerRecordError,
    RecordError,
    RecordRejectedError,
    TransientError,
)
from worker.domain.image import Description, Failure, Image, Rendition, Source
from worker.domain.job import Job
from worker.domain.message import Abandon, Delete, Disposition, Message, Release, Unreadable
from worker.domain.recipe import Recipe
from worker.domain.status import TERMINAL_STATUSES, ImageStatus, StepName
from worker.domain.step import (
    EncodedRendition,
    StepReport,
    with_focus,
    with_ignored_metadata,
    with_ignored_preferences,
    with_type_mismatch,
)
from worker.domain.transition import Transition

log = structlog.get_logger(__name__)

_RELEASE_TIMEOUT_S: Final = 5.0
"""How long the release of an image may take; after that, its lease expires."""

_DUPLICATE_DELAY_S: Final = 5.0
"""How long a message waits, on its first receive, for another delivery of the same upload to finish."""

_LEASE_END_WAIT_S: Final = 2.0
"""
How long a delivery waits for the end of another one's lease instead of releasing its message.

A first lease ends a little after the message is visible again, by the time between the receive and the claim
and by the difference of two workers' clocks. A release would spend a receive of each worker that is killed.
"""

BEING_DELETED: Final = "being_deleted"
"""Code of the dead letter of an upload to an image whose deletion has not been finished in time."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DeliveryConfig:
    """
    Limits and timeouts for message delivery.

    Attributes:
        worker_id: Name of this process in leases and in the history; without slashes.
        lease_s: Seconds until a lease expires unless it is renewed.
        max_receives: How often a message may be received.
        max_bytes: Maximum size of an upload in bytes.
        record_delay_s: Seconds that the result of a step may wait to be written with the next one.
        retention: How long records are kept; None keeps them forever.
    """

    worker_id: str
    lease_s: float
    max_receives: int
    max_bytes: int
    record_delay_s: float
    retention: timedelta | None = None


@dataclass(slots=True)
class StoredKeys:
    """
    The keys under which an attempt has stored a result, or may have.

    Attributes:
        keys: The keys.
        is_storing: Whether a request to store a result has not been responded to, and may still be executed.
        is_counted: Whether the results show that a deleted record of the image is still counted.
    """

    keys: list[str] = field(default_factory=list)
    is_storing: bool = False
    is_counted: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Attempt:
    """
    One attempt at processing a claimed image.

    Attributes:
        image: The image as claimed.
        job: The upload to process.
        recipe: What to make of it.
        ignored_preferences: Name of each preference of the owner that cannot be used, and why.
        message: The message that announced the upload.
        hold: Keeps the message invisible and the lease renewed.
        writer: Writes the attempt's steps to the record.
        observation: Metrics, trace and log line of the attempt.
        stored: Where the attempt has stored results.
    """

    image: Image
    job: Job
    recipe: Recipe
    ignored_preferences: Mapping[str, str]
    message: Message
    hold: Hold
    writer: StepWriter
    observation: Observation
    stored: StoredKeys = field(default_factory=StoredKeys)


class MessageHandler:
    """
    Processes every upload that a message announces.

    Args:
        parse: Returns the jobs of a message, and its unreadable parts.
        queue: Queue whose dead-letter queue receives what cannot be processed.
        ledger: Write side of the image records.
        recipes: Recipe of each user's images.
        sources: Reads uploads.
        pool: Runs the steps in decoder processes.
        results: Stores renditions.
        observer: Metrics, traces and log lines.
        clock: Returns the current time.
        config: Limits and timeouts.
        isolation: Lets a delivery run alone; shared with the consumer.
        scans: Results of malware scans; None if uploads need no scan.
    """

    def __init__(  # noqa: PLR0913 - one argument per dependency on the path of a message
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
        isolation: Isolation | None = None,
        scans: Scans | None = None,
    ) -> None:
        self._parse, self._queue = parse, queue
        self._ledger, self._recipes = ledger, recipes
        self._sources, self._pool, self._results = sources, pool, results
        self._observer, self._clock, self._config = observer, clock, config
        self._isolation = isolation or Isolation()
        self._scans = scans

    async def handle(self, message: Message, hold: Hold) -> Disposition:
        """
        Process every upload that the message announces; return the message's disposition.

        Raises:
            asyncio.CancelledError: The worker shuts down; the image has been released if possible.
        """
        self._observer.received(message)
        if message.receive_count <= self._config.max_receives:
            return await self._handle_parts(message, hold)
        # Its workers must have been killed, perhaps before the record could show it. The order alternates, so
        # that each message of a poll runs before every other one in one of two receives.
        await asyncio.sleep(0)  # until the other messages of the poll have started
        order = crc32(message.message_id.encode()) * (-1) ** message.receive_count
        async with self._isolation.alone(order=order):
            return await self._handle_parts(message, hold)

    async def _handle_parts(self, message: Message, hold: Hold) -> Disposition:
        dispositions: list[Disposition] = []
        for part in self._parse(message):
            if hold.is_lost:
                return Abandon()
            dispositions.append(await self._handle_part(part, message, hold))
        return _combined(dispositions)

    async def _handle_part(self, part: Job | Unreadable, message: Message, hold: Hold) -> Disposition:
        try:
            return await self._handle_upload(part, message, hold)
        except TransientError as error:
            # The record or the dead letter could not be written: only the message is left for a retry.
            log.warning("message.released", reason=str(error))
            return Release(retry_delay_s(message.receive_count), error.is_dependency_failure)

    async def _handle_upload(self, part: Job | Unreadable, message: Message, hold: Hold) -> Disposition:
        """
        Process an upload; an unreadable part, and an upload whose record is unusable, become dead letters.

        Raises:
            TransientError: The record or the dead letter could not be written.
        """
        try:
            if isinstance(part, Unreadable):
                log.warning("message.parse_failed", reason=part.reason)
                if part.is_newer:
                    return await self._wait_for_upgrade(part, message, code="unreadable", reason=part.reason)
                await self._send_to_dead_letter_queue(part, code="unreadable", reason=part.reason)
                return Delete()
            with self._observer.observing(part, message) as observation:
                job = await self._scans.find_upload(part) if self._scans else part
                if job is None:
                    log.info("scan_result.skipped", reason="another upload has replaced the scanned object")
                    return Delete()
                return await self._claim_and_process(job, message, hold, observation)
        except NewerRecordError as error:
            log.warning("image.record_unusable", code=error.code, reason=str(error))
            return await self._wait_for_upgrade(part, message, code=error.code, reason=str(error))
        except (RecordError, RecordRejectedError) as error:
            log.warning("image.record_unusable", code=error.code, reason=str(error))
            await self._send_to_dead_letter_queue(part, code=error.code, reason=str(error))
            return Delete()

    async def _claim_and_process(
        self,
        job: Job,
        message: Message,
        hold: Hold,
        observation: Observation,
        *,
        suspect: Image | None = None,
    ) -> Disposition:
        """
        Claim the image and process it, unless it is already done or leased by another delivery.

        If the image is the suspect, it is claimed although it may have killed a worker.
        """
        found = await self._recipes.for_upload(user_id=job.user_id, key=job.key)
        now = self._clock()
        claimant = Claimant(
            owner=f"{self._config.worker_id}/{uuid4().hex[:8]}",
            lease_until=now + timedelta(seconds=self._config.lease_s),
            now=now,
            recipe=found.recipe.hash,
            retention=self._config.retention,
            leaves_suspects=suspect is None,
            fails_attempt=suspect.attempt if suspect and self._is_given_up(suspect, message) else None,
        )
        result = await self._ledger.claim(job, claimant)
        match result:
            case Claimed(image=image):
                attempt = Attempt(
                    image=image,
                    job=replace(job, image_id=image.image_id),
                    recipe=found.recipe,
                    ignored_preferences=found.ignored_preferences,
                    message=message,
                    hold=hold,
                    writer=StepWriter(
                        self._ledger, image, delay_s=self._config.record_delay_s, clock=self._clock
                    ),
                    observation=observation,
                )
                with structlog.contextvars.bound_contextvars(image_id=image.image_id, attempt=image.attempt):
                    if suspect is not None and image.attempt - 1 == claimant.fails_attempt:
                        return await self._end(attempt, RetriesExhausted(worker_killed(suspect)))
                    disposition = await self._run(attempt)
                    await self._delete_leftovers(attempt.writer.image, message)
                    return disposition
            case Suspect(image=image):
                return await self._claim_suspect(image, job, message, hold, observation)
            case LeasedByAnother(until=until):
                lease_left_s = (until - now).total_seconds()
                log.info("image.claim_deferred", until=until.isoformat())
                if lease_left_s > _LEASE_END_WAIT_S:
                    return Release(_delay_while_leased_s(lease_left_s, message.receive_count))
                await asyncio.sleep(lease_left_s)
                if hold.is_lost:
                    return Abandon()
                return await self._claim_and_process(job, message, hold, observation, suspect=suspect)
            case BeingDeleted():
                return await self._wait_for_deletion(job, message)
            case Superseded(image=image) if (newer := await self._newer_upload(job, image)) is not None:
                return await self._claim_and_process(newer, message, hold, observation)
            case AlreadyDone(image=image):
                return await self._finish(image, job, message)
            case _:
                log.debug("image.claim_skipped", result=type(result).__name__)
                return Delete()

    async def _finish(self, image: Image, job: Job, message: Message) -> Disposition:
        """Do what the worker that ended the image has not done, if it died after that."""
        if image.error and self._dead_letter_may_be_missing(image.error, message):
            await self._send_to_dead_letter_queue(job, code=image.error.code, reason=image.error.message)
        elif image.leftovers and image.deletion is None:
            await self._delete_leftovers(image, message)
        else:
            log.debug("image.claim_skipped", result=AlreadyDone.__name__)
        return Delete()

    async def _newer_upload(self, job: Job, recorded: Image) -> Job | None:
        """Return the job of a scan result as newer than the recorded upload if its object is stored now."""
        if self._scans is None or job.scan is None or not job.supersedes:
            return None
        found = await self._scans.find_upload(job, recorded=recorded)
        return found if found and found.supersedes else None

    async def _wait_for_upgrade(
        self, part: Job | Unreadable, message: Message, *, code: str, reason: str
    ) -> Disposition:
        """Release the message of what only a newer version can process; its last receive is a dead letter."""
        if message.receive_count >= self._config.max_receives:
            await self._send_to_dead_letter_queue(part, code=code, reason=reason)
            return Delete()
        return Release(upgrade_delay_s(message.receive_count))

    async def _wait_for_deletion(self, job: Job, message: Message) -> Disposition:
        """Release the message of an upload that is newer than the image which is being deleted."""
        if message.receive_count >= self._config.max_receives:
            reason = (
                f"the image {job.image_id} has been in the course of its deletion for too long; "
                "run `image-worker images delete` with its id to finish that, then redrive this upload"
            )
            await self._send_to_dead_letter_queue(job, code=BEING_DELETED, reason=reason)
            return Delete()
        log.info("image.claim_deferred", reason=BEING_DELETED)
        return Release(_delay_while_leased_s(self._config.lease_s, message.receive_count))

    async def _claim_suspect(
        self, image: Image, job: Job, message: Message, hold: Hold, observation: Observation
    ) -> Disposition:
        """Process an image that may have killed a worker while no other is in flight, or fail it at last."""
        process = partial(self._claim_and_process, job, message, hold, observation, suspect=image)
        if self._is_given_up(image, message):
            return await process()
        log.warning("image.isolated", failed_attempt=image.attempt)
        async with self._isolation.alone(order=image.attempt if has_killed(image) else 0):
            return Abandon() if hold.is_lost else await process()

    def _is_given_up(self, suspect: Image, message: Message) -> bool:
        """Return whether the suspect's worker was killed while it was alone, and its receives are used up."""
        is_alone = suspect.status is ImageStatus.PROCESSING and has_killed(suspect)
        return is_alone and message.receive_count > self._config.max_receives

    def _dead_letter_may_be_missing(self, failure: Failure, message: Message) -> bool:
        """Return whether an earlier receive may have died between failing the image and its dead letter."""
        return message.receive_count > self._config.max_receives and failure.code in RETRIES_EXHAUSTED_CODES

    async def _run(self, attempt: Attempt) -> Disposition:
        """Process a claimed image; if that fails, record the outcome."""
        image, hold = attempt.image, attempt.hold
        try:
            with (
                hold.leasing(attempt.writer.renew),
                hold.guarding(image_id=image.image_id, attempt=image.attempt),
            ):
                await self._process(attempt)
        except asyncio.CancelledError as error:
            try:
                await self._end(attempt, self._outcome_of(error, attempt))
            except TransientError as failed:  # the lease expires by itself; the shutdown continues
                log.warning("image.release_failed", reason=str(failed))
            raise
        except Exception as error:
            if not isinstance(error, ImageWorkerError):
                log.exception("image.attempt_crashed")
            return await self._end(attempt, self._outcome_of(error, attempt))
        return Delete()

    async def _process(self, attempt: Attempt) -> None:
        """Take the image from its upload to its stored renditions, writing each step to the record."""
        self._results.check_keys(attempt.image, attempt.recipe)
        if self._scans is not None:
            await self._scans.require_clean(attempt.job)
        source = await self._fetch(attempt)
        encoded = await self._decode(attempt, source)
        stored = await self._store(attempt, encoded)
        await self._complete(attempt, stored)

    async def _fetch(self, attempt: Attempt) -> Source:
        with attempt.observation.step("fetch"):
            source = await self._sources.fetch(attempt.job, max_bytes=self._config.max_bytes)
        attempt.observation.read(source.description.file_size)
        attempt.writer.add(transition.source_described(source.description, at=attempt.writer.now()))
        return source

    async def _decode(self, attempt: Attempt, source: Source) -> list[EncodedRendition]:
        """Validate, resize and watermark the image in a decoder process; return its renditions."""
        encoded: list[EncodedRendition] = []
        with attempt.observation.step("compute"):
            outputs_of_image = self._pool.run(
                source.content,
                attempt.recipe,
                user_id=attempt.job.user_id,
                focus=source.description.focus,
            )
            async with aclosing(outputs_of_image) as outputs:
                async for output in outputs:
                    match output:
                        case StepReport():
                            report = _with_notes(output, attempt, source.description)
                            attempt.writer.add(*_step_transitions(report, attempt.writer))
                            attempt.observation.step_reported(report)
                        case EncodedRendition():
                            encoded.append(output)
        return encoded

    async def _store(self, attempt: Attempt, encoded: Sequence[EncodedRendition]) -> dict[str, Rendition]:
        """Store the renditions; return them by size name."""
        main, stored = attempt.recipe.main.name, {}
        with attempt.observation.step("store"):
            for rendition in encoded:
                is_main = rendition.size == main
                result = await self._store_rendition(attempt, rendition, is_main=is_main)
                stored[rendition.size] = result
                attempt.observation.stored(result.size_bytes)
        return stored

    async def _store_rendition(
        self, attempt: Attempt, rendition: EncodedRendition, *, is_main: bool
    ) -> Rendition:
        """Store a rendition, in place of a later or another record's result if the lease is still held."""
        store = partial(
            self._results.store,
            rendition=rendition,
            is_main=is_main,
            cache_control=attempt.recipe.cache_control,
        )
        attempt.stored.keys.append(self._results.key_of(attempt.image, rendition, is_main=is_main))
        attempt.stored.is_storing = True
        try:
            stored = await store(attempt.writer.image)
        except LaterResultError as error:
            # A claim is recorded before its result is stored: a later attempt that the record does not have
            # is of a record that was deleted, or was lost when the table was restored.
            await attempt.writer.raise_attempt(above=error.stored_attempt)
            log.warning("image.attempt_raised", new_attempt=attempt.writer.image.attempt)
            stored = await store(attempt.writer.image)
        attempt.stored.is_storing = False
        attempt.stored.is_counted |= stored.counted_bytes is not None
        return stored

    async def _complete(self, attempt: Attempt, stored: Mapping[str, Rendition]) -> None:
        main, writer = attempt.recipe.main.name, attempt.writer
        with attempt.observation.step("settle"):
            await writer.settle(transition.image_completed(stored, main_size=main, at=writer.now()))
        attempt.observation.completed()

    async def _delete_leftovers(self, image: Image, message: Message) -> None:
        """
        Delete the results that an ended image no longer has, then remove them from its record.

        Raises:
            TransientError: The bucket or the table is unavailable: the next receive of the message continues.
        """
        if not image.leftovers or image.status not in TERMINAL_STATUSES:
            return
        try:
            for leftover in image.leftovers:
                await self._results.delete(leftover.key, e_tag=leftover.e_tag)
            await self._ledger.clear_leftovers(image)
        except TransientError as error:
            if error.is_dependency_failure and message.receive_count < self._config.max_receives:
                raise
            # The image has its results: this is left to its next completion, or to `reconcile --orphans`.
            log.warning("image.leftovers_kept", leftovers=len(image.leftovers), reason=str(error))
        else:
            log.info("image.leftovers_deleted", leftovers=len(image.leftovers))

    def _outcome_of(self, error: BaseException, attempt: Attempt) -> Outcome:
        return outcome_of(
            error,
            step=attempt.writer.current_step,
            receive_count=attempt.message.receive_count,
            max_receives=self._config.max_receives,
            is_alone=has_killed(attempt.image),
        )

    async def _end(self, attempt: Attempt, outcome: Outcome) -> Disposition:
        """Record the outcome of an attempt that did not complete; return the message's disposition."""
        try:
            await self._record_outcome(attempt, outcome)
        except LeaseLostError:
            attempt.observation.lost()
            return await self._stop(attempt)
        return await self._stop(attempt) if isinstance(outcome, LeaseLost) else outcome.disposition

    async def _stop(self, attempt: Attempt) -> Disposition:
        """
        Return the disposition of a message whose image has lost its lease.

        If that is because the image is being deleted, its results must not outlive it: those of this attempt
        are deleted. The deletion waits for the acknowledgement, but not beyond the end of the lease. If the
        record is gone, it may have been deleted by another program, with which the image stays counted: then
        results that show this stay, for the next record. Otherwise, the attempt that has the lease may keep
        the results.
        """
        image, stored = attempt.writer.image, attempt.stored
        try:
            current = await self._ledger.read(image)
            is_marked = current is not None and current.deletion is not None
            shows_count = image.counted_bytes is not None or stored.is_counted or stored.is_storing
            if is_marked or (is_deleted(current, image) and not shows_count):
                await self._results.discard(image, stored.keys)
                log.info("image.results_discarded", keys=len(stored.keys))
            if not is_marked:
                return Abandon()
            if not stored.is_storing:
                await self._ledger.acknowledge_deletion(image)
        except (TransientError, RecordError, RecordRejectedError) as error:
            log.warning("image.results_not_discarded", reason=str(error))
            return Abandon()
        return Delete()

    async def _record_outcome(self, attempt: Attempt, outcome: Outcome) -> None:
        match outcome:
            case Failed(failure=failure):
                await _fail(attempt, failure)
            case RetriesExhausted(failure=failure):
                await _fail(attempt, failure)
                await self._send_to_dead_letter_queue(attempt.job, code=failure.code, reason=failure.message)
            case Released(failure=failure):
                await _release(attempt, failure)
            case LeaseLost():
                await _close_writer(attempt.writer)
                attempt.observation.lost()

    async def _send_to_dead_letter_queue(self, what: Job | Unreadable, *, code: str, reason: str) -> None:
        await self._queue.send_to_dead_letter_queue(what, reasons={"code": code, "reason": reason})


def _combined(dispositions: Sequence[Disposition]) -> Disposition:
    """Return the disposition of a message from those of its parts: release before abandon before delete."""
    releases = [disposition for disposition in dispositions if isinstance(disposition, Release)]
    if releases:
        return Release(
            max(release.after_s for release in releases),
            is_dependency_failure=any(release.is_dependency_failure for release in releases),
        )
    return next((disposition for disposition in dispositions if isinstance(disposition, Abandon)), Delete())


def _delay_while_leased_s(lease_left_s: float, receive_count: int) -> float:
    """
    Return the delay in seconds before the message of an image that another delivery has leased.

    On the first receive the message is most likely a duplicate, and the other delivery finishes in a moment.
    Later the other worker may be dead, and another receive before its lease expires would be wasted.
    """
    is_first = receive_count == 1
    return max(1, math.ceil(min(lease_left_s, _DUPLICATE_DELAY_S) if is_first else lease_left_s))


def _with_notes(report: StepReport, attempt: Attempt, description: Description) -> StepReport:
    """Return the report with what the decoder does not know about the upload and its owner."""
    report = with_type_mismatch(report, content_type=description.file_type, key=attempt.job.key)
    report = with_ignored_preferences(report, attempt.ignored_preferences)
    report = with_ignored_metadata(report, description.ignored)
    return with_focus(report, description.focus)


def _step_transitions(report: StepReport, writer: StepWriter) -> list[Transition]:
    """Return the end of the reported step and, at the same time, the start of the next one."""
    at, steps = writer.now(), list(StepName)
    following = steps[steps.index(report.step) + 1 :]
    return [
        transition.step_ended(report, at=at),
        *(transition.step_started(step, at=at) for step in following[:1]),
    ]


async def _fail(attempt: Attempt, failure: Failure) -> None:
    writer = attempt.writer
    try:
        await writer.settle(*transition.failed(failure, at=writer.now()))
    except RecordRejectedError:
        # The table rejects what the attempt found out about the image, but not that it failed.
        writer.discard()
        failure = replace(failure, step=writer.current_step)
        await writer.settle(*transition.failed(failure, at=writer.now()))
    attempt.observation.failed(failure.code, reason=failure.message, step=failure.step)


async def _release(attempt: Attempt, failure: Failure) -> None:
    recorded = failure
    if failure.code == WORKER_STOPPED and attempt.image.error and has_killed(attempt.image):
        recorded = attempt.image.error  # it remains a suspect: this attempt has shown nothing
    try:
        async with asyncio.timeout(_RELEASE_TIMEOUT_S):
            await attempt.writer.settle(transition.image_released(recorded, at=attempt.writer.now()))
    except RecordRejectedError:
        attempt.writer.discard()
        await attempt.writer.settle(transition.image_released(recorded, at=attempt.writer.now()))
    except TimeoutError:
        log.warning("image.release_timed_out")
    attempt.observation.released(failure.code, reason=failure.message)


async def _close_writer(writer: StepWriter) -> None:
    try:
        await writer.close()
    except ImageWorkerError as error:
        log.debug("step_writer.close_failed", reason=str(error))
