"""Upload images, and wait until they are processed."""

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from pathlib import Path
from typing import Final

from worker.domain.focus import Focus
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.dynamodb.queries import Queries
from worker.s3.uploads import Upload, Uploads

_POLL_S: Final = 0.1
_MAX_POLL_S: Final = 2.0
_CONCURRENCY: Final = 8


async def store_all(
    uploads: Uploads,
    files: Iterable[Path],
    *,
    user_id: str,
    tags: Sequence[str] = (),
    description: str | None = None,
    focus: Focus | None = None,
    on_uploaded: Callable[[], None] = lambda: None,
) -> list[Upload]:
    """
    Upload files, a few at a time, and return the uploads in the same order.

    Args:
        uploads: Stores the uploads.
        files: Files to upload.
        user_id: Owner of the images.
        tags: Tags of each image.
        description: Description of each image.
        focus: Focal point of each image.
        on_uploaded: Called after each upload.

    Raises:
        InvalidUploadError: The user id cannot be part of a key, or the metadata is too long for S3.
        OSError: A file cannot be read.
        TransientError: S3 is unreachable or rejects an upload.
    """
    semaphore = asyncio.Semaphore(_CONCURRENCY)

    async def upload_one(file: Path) -> Upload:
        async with semaphore:
            content = await asyncio.to_thread(file.read_bytes)
            upload = await uploads.store(
                content,
                file_name=file.name,
                user_id=user_id,
                tags=tags,
                description=description or "",
                focus=focus,
            )
        on_uploaded()
        return upload

    return await asyncio.gather(*(upload_one(file) for file in files))


async def follow(
    queries: Queries, uploads: Iterable[Upload], *, timeout_s: float
) -> AsyncIterator[tuple[Upload, Image]]:
    """
    Yield each upload with its image as soon as it is completed or failed.

    Raises:
        TimeoutError: Some images were not processed in time.
        TransientError: The table is unreachable.
    """
    remaining = list(uploads)
    deadline = time.monotonic() + timeout_s
    pause_s = _POLL_S
    while remaining:
        for upload in list(remaining):
            image = await queries.image(upload.image_id, upload.user_id)
            if image is not None and image.status in TERMINAL_STATUSES:
                remaining.remove(upload)
                pause_s = _POLL_S
                yield upload, image
        if remaining:
            if time.monotonic() > deadline:
                count = f"{len(remaining)} image" + ("s" if len(remaining) > 1 else "")
                message = f"{count} not processed within {timeout_s:g} s"
                raise TimeoutError(message)
            await asyncio.sleep(pause_s)
            pause_s = min(_MAX_POLL_S, pause_s * 1.3)
