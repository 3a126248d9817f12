"""
Classification of AWS errors: which can be retried, and what an error code means.

Nearly every condition has several codes. A response to HEAD has no body, so that S3 reports its status code
only (`404`); services differ in their names for throttling.
"""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Final, TypedDict, TypeGuard, cast

import aiohttp
from botocore.exceptions import (
    BotoCoreError,
    ChecksumError,
    ClientError,
    FlexibleChecksumError,
    HTTPClientError,
    IncompleteReadError,
    ReadTimeoutError,
)
from botocore.exceptions import ConnectionError as BotoConnectionError

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

THROTTLING_CODES: Final = frozenset(
    {
        "LimitExceededException",
        "ProvisionedThroughputExceededException",
        "RequestLimitExceeded",
        "RequestThrottled",
        "RequestThrottledException",
        "SlowDown",
        "Throttling",
        "ThrottlingError",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)
"""The request rate is too high."""

CONFLICT_CODES: Final = frozenset(
    {
        "ConditionalRequestConflict",
        "OperationAborted",
        "TransactionConflict",
        "TransactionConflictException",
        "TransactionInProgressException",
    }
)
"""Another request is writing the same item or object; no condition has failed."""

TRANSIENT_CODES: Final = frozenset(
    {
        "ExpiredToken",
        "ExpiredTokenException",
        "InternalError",
        "InternalFailure",
        "InternalServerError",
        "RequestExpired",
        "RequestTimeout",
        "RequestTimeoutException",
        "ServiceUnavailable",
    }
)
"""The service has failed, or the credentials are being rotated."""

EXPECTED_CODES: Final = frozenset(
    {
        "404",
        "412",
        "ConditionalCheckFailedException",
        "NoSuchKey",
        "NoSuchVersion",
        "NotFound",
        "PreconditionFailed",
        "ReceiptHandleIsInvalid",
        "TransactionCanceledException",
    }
)
"""Errors that callers handle: a missing object, a failed condition. Other permanent errors need a fix."""

CONDITION_FAILED_REASON: Final = "ConditionalCheckFailed"
"""Code of a cancellation reason: the condition of this item has failed."""
_THROTTLED_REASONS: Final = frozenset({"ProvisionedThroughputExceeded", "ThrottlingError"})
_TRANSIENT_REASONS: Final = _THROTTLED_REASONS | {"TransactionConflict"}

_NOT_FOUND: Final = frozenset({"404", "NoSuchKey", "NoSuchVersion", "NotFound"})
_NO_SUCH_BUCKET: Final = frozenset({"NoSuchBucket"})
_NO_SUCH_QUEUE: Final = frozenset({"AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"})
_NO_SUCH_TABLE: Final = frozenset({"ResourceNotFoundException", "TableNotFoundException"})
_PRECONDITION_FAILED: Final = frozenset({"412", "PreconditionFailed"})
_NOT_MODIFIED: Final = frozenset({"304", "NotModified"})
_ACCESS_DENIED: Final = frozenset(
    {
        "403",
        "AccessDenied",
        "AccessDeniedException",
        "AllAccessDisabled",
        "AuthorizationError",
        "UnauthorizedOperation",
    }
)
_EXPIRED_CREDENTIALS: Final = frozenset({"ExpiredToken", "ExpiredTokenException", "RequestExpired"})
_INVALID_CREDENTIALS: Final = frozenset(
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
_WRONG_REGION: Final = frozenset(
    {"301", "AuthorizationHeaderMalformed", "IllegalLocationConstraintException", "PermanentRedirect"}
)

_ARCHIVED: Final = frozenset({"InvalidObjectState"})
_KEY_TOO_LONG: Final = frozenset({"KeyTooLong", "KeyTooLongError"})
_ITEM_REJECTED: Final = frozenset({"ItemCollectionSizeLimitExceededException", "ValidationException"})

ITEM_REJECTED_REASONS: Final = frozenset({"ItemCollectionSizeLimitExceeded", "ValidationError"})
"""Codes of cancellation reasons: DynamoDB rejects the content of this item."""

_CONNECTION_FAILURES: Final = (
    BotoConnectionError,
    HTTPClientError,
    aiohttp.ClientError,
    TimeoutError,
    ConnectionError,
)
_DAMAGED_RESPONSES: Final = (ChecksumError, FlexibleChecksumError, IncompleteReadError)
_REDIRECTION, _CLIENT_ERROR, _SERVER_ERROR = 300, 400, 500


class UnreadableResponseError(HTTPClientError):
    """Raised when a response is not one of the service: it cannot be parsed."""

    fmt = "The response is not one of AWS: {error}"


_UNREADABLE_RESPONSES: Final = (UnreadableResponseError, aiohttp.ClientResponseError, *_DAMAGED_RESPONSES)


class CancellationReason(TypedDict, total=False):
    """Why a transaction was cancelled, as reported for one of its items."""

    Code: str
    Message: str
    Item: "Mapping[str, AttributeValueTypeDef]"


def error_code(error: BaseException | None) -> str:
    """Return the error code of an AWS response, or the name of any other exception's class."""
    if isinstance(error, ClientError):
        return str(error.response.get("Error", {}).get("Code", "Unknown"))
    return type(error).__name__


def cancellation_reasons(error: ClientError) -> Sequence[CancellationReason]:
    """Return why a transaction was cancelled: one reason for each of its items, in their order."""
    return cast("Sequence[CancellationReason]", error.response.get("CancellationReasons", []))


def is_transient(error: BaseException) -> bool:
    """Return whether the same request is likely to succeed if it is retried after a moment."""
    if isinstance(error, ClientError):
        if error_code(error) == "TransactionCanceledException":
            codes = {str(reason.get("Code")) for reason in cancellation_reasons(error)} - {"None"}
            return bool(codes) and codes <= _TRANSIENT_REASONS
        is_redirect = _REDIRECTION <= _status(error) < _CLIENT_ERROR and not is_not_modified(error)
        return (
            error_code(error) in THROTTLING_CODES | CONFLICT_CODES | TRANSIENT_CODES
            or is_redirect  # to an endpoint that botocore has looked up since, or by a proxy
            or _status(error) >= _SERVER_ERROR
        )
    return isinstance(error, _CONNECTION_FAILURES + _DAMAGED_RESPONSES)


def is_outage(error: BaseException | None) -> bool:
    """
    Return whether the service as a whole does not respond or throttles, so that other requests fail too.

    A rejected request, a conflict and a response that cannot be read may be about one image only.
    """
    if isinstance(error, ClientError):
        return is_throttled(error) or error_code(error) in TRANSIENT_CODES or _status(error) >= _SERVER_ERROR
    if isinstance(error, _UNREADABLE_RESPONSES):
        return False
    if type(error) is HTTPClientError:  # aiohttp could not read the response, or could not connect
        return isinstance(error.kwargs.get("error"), OSError)
    return error is not None


def is_timeout(error: BaseException | None) -> bool:
    """Return whether a request was sent and no response was received in time: it may have been executed."""
    return isinstance(error, TimeoutError | ReadTimeoutError)


def is_unreadable(error: BaseException | None) -> TypeGuard[BotoCoreError]:
    """Return whether a response was received and cannot be read."""
    return isinstance(error, BotoCoreError) and is_transient(error) and not is_outage(error)


def is_damaged(error: BaseException | None) -> bool:
    """Return whether a response was damaged on its way: the same request may succeed."""
    return isinstance(error, _DAMAGED_RESPONSES)


def is_rejected(error: BaseException | None) -> TypeGuard[ClientError]:
    """
    Return whether AWS rejected this request, and may accept one for another object or item.

    Errors of the credentials, the region or a missing resource are not among these.
    """
    return (
        isinstance(error, ClientError)
        and not is_transient(error)
        and not is_invalid_credentials(error)
        and not is_wrong_region(error)
        and not is_no_such_bucket(error)
        and not is_no_such_queue(error)
        and not is_no_such_table(error)
    )


def _status(error: ClientError) -> int:
    return error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0)


def is_throttled(error: BaseException) -> bool:
    """Return whether the request was throttled, or cancelled because one of its items was."""
    if isinstance(error, ClientError):
        reasons = {str(reason.get("Code")) for reason in cancellation_reasons(error)}
        return error_code(error) in THROTTLING_CODES or bool(reasons & _THROTTLED_REASONS)
    return False


def is_expected_error(error: BaseException) -> bool:
    """Return whether callers handle this error, such as a missing object or a failed condition."""
    return error_code(error) in EXPECTED_CODES


def is_not_found(error: BaseException | None) -> bool:
    """Return whether S3 has no such object or version."""
    return error_code(error) in _NOT_FOUND


def is_no_such_bucket(error: BaseException | None) -> bool:
    """Return whether S3 has no such bucket; HEAD requests report `404`, as for an object."""
    return error_code(error) in _NO_SUCH_BUCKET


def is_no_such_queue(error: BaseException | None) -> bool:
    """Return whether SQS has no such queue."""
    return error_code(error) in _NO_SUCH_QUEUE


def is_no_such_table(error: BaseException | None) -> bool:
    """Return whether DynamoDB has no such table."""
    return error_code(error) in _NO_SUCH_TABLE


def is_precondition_failed(error: BaseException | None) -> bool:
    """Return whether `If-Match` or `If-None-Match` of an S3 request did not hold."""
    return error_code(error) in _PRECONDITION_FAILED


def is_not_modified(error: BaseException | None) -> bool:
    """Return whether S3 still has the object that the request named in `If-None-Match`."""
    return error_code(error) in _NOT_MODIFIED


def is_conditional_check_failed(error: BaseException | None) -> bool:
    """Return whether the condition of a DynamoDB write did not hold."""
    return error_code(error) == "ConditionalCheckFailedException"


def is_access_denied(error: BaseException | None) -> bool:
    """Return whether AWS knows the caller and does not allow the request."""
    return error_code(error) in _ACCESS_DENIED


def is_archived(error: BaseException | None) -> bool:
    """Return whether S3 has archived the object, so that it cannot be read until it is restored."""
    return error_code(error) in _ARCHIVED


def is_key_too_long(error: BaseException | None) -> bool:
    """Return whether S3 rejected a key for its length."""
    return error_code(error) in _KEY_TOO_LONG


def is_item_rejected(error: BaseException | None) -> bool:
    """Return whether DynamoDB rejected what a request contains, such as an item that is too large."""
    return error_code(error) in _ITEM_REJECTED


def error_message(error: ClientError | BotoCoreError) -> str:
    """Return the message of an AWS response, or its error code if there is none."""
    if isinstance(error, BotoCoreError):
        return str(error).rstrip(". ")
    return str(error.response.get("Error", {}).get("Message") or error_code(error)).rstrip(". ")


def is_expired_credentials(error: BaseException | None) -> bool:
    """Return whether the credentials have expired."""
    return error_code(error) in _EXPIRED_CREDENTIALS


def is_invalid_credentials(error: BaseException | None) -> bool:
    """Return whether AWS does not recognise the credentials or the signature made with them."""
    return error_code(error) in _INVALID_CREDENTIALS


def is_wrong_region(error: BaseException | None) -> bool:
    """Return whether the bucket is in another region than the request was sent to."""
    return error_code(error) in _WRONG_REGION
