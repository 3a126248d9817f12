"""Start a command: read the settings, configure logging, run the event loop."""

import asyncio
from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, ParamSpec, TypeVar

from worker.settings import Settings
from worker.telemetry import logs

P = ParamSpec("P")
T = TypeVar("T")


def start() -> Settings:
    """
    Read the settings and configure logging; every command that uses AWS calls this first.

    Raises:
        pydantic.ValidationError: A setting is invalid; `app.run` explains it.
    """
    settings = Settings()
    logs.configure(format=settings.log_format, level=settings.log_level)
    return settings


def asynchronous(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Decorate a coroutine function so that calling it runs it to completion in a new event loop."""

    @wraps(command)
    def run(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(command(*args, **kwargs))

    return run
