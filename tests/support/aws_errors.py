"""Errors as AWS returns them."""

from botocore.exceptions import ClientError


def client_error(code: str, *, status: int = 400, reasons: tuple[str, ...] = ()) -> ClientError:
    """
    Return an error of an AWS response.

    Args:
        code: Error code.
        status: HTTP status.
        reasons: Codes of the cancellation reasons, one for each item of a transaction.
    """
    response = {
        "Error": {"Code": code, "Message": "no"},
        "ResponseMetadata": {"HTTPStatusCode": status},
        "CancellationReasons": [{"Code": reason} for reason in reasons],
    }
    return ClientError(response, "AnyCall")  # type: ignore[arg-type]  # botocore types no CancellationReasons
