"""The witness of chaos runs detects stale writes, which real workers never make."""

import json
from collections.abc import Mapping
from typing import Any

import pytest

from tests.chaos.witness import Stale, Witness
from tests.support.builders import NOON, a_claimant, a_job, after, all_transitions
from tests.support.fault_proxy import Call
from worker.domain.claim import Claimed, decide
from worker.domain.image import Image
from worker.domain.transition import apply_all
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.image_updates import claim_update, create_update, progress_update, renew_update
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table

Request = Mapping[str, Any]
TABLE = Table("table", index_shards=8)


@pytest.fixture
def witness() -> Witness:
    return Witness(on_claim=lambda *_: None, on_end=lambda: None, on_message=lambda _: None)


def claimed(existing: Image | None = None, *, seconds: float = 0) -> Image:
    result = decide(existing, a_job(), a_claimant(f"worker/{seconds}", now=after(seconds)))
    assert isinstance(result, Claimed)
    return result.image


def update(request: Any) -> Call:
    return dynamodb("UpdateItem", request)


def transaction(*requests: Any, token: str) -> Call:
    items = [{"Update": request} for request in requests]
    return dynamodb("TransactWriteItems", {"TransactItems": items, "ClientRequestToken": token})


def dynamodb(operation: str, request: Request) -> Call:
    content = json.dumps(request).encode()
    return Call("POST", "/", f"DynamoDB_20120810.{operation}", {}, content)


def result(attempt: int, extension: str = "jpg") -> Call:
    return Call(
        "PUT", f"/bucket/processed/user_1/img_1.{extension}", "", {"x-amz-meta-attempt": str(attempt)}, b""
    )


def lands(witness: Witness, call: Call) -> None:
    witness.forwarded(call)
    witness.responded(call, 200, b"{}")


def is_rejected(witness: Witness, call: Call, *, by: Image) -> None:
    item = encode_map(to_item(by, TABLE))
    response = {"__type": "com.amazonaws.dynamodb#ConditionalCheckFailedException", "Item": item}
    witness.forwarded(call)
    witness.responded(call, 400, json.dumps(response).encode())


def taken_over() -> tuple[Image, Image]:
    """Return an image under a lease that expired, and under the next lease."""
    first = claimed()
    return first, claimed(first, seconds=61)


def claims(first: Image, second: Image) -> tuple[Call, Call]:
    return (
        update(create_update(first, TABLE)),
        update(claim_update(first, second, TABLE)),
    )


def step_of(image: Image) -> Call:
    described = apply_all(image, all_transitions()[:1])
    return update(progress_update(image, described, TABLE))


def end_of(image: Image, *, token: str) -> Call:
    completed = apply_all(image, all_transitions())
    profile = UpdateExpression()
    profile.set("updatedAt", "now")
    profile.require_equal("statistics", None)
    return transaction(
        progress_update(image, completed, TABLE),
        profile.request(TABLE, image_id="user_profile", user_id="user_1"),
        token=token,
    )


def test_a_write_by_an_earlier_attempt_that_lands_after_a_claim_is_detected(witness: Witness) -> None:
    first, second = taken_over()
    for claim in claims(first, second):
        lands(witness, claim)

    lands(witness, step_of(first))

    assert witness.landed == [Stale(what="step", image_id="img_1", attempt=1, latest=2)]
    assert witness.claims == {"img_1": 2}


def test_a_write_by_an_earlier_attempt_that_is_rejected_counts_as_stale(witness: Witness) -> None:
    first, second = taken_over()
    for claim in claims(first, second):
        lands(witness, claim)

    is_rejected(witness, step_of(first), by=second)

    assert witness.rejected == [Stale(what="step", image_id="img_1", attempt=1, latest=2)]
    assert witness.landed == []


def test_a_rejected_write_of_the_latest_attempt_counts_as_a_repeated_write(witness: Witness) -> None:
    image = claimed()
    lands(witness, update(create_update(image, TABLE)))

    is_rejected(witness, step_of(image), by=apply_all(image, all_transitions()[:1]))

    assert (witness.repeated_writes, witness.rejected) == (1, [])


def test_a_renewal_of_a_lease_that_was_taken_over_is_detected(witness: Witness) -> None:
    first, second = taken_over()
    for claim in claims(first, second):
        lands(witness, claim)

    lands(witness, update(renew_update(first, int(NOON.timestamp() * 1000), TABLE)))

    assert [stale.what for stale in witness.landed] == ["renewal"]


def test_a_repeated_transaction_ends_an_image_once_and_a_transaction_with_another_token_again(
    witness: Witness,
) -> None:
    image = claimed()
    lands(witness, update(create_update(image, TABLE)))

    for token in ("one", "one", "another"):
        lands(witness, end_of(image, token=token))

    assert witness.ends == {"img_1": 2}


def test_a_result_of_an_earlier_attempt_than_the_one_that_completed_the_image_is_detected(
    witness: Witness,
) -> None:
    first, second = taken_over()
    for call in (*claims(first, second), result(2), end_of(second, token="one"), result(1)):
        lands(witness, call)

    assert witness.landed == [Stale(what="result", image_id="img_1", attempt=1, latest=2)]


def test_a_stale_result_in_another_format_counts_as_orphaned(witness: Witness) -> None:
    first, second = taken_over()
    late = result(1, "webp")
    for call in (*claims(first, second), result(2), end_of(second, token="one"), late):
        lands(witness, call)

    assert (witness.orphaned, witness.landed) == (1, [])
