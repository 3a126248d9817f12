"""Who requested a repair, in the history of an image."""

import pytest

from tests.support.builders import a_claimant, a_job, a_requester, after, all_transitions
from worker.domain.claim import Claimed, decide, retention_set
from worker.domain.errors import ImageBusyError
from worker.domain.history import MAX_ENTRIES, outcomes
from worker.domain.image import Failure, Image
from worker.domain.requester import CONSOLE, Requester
from worker.domain.transition import apply_all, failed


def claimed() -> Image:
    decision = decide(None, a_job(), a_claimant())
    assert isinstance(decision, Claimed)
    return decision.image


def completed() -> Image:
    return apply_all(claimed(), all_transitions())


@pytest.mark.parametrize(
    ("by", "recorded"),
    [
        ("alice@example.com", "alice@example.com"),
        ("", "unknown"),
        (" \t\n", "unknown"),
        ("al\x1b[31mice\nbob", "al\N{REPLACEMENT CHARACTER}[31mice bob"),
        ("\u202egpj.exe", "\N{REPLACEMENT CHARACTER}gpj.exe"),
        ("ä" * 1000, "ä" * 64),
    ],
)
def test_a_name_is_recorded_short_and_printable_on_one_line(by: str, recorded: str) -> None:
    requester = Requester(by=by, via=CONSOLE, command="images retry")

    assert requester.detail() == {"by": recorded, "via": "console", "command": "images retry"}


def test_a_failure_that_a_repair_tool_finds_names_its_requester_and_that_of_a_worker_does_not() -> None:
    failure = Failure(code="source_missing", message="deleted", step=None, retryable=False)

    by_tool = apply_all(claimed(), failed(failure, at=after(5), requester=a_requester("reconcile")))
    by_worker = apply_all(claimed(), failed(failure, at=after(5)))

    assert by_tool.history[-1].detail == {
        "code": "source_missing",
        "by": "a test",
        "via": "command line",
        "command": "reconcile",
    }
    assert by_worker.history[-1].detail == {"code": "source_missing"}


def test_retention_is_set_and_removed_with_an_entry_that_names_the_requester_and_keeps_the_status() -> None:
    image = completed()

    kept = retention_set(image, ttl=2_000_000_000, requester=a_requester("images retention"), at=after(60))
    forever = retention_set(kept, ttl=None, requester=a_requester("images retention"), at=after(60))

    assert (kept.ttl, forever.ttl) == (2_000_000_000, None)
    assert kept.status == forever.status == image.status
    assert [entry.detail.get("ttl") for entry in forever.history[-2:]] == [2_000_000_000, None]
    assert {entry.detail["command"] for entry in forever.history[-2:]} == {"images retention"}
    assert forever.updated_at > kept.updated_at, "of two concurrent requests only the first may be written"
    assert outcomes(forever.history) == {"completed": 1, "retention_set": 2}


def test_retention_is_not_set_while_a_worker_adds_to_the_history() -> None:
    with pytest.raises(ImageBusyError, match="img_1 is being processed"):
        retention_set(claimed(), ttl=None, requester=a_requester(), at=after(60))


def test_any_number_of_retention_requests_keeps_the_history_bounded_and_counts_them() -> None:
    image = completed()
    for number in range(200):
        image = retention_set(image, ttl=number, requester=a_requester(), at=after(60 + number))

    assert len(image.history) <= MAX_ENTRIES
    assert outcomes(image.history) == {"completed": 1, "retention_set": 200}
