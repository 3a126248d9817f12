"""What went wrong, in one sentence for the person at the keyboard: what it is, and the way out."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from pydantic_settings import SettingsError

from worker.aws import error_explanation as refusal
from worker.cli.settings import default_of, variable
from worker.domain.errors import ConfigurationError, ImageWorkerError, PageTokenError, TransientError
from worker.domain.mask import mask_secrets
from worker.settings import Settings
from worker.telemetry import logs

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class Told:
    """A sentence, and whether what it tells of is wrong usage or configuration (else: it ran and failed)."""

    sentence: str
    is_misuse: bool


_FAULTS: Final[Mapping[str, str]] = {
    "int_parsing": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "float_parsing": "{value} is not a number",
    "bool_parsing": "{value} is neither true nor false",
    "greater_than": "{value} is not more than {gt}",
    "greater_than_equal": "{value} is less than {ge}",
    "less_than": "{value} is not less than {lt}",
    "less_than_equal": "{value} is more than {le}",
    "enum": "{value} is not {expected}",
    "string_too_short": "{value} has fewer than {min_length} characters",
    "string_too_long": "{value} has more than {max_length} characters",
}
"""The kind of a fault, as pydantic names it -> what is wrong."""

_NO_URL: Final = "Invalid endpoint: "
"""How botocore begins when an endpoint is no URL."""


def explain(error: BaseException) -> Told | None:
    """Put an error that has a known way out into a sentence; None when it has none: then it is a bug."""
    if isinstance(error, BaseExceptionGroup):  # of a task group: the first that can be explained
        return next(filter(None, map(explain, error.exceptions)), None)
    cause = error.__cause__
    if isinstance(error, TransientError) and cause is not None and cause is not error:
        told = explain(cause)
        if told is not None and told.is_misuse:  # no passing trouble: it will be the same next time
            return told
    if isinstance(error, ImageWorkerError):
        return Told(
            mask_secrets(str(error)), is_misuse=isinstance(error, ConfigurationError | PageTokenError)
        )
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        return Told("; ".join(_setting_faults(error)), is_misuse=True)
    if isinstance(error, SettingsError):
        return Told(_unreadable_setting(error), is_misuse=True)
    if isinstance(error, ClientError | BotoCoreError):
        return Told(refusal.explain(error), is_misuse=refusal.explanation_of(error).is_setup)
    if isinstance(error, ValueError) and str(error).startswith(_NO_URL):
        value = mask_secrets(str(error).removeprefix(_NO_URL))
        return Told(f"AWS_ENDPOINT_URL is {value!r}: write it as http://localhost:4566", is_misuse=True)
    if isinstance(error, OSError) and error.filename is not None:
        reason = (error.strerror or type(error).__name__).lower()
        return Told(f"{error.filename}: {reason}", is_misuse=False)
    return None


def report_bug(error: Exception) -> Told:
    """
    Put an unexpected error into a sentence.

    Its traceback is logged at WORKER_LOG_LEVEL=debug, and always where a service logs for machines.
    """
    is_service = structlog.is_configured() and not sys.stderr.isatty()
    if os.environ.get("WORKER_LOG_LEVEL", "").lower() == "debug":
        logs.configure(format="auto", level="debug")
        log.error("command.crashed", exc_info=error)
        way_out = "with the traceback above"
    elif is_service:
        log.error("command.crashed", exc_info=error)
        way_out = "with the traceback in the log"
    else:
        way_out = "with what WORKER_LOG_LEVEL=debug shows"
    reason = mask_secrets(f"{type(error).__name__}: {error}".rstrip(": "))
    return Told(f"unexpected error: {reason}; this is a bug, please report it {way_out}", is_misuse=False)


def _setting_faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if name not in Settings.model_fields and name not in map(variable, Settings.model_fields):
            yield mask_secrets(fault["msg"].removeprefix("Value error, "))  # a rule across settings
            continue
        field_name = next(key for key in Settings.model_fields if name in {key, variable(key)})
        default = default_of(Settings.model_fields[field_name])
        way_out = "" if default is None else f" (default: {default})"
        yield f"{variable(field_name)}: {_fault(fault)}{way_out}"


def _fault(fault: "ErrorDetails") -> str:
    value = mask_secrets(repr(fault["input"]))
    context = fault.get("ctx", {})
    alternatives = re.fullmatch(r"\^\(([\w|]+)\)\$", str(context.get("pattern")))
    if alternatives:
        return f"{value} is none of {alternatives[1].replace('|', ', ')}"
    pattern = _FAULTS.get(fault["type"])
    if pattern is None:
        return f"{value}: {fault['msg'][0].lower()}{fault['msg'][1:]}"
    bounds = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in context.items()}
    return pattern.format(value=value, **bounds)


def _unreadable_setting(error: SettingsError) -> str:
    named = re.search(r'field "(\w+)"', str(error))
    if named is None:
        return f"the settings cannot be read: {mask_secrets(str(error))}"
    return f'{variable(named[1])}: not JSON; write a list as ["thumbnail", "large"]'
