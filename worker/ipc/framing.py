"""
Length-prefixed frames on a socket pair: a JSON header and a body of raw bytes.

```
header_bytes: u32 | body_bytes: u32 | header: UTF-8 JSON object | body
```
This module has the format itself and the blocking I/O of the decoder process; the worker process reads and
writes frames with `worker.decoder_pool.frame_io`. A body is received into a single buffer of the announced
length, which must not exceed the receiver's limit.
"""

import json
import socket
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Final, TypeAlias

Content: TypeAlias = bytes | bytearray | memoryview
Header: TypeAlias = Mapping[str, object]

MAX_HEADER_BYTES: Final = 65_536
MAX_BODY_BYTES: Final = 2**32 - 1

_PREFIX: Final = struct.Struct("!II")


class TruncatedFrameError(Exception):
    """Raised when the connection is closed in the middle of a frame."""

    def __init__(self) -> None:
        super().__init__("the connection was closed in the middle of a frame")


class InvalidFrameError(Exception):
    """Raised when a frame is larger than the receiver allows, or its header is not a JSON object."""


@dataclass(frozen=True, slots=True)
class Frame:
    """
    A message.

    Attributes:
        header: JSON object with the message's fields.
        body: Encoded image or logo that belongs to the message; empty if it has none.
    """

    header: Header
    body: bytearray


FrameReader: TypeAlias = Generator[memoryview, int, Frame | None]


def write_frame(connection: socket.socket, header: Header, body: Content = b"") -> None:
    """Write a frame to a blocking socket."""
    connection.sendall(frame_head(header, body))
    if body:
        connection.sendall(body)


def read_frame(connection: socket.socket, *, max_body_bytes: int = MAX_BODY_BYTES) -> Frame | None:
    """Read a frame from a blocking socket; see `frame_reader` for the result and the errors."""
    reader = frame_reader(max_body_bytes=max_body_bytes)
    buffer = next(reader)
    while True:
        try:
            buffer = reader.send(connection.recv_into(buffer))
        except StopIteration as finished:
            frame: Frame | None = finished.value
            return frame


def frame_head(header: Header, body: Content) -> bytes:
    """Return the encoded frame without its body: the two lengths and the header."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _PREFIX.pack(len(text), len(body)) + text


def frame_reader(*, max_body_bytes: int, parse: Callable[[bytearray], object] = json.loads) -> FrameReader:
    """
    Assemble a frame without doing any I/O.

    The generator yields the buffer to receive into, and is sent the number of bytes received.

    Args:
        max_body_bytes: Largest body that is accepted, checked before memory is allocated.
        parse: Parser of the header.

    Returns:
        The frame; None if the connection was closed between two frames.

    Raises:
        TruncatedFrameError: The connection was closed in the middle of the frame.
        InvalidFrameError: The header or body is too large, or the header is not a JSON object.
    """
    prefix = bytearray(_PREFIX.size)
    if not (yield from _fill(prefix)):
        return None
    header_bytes, body_bytes = _PREFIX.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        message = (
            f"the frame announces a header of {header_bytes:,} and a body of {body_bytes:,} bytes; "
            f"the limits are {MAX_HEADER_BYTES:,} and {max_body_bytes:,}"
        )
        raise InvalidFrameError(message)
    header, body = bytearray(header_bytes), bytearray(body_bytes)
    if not ((yield from _fill(header)) and (yield from _fill(body))):
        raise TruncatedFrameError
    return Frame(_parse_header(header, parse), body)


def _fill(buffer: bytearray) -> Generator[memoryview, int, bool]:
    """Receive until the buffer is full; return False if the connection was closed before the first byte."""
    with memoryview(buffer) as view:
        at = 0
        while at < len(view):
            received = yield view[at:]
            if not received and at:
                raise TruncatedFrameError
            if not received:
                return False
            at += received
    return True


def _parse_header(text: bytearray, parse: Callable[[bytearray], object]) -> Header:
    try:
        header = parse(text)
    except (ValueError, RecursionError) as error:
        message = "the header is not valid JSON"
        raise InvalidFrameError(message) from error
    if not isinstance(header, dict):
        message = "the header is not a JSON object"
        raise InvalidFrameError(message)
    return header
