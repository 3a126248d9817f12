from collections.abc import Callable

import aiohttp
import pytest
from botocore.exceptions import (
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from tests.support.aws_errors import client_error
from worker.aws import errors
from worker.aws.errors import (
    CONFLICT_CODES,
    EXPECTED_CODES,
    THROTTLING_CODES,
    TRANSIENT_CODES,
    cancellation_reasons,
    error_code,
    is_expected_error,
    is_throttled,
    is_transient,
)

CANCELLED = "TransactionCanceledException"

PREDICATES: dict[Callable[[BaseException | None], bool], list[str]] = {
    errors.is_not_found: ["404", "NoSuchKey", "NoSuchVersion", "NotFound"],
    errors.is_no_such_bucket: ["NoSuchBucket"],
    errors.is_no_such_queue: ["AWS.SimpleQueueService.NonExistentQueue", "QueueDoesNotExist"],
    errors.is_no_such_table: ["ResourceNotFoundException", "TableNotFoundException"],
    errors.is_precondition_failed: ["412", "PreconditionFailed"],
    errors.is_not_modified: ["304", "NotModified"],
    errors.is_conditional_check_failed: ["ConditionalCheckFailedException"],
    errors.is_access_denied: ["403", "AccessDenied", "AccessDeniedException", "UnauthorizedOperation"],
    errors.is_expired_credentials: ["ExpiredToken", "ExpiredTokenException", "RequestExpired"],
    errors.is_invalid_credentials: ["InvalidAccessKeyId", "SignatureDoesNotMatch"],
    errors.is_wrong_region: ["301", "PermanentRedirect", "AuthorizationHeaderMalformed"],
}


@pytest.mark.parametrize(
    ("predicate", "code"),
    [(predicate, code) for predicate, codes in PREDICATES.items() for code in codes],
    ids=lambda value: value if isinstance(value, str) else value.__name__,
)
def test_each_code_matches_one_predicate_only(
    predicate: Callable[[BaseException | None], bool], code: str
) -> None:
    matching = [each for each in PREDICATES if each(client_error(code))]

    assert matching == [predicate]


@pytest.mark.parametrize("predicate", PREDICATES, ids=lambda predicate: predicate.__name__)
def test_an_error_that_is_not_of_aws_or_is_absent_matches_no_predicate(
    predicate: Callable[[BaseException | None], bool],
) -> None:
    assert not predicate(TimeoutError())
    assert not predicate(None)


@pytest.mark.parametrize("code", sorted(THROTTLING_CODES | CONFLICT_CODES | TRANSIENT_CODES))
def test_throttling_conflicts_and_service_faults_are_transient_and_not_expected(code: str) -> None:
    assert is_transient(client_error(code))
    assert not is_expected_error(client_error(code))


@pytest.mark.parametrize("code", sorted(EXPECTED_CODES))
def test_expected_errors_are_not_transient(code: str) -> None:
    assert is_expected_error(client_error(code))
    assert not is_transient(client_error(code))


def test_no_code_is_in_two_classes() -> None:
    assert (
        THROTTLING_CODES & CONFLICT_CODES
        == THROTTLING_CODES & TRANSIENT_CODES
        == CONFLICT_CODES & TRANSIENT_CODES
        == frozenset()
    )


@pytest.mark.parametrize(
    "error",
    [
        client_error("WhoKnows", status=502),
        EndpointConnectionError(endpoint_url="http://nowhere"),
        ConnectTimeoutError(endpoint_url="http://nowhere"),
        ReadTimeoutError(endpoint_url="http://nowhere"),
        aiohttp.ClientPayloadError("cut short"),
        aiohttp.ServerDisconnectedError(),
        ConnectionResetError(),
        TimeoutError(),
    ],
    ids=lambda error: type(error).__name__,
)
def test_unknown_service_faults_and_network_errors_are_transient(error: Exception) -> None:
    assert is_transient(error)


@pytest.mark.parametrize(
    "error",
    [client_error("AccessDeniedException"), client_error("WhoKnows"), NoCredentialsError(), KeyError("bug")],
    ids=error_code,
)
def test_faults_of_the_set_up_and_bugs_are_neither_transient_nor_expected(error: Exception) -> None:
    assert not is_transient(error)
    assert not is_expected_error(error)


@pytest.mark.parametrize(
    ("reasons", "expected"),
    [
        (("None", "TransactionConflict"), True),
        (("ThrottlingError", "ProvisionedThroughputExceeded"), True),
        (("ConditionalCheckFailed", "None"), False),
        (("ConditionalCheckFailed", "TransactionConflict"), False),
        (("None",), False),
        ((), False),
    ],
)
def test_a_cancelled_transaction_is_transient_when_all_its_reasons_are(
    reasons: tuple[str, ...],
    expected: bool,
) -> None:
    assert is_transient(client_error(CANCELLED, reasons=reasons)) is expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (client_error("ThrottlingException"), True),
        (client_error("SlowDown", status=503), True),
        (client_error(CANCELLED, reasons=("None", "ThrottlingError")), True),
        (client_error(CANCELLED, reasons=("TransactionConflict",)), False),
        (client_error("InternalServerError", status=500), False),
        (TimeoutError(), False),
    ],
)
def test_throttling_is_recognised_by_the_code_or_a_cancellation_reason(
    error: Exception,
    expected: bool,
) -> None:
    assert is_throttled(error) is expected


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (client_error("NoSuchKey"), "NoSuchKey"),
        (ClientError({}, "AnyCall"), "Unknown"),
        (NoCredentialsError(), "NoCredentialsError"),
        (TimeoutError(), "TimeoutError"),
    ],
)
def test_the_code_of_an_error_that_is_not_of_aws_is_the_name_of_its_class(
    error: Exception, code: str
) -> None:
    assert error_code(error) == code


def test_cancellation_reasons_are_in_the_order_of_the_items() -> None:
    error = client_error(CANCELLED, reasons=("None", "ConditionalCheckFailed"))

    assert [reason["Code"] for reason in cancellation_reasons(error)] == ["None", "ConditionalCheckFailed"]
    assert cancellation_reasons(ClientError({}, "AnyCall")) == []
