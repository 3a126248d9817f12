"""Explain errors in one line: what failed, why, and what to do."""

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import structlog
from botocore.exceptions import BotoCoreError, ClientError
from pydantic import ValidationError
from pydantic_settings import SettingsError

from worker.aws.error_explanation import explain as explain_aws_error
from worker.aws.error_explanation import explanation_of
from worker.cli.settings import default_of, variable
from worker.domain.errors import (
    ConfigurationError,
    ImageWorkerError,
    InvalidUploadError,
    PageTokenError,
    TransientError,
)
from worker.domain.mask import mask_secrets
from worker.setting_errors import describe
from worker.settings import Settings
from worker.telemetry import logs

log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class CliError:
    """
    An error message for the command line.

    Attributes:
        message: What failed, why, and what to do, in one line.
        is_usage_error: Whether usage or configuration is wrong; otherwise the command ran and failed.
    """

    message: str
    is_usage_error: bool


_INVALID_ENDPOINT: Final = "Invalid endpoint: "
"""Start of botocore's message when the endpoint is not a URL."""


def explain(error: BaseException) -> CliError | None:
    """Return the message for an expected error; None for an unexpected one, which is a bug."""
    if isinstance(error, BaseExceptionGroup):  # from a task group: explain the first expected error
        return next(filter(None, map(explain, error.exceptions)), None)
    cause = error.__cause__
    if isinstance(error, TransientError) and cause is not None and cause is not error:
        explained = explain(cause)
        if explained is not None and explained.is_usage_error:  # not transient: a retry fails the same way
            return explained
    if isinstance(error, ImageWorkerError):
        return CliError(
            mask_secrets(str(error)),
            is_usage_error=isinstance(error, ConfigurationError | InvalidUploadError | PageTokenError),
        )
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        return CliError("; ".join(_setting_errors(error)), is_usage_error=True)
    if isinstance(error, SettingsError):
        return CliError(_unparsable_setting(error), is_usage_error=True)
    if isinstance(error, ClientError | BotoCoreError):
        return CliError(explain_aws_error(error), is_usage_error=explanation_of(error).is_configuration_error)
    if isinstance(error, ValueError) and str(error).startswith(_INVALID_ENDPOINT):
        value = mask_secrets(str(error).removeprefix(_INVALID_ENDPOINT))
        return CliError(
            f"AWS_ENDPOINT_URL is {value!r}: write it as http://localhost:4566", is_usage_error=True
        )
    if isinstance(error, OSError) and error.filename is not None:
        reason = (error.strerror or type(error).__name__).lower()
        return CliError(f"{error.filename}: {reason}", is_usage_error=False)
    return None


def report_bug(error: Exception) -> CliError:
    """
    Return the message for an unexpected error.

    Its traceback is logged when WORKER_LOG_LEVEL is debug, and always when stderr is not a terminal and logs
    are configured, as in a service.
    """
    is_service = structlog.is_configured() and not sys.stderr.isatty()
    if os.environ.get("WORKER_LOG_LEVEL", "").lower() == "debug":
        logs.configure(format="auto", level="debug")
        log.error("command.crashed", exc_info=error)
        attachment = "with the traceback above"
    elif is_service:
        log.error("command.crashed", exc_info=error)
        attachment = "with the traceback in the log"
    else:
        attachment = "with the output of WORKER_LOG_LEVEL=debug"
    reason = mask_secrets(f"{type(error).__name__}: {error}".rstrip(": "))
    return CliError(
        f"unexpected error: {reason}; this is a bug, please report it {attachment}", is_usage_error=False
    )


def _setting_errors(error: ValidationError) -> Iterator[str]:
    for details in error.errors(include_url=False):
        name = str(details["loc"][0]) if details["loc"] else ""
        if name not in Settings.model_fields and name not in map(variable, Settings.model_fields):
            yield mask_secrets(details["msg"].removeprefix("Value error, "))  # a rule across settings
            continue
        field_name = next(key for key in Settings.model_fields if name in {key, variable(key)})
        default = default_of(Settings.model_fields[field_name])
        suffix = "" if default is None else f" (default: {default})"
        yield f"{variable(field_name)}: {describe(details)}{suffix}"


def _unparsable_setting(error: SettingsError) -> str:
    match = re.search(r'field "(\w+)"', str(error))
    if match is None:
        return f"the settings cannot be parsed: {mask_secrets(str(error))}"
    return f'{variable(match[1])}: not valid JSON; write a list as ["thumbnail", "large"]'
