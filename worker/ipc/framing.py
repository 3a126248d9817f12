"""
How parent and child talk: frames on a socketpair, each a header of JSON and a body of raw bytes.

```
header_bytes: u32 | body_bytes: u32 | header: UTF-8 JSON object | body
```
Here are the frames themselves, and the child's blocking calls; the parent's are in `async_frames`. Bodies are
received into one buffer of the announced length, and nobody may announce more than the receiver allows.
"""

import json
import socket
import struct
from collections.abc import Callable, Generator, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

Content: TypeAlias = bytes | bytearray | memoryview
Header: TypeAlias = Mapping[str, Any]

MAX_HEADER_BYTES: Final = 65_536
MAX_BODY_BYTES: Final = 2**32 - 1

_PREFIX: Final = struct.Struct("!II")


class TruncatedFrameError(Exception):
    """The other side closed the connection inside a frame."""

    def __init__(self) -> None:
        super().__init__("the connection was closed inside a frame")


class InvalidFrameError(Exception):
    """What the other side sent is no frame, or one that nobody should have to receive."""


@dataclass(frozen=True, slots=True)
class Frame:
    """One message: what it says, and the picture that comes with it."""

    header: Header
    body: bytearray


Incoming: TypeAlias = Generator[memoryview, int, Frame | None]


def write_frame(connection: socket.socket, header: Header, body: Content = b"") -> None:
    """Write a frame, blocking until the system has taken all of it."""
    connection.sendall(preamble(header, body))
    if body:
        connection.sendall(body)


def read_frame(connection: socket.socket, *, max_body_bytes: int = MAX_BODY_BYTES) -> Frame | None:
    """Wait for a frame and read it whole; see `incoming`."""
    frame = incoming(max_body_bytes=max_body_bytes)
    room = next(frame)
    while True:
        try:
            room = frame.send(connection.recv_into(room))
        except StopIteration as whole:
            return whole.value  # type: ignore[no-any-return]


def preamble(header: Header, body: Content) -> bytes:
    """Return all of a frame but its body."""
    text = json.dumps(header, separators=(",", ":")).encode()
    return _PREFIX.pack(len(text), len(body)) + text


def incoming(*, max_body_bytes: int, parse: Callable[[bytearray], object] = json.loads) -> Incoming:
    """
    Put a frame together without any I/O.

    Yields the room that the next bytes belong in, and is sent how many have come.

    Returns:
        None when the connection was closed between two frames.

    Raises:
        CutFrameError: It was closed inside a frame.
        BrokenFrameError: More was announced than is allowed, or the header makes no sense.
    """
    prefix = bytearray(_PREFIX.size)
    if not (yield from _filled(prefix)):
        return None
    header_bytes, body_bytes = _PREFIX.unpack(prefix)
    if header_bytes > MAX_HEADER_BYTES or body_bytes > max_body_bytes:
        message = f"a frame of {header_bytes:,} + {body_bytes:,} bytes was announced"
        raise InvalidFrameError(message)
    header, body = bytearray(header_bytes), bytearray(body_bytes)
    if not ((yield from _filled(header)) and (yield from _filled(body))):
        raise TruncatedFrameError
    return Frame(_parsed(header, parse), body)


def _filled(buffer: bytearray) -> Generator[memoryview, int, bool]:
    """Ask for bytes until the buffer is full; return False when not even the first one came."""
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


def _parsed(text: bytearray, parse: Callable[[bytearray], object]) -> Header:
    try:
        header = parse(text)
    except (ValueError, RecursionError) as error:
        message = "the header is no JSON of the kind that is spoken here"
        raise InvalidFrameError(message) from error
    if not isinstance(header, dict):
        message = "the header is no JSON object"
        raise InvalidFrameError(message)
    return header
