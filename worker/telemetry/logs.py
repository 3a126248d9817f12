"""
Structured logs on stderr, one event per line, with credentials masked.

Events are named `noun.past_participle`. `structlog.contextvars.bound_contextvars(image_id=..., attempt=...,
message_id=...)` adds the identity of an image to every event of its attempt.
"""

import logging
import os
import sys

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.domain import clock
from worker.domain.mask import mask_secrets
from worker.domain.printable import printable


def configure(*, format: str, level: str) -> None:  # noqa: A002 - the name of the setting
    """
    Configure structlog and the standard library's logging to write to stderr.

    Args:
        format: `json`, `console`, or `auto`: console on a terminal and JSON otherwise.
        level: `debug`, `info`, `warning` or `error`. Libraries log at `warning` or above only: at `debug`,
            botocore logs requests with their signatures.
    """
    threshold = logging.getLevelNamesMapping()[level.upper()]
    as_json = format == "json" or (format == "auto" and not sys.stderr.isatty())
    shared: list[Processor] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        _add_timestamp,
    ]
    has_colours = sys.stderr.isatty() and not os.environ.get("NO_COLOR")
    rendered = _json() if as_json else _console(colors=has_colours)
    structlog.configure(
        processors=[*shared, *rendered],
        wrapper_class=structlog.make_filtering_bound_logger(threshold),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        # Commands and tests configure more than once.
        cache_logger_on_first_use=False,
    )
    _route_libraries(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _name_foreign_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        ),
        threshold=max(threshold, logging.WARNING),
    )


def _json() -> list[Processor]:
    exceptions = structlog.tracebacks.ExceptionDictTransformer(show_locals=False)
    return [
        structlog.processors.ExceptionRenderer(exceptions),
        _mask_event,
        _put_head_first,
        structlog.processors.JSONRenderer(default=str),
    ]


def _console(*, colors: bool) -> list[Processor]:
    return [
        structlog.processors.format_exc_info,
        _mask_event,
        _make_printable,
        structlog.dev.ConsoleRenderer(colors=colors, exception_formatter=structlog.dev.plain_traceback),
    ]


def _route_libraries(formatter: logging.Formatter, *, threshold: int) -> None:
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(formatter)
    root = logging.getLogger()
    for former in root.handlers[:]:
        if isinstance(former.formatter, structlog.stdlib.ProcessorFormatter):
            root.removeHandler(former)
    root.addHandler(handler)
    root.setLevel(threshold)


def _add_timestamp(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["timestamp"] = clock.to_text(clock.utc_now())
    return event


def _name_foreign_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    event["message"] = event.pop("event")
    event["event"] = "library.logged"
    return event


def _put_head_first(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    head = {name: event.pop(name) for name in ("timestamp", "level", "event") if name in event}
    return {**head, **event}


def _mask_event(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: mask_secrets(value, name=name) for name, value in event.items()}


def _make_printable(_logger: WrappedLogger, _method: str, event: EventDict) -> EventDict:
    return {name: printable(value) if isinstance(value, str) else value for name, value in event.items()}
