"""What the errors of an AWS mean to the person who runs the worker: one sentence each."""

from typing import Final

from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    CredentialRetrievalError,
    HTTPClientError,
    NoCredentialsError,
    NoRegionError,
    PartialCredentialsError,
    ProfileNotFound,
)
from botocore.exceptions import ConnectionError as NoConnectionError

from worker.retry import error_code

DENIED: Final = frozenset(
    {"AccessDenied", "AccessDeniedException", "AuthorizationError", "UnauthorizedOperation", "403"}
)
BAD_CREDENTIALS: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "IncompleteSignature",
        "InvalidAccessKeyId",
        "InvalidClientTokenId",
        "InvalidSignatureException",
        "InvalidToken",
        "MissingAuthenticationToken",
        "MissingAuthenticationTokenException",
        "SignatureDoesNotMatch",
        "UnrecognizedClientException",
    }
)


def is_denied(error: Exception) -> bool:
    """Tell whether AWS knows the caller and does not allow the call."""
    return error_code(error) in DENIED


def explain(error: BotoCoreError | ClientError) -> str:
    """Say in one sentence what is wrong, and what to set."""
    return f"{reason_of(error)}; {remedy_of(error)}"


def reason_of(error: BotoCoreError | ClientError) -> str:
    """Say what is wrong."""
    if isinstance(error, NoRegionError):
        return "no AWS region is set"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return f"no usable AWS credentials were found ({error})"
    if isinstance(error, NoConnectionError | HTTPClientError):
        where = error.kwargs.get("endpoint_url") or "AWS"
        how = "does not answer" if isinstance(error, ConnectTimeoutError) else "cannot be reached"
        return f"{where} {how} ({type(error).__name__})"
    if not isinstance(error, ClientError):
        return str(error)
    operation = error.operation_name
    message = error.response.get("Error", {}).get("Message", "").rstrip(". ")
    if error_code(error) in BAD_CREDENTIALS:
        return f"AWS does not take the credentials ({error_code(error)})"
    if is_denied(error):
        return f"AWS does not allow {operation}" + (
            f" ({message})" if message not in {"", "Forbidden"} else ""
        )
    return f"AWS refuses {operation}: {message or error_code(error)}"


def remedy_of(error: BotoCoreError | ClientError) -> str:
    """Say what mends it."""
    if isinstance(error, NoRegionError):
        return "set AWS_REGION"
    if isinstance(error, NoCredentialsError | PartialCredentialsError | CredentialRetrievalError):
        return "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give this machine a role"
    if isinstance(error, ProfileNotFound):
        return "set AWS_PROFILE to one of `aws configure list-profiles`"
    if isinstance(error, NoConnectionError | HTTPClientError):
        return "check AWS_ENDPOINT_URL and AWS_REGION, and the network between"
    if error_code(error) in BAD_CREDENTIALS:
        return "renew them, and see which are used with `aws sts get-caller-identity`"
    if is_denied(error):
        return "allow it in the IAM policy of this role or user"
    return "mend what it names, and try again"
