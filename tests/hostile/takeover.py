"""
A decoder that runs Python code in place of decoding images: `python -m tests.hostile.takeover <module> <fd>`.

It runs the entry point of the production module, in its own order of starting; only the function that a
decoder calls with an upload is replaced, so that the upload's content is executed. Never part of the wheel.
"""

import importlib
import json
import sys
import threading  # noqa: F401 - loaded for the code that is executed
from collections.abc import Iterator
from typing import Any, NoReturn

import worker.imaging.decoder
from tests.hostile import attempts
from worker.domain.errors import CorruptError
from worker.domain.step import DecoderOutput


def execute(content: bytearray, *_: object, **__: object) -> Iterator[DecoderOutput]:
    """Execute the upload as Python code, and reject it with the value of `result` as the reason."""
    variables: dict[str, Any] = vars(attempts) | {"CONNECTION": _connection()}
    try:
        exec(bytes(content), variables)  # noqa: S102 - this is what the module is for
        result = json.dumps(variables.get("result"))
    except BaseException as error:  # noqa: BLE001 - the code raises anything
        result = json.dumps(f"{type(error).__name__}: {error}")
    yield from _reject(result)


def _connection() -> int:
    """Return the file descriptor of the decoder's connection, which code finds in the decoder's memory."""
    frame = sys._getframe()
    while "connection" not in frame.f_locals:
        assert frame.f_back is not None
        frame = frame.f_back
    return int(frame.f_locals["connection"].fileno())


def _reject(result: str) -> NoReturn:
    raise CorruptError(reason=result)


if __name__ == "__main__":
    vars(worker.imaging.decoder)["process"] = execute
    module, sys.argv[1:] = sys.argv[1], sys.argv[2:]
    importlib.import_module(module).main()
