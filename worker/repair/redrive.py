"""Find out why messages became dead letters, and send them back to the queue."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import Final

from worker.domain.claim import require_known_status
from worker.domain.errors import UnreadableRecordError
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.message import Unreadable
from worker.domain.status import ImageStatus
from worker.dynamodb.queries import Queries
from worker.repair.context import RepairContext
from worker.repair.requests import RequeueRequest, job_of
from worker.sqs.dead_letters import DeadLetter, DeadLetters

LIST_VISIBILITY_S: Final = 30
"""Visibility timeout of dead letters that are only listed, in case the command dies before releasing them."""

REDRIVE_VISIBILITY_S: Final = 120
"""Visibility timeout of dead letters that are being redriven."""

ImagesByKey = Mapping[str, Image | UnreadableRecordError]
"""Images, or the errors of records that cannot be read, by the key of their upload."""


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """A dead letter and why it could not be processed, as an error code and a message."""

    letter: DeadLetter
    code: str
    reason: str


async def images_of(letters: Sequence[DeadLetter], queries: Queries) -> ImagesByKey:
    """Return the images that dead letters refer to, by the key of their upload."""
    return await queries.images_of((job for letter in letters for job in letter.jobs), consistent=True)


def diagnose(letter: DeadLetter, images: ImagesByKey) -> Diagnosis:
    """Return why a message became a dead letter: from its own attributes, or else from its image's record."""
    if letter.code:
        return Diagnosis(letter, letter.code, letter.reason or "")
    for part in letter.parts:
        if isinstance(part, Unreadable):
            return Diagnosis(letter, "unreadable", part.reason)
        match images.get(part.key):
            case UnreadableRecordError() as error:
                return Diagnosis(letter, error.code, str(error))
            case Image(error=Failure() as failure):
                return Diagnosis(letter, failure.code, failure.message)
    return Diagnosis(letter, "unknown", "it was received too often, and no worker recorded a reason")


async def redrive_all(
    repairs: RepairContext,
    letters: DeadLetters,
    *,
    image_id: str | None,
    code: str | None,
    limit: int | None,
    message_id: str | None = None,
) -> None:
    """
    Send dead letters back to the queue.

    First the record moves to pending, then the message is sent, then the dead letter is deleted. If the run
    stops in between, the dead letter is still there, and a duplicate message finds its image leased or ended.

    Args:
        repairs: Dependencies.
        letters: The dead-letter queue.
        image_id: Redrive only the dead letters of this image.
        code: Redrive only the dead letters with this error code.
        limit: Redrive at most this many dead letters.
        message_id: Redrive only the dead letter with this message id.

    Raises:
        RepairStoppedError: The repair was asked to stop.
    """
    to_release: list[DeadLetter] = []
    remaining = limit
    await repairs.control.checkpoint()
    try:
        async for batch in letters.read():
            to_release += batch
            images = await images_of(batch, repairs.queries)
            diagnoses = [diagnose(letter, images) for letter in batch]
            selected = [
                each
                for each in diagnoses
                if _matches(each, image_id=image_id, code=code)
                and message_id in {None, each.letter.message_id}
            ]
            selected = selected if remaining is None else selected[:remaining]
            finished = await _redrive_batch(repairs, selected, images)
            if finished and not repairs.dry_run:
                for letter in await letters.delete(finished):
                    repairs.reporter.failed(
                        _subject(letter),
                        "its message was requeued, but the dead letter was not deleted: redrive it again",
                    )
                finished_ids = {letter.message_id for letter in finished}
                to_release = [letter for letter in to_release if letter.message_id not in finished_ids]
            if remaining is not None:
                remaining -= len(selected)
                if remaining <= 0:
                    return
            await repairs.control.checkpoint()  # the dead letters of the batch have been deleted
    finally:
        await letters.release(to_release)


def _matches(diagnosis: Diagnosis, *, image_id: str | None, code: str | None) -> bool:
    is_image = image_id is None or any(job.image_id == image_id for job in diagnosis.letter.jobs)
    return is_image and (code is None or diagnosis.code == code)


async def _redrive_batch(
    repairs: RepairContext, selected: Sequence[Diagnosis], images: ImagesByKey
) -> list[DeadLetter]:
    """Requeue the images that the dead letters refer to; return the dead letters to delete."""
    requests: dict[str, list[RequeueRequest]] = {}  # by message id
    requested: set[str] = set()
    for diagnosis in selected:
        letter = diagnosis.letter
        if letter.parts and not any(map(_can_be_sent, letter.parts)):
            repairs.reporter.failed(_subject(letter), f"the message cannot be parsed: {diagnosis.reason}")
            continue
        errors = [error for job in letter.jobs if (error := _record_error(images.get(job.key))) is not None]
        if errors:
            repairs.reporter.failed(_subject(letter), str(errors[0]))
            continue
        found = [
            request for part in letter.parts if (request := _request_for(repairs, part, images)) is not None
        ]
        # If two dead letters have the same content, only the first is sent, and kept until that succeeds.
        requests[letter.message_id] = [request for request in found if request.body not in requested]
        requested.update(request.body for request in found)
        if not requests[letter.message_id]:
            repairs.reporter.skipped("already processed")
    flat = [(message_id, request) for message_id, each in requests.items() for request in each]
    sent = await repairs.requeue([request for _, request in flat])
    failed = {message_id for (message_id, _), is_sent in zip(flat, sent, strict=True) if not is_sent}
    return [
        diagnosis.letter
        for diagnosis in selected
        if diagnosis.letter.message_id in requests and diagnosis.letter.message_id not in failed
    ]


def _request_for(
    repairs: RepairContext, part: Job | Unreadable, images: ImagesByKey
) -> RequeueRequest | None:
    """Return the request for one part of a dead letter; None when the record shows that it is obsolete."""
    action = "redriven"
    if isinstance(part, Unreadable):
        # Other parts of the message can be parsed. A worker sends this one alone to the dead-letter queue.
        return RequeueRequest(image_id="", user_id="", action=action, body=part.body)
    image = images.get(part.key)
    if not isinstance(image, Image) or part.version.is_newer_than(image.version):
        return repairs.request(part, action=action)
    if image.version.is_newer_than(part.version) or image.status is ImageStatus.COMPLETED:
        return None
    if image.deletion is not None:
        return None
    recorded = replace(job_of(image), extra=part.extra)
    if image.status is ImageStatus.PROCESSING:  # only its worker may write to its record
        return repairs.request(recorded, action=action)
    is_failed = image.status is ImageStatus.FAILED
    mark_pending = repairs.writes.retry if is_failed else repairs.writes.requeue
    return repairs.request(recorded, action=action, mark_pending=partial(mark_pending, image))


def _can_be_sent(part: Job | Unreadable) -> bool:
    """Return whether a worker can process a part of a dead letter, perhaps one of a newer version."""
    return isinstance(part, Job) or part.is_newer


def _record_error(record: Image | UnreadableRecordError | None) -> UnreadableRecordError | None:
    """Return why a record must not be changed by this version; None if it may be, or there is none."""
    if not isinstance(record, Image):
        return record
    try:
        require_known_status(record)
    except UnreadableRecordError as error:
        return error
    return None


def _subject(letter: DeadLetter) -> str:
    """Return the image id of a dead letter, or its message id when it has none."""
    return next((job.image_id for job in letter.jobs), letter.message_id)
