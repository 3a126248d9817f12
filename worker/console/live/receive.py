"""Receive the files of a form, one after the other, without keeping them in memory."""

from collections.abc import AsyncGenerator
from dataclasses import dataclass
from tempfile import SpooledTemporaryFile
from typing import IO, Final

from aiohttp import BodyPartReader, web
from aiohttp.http import HttpProcessingError

MEMORY_BYTES: Final = 1024 * 1024
"""Larger files are received into a temporary file."""

_CHUNK_BYTES: Final = 64 * 1024
_MAX_FIELD_BYTES: Final = 8192


@dataclass(frozen=True, slots=True)
class Field:
    """A field of the form that is not a file."""

    name: str
    value: str


@dataclass(frozen=True, slots=True)
class ReceivedFile:
    """
    A file of the form.

    Attributes:
        name: Its name.
        size_bytes: Its size.
        content: Its content; None if it is larger than the limit.
    """

    name: str
    size_bytes: int
    content: bytes | IO[bytes] | None


async def received_parts(
    request: web.Request, *, max_bytes: int
) -> AsyncGenerator[Field | ReceivedFile, None]:
    """
    Yield the fields and files of a form in their order; the content of a file is gone after its turn.

    Args:
        request: The request, whose body has not been read.
        max_bytes: Limit of the size of one file; the rest of a larger one is received and dropped.

    Raises:
        HTTPBadRequest: The body is not a form with files, or it ends early.
    """
    if request.content_type != "multipart/form-data":
        raise web.HTTPBadRequest(text="The request is not a form with files.")
    try:
        reader = await request.multipart()
        while (part := await reader.next()) is not None:
            if not isinstance(part, BodyPartReader):
                raise web.HTTPBadRequest(text="The form has a form in it.")
            if part.filename is None:
                yield Field(part.name or "", await _text(part))
            else:
                with SpooledTemporaryFile(max_size=MEMORY_BYTES) as file:
                    yield await _file(part, file, max_bytes=max_bytes)
    except (ValueError, LookupError, ConnectionError, HttpProcessingError, web.RequestPayloadError) as error:
        raise web.HTTPBadRequest(text="The form is damaged, or its end is missing.") from error


async def _text(part: BodyPartReader) -> str:
    content = bytearray()
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        content += chunk
        if len(content) > _MAX_FIELD_BYTES:
            raise web.HTTPBadRequest(text=f"A field of the form has more than {_MAX_FIELD_BYTES:,} bytes.")
    return content.decode("utf-8", "replace")


async def _file(part: BodyPartReader, file: "SpooledTemporaryFile[bytes]", *, max_bytes: int) -> ReceivedFile:
    size = 0
    while chunk := await part.read_chunk(_CHUNK_BYTES):
        size += len(chunk)
        if size <= max_bytes:
            file.write(chunk)
    name = part.filename or ""
    if size > max_bytes:
        return ReceivedFile(name, size, None)
    file.seek(0)
    # A small one is sent to S3 as it is, which takes less time than a file.
    return ReceivedFile(name, size, file.read() if size <= MEMORY_BYTES else file)
