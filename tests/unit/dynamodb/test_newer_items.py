"""What a newer version has added to a record survives every write of this one."""

import base64
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.simulation.expressions import Scope, holds, updated
from tests.support.builders import NOON, a_claimant, a_job, a_requester, all_transitions
from tests.support.image_states import REJECTED, TRANSIENT
from worker.domain.claim import (
    Claimed,
    decide,
    deletion_begun,
    image_reprocessed,
    image_requeued,
    image_retried,
    lease_expired,
    retention_set,
)
from worker.domain.errors import NewerRecordError, UnreadableRecordError
from worker.domain.history import KEPT_ATTEMPTS
from worker.domain.image import Image, Leftover
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.transition import Transition, apply_all, failed, image_released
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.image_updates import claim_update, create_update, progress_update, repair_update
from worker.dynamodb.items import from_item, to_item, to_summary
from worker.dynamodb.table import Table

TABLE = Table("table", index_shards=8)
REQUESTER = a_requester()
Wire = dict[str, Any]

NAMES = st.from_regex(r"\Ax[A-Za-z0-9_. -]{0,12}\Z")
NUMBERS = st.decimals(min_value=-(10**12), max_value=10**12, places=4).map(
    lambda number: {"N": f"{number.normalize() + 0:f}"}  # as DynamoDB returns it
)
SCALARS = st.one_of(
    st.text(max_size=8).map(lambda text: {"S": text}),
    st.integers(-(10**37), 10**37).map(lambda number: {"N": str(number)}),
    NUMBERS,
    st.booleans().map(lambda value: {"BOOL": value}),
    st.just({"NULL": True}),
    st.binary(max_size=8).map(lambda content: {"B": content}),
    st.sets(st.text(max_size=4), min_size=1, max_size=3).map(lambda texts: {"SS": sorted(texts)}),
    st.sets(st.binary(max_size=4), min_size=1, max_size=3).map(lambda found: {"BS": sorted(found)}),
    st.lists(NUMBERS, min_size=1, max_size=3, unique_by=str).map(
        lambda found: {"NS": [number["N"] for number in found]}
    ),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda found: {"L": found})
        | st.dictionaries(NAMES, inner, max_size=3).map(lambda found: {"M": found})
    ),
    max_leaves=5,
)
ADDED = st.dictionaries(NAMES, VALUES, min_size=1, max_size=3)


class Record:
    """An item in DynamoDB's format, changed by the update requests of the worker."""

    def __init__(self, image: Image) -> None:
        self.item: Wire = encode_map(to_item(image, TABLE))
        self.seconds = 100.0

    @property
    def image(self) -> Image:
        return from_item(decode_map(self.item))

    def write(self, request: Any) -> None:
        """Apply an update, whose condition has to hold."""
        names, values = request["ExpressionAttributeNames"], request.get("ExpressionAttributeValues", {})
        scope = Scope(self.item, names, values)
        assert holds(request["ConditionExpression"], scope)
        self.item = updated(request["UpdateExpression"], scope)

    def claim(self) -> None:
        seen = self.image
        self.seconds += 100
        now = NOON + timedelta(seconds=self.seconds)
        result = decide(seen, a_job(), a_claimant(f"worker/{self.seconds}", now=now))
        assert isinstance(result, Claimed)
        self.write(claim_update(seen, result.image, TABLE))

    def progress(self, *moves: Transition) -> None:
        seen = self.image
        self.write(progress_update(seen, apply_all(seen, moves), TABLE))

    def repair(self, move: Callable[..., Image], **arguments: Any) -> None:
        seen = self.image
        self.seconds += 100
        after = move(seen, requester=REQUESTER, at=NOON + timedelta(seconds=self.seconds), **arguments)
        self.write(repair_update(seen, after, TABLE))

    def complete(self) -> None:
        for transition in all_transitions():
            self.progress(transition)


def added_to(record: Record, added: Wire) -> None:
    """Add attributes to every level of a record, and a step."""
    item = record.item
    item |= added
    item["metadata"] = {"M": {**added, "description": {"S": "by its owner"}}}
    item["sourceVersion"]["M"] |= added
    item["processingSteps"]["M"]["sharpen"] = {"M": {**added, "status": {"S": "completed"}}}
    item["leftovers"] = {"L": [{"M": {**added, "key": {"S": "processed/old.jpg"}, "eTag": {"S": "old"}}}]}
    for entry in item["history"]["L"]:
        entry["M"] |= added
    sharpened = {"at": {"S": "2024-01-01T12:00:01.000Z"}, "attempt": {"N": "1"}, "step": {"S": "sharpen"}}
    item["history"]["L"].append({"M": {**sharpened, **added, "status": {"S": "completed"}}})


def assert_kept(record: Record, added: Wire) -> None:
    """Assert that the record still has what was added."""
    item = record.item
    assert added.items() <= item.items()
    assert added.items() <= item["metadata"]["M"].items()
    assert added.items() <= item["sourceVersion"]["M"].items()
    assert item["processingSteps"]["M"]["sharpen"] == {"M": {**added, "status": {"S": "completed"}}}
    assert added.items() <= item["leftovers"]["L"][0]["M"].items()
    assert added.items() <= item["history"]["L"][0]["M"].items()


def a_released_record() -> Record:
    claimed = decide(None, a_job(), a_claimant())
    assert isinstance(claimed, Claimed)
    return Record(apply_all(claimed.image, [image_released(TRANSIENT, at=NOON)]))


