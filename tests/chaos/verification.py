"""Verify the promises after a chaos run: every record, result and statistic."""

import asyncio
import traceback
from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, groupby
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import PlannedImage
from tests.chaos.witness import Witness
from tests.support.crash_points import check_history
from tests.support.pictures import opened
from tests.support.user_profiles import profiles_of
from worker.bootstrap import build_dead_letters, build_queries
from worker.domain import clock
from worker.domain.errors import WORKER_KILLED
from worker.domain.history import outcomes
from worker.domain.image import HistoryEntry, Image
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus
from worker.settings import Settings
from worker.sqs.dead_letters import DeadLetter

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

_CONCURRENCY: Final = 16


@dataclass(frozen=True, slots=True)
class BrokenPromise:
    """A promise that was broken, with the image that it concerns, if it is a single one."""

    message: str
    image_id: str | None = None


@dataclass(frozen=True, slots=True)
class Store:
    """Access to the resources of the workers that bypasses the proxy."""

    settings: Settings
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"

    async def images(self, planned_images: Sequence[PlannedImage]) -> dict[str, Image]:
        """Return the records of the planned images by image id."""
        queries = build_queries(self.dynamodb, self.settings)
        keys = [(planned.image_id, planned.user_id) for planned in planned_images]
        return {image.image_id: image for image in await queries.images(keys, consistent=True)}

    async def result(self, key: str) -> tuple[bytes, str, Mapping[str, str]]:
        """Return a result's bytes, eTag and metadata."""
        response = await self.s3.get_object(Bucket=self.settings.bucket, Key=key)
        async with response["Body"] as body:
            return await body.read(), response["ETag"].strip('"'), response["Metadata"]

    async def result_keys(self) -> set[str]:
        """Return the key of every result."""
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
    Results of the verification.

    Attributes:
        broken: Broken promises.
        images: The records by image id.
        lost: Number of uploads that did not end with the expected status.
        double_counts: Number of images, over all users, by which the statistics are wrong.
        dead_letters: Number of messages in the dead-letter queue.
        adopted: Number of results stored by an attempt that died before recording them, adopted by the next.
        left_over: Number of results that no record names, such as those of replaced uploads.
    """

    broken: Sequence[BrokenPromise]
    images: Mapping[str, Image]
    lost: int
    double_counts: int
    dead_letters: int
    adopted: int
    left_over: int


async def verify(
    store: Store,
    planned_images: Sequence[PlannedImage],
    witness: Witness,
    *,
    hostile_messages: Sequence[str] = (),
) -> Findings:
    """Check every record, result, statistic and dead letter."""
    images = await store.images(planned_images)
    broken = [*_check_records(planned_images, images), *_check_witness(images, witness)]
    lost = len({promise.image_id for promise in broken if promise.message.startswith("lost")})
    completed = [
        (planned, images[planned.image_id])
        for planned in planned_images
        if planned.image_id in images and images[planned.image_id].status is ImageStatus.COMPLETED
    ]
    gate = asyncio.Semaphore(_CONCURRENCY)

    async def check(planned: PlannedImage, image: Image) -> tuple[list[BrokenPromise], bool]:
        async with gate:
            return await _check_result(store, planned, image)

    results = await asyncio.gather(*(check(*pair) for pair in completed))
    broken += [promise for found, _ in results for promise in found]
    double_counts, wrong_statistics = await _check_statistics(store, images)
    broken += wrong_statistics
    letters = await _dead_letters(store)
    broken += _check_dead_letters(letters, planned_images, hostile_messages)
    named = {rendition.key for image in images.values() for rendition in image.renditions.values()}
    return Findings(
        broken=broken,
        images=images,
        lost=lost,
        double_counts=double_counts,
        dead_letters=len(letters),
        adopted=sum(adopted for _, adopted in results),
        left_over=len(await store.result_keys() - named),
    )


async def _dead_letters(store: Store) -> list[DeadLetter]:
    letters = await build_dead_letters(store.sqs, store.settings, visibility_timeout_s=60)
    return [letter async for batch in letters.read() for letter in batch]


def _check_dead_letters(
    letters: Sequence[DeadLetter], planned_images: Sequence[PlannedImage], hostile_messages: Sequence[str]
) -> Iterator[BrokenPromise]:
    """Check that those became dead letters that must, and no others; one may be there twice."""
    killers = {planned.image_id for planned in planned_images if planned.newest.code == WORKER_KILLED}
    killed = {job.image_id for letter in letters for job in letter.jobs if letter.code == WORKER_KILLED}
    unreadable = {letter.body for letter in letters if letter.code == "unreadable"}
    others = [letter for letter in letters if letter.code not in {WORKER_KILLED, "unreadable"}]
    if killed != killers:
        yield BrokenPromise(f"{killed} are dead letters in place of {killers}")
    if missing := set(hostile_messages) - unreadable:
        yield BrokenPromise(f"{len(missing)} hostile messages are no dead letters")
    if len(unreadable) > len(hostile_messages):
        yield BrokenPromise(f"{len(unreadable)} dead letters of {len(hostile_messages)} hostile messages")
    for letter in others:
        yield BrokenPromise(f"a dead letter with the code {letter.code} and the reason {letter.reason}")


def _check_records(
    planned_images: Sequence[PlannedImage], images: Mapping[str, Image]
) -> Iterator[BrokenPromise]:
    for planned in planned_images:
        image = images.get(planned.image_id)
        if image is None:
            yield BrokenPromise("lost: there is no record", planned.image_id)
            continue
        messages = [*_check_final_status(planned, image), *_check_history(image)]
        yield from (BrokenPromise(message, image.image_id) for message in messages)


def _check_final_status(planned: PlannedImage, image: Image) -> Iterator[str]:
    newest = planned.newest
    if image.version.e_tag != newest.e_tag:
        yield f"lost: its record is not that of its newest upload ({newest.name})"
    elif image.status not in TERMINAL_STATUSES:
        yield f"lost: its status is {image.status}"
    elif (image.error.code if image.error else None) != newest.code:
        yield f"{newest.name} should have ended with {newest.code}"


def _check_history(image: Image) -> Iterator[str]:
    try:
        check_history(replace(image, history=in_order(image.history)))
    except AssertionError as error:
        yield f"its history violates the rule `{traceback.extract_tb(error.__traceback__)[-1].line}`"
    for attempt, entries in groupby(image.history, key=lambda entry: entry.attempt):
        # One worker, with one clock, writes all entries of an attempt, its claim included.
        times = [entry.at for entry in entries if entry.worker is not None]
        if times != sorted(times):
            yield f"the timestamps of attempt {attempt} decrease"
    for upload in _split_by_upload(image.history):
        ends = [entry.status for entry in upload if entry.step is None and entry.status in TERMINAL_STATUSES]
        if len(ends) > 1:
            yield f"one upload ended {len(ends)} times: {', '.join(ends)}"
    workers_by_attempt = defaultdict(set)
    for entry in image.history:
        if entry.worker is not None:
            workers_by_attempt[entry.attempt].add(entry.worker)
    for attempt, workers in workers_by_attempt.items():
        if len(workers) > 1:
            yield f"several workers wrote as attempt {attempt}: {workers}"


def in_order(history: Sequence[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    """Return the history with non-decreasing timestamps, because the clocks of several workers differ."""
    latest = accumulate((entry.at for entry in history), max)
    return tuple(replace(entry, at=at) for entry, at in zip(history, latest, strict=True))


def _split_by_upload(history: Sequence[HistoryEntry]) -> Iterator[Sequence[HistoryEntry]]:
    """Split a history where a newer upload arrived."""
    begin = 0
    for number, entry in enumerate(history):
        if entry.detail.get("reason") == ImageMove.UPLOADED_AGAIN.value:
            yield history[begin:number]
            begin = number
    yield history[begin:]


def _check_witness(images: Mapping[str, Image], witness: Witness) -> Iterator[BrokenPromise]:
    """Compare the records with the writes that the proxy saw."""
    for stale in witness.landed:
        message = f"a stale {stale.what} of attempt {stale.attempt} landed after claim {stale.latest}"
        yield BrokenPromise(message, stale.image_id)
    for image in images.values():
        counts = outcomes(image.history)
        ends = sum(counts.get(status, 0) for status in TERMINAL_STATUSES)
        if (witness.claims[image.image_id], witness.ends[image.image_id]) != (image.attempt, ends):
            message = (
                f"{witness.claims[image.image_id]} claims and {witness.ends[image.image_id]} ends were seen,"
                f" but its record has {image.attempt} and {ends}"
            )
            yield BrokenPromise(message, image.image_id)


async def _check_result(
    store: Store, planned: PlannedImage, image: Image
) -> tuple[list[BrokenPromise], bool]:
    """Check a completed image's result; return broken promises and whether an earlier attempt stored it."""
    (rendition,) = image.renditions.values()
    content, e_tag, origin = await store.result(rendition.key)
    result = opened(content)
    broken = []
    if e_tag != rendition.e_tag:
        broken.append("the eTag of its result differs from its record")
    elif result.size != (rendition.width, rendition.height):
        broken.append("the size of its result differs from its record")
    if not planned.newest.code and not planned.newest.is_origin_of(result):
        broken.append(f"its result was not made from its newest upload ({planned.newest.name})")
    if origin["source-etag"] != image.version.e_tag:
        broken.append("the metadata of its result names another upload")
    attempt = int(origin["attempt"])
    if attempt > image.attempt:
        broken.append(f"its result is from attempt {attempt}, its record from {image.attempt}")
    return [BrokenPromise(message, image.image_id) for message in broken], attempt < image.attempt


