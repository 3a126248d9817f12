"""`/media/...`: the bytes of renditions and uploads, streamed from S3, and blurred placeholders."""

import asyncio
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from http import HTTPStatus
from typing import TYPE_CHECKING, Final

import structlog
from aiohttp import ClientError as HttpError
from aiohttp import ETag, hdrs, web
from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import is_not_found, is_precondition_failed
from worker.aws.retry import call_with_retry
from worker.console.context import CONTEXT
from worker.console.image_content import upload_format
from worker.console.record import find_image
from worker.console.security import attachment
from worker.domain.image import Image, Rendition
from worker.domain.printable import printable
from worker.domain.step import CONTENT_TYPES, EXTENSIONS, type_mismatch
from worker.presentation.placeholder import placeholder_png

if TYPE_CHECKING:
    from types_aiobotocore_s3.type_defs import GetObjectRequestTypeDef

log = structlog.get_logger(__name__)

ORIGINAL: Final = "original"
"""In place of a size in the URL: the upload."""

SMALLEST: Final = "@smallest"
"""In place of a size: the rendition with the fewest bytes. No name of a size contains an @."""

MAX_STREAMS: Final = 6
"""Objects that are read at the same time, fewer than the connections of the S3 client."""

_WAIT_S: Final = 15.0
"""How long a request waits for one of the streams."""

_CHUNK_BYTES: Final = 64 * 1024
_CHUNK_S: Final = 30.0
"""How long S3 may take to send a chunk, and the client to receive one."""

_STREAMS: Final = web.AppKey("media_streams", asyncio.Semaphore)

_ORIGINAL_TYPES: Final[Mapping[str, str]] = {
    **CONTENT_TYPES,
    **{name: f"image/{name}" for name in ("bmp", "tiff", "heic")},
}
_ORIGINAL_EXTENSIONS: Final[Mapping[str, str]] = {**EXTENSIONS, "bmp": "bmp", "tiff": "tiff", "heic": "heic"}
_BINARY: Final = "application/octet-stream"
_MAX_NAME_CHARACTERS: Final = 150
_E_TAG: Final = re.compile(r"[\x21\x23-\x7e]+")


def add_routes(app: web.Application) -> None:
    """Add the routes of this view."""
    app[_STREAMS] = asyncio.Semaphore(MAX_STREAMS)
    app.router.add_get(
        "/media/{user_id:[^/]+}/{image_id:[^/]+}/{size:[^/]+}", media, name="media", allow_head=False
    )
    app.router.add_get("/placeholders/{blur_hash:[^/]+}.png", placeholder, name="placeholder")


async def media(request: web.Request) -> web.StreamResponse:
    """Send a rendition of an image, or its upload as an attachment."""
    parts = request.match_info
    image = await find_image(request, image_id=parts["image_id"], user_id=parts["user_id"])
    rendition = rendition_of(image, parts["size"])
    if rendition is not None:
        return await _send_rendition(request, rendition)
    if parts["size"] == ORIGINAL:
        return await _send_original(request, image)
    raise web.HTTPNotFound(text=f"Image {image.image_id} has no rendition of the size {parts['size']}.")


def rendition_of(image: Image, size: str) -> Rendition | None:
    """Return the rendition of a size, or the smallest one."""
    if size == SMALLEST:
        return min(image.renditions.values(), key=lambda each: each.size_bytes, default=None)
    return image.renditions.get(size)


async def _send_rendition(request: web.Request, rendition: Rendition) -> web.StreamResponse:
    content_type = CONTENT_TYPES.get(rendition.format, _BINARY)
    headers: dict[str, str] = {hdrs.CONTENT_TYPE: content_type, hdrs.CACHE_CONTROL: "private, no-cache"}
    if content_type == _BINARY:  # written by a version whose formats are unknown to this one
        headers[hdrs.CONTENT_DISPOSITION] = attachment(download_name(rendition.key.rpartition("/")[2], None))
    request_to_s3: GetObjectRequestTypeDef = {
        "Bucket": request.app[CONTEXT].results_bucket,
        "Key": rendition.key,
    }
    return await _send(request, request_to_s3, headers=headers, e_tag=rendition.e_tag)


