"""How a command starts: its settings, its logs, its event loop."""

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
    Read the settings and configure the logs by them: what a command that talks to AWS does first.

    Raises:
        pydantic.ValidationError: A setting is wrong; `app.run` puts it in a sentence.
    """
    settings = Settings()
    logs.configure(format=settings.log_format, level=settings.log_level)
    return settings


def asynchronous(command: Callable[P, Coroutine[Any, Any, T]]) -> Callable[P, T]:
    """Make a command of a coroutine function: call it in an event loop of its own."""

    @wraps(command)
    def run_to_its_end(*args: P.args, **kwargs: P.kwargs) -> T:
        return asyncio.run(command(*args, **kwargs))

    return run_to_its_end
