"""
Store results so that a late worker cannot overwrite a newer result.

Each stored object carries the image that it was made of and the attempt that made it in its metadata, and a
nonce that makes its ETag unique. It is written on condition that no object is stored under its key, or that
the stored one is unchanged since it was read and is of an earlier attempt of the same image. An object that
the preceding attempt of the same record made of the same upload by the same recipe is kept.

It also carries the table and the record of its image. If the record was deleted and created again, its result
shows that the image has been counted in its owner's statistics, and is not counted twice.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING
from urllib.parse import quote

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_precondition_failed, is_rejected
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.domain.errors import KeyTooLongError, LaterResultError, ResultKeyTakenError, TransientError
from worker.domain.history import has_raised_attempt, outcomes
from worker.domain.image import Image, Rendition
from worker.domain.recipe import Recipe
from worker.domain.result_keys import ResultKeyTemplate, version_of
from worker.domain.status import ImageStatus
from worker.domain.step import CONTENT_TYPES, EXTENSIONS, EncodedRendition
from worker.s3.deletes import delete_object
from worker.s3.heads import head_object
from worker.s3.nonce import new_nonce, with_nonce

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef, PutObjectRequestTypeDef

_MAX_ROUNDS = 5
"""How often a write is repeated because the object changed between the read and the write."""

_MAX_IDENTITY = 1024
"""Half of what S3 accepts as the metadata of an object."""

_MAX_DIGITS = 15
"""A longer number in the metadata of an object was not written by a worker."""

_SOURCE_AND_RECIPE = ("recipe", "source-etag", "source-sequencer", "source-version")
"""Metadata of an object that is equal for all attempts at one upload by one recipe."""


class S3Results:
    """
    Stores renditions in an S3 bucket; implements `worker.delivery.ports.Results`.

    Args:
        client: S3 client.
        retry: Retry policy for S3 requests.
        bucket: Name of the bucket.
        keys: Template of their keys.
        table_id: Returns the id of the table of the records; None keeps results apart from records, so that
            they never show that an image was counted.
        size_names: Names of the sizes, which earlier versions appended to image ids: see `_other_owner`.
    """

    def __init__(
        self,
        client: "S3Client",
        *,
        retry: RetryPolicy,
        bucket: str,
        keys: ResultKeyTemplate,
        table_id: Callable[[], Awaitable[str]] | None = None,
        size_names: Iterable[str] = (),
    ) -> None:
        self._client, self._retry, self._bucket, self._keys = client, retry, bucket, keys
        self._table_id = table_id
        self._former_suffixes = tuple(f"_{name}" for name in size_names)

    def check_keys(self, image: Image, recipe: Recipe) -> None:
        """
        Check the length of the keys of the results, before the image is read and decoded.

        Raises:
            KeyTooLongError: A key would be too long even with the shortest file extension.
        """
        extension = min(EXTENSIONS.values(), key=len)
        for size in recipe.sizes:
            self._key(image, extension=extension, size=size.name, is_main=size is recipe.main)

    def _key(self, image: Image, *, extension: str, size: str, is_main: bool) -> str:
        return self._keys.key(
            user_id=image.user_id,
            image_id=image.image_id,
            extension=extension,
            size=size,
            is_main=is_main,
            version=version_of(image) if self._keys.has_version else "",
        )

    def key_of(self, image: Image, rendition: EncodedRendition, *, is_main: bool) -> str:
        """Return the key under which a rendition is stored; raises `KeyTooLongError`."""
        extension = EXTENSIONS[rendition.format]
        return self._key(image, extension=extension, size=rendition.size, is_main=is_main)

    def has_own_key(self, image: Image, size: str) -> bool:
        """
        Return whether the recorded result of a size has the key that it would get again.

        Otherwise an earlier version or template gave it that key, which may be another image's now.
        """
        rendition = image.renditions[size]
        extension = EXTENSIONS.get(rendition.format)
        try:
            return extension is None or rendition.key == self._key(
                image, extension=extension, size=size, is_main=rendition.key == image.processed_key
            )
        except KeyTooLongError:
            return True  # processing the image again would fail

    async def store(
        self, image: Image, rendition: EncodedRendition, *, is_main: bool, cache_control: str = ""
    ) -> Rendition:
        """
        Store a rendition unless a later attempt has stored its own.

        Args:
            image: The image, as its attempt has recorded it.
            rendition: The rendition.
            is_main: Whether it is the main result.
            cache_control: `Cache-Control` header that it is served with; empty for none.

        Raises:
            LaterResultError: A later attempt, or one of another record, has stored one: see its docstring.
            KeyTooLongError: The key of the rendition is too long.
            ResultKeyTakenError: A rendition of another image is stored under the key.
            TransientError: The bucket was unavailable, or rejected the rendition.
        """
        key = self.key_of(image, rendition, is_main=is_main)
        origin = _origin(image, await self._table_id() if self._table_id else "")
        counted_bytes: int | None = None
        content = with_nonce(rendition, new_nonce())
        replaced_e_tag: str | None = None
        # Most results are new: read the stored object only if there is known to be one.
        is_stored = any(known.key == key for known in image.renditions.values())
        for _ in range(_MAX_ROUNDS):
            if is_stored:
                stored = await self._head(key)
                replaced_e_tag = stored["ETag"].strip('"') if stored else None
                if stored and (owner := self._other_owner(stored, image, key)) is not None:
                    raise ResultKeyTakenError(bucket=self._bucket, key=key, taken_by=owner)
                counted_bytes = _counted_bytes(stored, image, origin, is_main=is_main) if stored else None
                if stored and replaced_e_tag and _can_be_kept(stored, image, origin):
                    return _rendition(
                        key,
                        rendition,
                        e_tag=replaced_e_tag,
                        size_bytes=stored["ContentLength"],
                        counted_bytes=counted_bytes,
                    )
                if counted_bytes is not None:  # for the next attempt, if this one does not complete
                    origin["counted-bytes"] = str(counted_bytes)
            e_tag = await self._put(
                key,
                content,
                content_type=CONTENT_TYPES[rendition.format],
                cache_control=cache_control,
                origin=origin,
                replaced_e_tag=replaced_e_tag,
            )
            if e_tag is not None:
                return _rendition(
                    key, rendition, e_tag=e_tag, size_bytes=len(content), counted_bytes=counted_bytes
                )
            is_stored = True
        message = f"s3://{self._bucket}/{key} changed {_MAX_ROUNDS} times while it was being written"
        raise TransientError(message, is_dependency_failure=False)

    async def delete(self, key: str, *, e_tag: str) -> bool:
        """Delete a result if it has this ETag; see `delete_object`."""
        return await delete_object(self._client, bucket=self._bucket, key=key, e_tag=e_tag, retry=self._retry)

    async def discard(self, image: Image, keys: Sequence[str]) -> None:
        """
        Delete what attempts of the image's record have stored under the keys, unless it was replaced.

        Only for an image whose record is being deleted or no longer exists: the record of a later upload
        replaces such an object, and never keeps it. Without the table's id, objects do not show their record.

        Raises:
            TransientError: The bucket was unavailable.
        """
        record = _origin(image, await self._table_id() if self._table_id else "")["record"]
        for key in keys:
            stored = await self._head(key)
            if stored and record and stored["Metadata"].get("record") == record:
                await delete_object(
                    self._client, bucket=self._bucket, key=key, e_tag=stored["ETag"], retry=self._retry
                )

    def _other_owner(self, stored: "HeadObjectOutputTypeDef", image: Image, key: str) -> str | None:
        """
        Return the other image whose result is stored under a key of this image; None if it is its own.

        Earlier versions stored results without their image, and the size `small` of an image `a` under the
        key of the main result of an image `a_small`.
        """
        metadata = stored["Metadata"]
        if (owner := metadata.get("image")) is not None:
            return None if owner == identity_of(image) else f"image {owner}"
        is_known = any(rendition.key == key for rendition in image.renditions.values())
        is_same_upload = metadata.get("source-etag") == image.version.e_tag
        if is_known or is_same_upload or not image.image_id.endswith(self._former_suffixes):
            return None
        return "an image that an earlier version processed"

    async def _put(
        self,
        key: str,
        content: bytes,
        *,
        content_type: str,
        cache_control: str,
        origin: dict[str, str],
        replaced_e_tag: str | None,
    ) -> str | None:
        """
        Write an object if the stored one has `replaced_e_tag`, or does not exist if that is None.

        Returns:
            ETag of the new object; None if the condition failed.
        """
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": key,
            "Body": content,
            "ContentType": content_type,
            "Metadata": origin,
        }
        if cache_control:
            request["CacheControl"] = cache_control
        if replaced_e_tag is None:
            request["IfNoneMatch"] = "*"
        else:
            request["IfMatch"] = f'"{replaced_e_tag}"'
        try:
            response = await call_with_retry(
                lambda: self._client.put_object(**request),
                self._retry,
                what=f"store s3://{self._bucket}/{key}",
            )
        except ClientError as error:
            if is_precondition_failed(error) or is_not_found(error):
                return None
            raise
        except TransientError as error:
            if is_rejected(error.__cause__):
                raise TransientError(
                    str(error), is_dependency_failure=False, code="result_rejected"
                ) from error
            raise
        return response["ETag"].strip('"')

    async def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        return await head_object(
            self._client,
            {"Bucket": self._bucket, "Key": key},
            retry=self._retry,
            what=f"read the metadata of s3://{self._bucket}/{key}",
        )


def _rendition(
    key: str, rendition: EncodedRendition, *, e_tag: str, size_bytes: int, counted_bytes: int | None
) -> Rendition:
    return Rendition(
        key=key,
        width=rendition.width,
        height=rendition.height,
        size_bytes=size_bytes,
        format=rendition.format,
        e_tag=e_tag,
        counted_bytes=counted_bytes,
    )


def _origin(image: Image, table_id: str) -> dict[str, str]:
    """Return the object's metadata: what it was made of, how, and by which attempt. Values are ASCII."""
    return {
        "image": identity_of(image),
        "attempt": str(image.attempt),
        "recipe": image.recipe or "",
        "source-etag": image.version.e_tag or "",
        "source-sequencer": (image.version.sequencer or "").rstrip("0"),
        "source-version": image.version.version_id or "",
        "source-bytes": str(image.file_size or 0),
        "record": f"{table_id}/{image.record_id}" if table_id and image.record_id else "",
    }


