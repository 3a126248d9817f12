"""
A proxy that terminates TLS: `python -m bench.common.tls_proxy CERTIFICATE PORT`.

It prints its own port, and forwards the bytes of each connection to the port of 127.0.0.1 until its standard
input closes.
"""

import asyncio
import ssl
import sys
from contextlib import suppress
from typing import Final

_CHUNK: Final = 2**18


async def serve(certificate: str, port: int) -> None:
    """Forward connections until standard input closes."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate)

    async def forward(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        aws_reader, aws_writer = await asyncio.open_connection("127.0.0.1", port, limit=_CHUNK)
        await asyncio.gather(_copy(reader, aws_writer), _copy(aws_reader, writer))

    server = await asyncio.start_server(forward, "127.0.0.1", 0, limit=_CHUNK, ssl=context)
    print(server.sockets[0].getsockname()[1], flush=True)
    await asyncio.to_thread(sys.stdin.read)


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy bytes until either side closes its connection, then close the other."""
    with suppress(ConnectionError):  # a peer that is stopped resets its connections
        while content := await reader.read(_CHUNK):
            writer.write(content)
            await writer.drain()
    writer.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1], int(sys.argv[2])))
