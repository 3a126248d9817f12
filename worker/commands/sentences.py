"""What went wrong, in one sentence for the person at the keyboard: what it is, and the way out."""

import os
import re
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog
from botocore import exceptions as aws
from pydantic import ValidationError
from pydantic_settings import SettingsError

from config.settings import Settings
from worker.commands.settings import default_of, variable
from worker.domain.errors import ConfigurationError, ImageWorkerError, PageTokenError, TransientError
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

_CREDENTIALS: Final = (
    "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or run where a role provides them"
)
_REFUSED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "AllAccessDisabled", "UnauthorizedOperation", "403"}
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_UNKNOWN_CALLER: Final = frozenset(
    {
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)
_MISSING: Final = frozenset(
    {
        "AWS.SimpleQueueService.NonExistentQueue",
        "NoSuchBucket",
        "QueueDoesNotExist",
        "ResourceNotFoundException",
    }
)


def explain(error: BaseException) -> Told | None:
    """Put an error that has a known way out into a sentence; None when it has none: then it is a bug."""
    if isinstance(error, BaseExceptionGroup):  # of a task group: the first that can be explained
        return next(filter(None, map(explain, error.exceptions)), None)
    if isinstance(error, TransientError) and error.__cause__ is not None:
        cause = explain(error.__cause__)
        if cause is not None and cause.is_misuse:  # no passing trouble: it will be the same next time
            return cause
    if isinstance(error, ImageWorkerError):
        return Told(logs.mask(str(error)), is_misuse=isinstance(error, ConfigurationError | PageTokenError))
    if isinstance(error, ValidationError) and error.title == Settings.__name__:
        return Told("; ".join(_setting_faults(error)), is_misuse=True)
    if isinstance(error, SettingsError):
        return Told(_unreadable_setting(error), is_misuse=True)
    if isinstance(error, aws.ClientError):
        return _refusal(error)
    if isinstance(error, aws.BotoCoreError):
        return _trouble(error)
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
    reason = logs.mask(f"{type(error).__name__}: {error}".rstrip(": "))
    return Told(f"unexpected error: {reason}; this is a bug, please report it {way_out}", is_misuse=False)


def _setting_faults(error: ValidationError) -> Iterator[str]:
    for fault in error.errors(include_url=False):
        name = str(fault["loc"][0]) if fault["loc"] else ""
        if name not in Settings.model_fields and name not in map(variable, Settings.model_fields):
            yield logs.mask(fault["msg"].removeprefix("Value error, "))  # a rule across settings
            continue
        field_name = next(key for key in Settings.model_fields if name in {key, variable(key)})
        default = default_of(Settings.model_fields[field_name])
        way_out = "" if default is None else f" (default: {default})"
        yield f"{variable(field_name)}: {_fault(fault)}{way_out}"


def _fault(fault: "ErrorDetails") -> str:
    value = logs.mask(repr(fault["input"]))
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
        return f"the settings cannot be read: {logs.mask(str(error))}"
    return f'{variable(named[1])}: not JSON; write a list as ["thumbnail", "large"]'


def _refusal(error: aws.ClientError) -> Told:
    code = str(error.response.get("Error", {}).get("Code", ""))
    said = logs.mask(str(error.response.get("Error", {}).get("Message", "") or code)).rstrip(".")
    call = error.operation_name
    if code in _REFUSED:
        sentence = f"AWS refuses {call}: {said}; allow it to the role that runs this"
        return Told(sentence, is_misuse=True)
    if code in _EXPIRED:
        return Told(f"the AWS credentials have expired ({call}); sign in again", is_misuse=True)
    if code in _UNKNOWN_CALLER:
        return Told(f"AWS does not know these credentials ({call}: {code}); {_CREDENTIALS}", is_misuse=True)
    if code in _MISSING:
        sentence = f"{call}: {said}; make it with 'image-worker provision', or set the name that it has"
        return Told(sentence, is_misuse=True)
    return Told(f"AWS answered {call} with {code}: {said}", is_misuse=False)


def _trouble(error: aws.BotoCoreError) -> Told:
    said = logs.mask(str(error)).rstrip(".")
    said = said[0].lower() + said[1:]
    match error:
        case aws.NoCredentialsError() | aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            return Told(f"no usable AWS credentials; {_CREDENTIALS}", is_misuse=True)
        case aws.NoRegionError():
            return Told("no AWS region; set AWS_REGION, such as AWS_REGION=eu-central-1", is_misuse=True)
        case aws.ProfileNotFound():
            return Told(f"{said}; set AWS_PROFILE to one of ~/.aws/config", is_misuse=True)
        case aws.SSOError() | aws.TokenRetrievalError():
            return Told("the AWS sign-in has ended; run 'aws sso login'", is_misuse=True)
        case aws.ConnectionError() | aws.HTTPClientError():
            sentence = f"{said}; check AWS_ENDPOINT_URL, AWS_REGION and the network"
            return Told(sentence, is_misuse=isinstance(error, aws.ConnectionError))
    return Told(said, is_misuse=False)
