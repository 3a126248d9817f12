"""Upload images, and wait until they are processed."""

import asyncio
import mimetypes
import secrets
import time
from collections.abc import AsyncIterator, Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

from worker.aws.retry import call_with_retry
from worker.bootstrap import RETRY_POLICIES, Clients
from worker.domain.errors import ConfigurationError
from worker.domain.image import Image
from worker.domain.status import TERMINAL_STATUSES
from worker.dynamodb.queries import Queries
from worker.settings import Settings

_POLL_S: Final = 0.1
_MAX_POLL_S: Final = 2.0
_CONCURRENCY: Final = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """An uploaded file and the image that it became."""

    file: Path
    user_id: str
    image_id: str
    key: str


async def put(
    clients: Clients,
    settings: Settings,
    file: Path,
    *,
    user_id: str,
    tags: Sequence[str] = (),
    description: str | None = None,
) -> Upload:
    """
    Upload a file under a new image id.

    Raises:
        ConfigurationError: The user id cannot be part of a key.
        OSError: The file cannot be read.
        TransientError: S3 is unreachable or rejects the upload.
    """
    if not user_id or "/" in user_id:
        message = f"--user is {user_id!r}, but it becomes part of the key: use a name without slashes"
        raise ConfigurationError(message)
    image_id = f"img_{secrets.token_hex(8)}"
    key = f"{settings.uploads_prefix}{user_id}/{image_id}{file.suffix.lower()}"
    content = await asyncio.to_thread(file.read_bytes)
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    # S3 metadata is ASCII only; the worker decodes the percent-encoding.
    fields = {"filename": file.name, "tags": ",".join(tags), "description": description or ""}
    metadata = {name: quote(value, safe=" ,") for name, value in fields.items() if value}
    await call_with_retry(
        lambda: clients.s3.put_object(
            Bucket=settings.bucket, Key=key, Body=content, ContentType=content_type, Metadata=metadata
        ),
        RETRY_POLICIES.bucket,
        what=f"upload {file.name}",
    )
    return Upload(file=file, user_id=user_id, image_id=image_id, key=key)


async def put_all(
    clients: Clients,
    settings: Settings,
    files: Iterable[Path],
    *,
    user_id: str,
    tags: Sequence[str] = (),
    description: str | None = None,
    on_uploaded: Callable[[], None] = lambda: None,
) -> list[Upload]:
    """
    Upload files, a few at a time, and return the uploads in the same order; raises the errors of `put`.

    Args:
        clients: Open clients.
        settings: Settings of the worker.
        files: Files to upload.
        user_id: Owner of the images.
        tags: Tags of each image.
        description: Description of each image.
        on_uploaded: Called after each upload.
    """
    semaphore = asyncio.Semaphore(_CONCURRENCY)

    async def upload_one(file: Path) -> Upload:
        async with semaphore:
            upload = await put(clients, settings, file, user_id=user_id, tags=tags, description=description)
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
