"""
Protocol of the imaging peers: JSON objects, one per line, requests on stdin and responses on stdout.

`{"times": 5, "file": ..., "mark": ..., "out": ...}` processes a file five times to a watermarked JPEG and
writes the last result to `out`. The response is `{"cpu_ms": ...}`, the CPU time of the process for one
repetition. `{"times": 0, "file": ..., "out": ...}` only decodes and resizes, and writes the RGB pixels to
`out`. The response is `{"width": ..., "height": ...}`.
"""

import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeAlias

Process: TypeAlias = Callable[[bytes, str], bytes]
"""Returns the result for the content of a file and the path of the mark."""

Resize: TypeAlias = Callable[[bytes], tuple[int, int, bytes]]
"""Returns width, height and RGB pixels for the content of a file."""


def serve(process: Process, resize: Resize) -> None:
    """Respond to requests until the end of standard input."""
    response: dict[str, float]
    for line in sys.stdin:
        request = json.loads(line)
        content, out = Path(request["file"]).read_bytes(), Path(request["out"])
        if request["times"]:
            start_s = time.process_time()
            for _ in range(request["times"]):
                result = process(content, request["mark"])
            cpu_s = time.process_time() - start_s
            out.write_bytes(result)
            response = {"cpu_ms": 1000 * cpu_s / request["times"]}
        else:
            width, height, pixels = resize(content)
            out.write_bytes(pixels)
            response = {"width": width, "height": height}
        sys.stdout.write(json.dumps(response) + "\n")
        sys.stdout.flush()
