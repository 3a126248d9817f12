"""One batch, whose every entry is looked at."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from worker.aws.retry import QUEUE
from worker.domain.errors import ReceiptLostError, TransientError
from worker.sqs import batch
from worker.sqs.batch import send_batch


@pytest.fixture(autouse=True)
def _without_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(batch, "QUEUE", replace(QUEUE, wait_initial_s=0))


async def test_each_entry_is_through_or_refused_or_left_when_the_retries_are_used_up() -> None:
    sent: list[list[int]] = []

    async def send(pending: Sequence[int]) -> dict[str, Any]:
        sent.append(list(pending))
        failing = {"1": {"SenderFault": True, "Code": "Gone"}, "2": {"SenderFault": False, "Code": "Busy"}}
        return {"Failed": [{"Id": str(one), **failing[str(one)]} for one in pending if str(one) in failing]}

    through, refused, left = await send_batch(send, 3, what="delete messages", refused=ReceiptLostError)

    assert through is None
    assert isinstance(refused, ReceiptLostError)
    assert str(refused) == "Gone"
    assert isinstance(left, TransientError)
    assert "could not delete messages in 6 attempts" in str(left)
    assert sent == [[0, 1, 2], *[[2]] * (QUEUE.attempts - 1)]