async def _check_statistics(store: Store, images: Mapping[str, Image]) -> tuple[int, list[BrokenPromise]]:
    """Compare each user's statistics with the sum over the records; return the difference in images."""
    counts: Counter[str] = Counter()
    sizes: Counter[str] = Counter()
    for image in images.values():
        if image.status is ImageStatus.COMPLETED:
            counts[image.user_id] += 1
            sizes[image.user_id] += image.total_bytes()
    profiles = profiles_of(store.dynamodb, store.settings)
    difference, broken = 0, []
    for user_id in sorted({image.user_id for image in images.values()}):
        profile = await profiles.get(user_id)
        counted = profile.statistics if profile else None
        total = counted.total_images if counted else 0
        size = counted.total_storage_used if counted else 0
        difference += abs(total - counts[user_id])
        if (total, size) != (counts[user_id], sizes[user_id]):
            message = (
                f"{user_id} counts {total} images of {size} bytes;"
                f" the records add up to {counts[user_id]} of {sizes[user_id]}"
            )
            broken.append(BrokenPromise(message))
    return difference, broken


def history_text(image: Image) -> str:
    """Return an image's history as text, one line per entry."""
    lines = [f"{image.image_id} of {image.user_id}: {image.status}, attempt {image.attempt}"]
    lines += [
        f"  {clock.to_text(entry.at)} attempt {entry.attempt} {entry.step or 'image'} {entry.status}"
        f" {entry.worker or ''} {dict(entry.detail) or ''}".rstrip()
        for entry in image.history
    ]
    return "\n".join(lines)
