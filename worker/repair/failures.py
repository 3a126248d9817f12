"""Group failed images by their error code, and retry the images of a group."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Final

from worker.domain.image import FailedImage
from worker.domain.status import ImageStatus
from worker.dynamodb.queries import Queries
from worker.repair.context import RepairContext
from worker.repair.reprocess import UNKNOWN_CODE, has_code, requeue_images

MAX_GROUPED: Final = 1000
"""The newest failed images that are grouped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class FailureGroup:
    """
    Failed images with the same error code.

    Attributes:
        code: The error code.
        first_at: When the first of the images failed.
        last_at: When the last of the images failed.
        images: The images, the last failed first.
    """

    code: str
    first_at: datetime
    last_at: datetime
    images: tuple[FailedImage, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Failures:
    """
    The newest failed images, by error code.

    Attributes:
        groups: The groups, the largest first.
        has_more: Whether older images have failed that are not included.
        unreadable: Number of records that cannot be read.
    """

    groups: tuple[FailureGroup, ...]
    has_more: bool
    unreadable: int

    @property
    def count(self) -> int:
        """Number of images in all groups."""
        return sum(len(group.images) for group in self.groups)

    def group(self, code: str) -> FailureGroup | None:
        """Return the group with an error code; None if there is none."""
        return next((group for group in self.groups if group.code == code), None)


async def find_failures(queries: Queries, *, limit: int = MAX_GROUPED) -> Failures:
    """
    Return the newest failed images by error code: at most `limit`, by the time of their upload.

    Raises:
        TransientError: The table was unavailable.
    """
    page = await queries.images_by_status(ImageStatus.FAILED, limit=limit)
    found = await queries.failed_images((image.image_id, image.user_id) for image in page.images)
    return Failures(
        groups=group_by_code(found.images),
        has_more=page.next_token is not None,
        unreadable=len(page.unreadable) + len(found.unreadable),
    )


def group_by_code(images: Iterable[FailedImage]) -> tuple[FailureGroup, ...]:
    """Return failed images in groups, the largest first, and in each group the last failed first."""
    by_code: dict[str, list[FailedImage]] = {}
    for image in sorted(images, key=lambda image: (image.failed_at, image.image_id), reverse=True):
        by_code.setdefault(image.code or UNKNOWN_CODE, []).append(image)
    groups = [
        FailureGroup(code=code, first_at=each[-1].failed_at, last_at=each[0].failed_at, images=tuple(each))
        for code, each in by_code.items()
    ]
    return tuple(sorted(groups, key=lambda group: (-len(group.images), group.code)))


async def retry_failed(
    repairs: RepairContext, *, code: str | None, before: datetime, user_id: str | None = None
) -> None:
    """
    Requeue the failed images, of all error codes or of one, of all users or of one.

    Args:
        repairs: Dependencies.
        code: Only images that failed with this error code.
        before: Skip images that changed after this time, such as those that this run retried and that failed
            again.
        user_id: Only images of this user.
    """
    async for images in repairs.images_with_status(ImageStatus.FAILED, user_id=user_id):
        selected = []
        for image in images:
            if image.status is not ImageStatus.FAILED:
                repairs.reporter.skipped(f"already {image.status}")
            elif not has_code(image, code):
                continue
            elif image.updated_at > before:
                repairs.reporter.skipped("changed later")
            else:
                selected.append(image)
        await requeue_images(repairs, selected, action="retried", mark_pending=repairs.writes.retry)
