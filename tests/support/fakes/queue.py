"""A fake SQS client with the calls of `worker.sqs.queue`, whose batch entries can fail one by one."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Failed = Mapping[str, Any]
"""An entry of `Failed` in the response to a batch, without its id."""

FailureOf = Callable[[str, int], Failed | None]
"""Returns how the entry of a receipt handle fails at its nth attempt; None if it succeeds."""


def invalid_receipt(code: str = "ReceiptHandleIsInvalid") -> Failed:
    """Return the failure of an entry whose receipt handle is no longer valid."""
    return {"SenderFault": True, "Code": code, "Message": "the receipt handle has expired"}


def transient_failure() -> Failed:
    """Return the failure of an entry that may succeed when it is retried."""
    return {"SenderFault": False, "Code": "InternalError", "Message": "try again"}


class FakeSQS:
    """
    An SQS client in memory that keeps every request.

    Args:
        failure_of: How batch entries fail; by default, all succeed.
    """

    def __init__(self, failure_of: FailureOf = lambda receipt, attempt: None) -> None:
        self.failure_of = failure_of
        self.to_receive: list[list[dict[str, Any]] | Exception] = []
        self.errors: list[Exception] = []
        self.received: list[dict[str, Any]] = []
        self.deleted: list[list[str]] = []
        self.changed: list[list[tuple[str, int]]] = []
        self.sent: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()

    async def receive_message(self, **request: Any) -> dict[str, Any]:
        self.received.append(request)
        result = self.to_receive.pop(0)
        if isinstance(result, Exception):
            raise result
        return {"Messages": result} if result else {}

    async def delete_message_batch(
        self,
        *,
        QueueUrl: str,
        Entries: Sequence[Any],
    ) -> dict[str, Any]:
        self.deleted.append([entry["ReceiptHandle"] for entry in Entries])
        return self._batch_response(QueueUrl, Entries)

    async def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,
        Entries: Sequence[Any],
    ) -> dict[str, Any]:
        self.changed.append([(entry["ReceiptHandle"], entry["VisibilityTimeout"]) for entry in Entries])
        return self._batch_response(QueueUrl, Entries)

    async def send_message(self, **request: Any) -> dict[str, Any]:
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(request)
        return {"MessageId": str(len(self.sent))}

    def _batch_response(self, url: str, entries: Sequence[Any]) -> dict[str, Any]:
        assert url == "https://queue"
        assert 1 <= len(entries) <= 10, "SQS accepts one to ten entries in a batch"
        assert len({entry["Id"] for entry in entries}) == len(entries), "SQS requires distinct ids in a batch"
        if self.errors:
            raise self.errors.pop(0)
        failed, successful = [], []
        for entry in entries:
            self.attempts[entry["ReceiptHandle"]] += 1
            failure = self.failure_of(entry["ReceiptHandle"], self.attempts[entry["ReceiptHandle"]])
            if failure is None:
                successful.append({"Id": entry["Id"]})
            else:
                failed.append({"Id": entry["Id"], **failure})
        return {"Successful": successful, **({"Failed": failed} if failed else {})}
