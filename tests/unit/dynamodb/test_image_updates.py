import re
from collections.abc import Callable
from dataclasses import replace

import pytest

from tests.support.builders import a_claimant, a_job, a_report, a_requester, after, all_transitions
from tests.support.expressions import Request, assigned, resolved
from worker.domain.claim import Claimed, decide, image_requeued
from worker.domain.errors import LeaseLostError
from worker.domain.history import KEPT_ATTEMPTS
from worker.domain.image import Image
from worker.domain.status import ImageStatus, StepName
from worker.domain.transition import apply_all, step_ended, step_started
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.image_updates import (
    claim_update,
    create_update,
    progress_update,
    renew_update,
    repair_update,
    resume_from,
    was_applied,
)
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table

TABLE = Table("table", index_shards=8)
KEYWORDS = {
    "SET",
    "REMOVE",
    "AND",
    "OR",
    "if_not_exists",
    "list_append",
    "attribute_not_exists",
    "attribute_exists",
    "size",
}


def claimed(
    existing: Image | None = None, *, upload: int = 1, seconds: float = 0, worker: str = "worker-a"
) -> Image:
    claimant = a_claimant(f"{worker}/1", now=after(seconds))
    decision = decide(existing, a_job(upload=upload), claimant)
    assert isinstance(decision, Claimed)
    return decision.image


def validated(image: Image) -> Image:
    moves = [step_ended(a_report(), at=after(2)), step_started(StepName.RESIZE, at=after(2))]
    return apply_all(image, moves)


def completed() -> Image:
    return apply_all(claimed(), all_transitions())


def pending() -> Image:
    return replace(claimed(), status=ImageStatus.PENDING, lease=None)


def create() -> Request:
    return create_update(claimed(), TABLE)


def take_over() -> Request:
    return claim_update(claimed(), claimed(claimed(), seconds=61, worker="worker-b"), TABLE)


def claim_newer_upload() -> Request:
    return claim_update(completed(), claimed(completed(), upload=2, seconds=9), TABLE)


def claim_expired() -> Request:
    expired = replace(completed(), ttl=1)
    return claim_update(expired, claimed(expired, seconds=9), TABLE)


def requeue() -> Request:
    return repair_update(
        pending(), image_requeued(pending(), requester=a_requester("reconcile"), at=after(9)), TABLE
    )


def record() -> Request:
    return progress_update(claimed(), validated(claimed()), TABLE)


def complete() -> Request:
    return progress_update(claimed(), completed(), TABLE)


def renew() -> Request:
    return renew_update(claimed(), 1_704_110_520_000, TABLE)


any_request = pytest.mark.parametrize(
    "request_of",
    [create, take_over, claim_newer_upload, claim_expired, requeue, record, complete, renew],
)


@any_request
def test_every_name_is_replaced_by_a_placeholder(request_of: Callable[[], Request]) -> None:
    request = request_of()

    for clause in ("UpdateExpression", "ConditionExpression"):
        bare = set(re.findall(r"(?<![#:\w])[A-Za-z_]\w*", request[clause]))
        assert bare - KEYWORDS == set()


@any_request
def test_every_placeholder_is_defined_and_used(request_of: Callable[[], Request]) -> None:
    request = request_of()
    text = request["UpdateExpression"] + " " + request["ConditionExpression"]

    assert set(re.findall(r"#\w+", text)) == request["ExpressionAttributeNames"].keys()
    assert set(re.findall(r":v\d+", text)) == request["ExpressionAttributeValues"].keys()


