import re
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from tests.support.builders import a_claimant, a_job, a_report, after, all_transitions
from worker.domain.claim import Claimed, decide
from worker.domain.image import Image
from worker.domain.status import StepName
from worker.domain.transition import apply_all, step_ended, step_started
from worker.dynamodb.attributes import decode, encode_map
from worker.dynamodb.items import to_item
from worker.dynamodb.writes import Expression, continuing, creating, has_landed, renewing, taking

FUNCTIONS = {
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
    answer = decide(existing, a_job(upload=upload), claimant)
    assert isinstance(answer, Claimed)
    return answer.image


def validated(image: Image) -> Image:
    moves = [step_ended(a_report(), at=after(2)), step_started(StepName.RESIZE, at=after(2))]
    return apply_all(image, moves)


def completed() -> Image:
    return apply_all(claimed(), all_transitions())


def create() -> Any:  # noqa: ANN401 - a request
    return creating(claimed(), table="table", index_shards=8)


def take(seen: Image, later: Image) -> Any:  # noqa: ANN401
    return taking(seen, later, table="table", index_shards=8)


def go_on(before: Image, later: Image) -> Any:  # noqa: ANN401
    return continuing(before, later, table="table", index_shards=8)


def renew() -> Any:  # noqa: ANN401
    return renewing(claimed(), 1_704_110_520_000, table="table")


REQUESTS: dict[str, Callable[[], Any]] = {
    "create": create,
    "take over": lambda: take(claimed(), claimed(claimed(), seconds=61, worker="worker-b")),
    "take a newer upload": lambda: take(completed(), claimed(completed(), upload=2, seconds=9)),
    "take what is past its ttl": lambda: take(
        replace(completed(), ttl=1), claimed(replace(completed(), ttl=1), seconds=9)
    ),
    "record": lambda: go_on(claimed(), validated(claimed())),
    "complete": lambda: go_on(claimed(), completed()),
    "renew": renew,
}
any_request = pytest.mark.parametrize("request_of", REQUESTS.values(), ids=REQUESTS.keys())


def resolved(request: Any, clause: str) -> str:  # noqa: ANN401
    """Return an expression of the request with its names and values put in."""
    text = request[clause]
    for alias, name in sorted(request["ExpressionAttributeNames"].items(), reverse=True):
        text = text.replace(alias, name)
    return re.sub(r":v\d+", lambda found: repr(decode(request["ExpressionAttributeValues"][found[0]])), text)


def changes(request: Any) -> dict[str, Any]:  # noqa: ANN401
    """Return what the request sets, each name with its value or the expression of it."""
    names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
    update = request["UpdateExpression"].partition(" REMOVE ")[0]
    found = re.findall(r"(#\w+) = (:v\d+)(?:,|$)", update)
    return {names[alias]: decode(values[placeholder]) for alias, placeholder in found}


@any_request
def test_every_name_goes_through_an_alias(request_of: Callable[[], Any]) -> None:
    request = request_of()

    for clause in ("UpdateExpression", "ConditionExpression"):
        bare = set(re.findall(r"(?<![#:\w])[A-Za-z_]\w*", request[clause]))
        assert bare - FUNCTIONS == set()


@any_request
def test_every_alias_and_placeholder_is_defined_and_used(request_of: Callable[[], Any]) -> None:
    request = request_of()
    text = request["UpdateExpression"] + " " + request["ConditionExpression"]

    assert set(re.findall(r"#\w+", text)) == request["ExpressionAttributeNames"].keys()
    assert set(re.findall(r":v\d+", text)) == request["ExpressionAttributeValues"].keys()


@any_request
def test_every_write_is_conditional_names_its_item_and_asks_what_refused_it(
    request_of: Callable[[], Any],
) -> None:
    request = request_of()

    assert request["ConditionExpression"]
    assert (request["TableName"], request["Key"], request["ReturnValuesOnConditionCheckFailure"]) == (
        "table",
        {"imageId": {"S": "img_1"}, "userId": {"S": "user_1"}},
        "ALL_OLD",
    )


@any_request
def test_no_write_touches_the_keys_or_sets_one_name_twice(request_of: Callable[[], Any]) -> None:
    request = request_of()
    sets, _, removes = request["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    written = re.findall(r"(#[\w.#]+) = ", sets) + re.findall(r"#\w+", removes)

    assert len(set(written)) == len(written)
    assert not {"#imageId", "#userId"} & set(written)


def test_a_path_into_a_map_is_aliased_part_by_part() -> None:
    expression = Expression()

    assert expression.name("statistics.totalImages") == "#statistics.#totalImages"
    expression.set("status", "pending")
    expression.set_if_absent("createdAt", "now")
    expression.increase("statistics.totalImages", 2)
    expression.append("history", ["entry"])
    expression.remove("ttl")
    expression.require_equal("attempt", 3)
    expression.require_equal("leaseOwner", None)
    request = expression.request(table="table", image_id="img_1", user_id="user_1")

    assert resolved(request, "UpdateExpression") == (
        "SET status = 'pending', createdAt = if_not_exists(createdAt, 'now'), "
        "statistics.totalImages = statistics.totalImages + 2, "
        "history = list_append(if_not_exists(history, []), ['entry']) REMOVE ttl"
    )
    assert resolved(request, "ConditionExpression") == "attempt = 3 AND attribute_not_exists(leaseOwner)"


def test_creating_writes_the_whole_item_unless_there_is_one() -> None:
    request, item = create(), to_item(claimed(), index_shards=8)

    assert changes(request) == {
        name: value for name, value in item.items() if name not in {"imageId", "userId"}
    }
    assert resolved(request, "ConditionExpression") == "attribute_not_exists(imageId)"


def test_taking_is_refused_when_anybody_has_moved_the_image_since_it_was_seen() -> None:
    request = REQUESTS["take over"]()

    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND status = 'processing' AND leaseExpiresAt = 1704110460000"
    )


def test_taking_what_nobody_holds_is_refused_when_somebody_holds_it() -> None:
    request = REQUESTS["take a newer upload"]()

    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND status = 'completed' AND attribute_not_exists(leaseExpiresAt)"
    )


def test_what_an_item_past_its_ttl_held_is_replaced() -> None:
    request = REQUESTS["take what is past its ttl"]()

    history = changes(request)["history"]
    assert [(entry["attempt"], entry["status"]) for entry in history] == [
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


def test_recording_writes_only_what_changed_and_only_while_the_image_is_held() -> None:
    before = claimed()
    request = go_on(before, validated(before))

    assert changes(request).keys() == {"processingSteps", "updatedAt", "metadata"}
    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND leaseOwner = 'worker-a/1' AND status = 'processing' AND size(history) = 3"
    )


def test_the_trail_is_appended_to_and_never_rewritten() -> None:
    before = claimed()
    request = go_on(before, validated(before))

    update = resolved(request, "UpdateExpression")
    assert "history = list_append(if_not_exists(history, []), [{'at': '2024-01-01T12:00:02.000Z'" in update
    assert "'attempt': 0" not in update


def test_completing_takes_the_lease_away() -> None:
    request = go_on(claimed(), completed())

    removed = resolved(request, "UpdateExpression").partition(" REMOVE ")[2]
    assert set(removed.split(", ")) == {"leaseOwner", "leaseExpiresAt"}
    assert changes(request)["status"] == "completed"


def test_renewing_moves_the_end_of_the_lease_and_nothing_else() -> None:
    request = renew()

    assert resolved(request, "UpdateExpression") == "SET leaseExpiresAt = 1704110520000"
    assert resolved(request, "ConditionExpression") == (
        "attempt = 1 AND leaseOwner = 'worker-a/1' AND status = 'processing'"
    )


def test_a_write_is_known_to_have_landed_by_the_trail_that_it_left() -> None:
    before = claimed()
    later = validated(before)

    assert has_landed(later, before, later)
    assert has_landed(replace(later, lease=replace_end(later)), before, later)


def replace_end(image: Image) -> Any:  # noqa: ANN401 - a lease
    assert image.lease
    return replace(image.lease, expires_at=after(999))


def test_a_write_that_did_not_land_or_was_anothers_is_not_taken_for_ours() -> None:
    before = claimed()
    later = validated(before)
    anothers = claimed(before, seconds=61, worker="worker-b")

    assert not has_landed(before, before, later)
    assert not has_landed(anothers, before, later)
    assert not has_landed(validated(anothers), before, later)


def test_an_item_encodes_as_dynamodb_types() -> None:
    assert {next(iter(kind)) for kind in encode_map(to_item(completed(), index_shards=8)).values()} == {
        "S",
        "N",
        "M",
        "L",
    }
