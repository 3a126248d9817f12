"""The result of a check, also for a request that AWS rejected."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.error_explanation import explanation_of
from worker.aws.errors import is_access_denied

Call: TypeAlias = Callable[[], Awaitable[object]]

PROVISION: Final = "run `image-worker provision`"

PERMISSION: Final = "permission"
"""Name of the findings about IAM actions."""


@dataclass(frozen=True, slots=True)
class Finding:
    """
    The result of a check.

    Attributes:
        name: What was checked, in a word or two.
        ok: Whether the check passed.
        message: What was found.
        fix: What to do: the command to run, or the setting to change; empty if the check passed.
        required: Whether the worker cannot work without it; otherwise the finding is a warning.
    """

    name: str
    ok: bool
    message: str
    fix: str = ""
    required: bool = True


def passed(name: str, message: str, *, required: bool = True) -> Finding:
    """Return the finding of a check that passed."""
    return Finding(name=name, ok=True, message=message, required=required)


def failed(name: str, message: str, *, fix: str, required: bool = True) -> Finding:
    """Return the finding of a check that failed."""
    return Finding(name=name, ok=False, message=message, fix=fix, required=required)


def request_failed(
    name: str, error: BotoCoreError | ClientError, *, action: str, on: str, required: bool = True
) -> Finding:
    """
    Return the finding of a check whose request failed.

    Args:
        name: What was checked.
        error: The error of the request.
        action: IAM action of the request: `s3:ListBucket`.
        on: Name of the resource.
        required: As in `Finding`.
    """
    if is_access_denied(error):
        message = f"AWS does not allow {action} on {on}"
        return failed(name, message, fix=f"allow {action} in the IAM policy of this role", required=required)
    explanation = explanation_of(error)
    fix = explanation.remedy or "fix the reported problem and run `image-worker check` again"
    return failed(name, explanation.reason, fix=fix, required=required)


async def check_permission(action: str, *, on: str, call: Call) -> Finding:
    """
    Check whether an IAM action is allowed, with a request that cannot have an effect.

    AWS checks permissions first: any error other than a denial means that the action is allowed.
    """
    try:
        await call()
    except ClientError as error:
        if is_access_denied(error):
            return request_failed(PERMISSION, error, action=action, on=on)
    except BotoCoreError as error:
        return request_failed(PERMISSION, error, action=action, on=on)
    return passed(PERMISSION, f"{action} is allowed on {on}")
