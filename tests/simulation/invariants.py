"""
What must hold: checked after every write to the table and the bucket, and at the end.

The oracle knows what was uploaded and what each write changed. It does not use the worker's own decisions: a
write is judged by the items before and after it, and by the process that sent it.
"""

from collections import Counter, defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import timedelta
from itertools import islice, pairwise
from typing import Any, Final

from tests.simulation.determinism import true_time
from tests.simulation.dynamodb import DynamoDB, Key, Write, item_bytes
from tests.simulation.expressions import Item
from tests.simulation.fleet import LEASE_S
from tests.simulation.loop import ProcessLoop, Scheduler
from tests.simulation.s3 import S3, Deletion, Put, Stored
from tests.simulation.schedule import Upload
from tests.simulation.uploads import EXPECTED, UNREADABLE, identity_of
from worker.domain.bounds import MAX_ITEM_BYTES
from worker.domain.history import ATTEMPT_RAISED, REQUEUED
from worker.domain.image import Image, Rendition
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.domain.status import (
    IMAGE_MOVES,
    STEP_MOVES,
    TERMINAL_STATUSES,
    ImageMove,
    ImageStatus,
    StepName,
    StepStatus,
)
from worker.dynamodb.attributes import decode, decode_map
from worker.dynamodb.items import from_item

_MAX_ENTRIES: Final = 100
"""No history has more entries than this, however often its image is replaced."""

_IMAGE_MOVES: Final = {
    (start.value, leads_to.value) for starts, leads_to in IMAGE_MOVES.values() for start in starts
}
_STEP_MOVES: Final = {
    (start.value, leads_to.value) for starts, leads_to in STEP_MOVES.values() for start in starts
}
_ENDED: Final = {status.value for status in TERMINAL_STATUSES}
_REPAIRED: Final = {ImageMove.RETRIED.value, ImageMove.REPROCESSED.value}
_WITHOUT_MOVE: Final = {REQUEUED, ATTEMPT_RAISED}
"""Reasons of entries that record something else than a move to another status."""

_RESULTS: Final = "processed/"
_HISTORY: Final = "the history is legal"
_FENCING: Final = "a worker without the lease changes nothing"
_RESULTS_EXIST: Final = "a completed record names its results"
_LOST: Final = "no upload is lost"
_DELETED: Final = "a result never outlives its record"


class Violation(Exception):  # noqa: N818 - what is found, not what went wrong in the simulation
    """
    An invariant does not hold.

    Attributes:
        invariant: Its name.
        message: What was found.
    """

    def __init__(self, invariant: str, message: str) -> None:
        super().__init__(f"{invariant}: {message}")
        self.invariant, self.message = invariant, message


@dataclass(frozen=True, slots=True)
class Version:
    """An uploaded version of an image."""

    upload: Upload
    e_tag: str
    number: int


@dataclass
class _Totals:
    images: int = 0
    size_bytes: int = 0


