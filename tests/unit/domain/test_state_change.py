"""An event is the end of an image: no other change of an item is one, and none is left out."""

import json
import re
from dataclasses import replace
from itertools import product
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support import templates
from tests.support.builders import a_claimant, a_job, a_rendition, a_requester
from worker.domain.claim import (
    Claimed,
    decide,
    deletion_begun,
    image_reprocessed,
    image_retried,
    lease_expired,
)
from worker.domain.clock import utc_now
from worker.domain.image import Failure, Image
from worker.domain.job import Job
from worker.domain.state_change import detail_of, envelope_of, is_state_change
from worker.domain.status import IMAGE_MOVES, TERMINAL_STATUSES, ImageMove, ImageStatus
from worker.domain.transition import apply, image_completed, image_failed
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.items import to_item
from worker.dynamodb.stream import Change
from worker.dynamodb.table import Table
from worker.events.follow import event_of

TABLE = Table("images", index_shards=4)
EVENTS = templates.template("events.yaml")
PIPE = EVENTS["Resources"]["Pipe"]["Properties"]
"""The pipe of the template."""


def matches(pattern: Any, value: Any) -> bool:
    """Match a value with an EventBridge pattern of exact values."""
    if isinstance(pattern, list):
        return value in pattern
    return isinstance(value, dict) and all(
        name in value and matches(inner, value[name]) for name, inner in pattern.items()
    )


def stream_record(before: dict[str, Any] | None, after: dict[str, Any] | None) -> dict[str, Any]:
    name = "INSERT" if before is None else "REMOVE" if after is None else "MODIFY"
    keys = {key: value for key, value in (after or before or {}).items() if key in {"imageId", "userId"}}
    images = {"Keys": keys, "OldImage": before, "NewImage": after}
    return {"eventName": name, "dynamodb": {key: encode_map(item) for key, item in images.items() if item}}


def passes_the_filter(before: dict[str, Any] | None, after: dict[str, Any] | None) -> bool:
    patterns = [json.loads(one["Pattern"]) for one in PIPE["SourceParameters"]["FilterCriteria"]["Filters"]]
    record = stream_record(before, after)
    return any(matches(pattern, record) for pattern in patterns)


def rendered(template: str, record: dict[str, Any]) -> dict[str, Any]:
    """Render the input template of the pipe: each path becomes its text, or an empty one."""

    def text_at(found: "re.Match[str]") -> str:
        value: Any = record
        for name in found[1].split("."):
            value = value.get(name) if isinstance(value, dict) else None
        return json.dumps(value)[1:-1] if isinstance(value, str) else ""

    document: dict[str, Any] = json.loads(re.sub(r"<\$\.([A-Za-z0-9.]+)>", text_at, template))
    return document


@pytest.mark.parametrize("move", ImageMove, ids=str)
def test_of_all_legal_moves_only_an_end_is_an_event(move: ImageMove) -> None:
    legal_from, leads_to = IMAGE_MOVES[move]
    for status in legal_from:
        before, after = ({"status": each.value} for each in (status, leads_to))
        is_end = move in {ImageMove.COMPLETED, ImageMove.FAILED}
        assert is_state_change(before, after) is is_end
        assert passes_the_filter(before, after) is is_end


@pytest.mark.parametrize(
    ("before", "after"), list(product([None, *ImageStatus], [None, *ImageStatus])), ids=str
)
def test_the_filter_of_the_pipe_is_that_of_the_commands(
    before: ImageStatus | None, after: ImageStatus | None
) -> None:
    items = [
        None if status is None else {"status": status.value, "imageId": "i"} for status in (before, after)
    ]
    if items == [None, None]:
        return
    assert passes_the_filter(*items) is is_state_change(*items)
    profile = {"imageId": "USER_PROFILE", "statistics": {"totalImages": 1}}
    assert not is_state_change(profile, profile)
    assert not passes_the_filter(profile, profile)


