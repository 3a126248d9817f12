"""Looks, when all is over, whether everything that was promised of the uploads is so."""

import asyncio
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import Picture
from tests.chaos.witness import Witness
from tests.support.adapters import profiles_of
from tests.support.crash_points import check_history
from tests.support.emulators import messages_in
from tests.support.pictures import opened
from worker.bootstrap import build_queries
from worker.domain import clock
from worker.domain.image import HistoryEntry, Image
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

_AT_ONCE: Final = 16


@dataclass(frozen=True, slots=True)
class Broken:
    """A promise that does not hold, and for which image, if it is one image's."""

    sentence: str
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """What the workers leave behind, seen without the proxy."""

    settings: Settings
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"

    async def images(self, pictures: Sequence[Picture]) -> dict[str, Image]:
        """Read the records of pictures, by image id."""
        queries = build_queries(self.dynamodb, self.settings)
        keys = [(picture.image_id, picture.user_id) for picture in pictures]
        return {image.image_id: image for image in await queries.images(keys, consistent=True)}

    async def result(self, key: str) -> tuple[bytes, str, Mapping[str, str]]:
        """Return a result's bytes, its eTag, and what it says of its origin."""
        answer = await self.s3.get_object(Bucket=self.settings.bucket, Key=key)
        async with answer["Body"] as body:
            return await body.read(), answer["ETag"].strip('"'), answer["Metadata"]

    async def result_keys(self) -> set[str]:
        """List every result."""
        keys: set[str] = set()
        pages = self.s3.get_paginator("list_objects_v2").paginate(
            Bucket=self.settings.bucket, Prefix=self.settings.processed_prefix
        )
        async for page in pages:
            keys.update(entry["Key"] for entry in page.get("Contents", []))
        return keys


@dataclass(frozen=True, slots=True)
class Findings:
    """
    What was found.

    Attributes:
        broken: Promises that do not hold.
        images: The records, by image id.
        lost: Uploads without their right end.
        double_counts: By how many images, over all users, the statistics are off.
        dead_letters: Messages that were given up.
        adopted: Results that an attempt stored which died before it could say so, taken over by the next.
        left_over: Results that no record names: those of replaced uploads of another format, or of none.
    """

    broken: Sequence[Broken]
    images: Mapping[str, Image]
    lost: int
    double_counts: int
    dead_letters: int
    adopted: int
    left_over: int


async def findings(store: Store, pictures: Sequence[Picture], witness: Witness) -> Findings:
    """Look at every record, result and count."""
    images = await store.images(pictures)
    broken = [*_of_record(pictures, images), *_of_witness(images, witness)]
    lost = len({one.image_id for one in broken if one.sentence.startswith("lost")})
    completed = [
        (picture, images[picture.image_id])
        for picture in pictures
        if picture.image_id in images and images[picture.image_id].status is ImageStatus.COMPLETED
    ]
    gate = asyncio.Semaphore(_AT_ONCE)

    async def look(picture: Picture, image: Image) -> tuple[list[Broken], bool]:
        async with gate:
            return await _of_result(store, picture, image)

    results = await asyncio.gather(*(look(*one) for one in completed))
    broken += [one for found, _ in results for one in found]
    double_counts, of_counts = await _of_counts(store, images)
    broken += of_counts
    dead_letters = await messages_in(store.sqs, store.settings.dead_letter_queue_name)
    if dead_letters:
        broken.append(Broken(f"{dead_letters} messages became dead letters"))
    named = {one.key for image in images.values() for one in image.renditions.values()}
    return Findings(
        broken=broken,
        images=images,
        lost=lost,
        double_counts=double_counts,
        dead_letters=dead_letters,
        adopted=sum(adopted for _, adopted in results),
        left_over=len(await store.result_keys() - named),
    )


def _of_record(pictures: Sequence[Picture], images: Mapping[str, Image]) -> Iterator[Broken]:
    for picture in pictures:
        image = images.get(picture.image_id)
        if image is None:
            yield Broken("lost: there is no record", picture.image_id)
            continue
        sentences = [*_of_end(picture, image), *_of_history(image)]
        yield from (Broken(sentence, image.image_id) for sentence in sentences)


def _of_end(picture: Picture, image: Image) -> Iterator[str]:
    newest = picture.newest
    if image.version.e_tag != newest.e_tag:
        yield f"lost: its record is not of its newest upload ({newest.name})"
    elif image.status not in TERMINAL_STATUSES:
        yield f"lost: it is {image.status}"
    elif (image.error.code if image.error else None) != newest.code:
        yield f"{newest.name} should have ended with {newest.code}"