def identity_of(image: Image) -> str:
    """
    Return the user and the id of an image as the metadata of its results has them.

    They are ASCII, and a hash if they are too long for metadata.
    """
    text = quote(f"{image.user_id}/{image.image_id}")
    return text if len(text) <= _MAX_IDENTITY else hashlib.sha256(text.encode()).hexdigest()


def _counted_bytes(
    stored: "HeadObjectOutputTypeDef", image: Image, origin: dict[str, str], *, is_main: bool
) -> int | None:
    """
    Return the bytes that a deleted record of the image counted for an object, that of the upload included.

    None if the object is of this record, or of one in another table: a restored table has another id, and its
    statistics do not contain what was counted after the backup. A record that has completed its image
    once knows itself what is counted.
    """
    if not origin["record"] or image.counted_bytes is not None:
        return None
    if outcomes(image.history).get(ImageStatus.COMPLETED.value):
        return None
    metadata = stored["Metadata"]
    record = metadata.get("record", "")
    if record == origin["record"]:
        return _number(metadata, "counted-bytes")
    if record.partition("/")[0] != origin["record"].partition("/")[0]:
        return None
    return stored["ContentLength"] + ((_number(metadata, "source-bytes") or 0) if is_main else 0)


def _number(metadata: Mapping[str, str], name: str) -> int | None:
    """Return a number in the metadata of an object; None if it was not written by a worker."""
    text = metadata.get(name, "")
    return int(text) if text.isdecimal() and len(text) <= _MAX_DIGITS else None


