"""Response headers that an upload can cause: many, long, and in any encoding."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from email.header import Header

import pytest

from tests.support.builders import a_job
from tests.support.emulators import SESSION, unique_settings
from tests.support.retry import NO_WAIT
from worker.bootstrap import open_client
from worker.domain.image import Source
from worker.s3.sources import S3Sources

CONTENT = b"an image"
ONE_LETTER = [b"x-amz-meta-%x: v" % number for number in range(200)]
AS_MANY_AS_FIT = [b"x-amz-meta-%x:" % number for number in range(1000)]
ENCODED = Header("ü" * 1000, "utf-8", maxlinelen=100_000).encode().encode()
LATIN_1 = "caf\xe9 \xff\xfe".encode("latin-1")


@asynccontextmanager
async def object_with(headers: Sequence[bytes]) -> AsyncIterator[str]:
    """Serve one object with these headers under every key; yield the endpoint."""
    lines = [b"HTTP/1.1 200 OK", b"x-amz-request-id: 1", b'ETag: "etag-1"', b"Content-Length: 8", *headers]

    async def respond(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while await reader.readuntil(b"\r\n\r\n"):
            writer.write(b"\r\n".join(lines) + b"\r\n\r\n" + CONTENT)
            await writer.drain()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await respond(reader, writer)
        except asyncio.IncompleteReadError:
            writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as listener:
        yield f"http://127.0.0.1:{listener.sockets[0].getsockname()[1]}"


async def reads_of(headers: Sequence[bytes], *, is_fast: bool) -> list[Source]:
    """Return three reads of the object by one client; with the fast path, botocore makes only the first."""
    async with (
        object_with(headers) as endpoint_url,
        open_client("s3", unique_settings(endpoint_url, aws_fast_path=is_fast), session=SESSION) as s3,
    ):
        sources = S3Sources(s3, retry=NO_WAIT)
        return [await sources.fetch(a_job(), max_bytes=100) for _ in range(3)]


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast path", "botocore"])
@pytest.mark.parametrize(
    "headers",
    [
        ONE_LETTER,
        AS_MANY_AS_FIT,
        [b"x-amz-meta-description: " + ENCODED],
        [b"x-amz-meta-note: " + 30_000 * b"x"],
    ],
    ids=["200 entries", "as many entries as fit", "encoded", "long"],
)
async def test_an_upload_is_read_whatever_metadata_it_has(headers: Sequence[bytes], is_fast: bool) -> None:
    for source in await reads_of(headers, is_fast=is_fast):
        assert bytes(source.content) == CONTENT


@pytest.mark.parametrize("is_fast", [True, False], ids=["fast path", "botocore"])
async def test_a_header_that_is_not_utf_8_is_read_as_latin_1(is_fast: bool) -> None:
    headers = [b"x-amz-meta-place: " + LATIN_1, "x-amz-meta-city: Köln".encode()]

    for source in await reads_of(headers, is_fast=is_fast):
        assert bytes(source.content) == CONTENT
        assert source.description.metadata == {"place": "caf\xe9 \xff\xfe", "city": "Köln"}
