"""
Find the results in the bucket that no record names, and remove them.

Results become orphans when a worker dies between storing and recording, and a newer upload has another key
then; when a record is deleted, also by its `ttl`; and when a record had no room for its leftovers.

A result is removed only if no worker can make a record name it any more:

- Its record says so, read after the object: the image has ended, and names neither this key nor this ETag.
- No later attempt keeps it: an attempt keeps only results of its own record and of the attempt before it
  (`worker.s3.results`). Those of the last attempt of a failed image stay for its retry.
- If there is no record, there was one in this very table. A table that was restored has another id: it never
  had the records of the newest images, and their results are only reported.
- It is older than `MIN_AGE`, which no other rule needs: a margin for mistakes.

The deletion is conditional on the ETag, so that a result stored in the meantime stays.
"""

import asyncio
from datetime import datetime, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Final, Protocol

from worker.domain.errors import TransientError, UnreadableRecordError
from worker.domain.image import Image, Leftover
from worker.domain.status import TERMINAL_STATUSES
from worker.repair.context import CHANGED, RepairContext
from worker.repair.leftovers import delete_leftovers
from worker.s3.heads import head_object
from worker.s3.lists import list_objects
from worker.s3.stored_results import StoredResult, stored_result

if TYPE_CHECKING:
    from collections.abc import Sequence

    from types_aiobotocore_s3.type_defs import ObjectTypeDef

MIN_AGE: Final = timedelta(hours=1)
"""Age below which a result is not judged: far above the time from its storage to the end of its attempt."""

MAX_REQUESTS: Final = 16
"""Requests to S3 at the same time."""


class ResultOwner(StrEnum):
    """What the records know about a result in the bucket."""

    RECORDED = "in their records"
    LEFTOVER = "left over"
    RECENT = "too recent to be judged"
    IN_PROGRESS = "of images that are being processed or deleted"
    KEPT_FOR_RETRY = "of failed images, for their retry"
    REPLACED = "in place of a recorded result: use --objects"
    UNREADABLE_RECORD = "of records that cannot be read"
    UNKNOWN_IMAGE = "of images whose names are too long for metadata"
    OTHER_TABLE = "of another table, or of this one before it was restored"
    NO_RESULT = "not stored by a worker"
    NOT_IN_RECORD = "orphaned: not in the record of its image"
    WITHOUT_RECORD = "orphaned: without a record"


ORPHANS: Final = frozenset({ResultOwner.NOT_IN_RECORD, ResultOwner.WITHOUT_RECORD})
_LISTED: Final = ORPHANS | {ResultOwner.UNKNOWN_IMAGE, ResultOwner.OTHER_TABLE, ResultOwner.NO_RESULT}
"""Reported with their keys; the others are counted."""


class ObjectReporter(Protocol):
    """Receives what was found out about each object."""

    def found(self, what: str, *, key: str) -> None:
        """Report an object that is left as it is."""

    def removed(self, what: str, *, key: str) -> None:
        """Report an object that was removed, or would be in a dry run."""


async def reconcile_orphans(
    repairs: RepairContext, objects: ObjectReporter, *, now: datetime, removes: bool
) -> None:
    """
    Find the results that no record names, and remove them if asked to; delete recorded leftovers.

    It lists all results, reads the metadata of each by one HEAD request, and their records.

    Args:
        repairs: Dependencies.
        objects: Receives what was found out about each object.
        now: The current time.
        removes: Whether orphans are removed; otherwise they are reported.

    Raises:
        TransientError: The bucket or the table was unavailable.
        RepairStoppedError: The repair was asked to stop.
    """
    table_id = await repairs.table_id()
    pages = list_objects(
        repairs.s3, bucket=repairs.results_bucket, prefix=repairs.results_prefix, retry=repairs.s3_retry
    )
    async for page in pages:
        await repairs.control.checkpoint()
        await _reconcile(repairs, objects, page, now=now, table_id=table_id, removes=removes)


