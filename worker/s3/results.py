"""
Storing results, so that a late worker cannot overwrite a newer one.

Each result carries the attempt that made it, and a mark that makes its eTag its own. It is written only where
there is nothing, or over what an earlier attempt left; what this very recipe made of this very upload in the
attempt before is adopted, not written again.
"""

from datetime import timedelta
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_not_found, is_precondition_failed
from worker.aws.retry import BUCKET, call_with_retry
from worker.domain.errors import LeaseLostError, TransientError
from worker.domain.image import Image, Rendition
from worker.domain.keys import result_key
from worker.domain.step import CONTENT_TYPES, EXTENSIONS, EncodedRendition
from worker.s3.nonce import marked, new_nonce

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import HeadObjectOutputTypeDef, PutObjectRequestTypeDef

_ROUNDS = 5
"""How often to look again when what lies under the key changes between the look and the write."""

_SINCE_CLAIM = timedelta(hours=1)
"""
An object written longer than this before our last look at the record is no later attempt's, however high its
number: the record it belonged to has expired since, and attempts began anew. Far above any clock's error,
far below any retention.
"""


class S3Results:
    """
    The results of `worker.delivery.ports`.

    Args:
        client: Of S3.
        bucket: Where results go.
        prefix: Under which they lie, with its slash.
    """

    def __init__(self, client: "S3Client", *, bucket: str, prefix: str) -> None:
        self._client, self._bucket, self._prefix = client, bucket, prefix

    async def store(self, image: Image, rendition: EncodedRendition, *, is_main: bool) -> Rendition:
        """
        Store a rendition unless a later attempt has stored its own.

        Raises:
            LeaseLostError: A later attempt has been here.
            TransientError: The bucket cannot be reached within its retries.
        """
        key = result_key(
            prefix=self._prefix,
            user_id=image.user_id,
            image_id=image.image_id,
            extension=EXTENSIONS[rendition.format],
            size=None if is_main else rendition.size,
        )
        origin = _origin(image)
        content = marked(rendition, new_nonce())
        over: str | None = None
        # Where the record knows a result, something lies there most likely: look at it first.
        has_to_look = any(one.key == key for one in image.renditions.values())
        for _ in range(_ROUNDS):
            if has_to_look:
                found = await self._head(key)
                over = found["ETag"].strip('"') if found else None
                if found and over and _is_ours(found, image, origin):
                    return _stored(key, rendition, e_tag=over, size_bytes=found["ContentLength"])
            e_tag = await self._put(
                key, content, content_type=CONTENT_TYPES[rendition.format], origin=origin, over=over
            )
            if e_tag is not None:
                return _stored(key, rendition, e_tag=e_tag, size_bytes=len(content))
            has_to_look = True
        message = f"s3://{self._bucket}/{key} kept changing while it was written"
        raise TransientError(message)

    async def _put(
        self, key: str, content: bytes, *, content_type: str, origin: dict[str, str], over: str | None
    ) -> str | None:
        """Write over the known object, or where there is none; return the eTag, or None when refused."""
        request: PutObjectRequestTypeDef = {
            "Bucket": self._bucket,
            "Key": key,
            "Body": content,
            "ContentType": content_type,
            "Metadata": origin,
        }
        if over is None:
            request["IfNoneMatch"] = "*"
        else:
            request["IfMatch"] = f'"{over}"'
        try:
            answer = await call_with_retry(
                lambda: self._client.put_object(**request), BUCKET, what=f"store s3://{self._bucket}/{key}"
            )
        except ClientError as error:
            if is_precondition_failed(error) or is_not_found(error):
                return None
            raise
        return answer["ETag"].strip('"')

    async def _head(self, key: str) -> "HeadObjectOutputTypeDef | None":
        try:
            return await call_with_retry(
                lambda: self._client.head_object(Bucket=self._bucket, Key=key),
                BUCKET,
                what=f"look at s3://{self._bucket}/{key}",
            )
        except ClientError as error:
            if is_not_found(error):
                return None
            raise


def _stored(key: str, rendition: EncodedRendition, *, e_tag: str, size_bytes: int) -> Rendition:
    return Rendition(
        key=key,
        width=rendition.width,
        height=rendition.height,
        size_bytes=size_bytes,
        format=rendition.format,
        e_tag=e_tag,
    )


def _origin(image: Image) -> dict[str, str]:
    """Return what an object says of how it came about; values as S3 takes them, in ASCII."""
    return {
        "attempt": str(image.attempt),
        "recipe": image.recipe or "",
        "source-etag": image.version.e_tag or "",
        "source-sequencer": (image.version.sequencer or "").rstrip("0"),
    }


def _is_ours(found: "HeadObjectOutputTypeDef", image: Image, origin: dict[str, str]) -> bool:
    """
    Tell whether the object in the way is what this recipe made of this upload, so that it can be adopted.

    Not from further back than the attempt before: an attempt in between may have seen it too, and be about to
    write over it. What we write instead has another eTag, so that it will be refused.

    Raises:
        LeaseLostError: It is of a later attempt.
    """
    made = found["Metadata"]
    said = made.get("attempt", "")
    attempt = int(said) if said.isdecimal() else 0
    is_of_the_same = all(made.get(name) == origin[name] for name in origin if name != "attempt")
    if origin["source-etag"] and is_of_the_same and attempt >= image.attempt - 1:
        return True
    if attempt > image.attempt and found["LastModified"] > image.updated_at - _SINCE_CLAIM:
        raise LeaseLostError(image_id=image.image_id, attempt=image.attempt)
    return False
