"""Send and receive frames on the event loop: the worker process's end of a decoder's connection."""

import asyncio
import json
import socket
from typing import NoReturn

from worker.ipc.framing import Content, Frame, Header, frame_head, frame_reader


async def send_frame(connection: socket.socket, header: Header, body: Content = b"") -> None:
    """Write a frame to a non-blocking socket."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(connection, frame_head(header, body))
    if body:
        await loop.sock_sendall(connection, body)


async def receive_frame(connection: socket.socket, *, max_body_bytes: int) -> Frame | None:
    """
    Read a frame of an untrusted decoder from a non-blocking socket.

    See `worker.ipc.framing.frame_reader` for the result and the errors. A header with fractional numbers is
    invalid, because the record cannot store them.
    """
    loop = asyncio.get_running_loop()
    reader = frame_reader(max_body_bytes=max_body_bytes, parse=_parse_without_fractions)
    buffer = next(reader)
    while True:
        try:
            buffer = reader.send(await loop.sock_recv_into(connection, buffer))
        except StopIteration as finished:
            frame: Frame | None = finished.value
            return frame


def _parse_without_fractions(text: bytearray) -> object:
    return json.loads(text, parse_float=_reject_fraction, parse_constant=_reject_fraction)


def _reject_fraction(text: str) -> NoReturn:
    raise ValueError(text)