@any_request
def test_every_update_names_its_item_has_a_condition_and_returns_the_item_that_fails_it(
    request_of: Callable[[], Request],
) -> None:
    request = request_of()

    assert request["ConditionExpression"]
    assert (request["TableName"], request["Key"], request["ReturnValuesOnConditionCheckFailure"]) == (
        "table",
        {"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}},
        "ALL_OLD",
    )


@any_request
def test_no_update_changes_the_key_or_sets_an_attribute_twice(request_of: Callable[[], Request]) -> None:
    request = request_of()
    sets, _, removes = request["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    written = re.findall(r"(#[\w.#]+) = ", sets) + re.findall(r"#\w+", removes)

    assert len(set(written)) == len(written)
    assert not {"#imageId", "#userId"} & set(written)


def test_creating_writes_the_whole_item_on_condition_that_there_is_none() -> None:
    request, item = create(), to_item(claimed(), TABLE)

    assert assigned(request) == {
        name: value for name, value in item.items() if name not in {"imageId", "userId"}
    }
    assert resolved(request, "ConditionExpression") == "attribute_not_exists(imageId)"


def test_a_claim_is_conditional_on_attempt_status_and_lease() -> None:
    assert resolved(take_over(), "ConditionExpression") == (
        "attempt = 1 AND status = 'processing' AND leaseExpiresAt = 1704110460000"
    )


def test_a_claim_of_an_image_without_a_lease_is_conditional_on_its_absence() -> None:
    assert resolved(claim_newer_upload(), "ConditionExpression") == (
        "attempt = 1 AND status = 'completed' AND attribute_not_exists(leaseExpiresAt)"
    )


def test_a_move_to_pending_is_conditional_on_the_history_too() -> None:
    assert resolved(requeue(), "ConditionExpression") == (
        "attempt = 1 AND status = 'pending' AND attribute_not_exists(leaseExpiresAt) AND size(history) = 3"
        " AND updatedAt = '2024-01-01T12:00:00.000Z'"
    )


def test_a_claim_that_shortens_the_history_is_conditional_on_it_and_writes_it_as_a_whole() -> None:
    seen = completed()
    for upload in range(2, 2 + KEPT_ATTEMPTS):
        request = claim_update(seen, claimed(seen, upload=upload, seconds=9 * upload), TABLE)
        seen = apply_all(claimed(seen, upload=upload, seconds=9 * upload), all_transitions())

    history = assigned(request)["history"]
    assert isinstance(history, list)
    assert isinstance(history[1], dict)
    assert history[1]["status"] == "summarised"
    assert " AND size(history) = 45 AND updatedAt = " in resolved(request, "ConditionExpression")


def test_the_attributes_of_an_expired_image_are_replaced() -> None:
    request = claim_expired()

    history = assigned(request)["history"]
    assert isinstance(history, list)
    assert [(entry["attempt"], entry["status"]) for entry in history if isinstance(entry, dict)] == [
        (0, "pending"),
        (2, "processing"),
        (2, "processing"),
    ]
    assert set(re.findall(r"\w+", resolved(request, "UpdateExpression").partition(" REMOVE ")[2])) == {
        "metadata",
        "originalFileType",
        "processedAt",
        "processedS3Key",
        "tags",
        "ttl",
    }


def test_progress_writes_only_what_changed_on_condition_that_the_lease_is_held() -> None:
    request = record()

    assert assigned(request).keys() == {"processingSteps", "updatedAt", "metadata"}
    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND leaseOwner = 'worker-a/1' AND status = 'processing' AND size(history) = 3"
    )


def test_the_history_is_appended_to_and_not_rewritten() -> None:
    update = resolved(record(), "UpdateExpression")

    assert "history = list_append(if_not_exists(history, []), [{'at': '2024-01-01T12:00:02.000Z'" in update
    assert "'attempt': 0" not in update


def test_completing_removes_the_lease() -> None:
    request = complete()

    removed = resolved(request, "UpdateExpression").partition(" REMOVE ")[2]
    assert set(removed.split(", ")) == {"leaseOwner", "leaseExpiresAt"}
    assert assigned(request)["status"] == "completed"


def test_renewing_changes_only_the_end_of_the_lease() -> None:
    request = renew()

    assert resolved(request, "UpdateExpression") == "SET leaseExpiresAt = 1704110520000"
    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND leaseOwner = 'worker-a/1' AND status = 'processing'"
    )


def renewed(image: Image) -> Image:
    assert image.lease
    return replace(image, lease=replace(image.lease, expires_at=after(999)))


def test_an_applied_update_is_recognised_by_the_history() -> None:
    before, later = claimed(), validated(claimed())

    assert was_applied(later, before, later)
    assert was_applied(renewed(later), before, later)


def test_an_update_that_was_not_applied_or_was_made_by_another_worker_is_not_recognised() -> None:
    before, later = claimed(), validated(claimed())
    other = claimed(before, seconds=61, worker="worker-b")

    assert not was_applied(before, before, later)
    assert not was_applied(other, before, later)
    assert not was_applied(validated(other), before, later)


def test_nothing_is_left_to_write_of_an_applied_update() -> None:
    assert resume_from(validated(claimed()), claimed(), validated(claimed())) is None


def test_a_partly_applied_update_is_resumed_from_the_stored_state_with_the_known_lease() -> None:
    before, half = claimed(), validated(claimed())
    later = apply_all(half, all_transitions()[3:])

    assert resume_from(renewed(half), before, later) == half


@pytest.mark.parametrize(
    "stored",
    [None, claimed(claimed(), seconds=61, worker="worker-b"), pending()],
    ids=["no image", "claimed by another worker", "without a lease"],
)
def test_an_update_of_an_image_that_is_no_longer_held_is_not_resumed(stored: Image | None) -> None:
    with pytest.raises(LeaseLostError):
        resume_from(stored, claimed(), validated(claimed()))


def test_an_item_is_encoded_in_the_types_that_the_table_uses() -> None:
    assert {next(iter(kind)) for kind in encode_map(to_item(completed(), TABLE)).values()} == {
        "S",
        "N",
        "M",
        "L",
    }
