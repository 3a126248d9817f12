"""What a check found, and how a refused call becomes a finding."""

from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Final, TypeAlias

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.error_explanation import explanation_of
from worker.aws.errors import is_access_denied

Call: TypeAlias = Callable[[], Awaitable[object]]

PROVISION: Final = "run `image-worker provision`"


@dataclass(frozen=True, slots=True)
class Finding:
    """
    One thing that was looked at.

    Attributes:
        name: What was looked at, in a word or two.
        ok: Whether it is right.
        message: What is the case, in a sentence.
        remedy: What mends it: the command, or the setting; empty if it is right.
        required: Whether the worker cannot do its work without it; otherwise it is a warning.
    """

    name: str
    ok: bool
    message: str
    remedy: str = ""
    required: bool = True


def right(name: str, message: str, *, required: bool = True) -> Finding:
    """Find that something is as it should be."""
    return Finding(name=name, ok=True, message=message, required=required)


def wrong(name: str, message: str, *, remedy: str, required: bool = True) -> Finding:
    """Find that something has to be mended."""
    return Finding(name=name, ok=False, message=message, remedy=remedy, required=required)


def refused(
    name: str, error: BotoCoreError | ClientError, *, action: str, on: str, required: bool = True
) -> Finding:
    """
    Find that a call failed.

    Args:
        name: What was looked at.
        error: What AWS, or the way there, answered.
        action: The action that an IAM policy has to allow for the call, as in `s3:ListBucket`.
        on: The resource, for people.
        required: See `Finding`.
    """
    if is_access_denied(error):
        message = f"AWS does not allow {action} on {on}"
        return wrong(
            name, message, remedy=f"allow {action} in the IAM policy of this role", required=required
        )
    told = explanation_of(error)
    return wrong(name, told.reason, remedy=told.remedy or "mend what it names", required=required)


async def permitted(name: str, action: str, *, on: str, call: Call) -> Finding:
    """
    Find whether an action is allowed, by a call that can only come to nothing.

    AWS looks at permissions first: every other refusal of the call means that it was allowed.
    """
    try:
        await call()
    except ClientError as error:
        if is_access_denied(error):
            return refused(name, error, action=action, on=on)
    except BotoCoreError as error:
        return refused(name, error, action=action, on=on)
    return right(name, f"{action} is allowed on {on}")
