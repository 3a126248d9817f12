import asyncio
import json
import socket
import struct
from collections.abc import Iterator
from contextlib import closing

import pytest

from worker.decoder_pool.frame_io import receive_frame, send_frame
from worker.ipc.framing import (
    MAX_HEADER_BYTES,
    InvalidFrameError,
    TruncatedFrameError,
    read_frame,
    write_frame,
)

Pair = tuple[socket.socket, socket.socket]


@pytest.fixture
def pair() -> Iterator[Pair]:
    """Return the worker's end, non-blocking, and the decoder's, blocking."""
    worker_end, decoder_end = socket.socketpair()
    worker_end.setblocking(False)
    with closing(worker_end), closing(decoder_end):
        yield worker_end, decoder_end


def raw_frame(header: bytes, body: bytes = b"", *, announced: tuple[int, int] | None = None) -> bytes:
    return struct.pack("!II", *(announced or (len(header), len(body)))) + header + body


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_the_decoder_reads_what_the_worker_sends(pair: Pair, size: int) -> None:
    body = bytes(range(256)) * (size // 256 + 1)
    reading = asyncio.to_thread(read_frame, pair[1])
    frame, _ = await asyncio.gather(reading, send_frame(pair[0], {"share": 0.5}, memoryview(body)[:size]))
    assert frame is not None
    assert frame.header == {"share": 0.5}
    assert frame.body == body[:size]


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
async def test_the_worker_receives_what_the_decoder_writes(pair: Pair, size: int) -> None:
    body = bytearray(b"\xa5") * size
    writing = asyncio.to_thread(write_frame, pair[1], {"kind": "rendition"}, body)
    frame, _ = await asyncio.gather(receive_frame(pair[0], max_body_bytes=size), writing)
    assert frame is not None
    assert (frame.header, frame.body) == ({"kind": "rendition"}, body)


async def test_consecutive_frames_are_separated(pair: Pair) -> None:
    pair[1].sendall(raw_frame(b'{"n":1}', b"first") + raw_frame(b'{"n":2}') + raw_frame(b'{"n":3}', b"third"))
    frames = [await receive_frame(pair[0], max_body_bytes=10) for _ in range(3)]
    assert [(frame.header["n"], bytes(frame.body)) for frame in frames if frame] == [
        (1, b"first"),
        (2, b""),
        (3, b"third"),
    ]


async def test_a_connection_closed_between_frames_yields_none(pair: Pair) -> None:
    pair[1].close()
    assert await receive_frame(pair[0], max_body_bytes=0) is None


@pytest.mark.parametrize(
    "sent", [b"\0", raw_frame(b"{}", announced=(2, 5)), raw_frame(b"{", announced=(2, 0))]
)
async def test_a_connection_closed_within_a_frame_is_an_error(pair: Pair, sent: bytes) -> None:
    pair[1].sendall(sent)
    pair[1].close()
    with pytest.raises(TruncatedFrameError):
        await receive_frame(pair[0], max_body_bytes=10)


@pytest.mark.parametrize("announced", [(MAX_HEADER_BYTES + 1, 0), (2**32 - 1, 0), (2, 11), (2, 2**32 - 1)])
async def test_a_frame_larger_than_the_limit_is_rejected_before_it_is_allocated(
    pair: Pair, announced: tuple[int, int]
) -> None:
    pair[1].sendall(raw_frame(b"{}", announced=announced))
    with pytest.raises(InvalidFrameError):
        await receive_frame(pair[0], max_body_bytes=10)


@pytest.mark.parametrize(
    "header",
    [
        b"",
        b"not JSON",
        b"[]",
        b'{"ms":1.5}',
        b'{"ms":NaN}',
        b"\xff\xfe",
        b"[" * 60_000,
        json.dumps("text").encode(),
    ],
)
async def test_a_header_that_the_record_cannot_store_is_an_error(pair: Pair, header: bytes) -> None:
    pair[1].sendall(raw_frame(header))
    with pytest.raises(InvalidFrameError):
        await receive_frame(pair[0], max_body_bytes=0)
