"""The parent's end of the connection to a child: frames through the event loop, from a sender not trusted."""

import asyncio
import json
import socket
from typing import NoReturn

from worker.ipc.framing import Content, Frame, Header, incoming, preamble


async def send_frame(connection: socket.socket, header: Header, body: Content = b"") -> None:
    """Write a frame to a non-blocking socket, waiting for room as often as needed."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, preamble(header, body))
    if body:
        await loop.sock_sendall(connection, body)


async def receive_frame(connection: socket.socket, *, max_body_bytes: int) -> Frame | None:
    """
    Read a frame from a non-blocking socket; see `worker.ipc.framing.incoming`.

    Its lengths are checked before anything is allocated; numbers with fractions, which the record cannot
    hold, are refused.
    """
    loop = asyncio.get_running_loop()
    frame = incoming(max_body_bytes=max_body_bytes, parse=_without_fractions)
    room = next(frame)
    while True:
        try:
            room = frame.send(await loop.sock_recv_into(connection, room))
        except StopIteration as whole:
            return whole.value  # type: ignore[no-any-return]


def _without_fractions(text: bytearray) -> object:
    return json.loads(text, parse_float=_no_fraction, parse_constant=_no_fraction)


def _no_fraction(text: str) -> NoReturn:
    raise ValueError(text)