async def _send_original(request: web.Request, image: Image) -> web.StreamResponse:
    """Send the upload that the record is about: with a type that validation found, and as an attachment."""
    found = upload_format(image)
    headers: dict[str, str] = {
        hdrs.CONTENT_TYPE: _ORIGINAL_TYPES.get(found or "", _BINARY),
        hdrs.CONTENT_DISPOSITION: attachment(download_name(image.file_name, found)),
        hdrs.CACHE_CONTROL: "private, no-cache",
    }
    request_to_s3: GetObjectRequestTypeDef = {"Bucket": image.bucket, "Key": image.key}
    if image.version.version_id:
        request_to_s3["VersionId"] = image.version.version_id
    elif image.version.e_tag:
        request_to_s3["IfMatch"] = f'"{image.version.e_tag}"'
    return await _send(request, request_to_s3, headers=headers, e_tag=image.version.e_tag)


def download_name(file_name: str, file_format: str | None) -> str:
    """
    Return the name under which browsers save an upload.

    Programs open a file by the extension of its name, which the uploader chose: a name whose extension is not
    that of the format gets another one, and `.bin` if the format is unknown.

    Args:
        file_name: Name of the file, from the upload.
        file_format: Format of the file; None if it is unknown.
    """
    name = printable(file_name).strip(" .")
    stem, dot, extension = name.rpartition(".")
    expected = _ORIGINAL_EXTENSIONS.get(file_format or "")
    if not (dot and expected and type_mismatch(file_format or "", content_type=None, key=name) is None):
        stem, extension = name, expected or "bin"
    return f"{stem[:_MAX_NAME_CHARACTERS] or 'upload'}.{extension}"


async def _send(
    request: web.Request,
    request_to_s3: "GetObjectRequestTypeDef",
    *,
    headers: Mapping[str, str],
    e_tag: str | None,
) -> web.StreamResponse:
    """
    Send an object, or that it has not changed.

    Args:
        request: The request.
        request_to_s3: The object.
        headers: Headers of the response.
        e_tag: ETag of the object in the record, without quotes.

    Raises:
        HTTPNotFound: The object does not exist, or is not the one that the record is about.
        TransientError: The bucket was unavailable.
    """
    known = ETag(e_tag) if e_tag and _E_TAG.fullmatch(e_tag) else None
    if known is not None and known in (request.if_none_match or ()):
        unchanged = web.Response(status=HTTPStatus.NOT_MODIFIED)
        unchanged.etag = known
        unchanged.headers[hdrs.CACHE_CONTROL] = headers[hdrs.CACHE_CONTROL]
        return unchanged
    async with _stream(request):
        context = request.app[CONTEXT]
        name = f"s3://{request_to_s3['Bucket']}/{request_to_s3['Key']}"
        try:
            found = await call_with_retry(
                lambda: context.s3.get_object(**request_to_s3), context.retry.bucket, what=f"read {name}"
            )
        except ClientError as error:
            if is_not_found(error):
                raise web.HTTPNotFound(text=f"{name} does not exist any more.") from error
            if is_precondition_failed(error):
                raise web.HTTPNotFound(text=f"{name} has been replaced by a newer upload.") from error
            raise
        response = web.StreamResponse(headers=headers)
        response.content_length = found["ContentLength"]
        stored_e_tag = found["ETag"].strip('"')
        if _E_TAG.fullmatch(stored_e_tag):
            response.etag = stored_e_tag
        async with found["Body"] as body:
            await response.prepare(request)
            try:
                while chunk := await asyncio.wait_for(body.read(_CHUNK_BYTES), _CHUNK_S):
                    await asyncio.wait_for(response.write(chunk), _CHUNK_S)
            except (TimeoutError, OSError, HttpError, BotoCoreError, ClientError) as error:
                # The headers are sent: only an aborted connection shows the client that bytes are missing.
                log.info("media.aborted", object=name, reason=str(error) or type(error).__name__)
                if request.transport is not None:
                    request.transport.abort()
                return response
        await response.write_eof()
        return response


@asynccontextmanager
async def _stream(request: web.Request) -> AsyncIterator[None]:
    """
    Wait for one of the streams, so that slow clients cannot take every connection to S3.

    Raises:
        HTTPServiceUnavailable: All of them are in use.
    """
    streams = request.app[_STREAMS]
    try:
        await asyncio.wait_for(streams.acquire(), _WAIT_S)
    except TimeoutError as error:
        text = f"{MAX_STREAMS} images are being sent to other browsers."
        raise web.HTTPServiceUnavailable(text=text) from error
    try:
        yield
    finally:
        streams.release()


async def placeholder(request: web.Request) -> web.Response:
    """Send the blurred preview that a BlurHash describes."""
    content = placeholder_png(request.match_info["blur_hash"])
    if content is None:
        raise web.HTTPNotFound(text="The address does not contain a BlurHash.")
    headers = {hdrs.CACHE_CONTROL: "private, max-age=31536000, immutable"}
    return web.Response(body=content, content_type="image/png", headers=headers)
