"""A simulated S3 bucket: conditional writes, versions, and objects that cannot be read for many reasons."""

import asyncio
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from itertools import count
from typing import Any, Final, Self

import aiohttp
from botocore.exceptions import FlexibleChecksumError, HTTPClientError, ParamValidationError

from tests.simulation.determinism import true_time
from tests.simulation.loop import ProcessLoop, Scheduler
from tests.simulation.network import Fault, Parameters, Request, client_error

BUCKET: Final = "image-uploads"
_MAX_KEY_BYTES: Final = 1024
_STALL_S: Final = 20.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """
    An object.

    Attributes:
        content: Its content.
        e_tag: MD5 of the content: equal for equal objects, as in S3.
        version_id: Version id; empty in a bucket without versions.
        at: When it was written.
        metadata: User metadata.
        content_type: `Content-Type`.
        content_length: Announced length, if it is not that of the content.
        unreadable: Error code, status and message with which S3 rejects every read of it; or the error of the
            client for a response that it cannot read.
    """

    content: bytes
    e_tag: str
    version_id: str
    at: datetime
    metadata: Mapping[str, str] = field(default_factory=dict)
    content_type: str = "image/jpeg"
    content_length: int | None = None
    unreadable: tuple[str, int, str] | str | None = None


@dataclass(frozen=True, slots=True)
class Put:
    """An applied write of an object."""

    sender: ProcessLoop | None
    key: str
    before: Stored | None
    after: Stored


@dataclass(frozen=True, slots=True)
class Deletion:
    """An applied deletion of an object."""

    sender: ProcessLoop | None
    key: str
    before: Stored


