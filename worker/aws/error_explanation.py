"""What the errors of an AWS mean to the person at the keyboard: what is wrong, and what mends it."""

from dataclasses import dataclass
from typing import Final

from botocore import exceptions as aws

from worker.aws.retry import NO_SUCH_QUEUE, error_code
from worker.telemetry.logs import mask

DENIED: Final = frozenset(
    {
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "UnauthorizedOperation",
        "403",
    }
)
_EXPIRED: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_BAD_CREDENTIALS: Final = frozenset(
    {
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
_UNEXPLAINED: Final = "400"
"""All that S3 can say in answer to HEAD, which has no body."""
_ELSEWHERE: Final = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)
"""What S3 answers where a bucket lies in another region."""
_MISSING: Final = NO_SUCH_QUEUE | {"NoSuchBucket", "ResourceNotFoundException"}


@dataclass(frozen=True, slots=True)
class ErrorExplanation:
    """
    An error of an AWS, or of the way there, as people read it.

    Attributes:
        reason: What is wrong.
        remedy: What mends it; empty where nothing is known to.
        is_setup: Whether the set-up is at fault, so that the same call fails again until that is mended.
    """

    reason: str
    remedy: str
    is_setup: bool


def is_denied(error: Exception) -> bool:
    """Tell whether AWS knows the caller and does not allow the call."""
    return error_code(error) in DENIED


def explain(error: aws.BotoCoreError | aws.ClientError) -> str:
    """Say in one sentence what is wrong, and what to set."""
    told = explanation_of(error)
    return f"{told.reason}; {told.remedy}" if told.remedy else told.reason


def explanation_of(error: aws.BotoCoreError | aws.ClientError) -> ErrorExplanation:
    """Say what is wrong and what mends it; no credential is repeated."""
    told = _answer(error) if isinstance(error, aws.ClientError) else _trouble(error)
    return ErrorExplanation(mask(told.reason), told.remedy, is_setup=told.is_setup)


def _answer(error: aws.ClientError) -> ErrorExplanation:
    code, operation = error_code(error), error.operation_name
    said = str(error.response.get("Error", {}).get("Message", "")).rstrip(". ")
    if code in _EXPIRED | _BAD_CREDENTIALS:
        why = "they have expired" if code in _EXPIRED else code
        return ErrorExplanation(
            f"AWS does not take the credentials ({operation}: {why})",
            "sign in again or renew them; `aws sts get-caller-identity` shows which are used",
            is_setup=True,
        )
    if code == _UNEXPLAINED:
        return ErrorExplanation(
            f"AWS refuses {operation} without a reason, most often for credentials that have expired",
            "renew them and check AWS_REGION; `aws sts get-caller-identity` shows which are used",
            is_setup=True,
        )
    if code in DENIED:
        told = f" ({said})" if said not in {"", "Forbidden"} else ""
        return ErrorExplanation(
            f"AWS does not allow {operation}{told}",
            "allow it in the IAM policy of this role or user",
            is_setup=True,
        )
    if code in _ELSEWHERE:
        region = _region_of(error)
        where = f"the region {region}" if region else "another region"
        return ErrorExplanation(
            f"the bucket lies in {where} ({operation})",
            f"set AWS_REGION={region}" if region else "set AWS_REGION to that",
            is_setup=True,
        )
    if code in _MISSING:
        return ErrorExplanation(
            f"{operation}: {said or code}",
            "run `image-worker provision`, or set the name that it has, and the AWS_REGION that it is in",
            is_setup=True,
        )
    return ErrorExplanation(
        f"AWS answered {operation} with {code}" + (f": {said}" if said else ""), "", is_setup=False
    )


def _region_of(error: aws.ClientError) -> str | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return str(region) if region else None


def _trouble(error: aws.BotoCoreError) -> ErrorExplanation:
    match error:
        case aws.NoRegionError():
            return ErrorExplanation(
                "no AWS region is set", "set AWS_REGION, as in AWS_REGION=eu-west-1", is_setup=True
            )
        case aws.NoCredentialsError() | aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            return ErrorExplanation(
                f"no usable AWS credentials were found ({_begun(error)})",
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or run where a role provides them",
                is_setup=True,
            )
        case aws.ProfileNotFound():
            return ErrorExplanation(
                _begun(error), "set AWS_PROFILE to one of `aws configure list-profiles`", is_setup=True
            )
        case aws.SSOError() | aws.TokenRetrievalError():
            return ErrorExplanation("the AWS sign-in has ended", "run `aws sso login`", is_setup=True)
        case aws.ConnectionError() | aws.HTTPClientError():
            where = error.kwargs.get("endpoint_url") or "AWS"
            is_silent = isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError)
            return ErrorExplanation(
                f"{where} {'does not answer' if is_silent else 'cannot be reached'} ({type(error).__name__})",
                "check AWS_ENDPOINT_URL and AWS_REGION, and the network between",
                # A connection that was made and then broke may be made again in a moment.
                is_setup=isinstance(error, aws.ConnectionError),
            )
    return ErrorExplanation(_begun(error), "", is_setup=False)


def _begun(error: Exception) -> str:
    """Write an error so that it can stand inside a sentence."""
    text = str(error).rstrip(". ")
    return text[:1].lower() + text[1:]