def _can_be_kept(stored: "HeadObjectOutputTypeDef", image: Image, origin: dict[str, str]) -> bool:
    """
    Return whether the stored object was made of the same upload by the same recipe, so that it can be kept.

    Only objects of this attempt and the preceding one are kept: an attempt in between may have seen an older
    object and be about to replace it. Replacing it here gives it another ETag, which makes that write fail.
    For the same reason, objects of another record are never kept: a worker that processed the image when it
    was deleted deletes what it has stored, by its ETag.

    Raises:
        LaterResultError: The object is of a later attempt, or of another record.
    """
    metadata = stored["Metadata"]
    attempt = _number(metadata, "attempt") or 0
    is_same = all(metadata.get(name, "") == origin[name] for name in _SOURCE_AND_RECIPE)
    is_of_other_record = _is_of_other_record(metadata, origin)
    if origin["source-etag"] and is_same and attempt >= image.attempt - 1 and not is_of_other_record:
        return True
    is_later = attempt > image.attempt or (attempt == image.attempt and not is_same)
    has_raised = has_raised_attempt(image.history, attempt=image.attempt)
    if is_later or (is_of_other_record and not has_raised):
        stored_attempt = max(attempt, image.attempt)
        raise LaterResultError(image_id=image.image_id, attempt=image.attempt, stored_attempt=stored_attempt)
    return False


def _is_of_other_record(metadata: Mapping[str, str], origin: Mapping[str, str]) -> bool:
    """
    Return whether a result is of another record of the same table.

    One of the two records was deleted, and attempts of the later one begin with 1: their numbers do not show
    which one that is.
    """
    table_id, _, record_id = metadata.get("record", "").partition("/")
    own_table_id, _, own_record_id = origin["record"].partition("/")
    return bool(record_id) and table_id == own_table_id and record_id != own_record_id