@dataclass
class Oracle:
    """
    Checks the invariants.

    Attributes:
        scheduler: Returns the time.
        versions: The uploaded versions of each key, oldest first.
        records: The record of each key of an upload.
        rolled_back: Images whose record was restored or deleted, until their next claim: their results may
            differ from the record.
        disturbed: Images whose record was ever restored or deleted.
        deleted: Images whose record was deleted while it was counted, until they are completed again.
        uncounted: Images whose record was deleted while it was not counted: they may stay uncounted.
        inexact: Users of whom a record was deleted while its image was processed: bytes may be wrong.
        unlisted: Keys of which the restored table has an older upload than the newest one: when that one is
            deleted, nothing shows any more that it existed.
        overwritten: Results that a worker of the table before its restore has stored since.
        forgotten: Keys whose record was deleted, and that were not uploaded again.
        erased: Keys whose image was deleted by the command.
        marked: ETags of the uploads whose image was to be deleted.
        old_results: Keys of results that were not stored in this simulation.
    """

    scheduler: Scheduler
    table: "DynamoDB | None" = None
    bucket: "S3 | None" = None
    versions: dict[str, list[Version]] = field(default_factory=lambda: defaultdict(list))
    records: dict[str, Key] = field(default_factory=dict)
    rolled_back: set[Key] = field(default_factory=set)
    disturbed: set[Key] = field(default_factory=set)
    deleted: set[Key] = field(default_factory=set)
    uncounted: set[Key] = field(default_factory=set)
    inexact: set[str] = field(default_factory=set)
    unlisted: set[str] = field(default_factory=set)
    overwritten: set[str] = field(default_factory=set)
    forgotten: set[str] = field(default_factory=set)
    erased: set[str] = field(default_factory=set)
    marked: set[str | None] = field(default_factory=set)
    old_results: set[str] = field(default_factory=set)
    ended_at_s: dict[str, float] = field(default_factory=dict)
    ends: Counter[str] = field(default_factory=Counter)
    _by_result: dict[str, set[Key]] = field(default_factory=lambda: defaultdict(set))
    _totals: dict[str, _Totals] = field(default_factory=lambda: defaultdict(_Totals))
    _key_of_upload: dict[str, str] = field(default_factory=dict)
    _images: dict[Key, tuple[Item, Image, dict[str, Any]]] = field(default_factory=dict)

    # What the world reports.

    def uploaded(self, upload: Upload, e_tag: str) -> None:
        self.forgotten.discard(upload.key)
        self.unlisted.discard(upload.key)
        versions = self.versions[upload.key]
        versions.append(Version(upload, e_tag, len(versions)))
        self._key_of_upload[upload.upload_id] = upload.key

    def record_deleted(self, upload_key: str, key: Key, item: Item) -> None:
        del self.records[upload_key]
        self.forgotten.add(upload_key)
        self.rolled_back.add(key)
        self.disturbed.add(key)
        for version in self.versions[upload_key]:
            self.ends[version.upload.upload_id] = 0
        self._count(key, item, None)
        (self.deleted if "countedBytes" in item else self.uncounted).add(key)
        if item["status"]["S"] != ImageStatus.COMPLETED:
            self.inexact.add(key[1])
        for size in _renditions(item).values():
            self._by_result[size["key"]].discard(key)

    def table_restored(self, table: DynamoDB) -> None:
        self.table = table
        self._totals.clear()
        self._by_result.clear()
        self.ends.clear()
        self.deleted.clear()
        self.disturbed.update(self.records.values())
        self.records.clear()
        for key, item in table.items.items():
            if key[0] == PROFILE_IMAGE_ID:
                continue
            self._found(key, item)
            if self._version_of(item) is not self.versions[item["originalS3Key"]["S"]][-1]:
                self.unlisted.add(item["originalS3Key"]["S"])
        self.disturbed.update(self.records.values())
        self.rolled_back.update(self.disturbed)

    def found(self, key: Key, item: Item) -> None:
        """Take a record into account that no worker of the simulation has written."""
        self._found(key, item)
        self.old_results.update(rendition["key"] for rendition in _renditions(item).values())

    def _found(self, key: Key, item: Item) -> None:
        self.records[item["originalS3Key"]["S"]] = key
        self._count(key, None, item)
        for rendition in _renditions(item).values():
            self._by_result[rendition["key"]].add(key)

    # After each event.

    def written(self, writes: Sequence[Write]) -> None:
        """Check applied writes of one request; a transaction has several."""
        users = set()
        for write in writes:
            image_id, user_id = write.key
            users.add(user_id)
            if image_id != PROFILE_IMAGE_ID:
                self._count(write.key, write.before, write.after)
                if write.after is None:
                    self._check_deletion(write)
                    continue
                if write.key in self.deleted:
                    self._counted_again(write.key, write.after)
                self._check_image(write, write.after)
        for user_id in users:
            self._check_statistics(user_id)

    def _check_deletion(self, write: Write) -> None:
        """Check that a deleted record was marked, and that its results are deleted."""
        assert write.before
        assert self.bucket
        image = from_item(decode_map(write.before))
        if image.deletion is None:
            raise Violation(_DELETED, f"the record of {image.image_id} was deleted without a mark")
        left = [
            rendition.key
            for rendition in image.renditions.values()
            if (stored := self.bucket.objects.get(rendition.key)) and stored.e_tag == rendition.e_tag
        ]
        if left:
            raise Violation(_DELETED, f"{', '.join(left)} outlived the record of {image.image_id}")
        for rendition in image.renditions.values():
            self._by_result[rendition.key].discard(write.key)
        del self.records[image.key]
        versions = self.versions[image.key]
        for version in versions:
            self.ends[version.upload.upload_id] = 0
        self.erased.add(image.key)
        recorded = self._version(image)
        if recorded is None or recorded.number == len(versions) - 1:
            self.forgotten.add(image.key)

    def put(self, put: Put, *, is_of_old_table: bool) -> None:
        """Check an applied write of an object; the old table is the one before a restore."""
        if not {".", ".."}.isdisjoint(put.key.split("/")) and put.sender is not None:
            raise Violation("hostile names are rejected", f"{put.key} was written")
        if is_of_old_table:
            self.overwritten.add(put.key)
            return
        self.overwritten.discard(put.key)
        if not put.key.startswith(_RESULTS) or put.before is None:
            return
        identity = identity_of(put.after.content)
        writer = self._key_of_upload.get(identity[0]) if identity else None
        for key in self._by_result.get(put.key, ()):
            item = self._item(key)
            if item is None or item["status"]["S"] != ImageStatus.COMPLETED or key in self.rolled_back:
                continue
            recorded = {each["key"]: each["eTag"] for each in _renditions(item).values()}
            if recorded.get(put.key) in {None, put.after.e_tag}:
                continue
            if (owner := item["originalS3Key"]["S"]) != writer:
                message = f"{put.key} is the result of {owner}, and was overwritten by that of {writer}"
                raise Violation("results belong to one image", message)
            message = f"{put.key}, the result of the completed image {key[0]}, was overwritten"
            raise Violation(_FENCING, message)

    def object_deleted(self, deletion: Deletion, *, is_of_old_table: bool) -> None:
        """Check an applied deletion of an object."""
        if is_of_old_table:
            self.overwritten.add(deletion.key)
            return
        if not deletion.key.startswith(_RESULTS) and deletion.before.e_tag not in self.marked:
            who = deletion.sender.name if deletion.sender else "-"
            raise Violation(_LOST, f"{who} deleted {deletion.key}, which was not to be deleted")
        for key in self._by_result.get(deletion.key, ()):
            item = self._item(key)
            if item is None or item["status"]["S"] != ImageStatus.COMPLETED or key in self.rolled_back:
                continue
            if {"key": deletion.key, "eTag": deletion.before.e_tag} in _named(item):
                who = deletion.sender.name if deletion.sender else "-"
                message = f"{deletion.key}, the result of the completed image {key[0]}, was deleted by {who}"
                raise Violation(_RESULTS_EXIST, message)

    def unnamed_results(self) -> list[str]:
        """Return the keys of results that no record names as they are, those left over included."""
        assert self.table
        assert self.bucket
        named = [each for item in self.table.items.values() for each in _named(item)]
        return [
            key
            for key, stored in self.bucket.objects.items()
            if key.startswith(_RESULTS) and {"key": key, "eTag": stored.e_tag} not in named
        ]

    def leftovers(self) -> list[str]:
        """Return the records that name results which are still to be deleted, with these."""
        assert self.table
        return [
            f"{image_id} of {user_id}: {decode(item['leftovers'])}"
            for (image_id, user_id), item in self.table.items.items()
            if "leftovers" in item
        ]

    def _counted_again(self, key: Key, item: Item) -> None:
        """Expect exact statistics once the image of a deleted record is counted by its new record."""
        # Results of the first version do not show which record they were counted by.
        if "countedBytes" in item and self.old_results.isdisjoint(
            each["key"] for each in _renditions(item).values()
        ):
            self.deleted.discard(key)

    def _check_image(self, write: Write, after: Item) -> None:
        before = write.before
        added = _added(_history(before), _history(after))
        if added is None:
            raise Violation(_HISTORY, f"{write.key[0]}: earlier entries were changed")
        try:  # only the new entries: histories can be long
            begin = _begin(_history(before))
            decoded = {**self._decoded(write.key, before, after), "history": decode({"L": [*begin, *added]})}
            image = from_item(decoded)
            image = replace(image, history=image.history[len(begin) :])
        except Exception as error:
            raise Violation("every record can be read", f"{write.key[0]}: {error!r}") from error
        size, entries = item_bytes(after, at_least=MAX_ITEM_BYTES), len(_history(after))
        if size > MAX_ITEM_BYTES or entries > _MAX_ENTRIES:
            message = f"the record of {write.key[0]} has {size:,} bytes, its history {entries} entries"
            raise Violation("records stay small", message)
        self.records[image.key] = write.key
        seen = self._seen(write.key, before)
        self._images[write.key] = after, image, decoded
        self._check_history(seen, image)
        if write.sender is not None:
            self._check_writer(write.sender, seen, image)
        if image.status is ImageStatus.COMPLETED and (seen is None or seen.status is not image.status):
            self._check_completed(image)
        if image.status is ImageStatus.FAILED:
            self._check_failed(image)
        self._check_end(write.key, seen, image)
        old = {each["key"] for each in _renditions(before).values()} if before else set()
        new = {each["key"] for each in _renditions(after).values()}
        for key in old - new:
            self._by_result[key].discard(write.key)
        for key in new:
            self._by_result[key].add(write.key)

    def _decoded(self, key: Key, before: Item | None, after: Item) -> dict[str, Any]:
        """Return an item without its history, decoded: what a write leaves as it is, once only."""
        parsed = self._images.get(key)
        is_known = before is not None and parsed is not None and parsed[0] is before
        known = parsed[2] if parsed and is_known else {}
        old = before if before is not None and is_known else {}
        return {
            name: known[name] if name in known and old.get(name) is attribute else decode(attribute)
            for name, attribute in after.items()
            if name != "history"
        }

    def _seen(self, key: Key, item: Item | None) -> Image | None:
        if item is None:
            return None
        parsed = self._images.get(key)
        return parsed[1] if parsed and parsed[0] is item else from_item(decode_map(item))

    def _check_history(self, seen: Image | None, image: Image) -> None:
        """Check the entries that a write added: the history of `image` has only these."""
        name, added = _HISTORY, image.history
        what = f"{image.image_id}: "
        statuses = [
            entry.status
            for entry in added
            if entry.step is None and entry.detail.get("reason") not in _WITHOUT_MOVE
        ]
        start = [str(seen.status)] if seen else []
        for move in pairwise([*start, *statuses]):
            if move not in _IMAGE_MOVES:
                raise Violation(name, what + f"{move[0]} -> {move[1]}")
        if [*start, *statuses][-1:] != [str(image.status)]:
            raise Violation(name, what + f"its status is {image.status}, its history ends with {statuses}")
        is_claim = seen is None or (image.lease is not None and image.lease != seen.lease)
        for step in StepName:
            steps = [entry.status for entry in added if entry.step is step]
            before = StepStatus.PENDING.value if is_claim or seen is None else str(seen.steps[step].status)
            for move in pairwise([before, *steps]):
                if move not in _STEP_MOVES:
                    raise Violation(name, what + f"{step}: {move[0]} -> {move[1]}")
        low = seen.attempt if seen else 0
        if any(not low <= entry.attempt <= image.attempt for entry in added):
            raise Violation(name, what + f"entries of other attempts than {low} to {image.attempt}")
        if (image.status is ImageStatus.PROCESSING) is not (image.lease is not None):
            raise Violation("the record is legal", what + f"{image.status} with lease {image.lease}")

    def _check_writer(self, sender: ProcessLoop, seen: Image | None, image: Image) -> None:
        is_same_lease = seen and seen.lease and image.lease and seen.lease.owner == image.lease.owner
        if seen is not None and image.deletion is not None:
            self._check_mark(sender, seen, image)
            return
        if seen is not None and (image.attempt == seen.attempt or is_same_lease):
            self._check_progress(sender, seen, image)
            return
        if image.lease is None or image.lease.worker != sender.name:
            raise Violation(_FENCING, f"{sender.name} claimed {image.image_id} for {image.lease}")
        if seen is not None:
            self._check_claim(sender, seen, image)

    def _check_mark(self, sender: ProcessLoop, seen: Image, image: Image) -> None:
        """Check that a deletion takes the lease away, and that only its worker changes a marked image."""
        is_fenced = image.lease is None and image.attempt > seen.attempt and image.ttl is None
        if seen.deletion is None and is_fenced:
            self.marked.add(image.version.e_tag)
            return
        lease = seen.deletion.lease if seen.deletion else None
        if lease is None or lease.worker != sender.name or image.deletion is None or image.deletion.lease:
            raise Violation(_FENCING, f"{sender.name} wrote {image.image_id}, which is being deleted")

    def _check_progress(self, sender: ProcessLoop, seen: Image, image: Image) -> None:
        if seen.lease is None or seen.lease.worker == sender.name:
            return
        is_repair = image.status is ImageStatus.PENDING and not _is_leased(seen, _now_of(sender))
        if not is_repair:
            message = f"{sender.name} wrote {image.image_id} under the lease of {seen.lease.owner}"
            raise Violation(_FENCING, message)

    def _check_claim(self, sender: ProcessLoop, seen: Image, image: Image) -> None:
        now = _now_of(sender)
        if image.attempt <= seen.attempt and not seen.is_expired(now):
            raise Violation("attempts only grow", f"{image.image_id}: {seen.attempt} -> {image.attempt}")
        old, new = self._version(seen), self._version(image)
        if old is not None and new is not None and new.number < old.number:
            message = f"{image.image_id}: upload {new.upload.upload_id} replaced {old.upload.upload_id}"
            raise Violation("an older upload never replaces a newer one", message)
        if old is not new:
            return
        if seen.status in TERMINAL_STATUSES:
            raise Violation("an upload ends once", f"{image.image_id} was claimed again after {seen.status}")
        if seen.lease is not None and _is_leased(seen, now):
            message = f"{sender.name} claimed {image.image_id} under the lease of {seen.lease.owner}"
            raise Violation(_FENCING, message)

    def _check_failed(self, image: Image) -> None:
        what = f"{image.image_id} failed"
        if image.error is None or not image.error.message:
            raise Violation("every failure has a reason", what)
        if image.counted_bytes is not None:
            raise Violation("statistics are exact", f"{what}, and counts {image.counted_bytes} bytes")

    def _check_completed(self, image: Image) -> None:
        if self.overwritten.isdisjoint(each.key for each in image.renditions.values()):
            self._check_results(image)
        if image.counted_bytes != image.total_bytes():
            message = f"{image.image_id}: counted {image.counted_bytes} of {image.total_bytes()} bytes"
            raise Violation("statistics are exact", message)

    def _check_results(self, image: Image) -> None:
        assert self.bucket
        for rendition in image.renditions.values():
            self._check_rendition(image, rendition, self.bucket.objects.get(rendition.key))

    def _check_rendition(self, image: Image, rendition: Rendition, stored: Stored | None) -> None:
        name, key = _RESULTS_EXIST, (image.image_id, image.user_id)
        if stored is None:
            raise Violation(name, f"{rendition.key} does not exist")
        if stored.e_tag != rendition.e_tag:
            raise Violation(name, f"{rendition.key} has another eTag than the record of {image.image_id}")
        identity = identity_of(stored.content)
        version = self._version(image)
        if identity is None or version is None or identity[0] != version.upload.upload_id:
            source = version.upload.upload_id if version else image.version.e_tag
            raise Violation(name, f"{rendition.key} was made of {identity}, the record is of {source}")
        if identity[1] != image.recipe:
            raise Violation(name, f"{rendition.key} was made by recipe {identity[1]}, not {image.recipe}")
        attempt = int(stored.metadata.get("attempt", 0))
        is_of_this_table = key not in self.disturbed and rendition.key not in self.overwritten
        if attempt > image.attempt and is_of_this_table:
            raise Violation(name, f"{rendition.key} is of attempt {attempt}, the record of {image.attempt}")

    def _check_end(self, key: Key, seen: Image | None, image: Image) -> None:
        if seen is None or image.attempt != seen.attempt:
            self.rolled_back.discard(key)
        version = self._version(image)
        if version is None:
            return
        upload_id = version.upload.upload_id
        if any(entry.detail.get("reason") in _REPAIRED for entry in image.history[-1:]):
            self.ends[upload_id] = 0
        if image.status in TERMINAL_STATUSES and (seen is None or seen.status is not image.status):
            self.ends[upload_id] += 1
            self.ended_at_s.setdefault(upload_id, self.scheduler.now_s)
            if self.ends[upload_id] > 1:
                raise Violation("an upload ends once", f"{image.image_id} ended twice for {upload_id}")

    def _check_statistics(self, user_id: str) -> None:
        assert self.table
        profile = self.table.items.get((PROFILE_IMAGE_ID, user_id), {})
        stored: Any = decode(profile["statistics"]) if "statistics" in profile else {}
        found = stored.get("totalImages", 0), stored.get("totalStorageUsed", 0)
        totals = self._totals[user_id]
        lost = sum(key[1] == user_id for key in self.deleted)
        uncounted = sum(key[1] == user_id for key in self.uncounted)
        is_exact = found[1] == totals.size_bytes or bool(lost or uncounted) or user_id in self.inexact
        if not (is_exact and totals.images - uncounted <= found[0] <= totals.images + lost):
            message = (
                f"{user_id} counts {found[0]} images of {found[1]:,} bytes; the records add up to "
                f"{totals.images} of {totals.size_bytes:,}"
            )
            raise Violation("statistics are exact", message)

    # At the end.

    def final(
        self, *, strict: bool, exhausted: set[str], deleted_uploads: set[str], reported: set[str]
    ) -> None:
        """
        Check every image when nothing is left to do.

        Args:
            strict: Whether nothing has happened that could have used up the receives of a message.
            exhausted: Uploads whose messages were received as often as they may be.
            deleted_uploads: Keys of uploads that were deleted.
            reported: Ids of images that the last repair tool has reported, because it cannot repair them.
        """
        for upload_key, versions in self.versions.items():
            key = self.records.get(upload_key)
            item = self._item(key) if key else None
            is_deleted = upload_key in deleted_uploads
            is_about_any = is_deleted and upload_key in self.unlisted
            if upload_key in self.erased and upload_key in self.forgotten:
                is_about_any = True  # a late message about it, or about an older one, has made a record
            expected = self._version_of(item) if is_about_any else None
            expected = expected or versions[-1]
            upload = expected.upload
            if EXPECTED[upload.kind].codes == {UNREADABLE}:
                if upload_key in self.records:
                    raise Violation("hostile names are rejected", f"{upload_key} has a record")
                continue
            allowed = self._allowed(upload_key, upload, is_deleted=is_deleted)
            if not strict and upload.upload_id in exhausted:
                allowed |= {"unavailable", "internal_error", "worker_killed"}
            if item is None and (is_deleted or upload_key in self.forgotten):
                continue
            if key is None or item is None:
                raise Violation(_LOST, f"{upload_key} ({upload.upload_id}) has no record")
            image = self._check_final(expected, key, item, allowed)
            # Results that were replaced after the backup cannot be made again when their upload is gone.
            is_lost = is_deleted and key in self.disturbed and key[0] in reported
            if image.status is ImageStatus.COMPLETED and not is_lost:
                self._check_results(image)

    def _allowed(self, upload_key: str, upload: Upload, *, is_deleted: bool) -> set[str | None]:
        """Return the codes with which an upload may have ended; None is completed."""
        allowed = set(EXPECTED[upload.kind].codes)
        stem, _, _ = upload_key.replace("uploads/", _RESULTS, 1).rpartition(".")
        if f"{stem}.jpg" in self.old_results:
            allowed.add("result_key_taken")
        if is_deleted:
            allowed |= {None, "source_missing"}
        if upload_key in self.erased and upload_key in self.forgotten:
            allowed.add("source_missing")  # a message about it arrived after that
        return allowed

    def check_orphans(self) -> None:
        """Check that no result is left of an image that was deleted and has no record."""
        assert self.bucket
        for key, stored in self.bucket.objects.items():
            identity = identity_of(stored.content) if key.startswith(_RESULTS) else None
            upload_key = self._key_of_upload.get(identity[0]) if identity else None
            if upload_key in self.erased and upload_key not in self.records:
                raise Violation(_DELETED, f"{key} outlived the record of {upload_key}")

    def check_single_attempts(self) -> None:
        """Check that no image needed a second attempt."""
        for upload_key, key in self.records.items():
            item = self._item(key)
            if item is not None and item["attempt"]["N"] != "1":
                message = f"{upload_key} has needed {item['attempt']['N']} attempts"
                raise Violation("a failed request costs no attempt", message)

    def _check_final(self, expected: Version, key: Key, item: Item, allowed: set[str | None]) -> Image:
        """Check the record of a key; return its image."""
        image = self._seen(key, item)
        assert image
        what = f"{key[0]} ({expected.upload.upload_id}, {expected.upload.kind})"
        if image.key != expected.upload.key:
            raise Violation(_LOST, f"the record of {what} is that of {image.key}")
        if image.version.e_tag != expected.e_tag:
            raise Violation(_LOST, f"the record of {what} is about an older upload")
        if image.status not in TERMINAL_STATUSES:
            raise Violation(_LOST, f"{what} is still {image.status}")
        code = image.error.code if image.error and image.status is ImageStatus.FAILED else None
        if code not in allowed:
            reason = image.error.message if image.error else ""
            raise Violation("every upload ends as it should", f"{what} ended with {code}: {reason}")
        return image

    # Parts.

    def _item(self, key: Key) -> Item | None:
        assert self.table
        return self.table.items.get(key)

    def _version(self, of: Image) -> Version | None:
        """Return the uploaded version that a record is about: the newest with its eTag and key."""
        same = [each for each in self.versions.get(of.key, ()) if each.e_tag == of.version.e_tag]
        return same[-1] if same else None

    def _version_of(self, item: Item | None) -> Version | None:
        return None if item is None else self._version(from_item(decode_map(item)))

    def _count(self, key: Key, before: Item | None, after: Item | None) -> None:
        totals = self._totals[key[1]]
        for item, sign in ((before, -1), (after, 1)):
            if item is not None and "countedBytes" in item:
                totals.images += sign
                totals.size_bytes += sign * int(item["countedBytes"]["N"])