async def _reconcile(
    repairs: RepairContext,
    objects: ObjectReporter,
    page: "Sequence[ObjectTypeDef]",
    *,
    now: datetime,
    table_id: str,
    removes: bool,
) -> None:
    limit = asyncio.Semaphore(MAX_REQUESTS)
    old = [each["Key"] for each in page if each["LastModified"] <= now - MIN_AGE]
    for _ in range(len(page) - len(old)):
        repairs.reporter.skipped(ResultOwner.RECENT)
    results = await asyncio.gather(*(_result_or_report(repairs, objects, key, limit) for key in old))
    known = [result for result in results if result is not None]
    # Read after the objects: what a worker has recorded by then is seen.
    records = await repairs.queries.records((_key_of(each) for each in known), consistent=True)
    orphans: list[tuple[ResultOwner, StoredResult]] = []
    for result in known:
        owner = owner_of(result, records.get(_key_of(result)), table_id=table_id)
        if owner in ORPHANS and removes:
            orphans.append((owner, result))
        elif owner in _LISTED:
            objects.found(owner, key=result.key)
        else:
            repairs.reporter.skipped(owner)
    for record in records.values():
        if isinstance(record, Image):
            await delete_leftovers(repairs, record)
    await asyncio.gather(*(_remove(repairs, objects, owner, result, limit) for owner, result in orphans))


def owner_of(
    result: StoredResult, record: Image | UnreadableRecordError | None, *, table_id: str
) -> ResultOwner:
    """
    Return what the record of its image, as it is now, knows about a result.

    Args:
        result: The result.
        record: The record; None if there is none.
        table_id: Id of the table of the records; empty if the service has none.
    """
    if result.image_id is None:
        return ResultOwner.UNKNOWN_IMAGE
    if isinstance(record, UnreadableRecordError):
        return ResultOwner.UNREADABLE_RECORD
    if record is not None and (named := _named_by(record, result)) is not None:
        return named
    if not table_id or result.table_id != table_id:
        return ResultOwner.OTHER_TABLE
    if record is None:
        return ResultOwner.WITHOUT_RECORD
    is_of_record = result.record == f"{table_id}/{record.record_id}"
    if is_of_record and result.attempt >= record.attempt:
        return ResultOwner.KEPT_FOR_RETRY
    return ResultOwner.NOT_IN_RECORD


def _named_by(record: Image, result: StoredResult) -> ResultOwner | None:
    """Return what a record says about a result; None if it has ended and does not name its key."""
    recorded = {each.key: each.e_tag for each in record.renditions.values()}
    if recorded.get(result.key) == result.e_tag:
        return ResultOwner.RECORDED
    if record.status not in TERMINAL_STATUSES or record.deletion is not None:
        return ResultOwner.IN_PROGRESS
    if result.key in recorded:
        return ResultOwner.REPLACED
    if Leftover(key=result.key, e_tag=result.e_tag) in record.leftovers:
        return ResultOwner.LEFTOVER
    return None


def _key_of(result: StoredResult) -> tuple[str, str]:
    return (result.image_id or "", result.user_id or "")


async def _result_or_report(
    repairs: RepairContext, objects: ObjectReporter, key: str, limit: asyncio.Semaphore
) -> StoredResult | None:
    """Return the result under a key; report and return None if there is none that could be judged."""
    bucket = repairs.results_bucket
    try:
        async with limit:
            head = await head_object(
                repairs.s3,
                {"Bucket": bucket, "Key": key},
                retry=repairs.s3_retry,
                what=f"read s3://{bucket}/{key}",
            )
    except TransientError as error:
        repairs.reporter.failed(key, str(error))
        return None
    if head is None:
        repairs.reporter.skipped(CHANGED)
        return None
    result = stored_result(key, head)
    if result is None:
        objects.found(ResultOwner.NO_RESULT, key=key)
    return result


async def _remove(
    repairs: RepairContext,
    objects: ObjectReporter,
    owner: ResultOwner,
    result: StoredResult,
    limit: asyncio.Semaphore,
) -> None:
    try:
        async with limit:
            is_removed = repairs.dry_run or await repairs.results.delete(result.key, e_tag=result.e_tag)
    except TransientError as error:
        repairs.reporter.failed(result.key, str(error))
        return
    if is_removed:
        objects.removed(owner, key=result.key)
    else:
        repairs.reporter.skipped(CHANGED)
