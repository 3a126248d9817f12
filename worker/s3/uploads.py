"""Store the files of people as uploads, each under a new image id."""

import mimetypes
import re
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import PurePath
from typing import IO, TYPE_CHECKING, Final
from urllib.parse import quote

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import InvalidUploadError, UnreadableMessageError
from worker.domain.focus import Focus
from worker.domain.keys import MAX_KEY_BYTES, UploadKeyTemplate

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

_EXTENSION: Final = re.compile(r"\.[a-z0-9]{1,10}")
"""Extensions that become part of the key; the file name itself is stored in the metadata."""

_MAX_METADATA_BYTES: Final = 2048
"""Limit of S3 for the names and values of an object's user metadata."""


@dataclass(frozen=True, slots=True)
class Upload:
    """A stored file: its name, its owner, and the image that it becomes."""

    file_name: str
    user_id: str
    image_id: str
    key: str


@dataclass(frozen=True, slots=True)
class UploadForm:
    """
    What a browser needs to upload one image, and nothing else.

    Attributes:
        url: Where the form is sent by POST, as `multipart/form-data`.
        fields: Fields of the form, which precede its `file`.
        user_id: Owner of the image.
        image_id: Id that the image will have.
        key: Key that the object will have.
    """

    url: str
    fields: Mapping[str, str]
    user_id: str
    image_id: str
    key: str


class Uploads:
    """
    Stores files in the bucket that the worker reads.

    Args:
        client: S3 client.
        bucket: Bucket of the uploads.
        keys: Template of their keys.
        retry: Retry policy for S3 requests.
    """

    def __init__(
        self, client: "S3Client", *, bucket: str, keys: UploadKeyTemplate, retry: RetryPolicy
    ) -> None:
        self._client, self._bucket, self._keys, self._retry = client, bucket, keys, retry

    async def store(
        self,
        content: bytes | IO[bytes],
        *,
        file_name: str,
        user_id: str,
        tags: Sequence[str] = (),
        description: str = "",
        focus: Focus | None = None,
    ) -> Upload:
        """
        Store a file under a new image id.

        Args:
            content: The content, or a file that can be read again from its start.
            file_name: Name of the file; its extension becomes part of the key.
            user_id: Owner of the image.
            tags: Tags of the image.
            description: Description of the image.
            focus: Focal point of the image.

        Raises:
            InvalidUploadError: The user id cannot be part of a key, or the metadata is too long for S3.
            TransientError: S3 is unreachable or rejects the upload.
        """
        upload = self._new_upload(file_name, user_id)
        metadata = _metadata(file_name, tags=tags, description=description, focus=focus)
        content_type = mimetypes.guess_type(file_name)[0] or "application/octet-stream"

        async def put() -> None:
            if not isinstance(content, bytes):
                content.seek(0)
            await self._client.put_object(
                Bucket=self._bucket, Key=upload.key, Body=content, ContentType=content_type, Metadata=metadata
            )

        await call_with_retry(put, self._retry, what=f"upload {file_name}")
        return upload

    async def form(
        self,
        *,
        user_id: str,
        max_bytes: int,
        expires_s: int,
        tags: Sequence[str] = (),
        description: str = "",
        focus: Focus | None = None,
    ) -> UploadForm:
        """
        Return a presigned form for one image of a user, with a new image id.

        S3 rejects an upload under another key, one that is larger, and one whose `Content-Type` is not
        `image/...`. The page adds the fields `Content-Type`, `x-amz-meta-filename` (percent-encoded, or
        empty) and, as the last one, `file`.

        Args:
            user_id: Owner of the image.
            max_bytes: Maximum size of the file.
            expires_s: How long the form can be used, in seconds; not longer than the credentials.
            tags: Tags of the image.
            description: Description of the image.
            focus: Focal point of the image.

        Raises:
            InvalidUploadError: The user id cannot be part of a key, or the metadata is too long for S3.
        """
        upload = self._new_upload("", user_id)
        metadata = _metadata("", tags=tags, description=description, focus=focus)
        fields = {
            "success_action_status": str(HTTPStatus.CREATED.value),
            **{f"x-amz-meta-{name}": value for name, value in metadata.items()},
        }
        post = await self._client.generate_presigned_post(
            Bucket=self._bucket,
            Key=upload.key,
            Fields=dict(fields),
            Conditions=[
                *({name: value} for name, value in fields.items()),
                ["content-length-range", 1, max_bytes],
                ["starts-with", "$Content-Type", "image/"],
                ["starts-with", "$x-amz-meta-filename", ""],
            ],
            ExpiresIn=expires_s,
        )
        return UploadForm(
            url=post["url"],
            fields=post["fields"],
            user_id=upload.user_id,
            image_id=upload.image_id,
            key=upload.key,
        )

    def _new_upload(self, file_name: str, user_id: str) -> Upload:
        if not user_id or "/" in user_id:
            message = f"the user id is {user_id!r}, but it becomes part of a key; use a name without slashes"
            raise InvalidUploadError(message)
        if self._keys.constant_user not in {None, user_id}:
            message = (
                f"the user id is {user_id!r}, but all uploads belong to {self._keys.constant_user!r} "
                "(WORKER_UPLOAD_USER); use that one"
            )
            raise InvalidUploadError(message)
        extension = PurePath(file_name).suffix.lower()
        extension = extension if _EXTENSION.fullmatch(extension) else ""
        key = self._keys.key(
            user_id=user_id, name=f"img_{secrets.token_hex(8)}", extension=extension.removeprefix(".")
        )
        try:
            length = len(key.encode())
            image_id = self._keys.parse_key(key).image_id
        except (UnicodeEncodeError, UnreadableMessageError) as error:
            message = f"the user id {user_id!r} cannot be part of a key; use letters and digits"
            raise InvalidUploadError(message) from error
        if length > MAX_KEY_BYTES:
            message = f"the user id has {len(user_id):,} characters, too many for a key; use a shorter one"
            raise InvalidUploadError(message)
        return Upload(file_name=file_name, user_id=user_id, image_id=image_id, key=key)


def _metadata(
    file_name: str, *, tags: Sequence[str], description: str, focus: Focus | None
) -> dict[str, str]:
    """Return the metadata of an upload; it is ASCII only, and the worker decodes the percent-encoding."""
    fields = {
        "filename": file_name,
        "tags": ",".join(tags),
        "description": description,
        "focus": str(focus) if focus else "",
    }
    metadata = {
        name: quote(value, safe=" ,", errors="replace").strip() for name, value in fields.items() if value
    }
    if sum(len(name) + len(value) for name, value in metadata.items()) > _MAX_METADATA_BYTES:
        message = (
            f"the name, tags and description of {file_name[:60]!r} are longer than the "
            f"{_MAX_METADATA_BYTES:,} bytes that S3 stores with an object; shorten them"
        )
        raise InvalidUploadError(message)
    return metadata
