"""Putting pictures in the bucket, and following them to their end."""

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

_LOOK_EVERY_S: Final = 0.1
_LOOK_EVERY_AT_LAST_S: Final = 2.0
_TOGETHER: Final = 8


@dataclass(frozen=True, slots=True)
class Upload:
    """A file on its way: which image it has become."""

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
        ConfigurationError: The user's name cannot be part of a key.
        OSError: The file cannot be read.
        TransientError: The bucket cannot be reached, or refuses.
    """
    if not user_id or "/" in user_id:
        message = f"--user is {user_id!r}: it becomes part of the key, so it needs a name without slashes"
        raise ConfigurationError(message)
    image_id = f"img_{secrets.token_hex(8)}"
    key = f"{settings.uploads_prefix}{user_id}/{image_id}{file.suffix.lower()}"
    content = await asyncio.to_thread(file.read_bytes)
    content_type = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    # S3 takes ASCII only; the worker reads these percent-encoded.
    said = {"filename": file.name, "tags": ",".join(tags), "description": description or ""}
    metadata = {name: quote(value, safe=" ,") for name, value in said.items() if value}
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
    tell: Callable[[], None] = lambda: None,
) -> list[Upload]:
    """
    Upload files, a few at a time, and return them in their order; errors as in `put`.

    Args:
        clients: To upload with.
        settings: Ours.
        files: What to upload.
        user_id: The owner.
        tags: Of each.
        description: Of each.
        tell: Called whenever one of them is there.
    """
    free = asyncio.Semaphore(_TOGETHER)

    async def one(file: Path) -> Upload:
        async with free:
            upload = await put(clients, settings, file, user_id=user_id, tags=tags, description=description)
        tell()
        return upload

    return await asyncio.gather(*(one(file) for file in files))


async def follow(
    queries: Queries, uploads: Iterable[Upload], *, timeout_s: float
) -> AsyncIterator[tuple[Upload, Image]]:
    """
    Yield each upload with its image as it ends, completed or failed.

    Raises:
        TimeoutError: Some have not ended in time.
        TransientError: The table cannot be reached.
    """
    under_way = list(uploads)
    give_up_at = time.monotonic() + timeout_s
    pause_s = _LOOK_EVERY_S
    while under_way:
        for upload in list(under_way):
            image = await queries.image(upload.image_id, upload.user_id)
            if image is not None and image.status in TERMINAL_STATUSES:
                under_way.remove(upload)
                pause_s = _LOOK_EVERY_S
                yield upload, image
        if under_way:
            if time.monotonic() > give_up_at:
                message = f"{len(under_way)} of the pictures had not ended after {timeout_s:g} s"
                raise TimeoutError(message)
            await asyncio.sleep(pause_s)
            pause_s = min(_LOOK_EVERY_AT_LAST_S, pause_s * 1.3)
