"""A ledger in memory with the guarantees of the one in DynamoDB."""

from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import datetime

from worker.domain.claim import Claimant, Claimed, ClaimResult, decide
from worker.domain.errors import LeaseLostError
from worker.domain.image import Image, Lease
from worker.domain.job import Job
from worker.domain.profile import Statistics
from worker.domain.status import ImageStatus
from worker.domain.transition import Transition, apply_all


class MemoryLedger:
    """Images and statistics in two dictionaries; no method awaits. `before_write` may raise an error."""

    def __init__(self) -> None:
        self.images: dict[tuple[str, str], Image] = {}
        self.statistics: defaultdict[str, Statistics] = defaultdict(Statistics)
        self.before_write: Callable[[Sequence[Transition]], None] = lambda _: None

    async def claim(self, job: Job, claimant: Claimant) -> ClaimResult:
        while (seen := self.images.get((job.image_id, job.user_id))) and seen.key != job.key:
            job = job.with_next_image_id(taken_by=seen.key)
        result = decide(seen, job, claimant)
        if isinstance(result, Claimed):
            self._store(result.image)
        return result

    async def record(self, image: Image, transitions: Sequence[Transition]) -> Image:
        self.before_write(transitions)
        stored = self._leased(image)
        after = apply_all(image, transitions)
        self._store(replace(after, lease=stored.lease))
        return after

    async def renew(self, image: Image, *, until: datetime) -> None:
        found = self.images.get((image.image_id, image.user_id))
        if found and found.attempt == image.attempt and found.status is not ImageStatus.PROCESSING:
            return  # this attempt was settled in the meantime
        stored = self._leased(image)
        assert stored.lease
        self._store(replace(stored, lease=Lease(owner=stored.lease.owner, expires_at=until)))

    async def settle(self, image: Image, transitions: Sequence[Transition]) -> Image:
        self.before_write(transitions)
        after = apply_all(image, transitions)
        stored = self.images[image.image_id, image.user_id]
        if stored.attempt == image.attempt and stored.history == after.history:
            return stored  # already settled: the response of an earlier request may have been lost
        self._leased(image)
        counted_before = after.counted_bytes
        if after.status is ImageStatus.COMPLETED:
            after = replace(after, counted_bytes=after.total_bytes())
        elif after.status is ImageStatus.FAILED:
            after = replace(after, counted_bytes=None)
        self._count(counted_before, after)
        self._store(after)
        return after

    async def clear_leftovers(self, image: Image) -> None:
        stored = self.images[image.image_id, image.user_id]
        if (stored.attempt, stored.status) == (image.attempt, image.status):
            self._store(replace(stored, leftovers=()))

    async def read(self, image: Image) -> Image | None:
        return self.images.get((image.image_id, image.user_id))

    async def acknowledge_deletion(self, image: Image) -> None:
        stored = self.images[image.image_id, image.user_id]
        assert stored.deletion
        self._store(replace(stored, deletion=replace(stored.deletion, lease=None)))

    def _leased(self, image: Image) -> Image:
        stored = self.images.get((image.image_id, image.user_id))
        if (
            stored is None
            or stored.status is not ImageStatus.PROCESSING
            or stored.attempt != image.attempt
            or stored.lease is None
            or image.lease is None
            or stored.lease.owner != image.lease.owner
            or len(stored.history) != len(image.history)
        ):
            raise LeaseLostError(image_id=image.image_id, attempt=image.attempt)
        return stored

    def _store(self, image: Image) -> None:
        self.images[image.image_id, image.user_id] = image

    def _count(self, counted_before: int | None, after: Image) -> None:
        statistics = self.statistics[after.user_id]
        uploads = [statistics.last_upload_at] if statistics.last_upload_at else []
        if after.status is ImageStatus.COMPLETED:
            uploads.append(after.created_at)
        self.statistics[after.user_id] = Statistics(
            total_images=statistics.total_images
            + (after.counted_bytes is not None)
            - (counted_before is not None),
            total_storage_used=statistics.total_storage_used
            + (after.counted_bytes or 0)
            - (counted_before or 0),
            last_upload_at=max(uploads, default=None),
        )
