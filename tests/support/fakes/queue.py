"""A client of SQS in memory: enough of it to hand out messages and to answer batches entry by entry."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Any

Failed = Mapping[str, Any]
FailureOf = Callable[[str, int], Failed | None]
"""Says, of a receipt and how often it was tried, how its entry fails; None where it succeeds."""


def invalid_receipt(code: str = "ReceiptHandleIsInvalid") -> Failed:
    """Return how an entry fails whose receipt is no longer accepted."""
    return {"SenderFault": True, "Code": code, "Message": "the receipt handle has expired"}


def transient_failure() -> Failed:
    """Return how an entry fails through no fault of ours."""
    return {"SenderFault": False, "Code": "InternalError", "Message": "try again"}


class FakeSQS:
    """
    The calls that `worker.sqs.queue` makes, kept as they came.

    Args:
        failure_of: How the entries of batches fail; all succeed unless it is given.
    """

    def __init__(self, failure_of: FailureOf = lambda receipt, attempt: None) -> None:  # noqa: ARG005
        self.failure_of = failure_of
        self.to_receive: list[list[dict[str, Any]] | Exception] = []
        self.errors: list[Exception] = []
        self.received: list[dict[str, Any]] = []
        self.deleted: list[list[str]] = []
        self.changed: list[list[tuple[str, int]]] = []
        self.sent: list[dict[str, Any]] = []
        self.attempts: Counter[str] = Counter()

    async def receive_message(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore takes it
        self.received.append(request)
        answer = self.to_receive.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return {"Messages": answer} if answer else {}

    async def delete_message_batch(self, *, QueueUrl: str, Entries: Sequence[Any]) -> dict[str, Any]:  # noqa: N803
        self.deleted.append([entry["ReceiptHandle"] for entry in Entries])
        return self._answer(QueueUrl, Entries)

    async def change_message_visibility_batch(
        self,
        *,
        QueueUrl: str,  # noqa: N803 - as botocore takes it
        Entries: Sequence[Any],  # noqa: N803
    ) -> dict[str, Any]:
        self.changed.append([(entry["ReceiptHandle"], entry["VisibilityTimeout"]) for entry in Entries])
        return self._answer(QueueUrl, Entries)

    async def send_message(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore takes it
        if self.errors:
            raise self.errors.pop(0)
        self.sent.append(request)
        return {"MessageId": str(len(self.sent))}

    def _answer(self, url: str, entries: Sequence[Any]) -> dict[str, Any]:
        assert url == "https://queue"
        assert 1 <= len(entries) <= 10, "SQS takes ten entries in one batch"
        assert len({entry["Id"] for entry in entries}) == len(entries), "SQS wants each Id once"
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