@settings(deadline=None, max_examples=20)
@given(added=ADDED)
def test_what_was_added_to_a_record_survives_every_move_of_its_image(added: Wire) -> None:
    record = a_released_record()
    added_to(record, added)

    record.claim()
    record.complete()
    record.repair(image_reprocessed)
    for _ in range(KEPT_ATTEMPTS + 2):  # until the history is shortened
        record.claim()
        record.progress(image_released(TRANSIENT, at=NOON))
    record.repair(image_requeued)
    record.claim()
    record.repair(lease_expired)
    record.claim()
    record.progress(*failed(replace(REJECTED, step=StepName.VALIDATION), at=NOON))
    record.repair(retention_set, ttl=9_000_000_000)
    record.repair(image_retried)
    record.claim()
    record.complete()
    assert_kept(record, added)
    assert len(record.item["history"]["L"]) < 64

    record.repair(deletion_begun)
    assert_kept(record, added)


@settings(deadline=None, max_examples=20)
@given(added=ADDED)
def test_entries_that_a_shortened_history_keeps_are_unchanged(added: Wire) -> None:
    record = a_released_record()
    for _ in range(KEPT_ATTEMPTS):
        record.claim()
        record.progress(image_released(TRANSIENT, at=NOON))
    added_to(record, added)
    *before, _ = record.item["history"]["L"]  # without the entry of an early attempt at its end

    record.claim()

    after = record.item["history"]["L"]
    assert len(after) < len(before) + 2
    assert after[0] == before[0]
    kept = [entry for entry in after[2:] if added.items() <= entry["M"].items()]
    assert kept
    assert kept == before[-len(kept) :]


@given(added=ADDED)
def test_every_reader_takes_an_item_with_attributes_of_a_newer_version(added: Wire) -> None:
    record = a_released_record()
    added_to(record, added)

    item = decode_map(record.item)

    assert record.image.steps["sharpen"].status is StepStatus.COMPLETED
    assert to_summary(item).status is ImageStatus.PENDING
    assert encode_map(item) == record.item


def test_a_step_that_a_newer_version_was_running_is_pending_in_the_next_attempt() -> None:
    record = a_released_record()
    record.item["processingSteps"]["M"]["sharpen"] = {
        "M": {"status": {"S": "processing"}, "radius": {"N": "2"}}
    }

    record.claim()

    sharpen = record.item["processingSteps"]["M"]["sharpen"]
    assert sharpen == {"M": {"status": {"S": "pending"}, "radius": {"N": "2"}}}
    record.complete()
    assert record.image.status is ImageStatus.COMPLETED


def test_unknown_statuses_and_steps_keep_their_names() -> None:
    record = a_released_record()
    item = record.item
    item["status"] = {"S": "archived"}
    item["processingSteps"]["M"]["resize"]["M"]["status"] = {"S": "deferred"}
    item["error"]["M"]["step"] = {"S": "sharpen"}

    image = record.image

    assert (image.status, image.steps["resize"].status) == ("archived", "deferred")
    assert image.error
    assert image.error.step == "sharpen"
    written = encode_map(to_item(image, TABLE))
    assert written["status"] == item["status"]
    assert written["processingSteps"] == item["processingSteps"]
    assert written["error"] == item["error"]


MOVES: dict[str, Callable[[Image], object]] = {
    "claim": lambda image: decide(image, a_job(), a_claimant(now=NOON + timedelta(days=1))),
    "newer-upload": lambda image: decide(image, a_job(upload=9), a_claimant(now=NOON + timedelta(days=1))),
    "retry": lambda image: image_retried(image, requester=REQUESTER, at=NOON),
    "reprocess": lambda image: image_reprocessed(image, requester=REQUESTER, at=NOON),
    "requeue": lambda image: image_requeued(image, requester=REQUESTER, at=NOON),
    "lease": lambda image: lease_expired(image, at=NOON),
    "retention": lambda image: retention_set(image, ttl=1, requester=REQUESTER, at=NOON),
    "deletion": lambda image: deletion_begun(image, requester=REQUESTER, at=NOON),
}


@pytest.mark.parametrize("name", MOVES)
def test_an_image_with_an_unknown_status_is_left_as_it_is(name: str) -> None:
    image = replace(a_released_record().image, status="archived")

    with pytest.raises(NewerRecordError, match="its status is 'archived', which this version does not know"):
        MOVES[name](image)


def test_an_item_with_a_later_schema_version_is_left_as_it_is() -> None:
    record = a_released_record()
    record.item["schemaVersion"] = {"N": "1"}
    assert record.image.image_id == "img_1"
    record.item["schemaVersion"] = {"N": "2"}

    with pytest.raises(NewerRecordError, match="schemaVersion is 2, and this version reads 1") as raised:
        _ = record.image

    assert isinstance(raised.value, UnreadableRecordError)
    assert raised.value.code == "record_unreadable"


def test_leftovers_with_further_attributes_are_found_by_their_key_and_etag() -> None:
    assert Leftover(key="a", e_tag="b", extra={"bucket": "c"}) == Leftover(key="a", e_tag="b")


def test_a_new_image_is_created_without_a_schema_version() -> None:
    claimed = decide(None, a_job(), a_claimant())
    assert isinstance(claimed, Claimed)

    assert "schemaVersion" not in create_update(claimed.image, TABLE)["ExpressionAttributeNames"].values()


def test_binary_values_are_shown_in_base64() -> None:
    assert decode_map({"x": {"B": b"bytes"}}) == {"x": base64.b64encode(b"bytes").decode()}