def _of_history(image: Image) -> Iterator[str]:
    try:
        check_history(replace(image, history=in_order(image.history)))
    except AssertionError as error:
        yield f"its history breaks the rule `{traceback.extract_tb(error.__traceback__)[-1].line}`"
    for attempt, of_attempt in groupby(image.history, key=lambda entry: entry.attempt):
        # An attempt is one worker's, and with it one clock's; what claims it is told by that clock too.
        times = [entry.at for entry in of_attempt if entry.worker is not None]
        if times != sorted(times):
            yield f"the times of attempt {attempt} run backwards"
    for of_upload in _of_each_upload(image.history):
        ends = [
            entry.status for entry in of_upload if entry.step is None and entry.status in TERMINAL_STATUSES
        ]
        if len(ends) > 1:
            yield f"one upload ended {len(ends)} times: {', '.join(ends)}"
    of_attempts = defaultdict(set)
    for entry in image.history:
        if entry.worker is not None:
            of_attempts[entry.attempt].add(entry.worker)
    for attempt, workers in of_attempts.items():
        if len(workers) > 1:
            yield f"several workers wrote as attempt {attempt}: {workers}"


def in_order(history: Sequence[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    """Let no entry be earlier than the one before it: the clocks of several workers are not one."""
    latest = accumulate((entry.at for entry in history), max)
    return tuple(replace(entry, at=at) for entry, at in zip(history, latest, strict=True))


def _of_each_upload(history: Sequence[HistoryEntry]) -> Iterator[Sequence[HistoryEntry]]:
    """Split an audit trail where a newer upload came."""
    begin = 0
    for number, entry in enumerate(history):
        if entry.detail.get("reason") == ImageMove.UPLOADED_AGAIN.value:
            yield history[begin:number]
            begin = number
    yield history[begin:]


def _of_witness(images: Mapping[str, Image], witness: Witness) -> Iterator[Broken]:
    """Compare the records with what passed on the way to them."""
    for stale in witness.landed:
        sentence = f"a stale {stale.what} of attempt {stale.attempt} landed after attempt {stale.latest} came"
        yield Broken(sentence, stale.image_id)
    for image in images.values():
        ends = sum(entry.step is None and entry.status in TERMINAL_STATUSES for entry in image.history)
        if (witness.claims[image.image_id], witness.ends[image.image_id]) != (image.attempt, ends):
            sentence = (
                f"{witness.claims[image.image_id]} claims and {witness.ends[image.image_id]} ends were seen,"
                f" but its record tells of {image.attempt} and {ends}"
            )
            yield Broken(sentence, image.image_id)


async def _of_result(store: Store, picture: Picture, image: Image) -> tuple[list[Broken], bool]:
    """Look at a completed image's result; tell whether it is an earlier attempt's of the same upload."""
    (rendition,) = image.renditions.values()
    content, e_tag, origin = await store.result(rendition.key)
    result = opened(content)
    broken = []
    if e_tag != rendition.e_tag:
        broken.append("its result is not the one that its record names")
    elif result.size != (rendition.width, rendition.height):
        broken.append("its result has another size than its record says")
    if not picture.newest.code and not picture.newest.is_origin_of(result):
        broken.append(f"its result was not made from its newest upload ({picture.newest.name})")
    if origin["source-etag"] != image.version.e_tag:
        broken.append("its result says that it was made from another upload")
    attempt = int(origin["attempt"])
    if attempt > image.attempt:
        broken.append(f"its result is of attempt {attempt}, its record of {image.attempt}")
    return [Broken(sentence, image.image_id) for sentence in broken], attempt < image.attempt


async def _of_counts(store: Store, images: Mapping[str, Image]) -> tuple[int, list[Broken]]:
    """Compare each user's statistics with what the records add up to; return by how many images they miss."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for image in images.values():
        if image.status is ImageStatus.COMPLETED:
            counts[image.user_id] += 1
            sizes[image.user_id] += image.total_bytes()
    profiles = profiles_of(store.dynamodb, store.settings)
    missed, broken = 0, []
    for user_id in sorted({image.user_id for image in images.values()}):
        profile = await profiles.get(user_id)
        counted = profile.statistics if profile else None
        total = counted.total_images if counted else 0
        size = counted.total_storage_used if counted else 0
        missed += abs(total - counts[user_id])
        if (total, size) != (counts[user_id], sizes[user_id]):
            sentence = (
                f"{user_id} counts {total} images of {size} bytes;"
                f" the records add up to {counts[user_id]} of {sizes[user_id]}"
            )
            broken.append(Broken(sentence))
    return missed, broken


def told(image: Image) -> str:
    """Write an image's history down, one line for each entry."""
    lines = [f"{image.image_id} of {image.user_id}: {image.status}, attempt {image.attempt}"]
    lines += [
        f"  {clock.to_text(entry.at)} attempt {entry.attempt} {entry.step or 'image'} {entry.status}"
        f" {entry.worker or ''} {dict(entry.detail) or ''}".rstrip()
        for entry in image.history
    ]
    return "\n".join(lines)
