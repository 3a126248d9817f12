from collections.abc import Sequence
from typing import Any

from tests.support.retry import NO_WAIT
from worker.domain.errors import ReceiptLostError, TransientError
from worker.sqs.batch import send_batch


async def test_each_entry_is_sent_rejected_or_failed_when_the_retries_are_exhausted() -> None:
    sent: list[list[int]] = []

    async def send(pending: Sequence[int]) -> Any:
        sent.append(list(pending))
        failing: dict[str, Any] = {
            "1": {"SenderFault": True, "Code": "Gone"},
            "2": {"SenderFault": False, "Code": "Busy"},
        }
        return {"Failed": [{"Id": str(one), **failing[str(one)]} for one in pending if str(one) in failing]}

    sent_entry, rejected, failed = await send_batch(
        send, 3, NO_WAIT, what="delete messages", rejected=ReceiptLostError
    )

    assert sent_entry is None
    assert isinstance(rejected, ReceiptLostError)
    assert str(rejected) == "Gone"
    assert isinstance(failed, TransientError)
    assert "could not delete messages in 6 attempts" in str(failed)
    assert sent == [[0, 1, 2], *[[2]] * (NO_WAIT.attempts - 1)]
