"""Dead letters and what the record says of them; sending them back."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final

from worker.bootstrap import RETRY_POLICIES, key_layout, queue_url
from worker.domain.image import Image
from worker.domain.job import Job
from worker.domain.message import Unreadable
from worker.domain.status import ImageStatus
from worker.dynamodb.queries import Queries
from worker.repair.requests import RepairContext, RequeueRequest, job_of
from worker.settings import Settings
from worker.sqs.dead_letters import DeadLetter, DeadLetters

if TYPE_CHECKING:
    from types_aiobotocore_sqs import SQSClient

LOOK_S: Final = 30
"""How long letters stay hidden that are only looked at, should the command die before it gives them back."""

REDRIVE_S: Final = 120
"""The same for letters that are about to be sent back."""

Records = Mapping[tuple[str, str], Image]


@dataclass(frozen=True, slots=True)
class Told:
    """A dead letter, and why it is one: by its own attributes, else by the record of the image it names."""

    letter: DeadLetter
    code: str
    reason: str


async def open_letters(client: "SQSClient", settings: Settings, *, visibility_timeout_s: int) -> DeadLetters:
    """
    Return the dead letters of the settings.

    Raises:
        ConfigurationError: There is no such queue.
    """
    url = await queue_url(client, settings.dead_letter_queue_name)
    return DeadLetters(
        client,
        url=url,
        key_layout=key_layout(settings),
        visibility_timeout_s=visibility_timeout_s,
        retry=RETRY_POLICIES.queue,
    )


async def records_of(letters: Sequence[DeadLetter], queries: Queries) -> Records:
    """Return the images that the letters name, by image id and user."""
    keys = [(job.image_id, job.user_id) for letter in letters for job in letter.jobs]
    images = await queries.images(keys, consistent=True) if keys else []
    return {(image.image_id, image.user_id): image for image in images}


def tell(letter: DeadLetter, records: Records) -> Told:
    """Say why a letter is dead."""
    if letter.code:
        return Told(letter, letter.code, letter.reason or "")
    for part in letter.parts:
        if isinstance(part, Unreadable):
            return Told(letter, "unreadable", part.reason)
        image = records.get((part.image_id, part.user_id))
        if image is not None and image.error is not None:
            return Told(letter, image.error.code, image.error.message)
    return Told(letter, "unknown", "received too often, and its worker left no reason")


async def redrive_all(
    asking: RepairContext, letters: DeadLetters, *, image_id: str | None, code: str | None, limit: int | None
) -> None:
    """
    Send dead letters back.

    First the record moves to pending, then the message is sent, then the letter is deleted: whatever crashes
    in between, the letter is still there, and a message too many finds its picture taken or done.
    """
    kept: list[DeadLetter] = []
    left = limit
    try:
        async for some in letters.read():
            kept += some  # until it is deleted
            records = await records_of(some, asking.queries)
            chosen = [told for letter in some if _is_meant(told := tell(letter, records), image_id, code)]
            chosen = chosen if left is None else chosen[:left]
            settled = await _redrive_some(asking, chosen, records)
            if settled and not asking.report.is_dry:
                undeleted = await letters.delete(settled)
                for letter in undeleted:
                    asking.report.could_not(_name(letter), "it is sent back, but could not be deleted")
                gone = {letter.message_id for letter in settled}
                kept = [letter for letter in kept if letter.message_id not in gone]
            if left is not None:
                left -= len(chosen)
                if left <= 0:
                    return
    finally:
        await letters.release(kept)


def _is_meant(told: Told, image_id: str | None, code: str | None) -> bool:
    is_image = image_id is None or any(job.image_id == image_id for job in told.letter.jobs)
    return is_image and (code is None or told.code == code)


async def _redrive_some(asking: RepairContext, chosen: Sequence[Told], records: Records) -> list[DeadLetter]:
    """Ask for what the letters name; return the letters that have nothing left to say."""
    wishes: dict[str, list[RequeueRequest]] = {}
    asked_for: set[str] = set()
    for told in chosen:
        letter = told.letter
        if letter.parts and not letter.jobs:
            asking.report.could_not(_name(letter), f"nobody can read it: {told.reason}")
            continue
        found = [wish for part in letter.parts if (wish := _wish(asking, part, records)) is not None]
        # Of two letters that ask for the same, one is enough: it stays until it is sent.
        wishes[letter.message_id] = [wish for wish in found if wish.body not in asked_for]
        asked_for.update(wish.body for wish in found)
        if not wishes[letter.message_id]:
            asking.report.left("settled already")
    together = [(message_id, wish) for message_id, some in wishes.items() for wish in some]
    asked = await asking.ask([wish for _, wish in together])
    failed = {message_id for (message_id, _), is_asked in zip(together, asked, strict=True) if not is_asked}
    return [
        told.letter
        for told in chosen
        if told.letter.message_id in wishes and told.letter.message_id not in failed
    ]


def _wish(asking: RepairContext, part: Job | Unreadable, records: Records) -> RequeueRequest | None:
    """Return what a part of a letter asks for; None when the record says that it is settled."""
    action = "sent back"
    if isinstance(part, Unreadable):
        # It came together with others that are readable: a worker puts it among the dead letters, alone.
        return RequeueRequest(image_id="", user_id="", action=action, body=part.body)
    image = records.get((part.image_id, part.user_id))
    if image is None or part.version.is_newer_than(image.version):
        return asking.wish(part, action=action)
    if image.version.is_newer_than(part.version) or image.status is ImageStatus.COMPLETED:
        return None
    if image.status is ImageStatus.FAILED:
        return asking.wish(job_of(image), action=action, move=partial(asking.reopening.retry, image))
    return asking.wish(job_of(image), action=action)


def _name(letter: DeadLetter) -> str:
    return next((job.image_id for job in letter.jobs), letter.message_id)
