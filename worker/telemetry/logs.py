"""
Logs: one event a line on stderr, `noun.past_participle` with fields, never a credential among them.

Identity is bound once per delivery and appears in every line that follows:
`structlog.contextvars.bound_contextvars(image_id=..., attempt=..., message_id=...)`.
"""

import logging
import os
import re
import sys
from collections.abc import Mapping
from typing import Final, TypeVar

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

from worker.domain import clock

MASK: Final = "[masked]"

_SECRET_NAME: Final = re.compile(
    r"secret|passw(?:or)?d|passphrase|authorization|credential|signature|cookie"
    r"|(?:api|access|private|signing)key"
    r"|(?:access|auth|bearer|id|identity|refresh|security|session)token$"
)
"""Names of credentials, in lower case and without separators. A page token or a fencing token is none."""

_SECRET_TEXT: Final = (
    # In a signed URL, and wherever else somebody writes name=value or "name": "value".
    re.compile(
        r"(?i)((?:x-amz-(?:signature|security-token|credential)"
        r"|(?:secret|session|security|access|auth)[-_]?(?:access[-_]?)?(?:key|token)(?![-_]?id)"
        r"|passw(?:or)?d|signature)[\"']?\s*(?:=|%3d|:)\s*[\"']?)[^\s&\"',;<>]+"
    ),
    re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:[\w-]+ )?)[^\s\"',][^\r\n\"']*"),
    # The credentials in https://user:password@host.
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@]+(?=@)"),
)
_ACCESS_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b")

T = TypeVar("T")


def configure(*, format: str, level: str) -> None:  # noqa: A002 - the word that the setting uses
    """
    Set up structlog, and the standard library's logging beside it, to write to stderr.

    Args:
        format: `json`, `console`, or `auto`: console on a terminal and JSON otherwise.
        level: `debug`, `info`, `warning` or `error`. Libraries never speak below `warning`: what botocore
            writes at `debug` is made of requests and their signatures.
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
        # Some configure twice: a command for its start, the tests for each case.
        cache_logger_on_first_use=False,
    )
    _route_libraries(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*shared, structlog.stdlib.add_logger_name, _name_foreign_event],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *rendered],
        ),
        threshold=max(threshold, logging.WARNING),
    )


def mask(value: T) -> T:
    """Return the value with every credential in it replaced, however deep it lies."""
    return _masked(value)  # type: ignore[return-value]


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
    return {name: _masked(value, name=name) for name, value in event.items()}


def _masked(value: object, *, name: str = "") -> object:
    if name and value is not None and _SECRET_NAME.search(name.lower().replace("_", "").replace("-", "")):
        return MASK
    if isinstance(value, str):
        return _masked_text(value)
    if isinstance(value, Mapping):
        return {key: _masked(one, name=str(key)) for key, one in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(one) for one in value]
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    masked = _masked_text(text)
    return value if masked == text else masked


def _masked_text(text: str) -> str:
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\1{MASK}", text)
    return _ACCESS_KEY_ID.sub(MASK, text)