def test_a_change_of_an_ended_image_is_no_event() -> None:
    for status in TERMINAL_STATUSES:
        item = {"status": status.value}
        assert not is_state_change(item, {**item, "ttl": 1})
        assert not passes_the_filter(item, {**item, "ttl": 1})


def processing_image(job: Job, attempt: int = 1) -> Image:
    claim = decide(None, job, a_claimant("worker/1"))
    assert isinstance(claim, Claimed)
    return replace(claim.image, attempt=attempt)


@st.composite
def ended_images(draw: st.DrawFn) -> Image:
    text = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20)
    job = replace(a_job(), user_id=draw(text), image_id=draw(text))
    image = processing_image(job, draw(st.integers(1, 10**6)))
    if draw(st.booleans()):
        rendition = replace(a_rendition(), key=draw(text))
        return apply(image, image_completed({"medium": rendition}, main_size="medium", at=utc_now()))
    failure = Failure(code="corrupt", message=draw(text), step=None, retryable=False)
    return apply(image, image_failed(failure, at=utc_now()))


@given(ended_images())
def test_the_template_of_the_pipe_makes_the_event_of_the_commands(image: Image) -> None:
    item = to_item(image, TABLE)
    record = stream_record({"status": "processing"}, item)
    (bus, other) = PIPE["TargetParameters"]["InputTemplate"]["Fn::If"][1:]
    detail = detail_of(item)
    assert rendered(bus, record) == detail
    envelope = envelope_of(detail, at=str(item["updatedAt"]))
    assert rendered(other, record) == {
        name: envelope[name] for name in ("source", "detail-type", "time", "detail")
    }
    assert detail["id"] == f"{image.user_id}/{image.image_id}/{image.attempt}/{image.status}"


@given(ended_images())
def test_the_removal_of_a_record_is_an_event_only_if_its_deletion_had_begun(image: Image) -> None:
    marked = deletion_begun(image, requester=a_requester(), at=utc_now())
    before, expired = to_item(marked, TABLE), to_item(image, TABLE)
    record = stream_record(before, None)
    (bus, other) = PIPE["TargetParameters"]["InputTemplate"]["Fn::If"][1:]
    event = event_of(Change(shard_id="s", sequence_number="1", at=utc_now(), before=before, after=None))

    assert is_state_change(before, None)
    assert passes_the_filter(before, None)
    assert not is_state_change(expired, None)
    assert not passes_the_filter(expired, None)
    assert not is_state_change(expired, before)
    assert rendered(bus, record) == event.envelope["detail"]
    assert rendered(other, record) == {
        name: event.envelope[name] for name in ("source", "detail-type", "time", "detail")
    }
    assert event.id == f"{image.user_id}/{image.image_id}/{image.attempt + 1}/deleted"
    detail = rendered(bus, record)
    assert (detail["processedKey"], detail["code"]) == (image.processed_key or "", "")
    assert (detail["recordId"], detail["originalKey"]) == (image.record_id, image.key)


def test_every_end_of_an_image_has_an_id_of_its_own() -> None:
    ids: list[str] = []
    image: Image | None = None
    failure = Failure(code="corrupt", message="m", step=None, retryable=True)
    for number in range(8):
        claim = decide(image, a_job(), a_claimant(f"worker/{number}"))
        assert isinstance(claim, Claimed)
        if number % 4 == 3:
            expired = lease_expired(claim.image, at=utc_now())
            claim = decide(expired, a_job(), a_claimant(f"worker/{number} again"))
            assert isinstance(claim, Claimed)
        ended = apply(claim.image, image_failed(failure, at=utc_now()))
        ids.append(detail_of(to_item(ended, TABLE))["id"])
        requeue = image_retried if number % 2 else image_reprocessed
        image = requeue(ended, requester=a_requester(), at=utc_now())
    assert len(set(ids)) == len(ids)
