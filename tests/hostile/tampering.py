"""
A decoder that an upload can take over: `python -m tests.hostile.tampering -m <module> <fd>`.

It runs the entry point of the production module. Python code in the upload after `MARK` defines `tamper`,
which is called with each message to the worker process and returns the messages that are sent in its place.
"""

import importlib
import socket
import sys
from collections.abc import Callable, Iterator
from typing import Any, Final

import worker.imaging.decoder
from worker.domain.step import DecoderOutput
from worker.ipc.framing import Content, Header, write_frame

MARK: Final = b"#!tamper\n"

Tamper = Callable[[dict[str, Any], bytes], list[tuple[Header, bytes]]]

_decoder: Any = worker.imaging.decoder
_process = _decoder.process
_tamper: list[Tamper] = []


def process(content: bytearray, *arguments: Any, **options: Any) -> Iterator[DecoderOutput]:
    """Process the upload as always, once its code has been executed."""
    image, _, code = bytes(content).partition(MARK)
    variables: dict[str, Any] = {}
    exec(code, variables)  # noqa: S102 - what an attacker would do
    _tamper[:] = [variables["tamper"]] if "tamper" in variables else []
    outputs: Iterator[DecoderOutput] = _process(image, *arguments, **options)
    return outputs


def send(connection: socket.socket, header: Header, body: Content = b"") -> None:
    """Send the messages that the upload's code returns for a message."""
    if not _tamper or header.get("kind") not in {"report", "rendition", "rejected"}:
        return write_frame(connection, header, body)
    for changed, content in _tamper[0](dict(header), bytes(body)):
        write_frame(connection, changed, content)
    return None


if __name__ == "__main__":
    _decoder.process, _decoder.write_frame = process, send
    module, sys.argv[1:] = sys.argv[2], sys.argv[3:]
    importlib.import_module(module).main()