def _now_of(process: ProcessLoop) -> Any:
    return true_time(process.scheduler) + timedelta(seconds=process.clock_offset_s)


def _is_leased(image: Image, now: Any) -> bool:
    return image.is_leased(now, lease_time=timedelta(seconds=LEASE_S))


def _history(item: Item | None) -> list[Any]:
    entries: list[Any] = item["history"]["L"] if item and "history" in item else []
    return entries


def _begin(entries: list[Any]) -> list[Any]:
    """Return the last entry that begins an attempt, if any: later ones may leave its values out."""
    begins = (
        one for one in reversed(entries) if "step" not in one["M"] and one["M"]["status"]["S"] == "processing"
    )
    return list(islice(begins, 1))


def _added(before: list[Any], after: list[Any]) -> list[Any] | None:
    """Return the entries that were added, or None if others changed; some in the middle may be gone."""
    if after[: len(before)] == before:
        return after[len(before) :]
    for index in range(len(after) - 1, -1, -1):
        if after[index] == before[-1]:
            return after[index + 1 :] if index < len(before) else None
    return None


def _named(item: Item) -> list[dict[str, str]]:
    """Return key and eTag of each result that a record names."""
    return [{"key": each["key"], "eTag": each["eTag"]} for each in _renditions(item).values()]


def _renditions(item: Item | None) -> dict[str, Any]:
    if item is None or "renditions" not in item:
        return {}
    renditions: Any = decode(item["renditions"])
    return dict(renditions)
