"""
How a contender answers: a request on each line of its input, an answer on each of its output, in JSON.

`{"times": 5, "file": ..., "mark": ..., "out": ...}` has the file made into a marked JPEG so many times,
leaves the last one in `out`, and answers `{"cpu_ms": ...}`: of the whole process, for one.
`{"times": 0, ...}` has it decoded and resized only, leaves the pixels in `out`, and answers
`{"width": ..., "height": ...}`.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path

Finish = Callable[[bytes, str], bytes]
"""Makes the result of a file's content; also given the path of the mark."""
Shrink = Callable[[bytes], tuple[int, int, bytes]]
"""Decodes and resizes: width, height, and the pixels as RGB."""


def answer(finish: Finish, shrink: Shrink) -> None:
    """Answer until standard input ends."""
    for line in sys.stdin:
        request = json.loads(line)
        content, out = Path(request["file"]).read_bytes(), Path(request["out"])
        if request["times"]:
            began = time.process_time()
            for _ in range(request["times"]):
                result = finish(content, request["mark"])
            spent = time.process_time() - began
            out.write_bytes(result)
            told = {"cpu_ms": 1000 * spent / request["times"]}
        else:
            width, height, pixels = shrink(content)
            out.write_bytes(pixels)
            told = {"width": width, "height": height}
        sys.stdout.write(json.dumps(told) + "\n")
        sys.stdout.flush()
