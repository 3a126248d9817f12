"""
`image-worker` with an image that kills it: run this file in place of `python -m worker`.

When the worker reaches the point `KILLED_AT` with an upload of the user `KILLER`, it kills itself with
SIGKILL, as the kernel does when a container is out of memory. With `KILLED_ONCE`, the path of a file that
does not exist yet, this happens once among all workers that have it.
"""

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from functools import wraps
from pathlib import Path
from typing import Any

from worker import bootstrap
from worker.__main__ import main
from worker.delivery.handler import MessageHandler
from worker.delivery.recipes import Recipes

KILLER = "killer"
PAUSE_S = 0.2
"""How long the killer waits, so that other images are in flight with it."""

POINTS = {
    "claim": (Recipes, "for_user"),
    "fetch": (MessageHandler, "_fetch"),
    "decode": (MessageHandler, "_decode"),
    "complete": (MessageHandler, "_complete"),
}


def dies() -> bool:
    """Return whether this worker is to die: always, or only if no worker has before."""
    marker = os.environ.get("KILLED_ONCE")
    if marker is not None:
        try:
            Path(marker).touch(exist_ok=False)
        except FileExistsError:
            return False
    return True


def killing(function: Callable[..., Coroutine[Any, Any, Any]]) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the function with the worker's death in it."""

    @wraps(function)
    async def call(*arguments: Any) -> Any:
        if KILLER in repr(arguments) and dies():
            await asyncio.sleep(PAUSE_S)
            os.kill(os.getpid(), signal.SIGKILL)
        return await function(*arguments)

    return call


def killing_parse(function: Callable[..., Any]) -> Callable[..., Any]:
    """Return the parser with the worker's death in it."""

    def call(message: Any, *arguments: Any, **named: Any) -> Any:
        if KILLER in message.body and dies():
            os.kill(os.getpid(), signal.SIGKILL)
        return function(message, *arguments, **named)

    return call


if __name__ == "__main__":
    at = os.environ["KILLED_AT"]
    if at == "parse":
        bootstrap.parse = killing_parse(bootstrap.parse)  # type: ignore[attr-defined] # imported there
    else:
        owner, name = POINTS[at]
        setattr(owner, name, killing(getattr(owner, name)))
    main()
