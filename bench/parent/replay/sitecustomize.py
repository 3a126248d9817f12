"""
Makes decoder processes return the results of their first image for every image.

Python imports `sitecustomize` at startup; the worker process and its decoder processes find this module on
`PYTHONPATH`. It has to work with older versions of the project: it imports nothing of the worker process, and
of the decoder only `worker.imaging.pipeline.process`.
"""

import asyncio
import os
from collections.abc import Iterator
from typing import Any

if "BENCH_REPLAY" in os.environ:  # the worker process; decoder processes do not inherit this variable
    start = asyncio.create_subprocess_exec

    async def start_with_replay(*command: str, env: dict[str, str], **options: Any) -> Any:
        """Start a decoder process that imports this module."""
        return await start(*command, env=env | {"PYTHONPATH": os.environ["PYTHONPATH"]}, **options)

    asyncio.create_subprocess_exec = start_with_replay  # type: ignore[assignment]  # only what the worker uses
else:
    from worker.imaging import pipeline

    process = pipeline.process
    results: list[Any] = []

    def replay(*args: Any, **kwargs: Any) -> Iterator[Any]:
        """Process the first image; return its results for the others."""
        if not results:
            results.extend(process(*args, **kwargs))
        yield from results

    pipeline.process = replay