class S3:
    """
    The bucket of uploads and results.

    Args:
        scheduler: Returns the time.
        versioned: Whether the bucket keeps versions.
        on_put: Called after each applied write.
        on_delete: Called after each applied deletion by a process.
    """

    name = "s3"

    def __init__(
        self,
        scheduler: Scheduler,
        *,
        versioned: bool,
        on_put: Callable[[Put], None],
        on_delete: Callable[[Deletion], None],
    ) -> None:
        self._scheduler, self._versioned = scheduler, versioned
        self._on_put, self._on_delete = on_put, on_delete
        self.objects: dict[str, Stored] = {}
        self._versions: dict[tuple[str, str], Stored] = {}
        self._numbers = count(1)

    def call(self, operation: str, parameters: Parameters, request: Request) -> Any:
        if len(parameters.get("Key", "").encode()) > _MAX_KEY_BYTES:
            raise client_error(operation, "KeyTooLongError", 400)
        if request.fault is Fault.REDIRECT:
            raise client_error(operation, "PermanentRedirect", 301)
        if request.fault is Fault.CONFLICT:
            raise client_error(operation, "ConditionalRequestConflict", 409)
        return getattr(self, f"_{operation}")(parameters, request)

    # Changes from outside the worker.

    def put(self, key: str, content: bytes, *, sender: ProcessLoop | None = None, **more: Any) -> Stored:
        """Store an object."""
        stored = Stored(
            content=content,
            e_tag=hashlib.md5(content, usedforsecurity=False).hexdigest(),
            version_id=f"v{next(self._numbers)}" if self._versioned else "",
            at=true_time(self._scheduler),
            **more,
        )
        before = self.objects.get(key)
        self.objects[key] = stored
        if self._versioned:
            self._versions[key, stored.version_id] = stored
        self._on_put(Put(sender, key, before, stored))
        return stored

    def delete(self, key: str) -> None:
        """Delete the current object; its versions stay."""
        self.objects.pop(key, None)

    # Operations.

    def _put_object(self, parameters: Parameters, request: Request) -> Any:
        key = parameters["Key"]
        before = self.objects.get(key)
        if "IfNoneMatch" in parameters and before is not None:
            raise client_error("PutObject", "PreconditionFailed", 412)
        if "IfMatch" in parameters:
            if before is None:
                raise client_error("PutObject", "NoSuchKey", 404)
            if parameters["IfMatch"].strip('"') != before.e_tag:
                raise client_error("PutObject", "PreconditionFailed", 412)
        metadata = parameters.get("Metadata", {})
        if not all(str(value).isascii() for value in metadata.values()):
            raise ParamValidationError(report="Non ascii characters found in S3 metadata")
        stored = self.put(
            key,
            bytes(parameters["Body"]),
            sender=request.sender,
            metadata=dict(metadata),
            content_type=parameters.get("ContentType", "binary/octet-stream"),
        )
        return {"ETag": f'"{stored.e_tag}"'}

    def _get_object(self, parameters: Parameters, request: Request) -> Any:
        stored = self._found(parameters, is_head=False)
        if isinstance(stored.unreadable, tuple):
            raise client_error("GetObject", *stored.unreadable)
        if stored.unreadable is not None:
            raise HTTPClientError(error=stored.unreadable)
        response = _described(stored)
        response["Body"] = Body(stored.content, request.fault)
        return response

    def _head_object(self, parameters: Parameters, _request: Request) -> Any:
        stored = self._found(parameters, is_head=True)
        if isinstance(stored.unreadable, tuple) and stored.unreadable[0] != "InvalidObjectState":
            raise client_error("HeadObject", str(stored.unreadable[1]), stored.unreadable[1])
        return _described(stored)

    def _head_bucket(self, _parameters: Parameters, _request: Request) -> Any:
        return {}

    def _list_objects_v2(self, parameters: Parameters, _request: Request) -> Any:
        prefix = parameters.get("Prefix", "")
        contents = [
            {
                "Key": key,
                "ETag": f'"{stored.e_tag}"',
                "LastModified": stored.at.replace(microsecond=0),
                "Size": len(stored.content),
            }
            for key, stored in sorted(self.objects.items())
            if key.startswith(prefix)
        ]
        return {"Contents": contents, "IsTruncated": False}

    def _delete_object(self, parameters: Parameters, request: Request) -> Any:
        key = parameters["Key"]
        before = self.objects.get(key)
        if "IfMatch" in parameters:
            if before is None:
                raise client_error("DeleteObject", "NoSuchKey", 404)
            if parameters["IfMatch"].strip('"') != before.e_tag:
                raise client_error("DeleteObject", "PreconditionFailed", 412)
        self.delete(key)
        if before is not None:
            self._on_delete(Deletion(request.sender, key, before))
        return {}

    def _found(self, parameters: Parameters, *, is_head: bool) -> Stored:
        operation = "HeadObject" if is_head else "GetObject"
        key, version_id = parameters["Key"], parameters.get("VersionId")
        if version_id:
            stored = self._versions.get((key, version_id))
            missing = ("404", 404) if is_head else ("NoSuchVersion", 404)
        else:
            stored = self.objects.get(key)
            missing = ("404", 404) if is_head else ("NoSuchKey", 404)
        if stored is None:
            raise client_error(operation, *missing)
        if "IfMatch" in parameters and parameters["IfMatch"].strip('"') != stored.e_tag:
            raise client_error(operation, "412" if is_head else "PreconditionFailed", 412)
        if parameters.get("IfNoneMatch", "").strip('"') == stored.e_tag:
            raise client_error(operation, "304", 304)
        return stored


def _described(stored: Stored) -> dict[str, Any]:
    return {
        "ETag": f'"{stored.e_tag}"',
        "ContentLength": len(stored.content) if stored.content_length is None else stored.content_length,
        "ContentType": stored.content_type,
        "Metadata": dict(stored.metadata),
        "LastModified": stored.at.replace(microsecond=0),
        **({"VersionId": stored.version_id} if stored.version_id else {}),
    }


class Body:
    """
    The body of an object that is read.

    Args:
        content: The content.
        fault: What happens while it is read.
    """

    def __init__(self, content: bytes, fault: Fault | None) -> None:
        self._content, self._fault, self._at = content, fault, 0

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        return None

    async def readinto(self, buffer: bytearray) -> int:
        await self._suffer()
        content = (
            self._content if self._fault is not Fault.BODY_CUT else self._content[: len(self._content) // 2]
        )
        part = content[self._at : self._at + len(buffer)]
        buffer[: len(part)] = part
        self._at += len(part)
        return len(part)

    async def read(self, size: int | None = None) -> bytes:
        await self._suffer()
        if self._fault is Fault.CHECKSUM:
            raise FlexibleChecksumError(error_msg="Expected checksum did not match calculated checksum")
        end = len(self._content) if size is None or size < 0 else self._at + size
        part = self._content[self._at : end]
        self._at += len(part)
        return part

    async def _suffer(self) -> None:
        if self._fault is Fault.BODY_STALLED:
            await asyncio.sleep(_STALL_S)
            raise aiohttp.SocketTimeoutError
