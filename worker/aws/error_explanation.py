"""Explain AWS errors: what is wrong and how to fix it."""

from dataclasses import dataclass

from botocore import exceptions as aws

from worker.aws.errors import (
    error_code,
    is_access_denied,
    is_expired_credentials,
    is_invalid_credentials,
    is_no_such_bucket,
    is_no_such_queue,
    is_no_such_table,
    is_wrong_region,
)
from worker.domain.mask import mask_secrets


@dataclass(frozen=True, slots=True)
class ErrorExplanation:
    """
    An error explained to the person who has to fix it.

    Attributes:
        reason: What is wrong.
        remedy: How to fix it; empty if that is not known.
        is_configuration_error: Whether configuration, credentials or network have to be fixed first.
    """

    reason: str
    remedy: str
    is_configuration_error: bool


def explain(error: aws.BotoCoreError | aws.ClientError) -> str:
    """Return the reason and the remedy in one sentence, with secrets masked."""
    explanation = explanation_of(error)
    return f"{explanation.reason}; {explanation.remedy}" if explanation.remedy else explanation.reason


def explanation_of(error: aws.BotoCoreError | aws.ClientError) -> ErrorExplanation:
    """Return the reason and the remedy of an error, with secrets masked."""
    found = _of_response(error) if isinstance(error, aws.ClientError) else _of_client(error)
    return ErrorExplanation(
        mask_secrets(found.reason), found.remedy, is_configuration_error=found.is_configuration_error
    )


def _of_response(error: aws.ClientError) -> ErrorExplanation:
    """Explain an error that AWS returned."""
    code, operation = error_code(error), error.operation_name
    message = str(error.response.get("Error", {}).get("Message", "")).rstrip(". ")
    if is_expired_credentials(error) or is_invalid_credentials(error):
        reason = "they have expired" if is_expired_credentials(error) else code
        return ErrorExplanation(
            f"AWS rejected the credentials ({operation}: {reason})",
            "sign in again or renew them; `aws sts get-caller-identity` shows which are used",
            is_configuration_error=True,
        )
    if code == "400":  # all that S3 reports for a HEAD request, whose response has no body
        return ErrorExplanation(
            f"AWS rejected {operation} without a reason, most often because the credentials have expired",
            "renew them and check AWS_REGION; `aws sts get-caller-identity` shows which are used",
            is_configuration_error=True,
        )
    if is_access_denied(error):
        detail = f" ({message})" if message not in {"", "Forbidden"} else ""
        return ErrorExplanation(
            f"AWS does not allow {operation}{detail}",
            "allow it in the IAM policy of this role or user",
            is_configuration_error=True,
        )
    if is_wrong_region(error):
        region = _region_of(error)
        return ErrorExplanation(
            f"the bucket is in {f'the region {region}' if region else 'another region'} ({operation})",
            f"set AWS_REGION={region}" if region else "set AWS_REGION to that region",
            is_configuration_error=True,
        )
    if is_no_such_bucket(error) or is_no_such_queue(error) or is_no_such_table(error):
        return ErrorExplanation(
            f"{operation}: {message or code}",
            "run `image-worker provision`, or correct its name in the settings and AWS_REGION",
            is_configuration_error=True,
        )
    detail = f": {message}" if message else ""
    return ErrorExplanation(f"{operation} failed with {code}{detail}", "", is_configuration_error=False)


def _region_of(error: aws.ClientError) -> str | None:
    headers = error.response.get("ResponseMetadata", {}).get("HTTPHeaders", {})
    region = headers.get("x-amz-bucket-region") or error.response.get("Error", {}).get("Region")
    return str(region) if region else None


def _of_client(error: aws.BotoCoreError) -> ErrorExplanation:
    """Explain an error of the configuration, the credentials or the network, raised by botocore itself."""
    match error:
        case aws.NoRegionError():
            return ErrorExplanation(
                "no AWS region is set",
                "set AWS_REGION, for example AWS_REGION=eu-west-1",
                is_configuration_error=True,
            )
        case aws.NoCredentialsError() | aws.PartialCredentialsError() | aws.CredentialRetrievalError():
            return ErrorExplanation(
                f"no usable AWS credentials were found ({_as_clause(error)})",
                "set AWS_PROFILE, or AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
                "or run where a role provides them",
                is_configuration_error=True,
            )
        case aws.ProfileNotFound():
            return ErrorExplanation(
                _as_clause(error),
                "set AWS_PROFILE to one of `aws configure list-profiles`",
                is_configuration_error=True,
            )
        case aws.SSOError() | aws.TokenRetrievalError():
            return ErrorExplanation(
                "the AWS sign-in has expired", "run `aws sso login`", is_configuration_error=True
            )
        case aws.SSLError():
            return ErrorExplanation(
                f"{error.kwargs.get('endpoint_url')} cannot be reached by TLS ({error.kwargs.get('error')})",
                "check the clock of this machine and AWS_ENDPOINT_URL; "
                "if the authority of the certificate is your own, set AWS_CA_BUNDLE to its PEM file",
                is_configuration_error=True,
            )
        case aws.ConnectionError() | aws.HTTPClientError():
            endpoint = error.kwargs.get("endpoint_url") or "AWS"
            is_timeout = isinstance(error, aws.ConnectTimeoutError | aws.ReadTimeoutError)
            problem = "did not respond in time" if is_timeout else "cannot be reached"
            return ErrorExplanation(
                f"{endpoint} {problem} ({type(error).__name__})",
                "check AWS_ENDPOINT_URL, AWS_REGION and the network",
                # A connection that was made and then broke may be made again in a moment.
                is_configuration_error=isinstance(error, aws.ConnectionError),
            )
    return ErrorExplanation(_as_clause(error), "", is_configuration_error=False)


def _as_clause(error: Exception) -> str:
    """Return the error's text without its capital and full stop, to be used inside a sentence."""
    text = str(error).rstrip(". ")
    return text[:1].lower() + text[1:]
