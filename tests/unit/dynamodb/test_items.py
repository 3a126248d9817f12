from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_rendition, after, all_transitions
from worker.domain import clock
from worker.domain.claim import Claimed, decide
from worker.domain.errors import UnreadableRecordError
from worker.domain.image import Failure, HistoryEntry, Image, Lease, Leftover, Rendition, StepRecord
from worker.domain.job import SourceVersion, padded_sequencer
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.step import Json
from worker.domain.transition import Transition, apply_all, image_failed, image_released, step_failed
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import from_item, to_item
from worker.dynamodb.table import Table, date_shard, status_shard

TABLE = Table("metadata", index_shards=8)
COMPACT = Table("metadata", index_shards=8, compact_history=True)
FAILURE = Failure(code="truncated", message="the file ends early", step=StepName.VALIDATION, retryable=False)

DOCUMENTED = {
    "imageId",
    "userId",
    "originalFileName",
    "originalFileSize",
    "originalFileType",
    "originalS3Key",
    "processedS3Key",
    "status",
    "processingSteps",
    "createdAt",
    "updatedAt",
    "processedAt",
    "ttl",
    "tags",
    "metadata",
}
"""The attributes of the example in dynamodb.md."""

ADDED = {
    "sourceBucket",
    "sourceVersion",
    "attempt",
    "leaseOwner",
    "leaseExpiresAt",
    "recipe",
    "renditions",
    "leftovers",
    "error",
    "history",
    "countedBytes",
    "recordId",
    "statusShard",
    "dateShard",
}
"""The attributes that record.md adds."""


def processing() -> Image:
    decision = decide(None, a_job(), a_claimant())
    assert isinstance(decision, Claimed)
    return decision.image


def completed() -> Image:
    return replace(apply_all(processing(), all_transitions()), counted_bytes=1100, ttl=1_735_689_600)


def failed() -> Image:
    moves: list[Transition] = [
        step_failed(FAILURE, step=StepName.VALIDATION, at=after(2)),
        image_failed(FAILURE, at=after(2)),
    ]
    return apply_all(processing(), moves)


def released() -> Image:
    return apply_all(processing(), [image_released(replace(FAILURE, step=None), at=after(2))])


def read_back(image: Image) -> Image:
    return from_item(decode_map(encode_map(to_item(image, TABLE))))


@pytest.mark.parametrize(
    "image",
    [processing(), completed(), failed(), released()],
    ids=["processing", "completed", "failed", "released"],
)
def test_an_image_reads_back_equal(image: Image) -> None:
    assert image == read_back(image)


TEXT = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
COUNTS = st.integers(0, 2**53)
TIMES = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001 - hypothesis adds the zone
    clock.to_milliseconds
)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | COUNTS | TEXT,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXT, inner, max_size=2),
    max_leaves=4,
)
DETAILS = st.dictionaries(
    TEXT.filter(lambda name: name not in {"status", "startedAt", "completedAt"}), JSON, max_size=2
)
STEPS = st.sampled_from(StepName)
IMAGES = st.builds(
    Image,
    image_id=TEXT,
    user_id=TEXT,
    bucket=TEXT,
    key=TEXT,
    version=st.builds(
        SourceVersion,
        e_tag=st.none() | TEXT,
        version_id=st.none() | TEXT,
        sequencer=st.none() | st.text("0123456789ABCDEF", max_size=32).map(padded_sequencer),
        uploaded_at=TIMES,
    ),
    status=st.sampled_from(ImageStatus),
    created_at=TIMES,
    updated_at=TIMES,
    processed_at=st.none() | TIMES,
    file_name=TEXT,
    file_size=st.none() | COUNTS,
    file_type=st.none() | TEXT,
    steps=st.fixed_dictionaries(
        {
            step: st.builds(
                StepRecord,
                status=st.sampled_from(StepStatus),
                started_at=st.none() | TIMES,
                completed_at=st.none() | TIMES,
                detail=DETAILS,
            )
            for step in StepName
        }
    ),
    attempt=COUNTS,
    lease=st.none() | st.builds(Lease, owner=TEXT, expires_at=TIMES),
    recipe=st.none() | TEXT,
    renditions=st.dictionaries(
        TEXT,
        st.builds(
            Rendition, key=TEXT, width=COUNTS, height=COUNTS, size_bytes=COUNTS, format=TEXT, e_tag=TEXT
        ),
        max_size=2,
    ),
    processed_key=st.none() | TEXT,
    leftovers=st.lists(st.builds(Leftover, key=TEXT, e_tag=TEXT), max_size=3).map(tuple),
    error=st.none()
    | st.builds(Failure, code=TEXT, message=TEXT, step=st.none() | STEPS, retryable=st.booleans()),
    history=st.lists(
        st.builds(
            HistoryEntry,
            at=TIMES,
            status=st.just("processing") | TEXT,
            step=st.none() | STEPS,
            attempt=st.integers(0, 2) | COUNTS,
            worker=st.sampled_from([None, "worker-a"]) | TEXT,
            detail=DETAILS,
        ),
        max_size=6,
    ).map(tuple),
    tags=st.lists(TEXT, max_size=3).map(tuple),
    metadata=st.dictionaries(TEXT, TEXT, max_size=3),
    counted_bytes=st.none() | COUNTS,
    ttl=st.none() | COUNTS,
).map(lambda image: replace(image, version=replace(image.version, uploaded_at=image.created_at)))


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=40)
@given(IMAGES)
def test_any_image_reads_back_equal(image: Image) -> None:
    assert from_item(to_item(image, COMPACT)) == image
    assert image == read_back(image)


def test_a_completed_image_has_every_documented_attribute() -> None:
    item = to_item(completed(), TABLE)

    assert item.keys() >= DOCUMENTED


def test_an_item_has_no_undocumented_attribute() -> None:
    leftovers = (Leftover(key="processed/user_1/img_1.png", e_tag="older"),)
    image = replace(completed(), lease=processing().lease, error=FAILURE, leftovers=leftovers)

    assert to_item(image, TABLE).keys() == DOCUMENTED | ADDED


def test_a_completed_image_looks_like_the_example() -> None:
    item: dict[str, Any] = to_item(completed(), TABLE)

    assert {name: item[name] for name in DOCUMENTED} == {
        "imageId": "img_1",
        "userId": "user_1",
        "originalFileName": "vacation-photo.jpg",
        "originalFileSize": 1000,
        "originalFileType": "image/jpeg",
        "originalS3Key": "uploads/user_1/img_1.jpg",
        "processedS3Key": "processed/user_1/img_1.jpg",
        "status": "completed",
        "processingSteps": {
            "validation": {
                "status": "completed",
                "startedAt": "2024-01-01T12:00:00.000Z",
                "completedAt": "2024-01-01T12:00:02.000Z",
                "result": "valid",
                "format": "jpeg",
            },
            "resize": {
                "status": "completed",
                "startedAt": "2024-01-01T12:00:02.000Z",
                "completedAt": "2024-01-01T12:00:03.000Z",
                "dimensions": {
                    "original": {"width": 1920, "height": 1080},
                    "processed": {"width": 800, "height": 450},
                },
            },
            "watermark": {
                "status": "completed",
                "startedAt": "2024-01-01T12:00:03.000Z",
                "completedAt": "2024-01-01T12:00:04.000Z",
                "watermarkType": "text",
                "watermarkText": "Processed by Image Platform",
            },
        },
        "createdAt": "2024-01-01T11:59:51.000Z",
        "updatedAt": "2024-01-01T12:00:05.000Z",
        "processedAt": "2024-01-01T12:00:05.000Z",
        "ttl": 1_735_689_600,
        "tags": ["vacation", "family"],
        "metadata": {"description": "Family vacation photo", "camera": "iPhone 12"},
    }


def test_the_added_attributes_look_as_documented() -> None:
    item = to_item(replace(completed(), error=FAILURE), TABLE)

    assert item["renditions"] == {
        "medium": {
            "key": a_rendition().key,
            "width": 800,
            "height": 450,
            "bytes": 100,
            "format": "jpeg",
            "eTag": "result-etag",
        }
    }
    assert item["error"] == {
        "code": "truncated",
        "message": "the file ends early",
        "step": "validation",
        "retryable": False,
    }
    assert item["sourceVersion"] == {"eTag": "etag-1", "sequencer": "0000000001"}
    history = item["history"]
    assert isinstance(history, list)
    assert history[3] == {
        "at": "2024-01-01T12:00:02.000Z",
        "step": "validation",
        "status": "completed",
        "attempt": 1,
        "worker": "worker-a",
        "detail": {"ms": 7},
    }


def entries(image: Image) -> list[dict[str, Any]]:
    history: Any = to_item(image, COMPACT)["history"]
    return list(history)


def test_the_entries_of_an_attempt_leave_out_what_its_beginning_has() -> None:
    upload, begin, *others = entries(completed())

    assert (upload["attempt"], "worker" in upload) == (0, False)
    assert (begin["attempt"], begin["worker"]) == (1, "worker-a")
    assert len(others) == 7
    assert all({"attempt", "worker"}.isdisjoint(entry) for entry in others)


def test_an_entry_that_an_operator_adds_has_its_own_attempt() -> None:
    image = completed()
    added = HistoryEntry(at=image.updated_at, status="retention_set", attempt=image.attempt)
    later = HistoryEntry(at=image.updated_at, status="completed", attempt=1, worker="worker-a")
    image = replace(image, history=(*image.history, added, later))

    *_, operators, workers = entries(image)

    assert (operators["attempt"], "worker" in operators, "attempt" in workers) == (1, False, False)
    assert from_item(to_item(image, COMPACT)) == image


def test_an_entry_whose_attempt_never_began_is_reported() -> None:
    item = to_item(completed(), COMPACT)
    item["history"] = [entry for entry in entries(completed()) if "attempt" not in entry]

    with pytest.raises(
        UnreadableRecordError, match="attribute attempt is missing in the first entry of history"
    ):
        from_item(item)


def test_a_lease_is_stored_as_its_owner_and_its_end_in_milliseconds() -> None:
    item = to_item(processing(), TABLE)

    assert (item["leaseOwner"], item["leaseExpiresAt"]) == ("worker-a/1", 1_704_110_460_000)


def test_attributes_without_a_value_are_left_out() -> None:
    item = to_item(processing(), TABLE)

    assert None not in item.values()
    assert not item.keys() & {
        "processedS3Key",
        "processedAt",
        "ttl",
        "tags",
        "metadata",
        "error",
        "renditions",
    }


def test_the_index_keys_hold_the_status_or_the_day_and_the_shard() -> None:
    item = to_item(completed(), TABLE)
    shard = TABLE.shard_of("img_1")

    assert (item["statusShard"], item["dateShard"]) == (f"completed#{shard}", f"2024-01-01#{shard}")
    assert (status_shard("failed", "03"), date_shard("2024-01-01", "03")) == ("failed#03", "2024-01-01#03")


def test_the_shard_of_an_image_is_the_same_in_every_process() -> None:
    assert [TABLE.shard_of(f"img_{number}") for number in range(4)] == ["05", "03", "01", "07"]


@given(TEXT, st.integers(1, 64))
def test_a_shard_is_two_digits_below_the_number_of_shards(image_id: str, index_shards: int) -> None:
    shard = Table("metadata", index_shards=index_shards).shard_of(image_id)

    assert (len(shard), 0 <= int(shard) < index_shards) == (2, True)


def test_images_spread_over_all_shards() -> None:
    assert {TABLE.shard_of(f"img_{number}") for number in range(200)} == set(TABLE.shards)


def test_an_item_that_is_not_an_image_is_rejected() -> None:
    with pytest.raises(UnreadableRecordError, match="attribute status"):
        from_item({"imageId": "user_profile", "userId": "user_1", "createdAt": "2024-01-01T10:00:00Z"})


def test_times_of_any_precision_are_read() -> None:
    item = to_item(completed(), TABLE) | {"processedAt": "2024-01-01T12:00:20Z"}

    assert from_item(item).processed_at == after(20)


@given(
    st.sampled_from(sorted(to_item(completed(), TABLE))),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(), inner, max_size=2),
    ),
)
def test_any_attribute_of_any_type_is_read_or_reported(name: str, value: Any) -> None:
    item = to_item(completed(), TABLE) | {name: value}
    try:
        image = from_item(item)
    except UnreadableRecordError:
        return
    to_item(image, TABLE)


def test_a_report_cannot_change_the_status_of_its_step() -> None:
    step = StepRecord(
        status=StepStatus.COMPLETED, started_at=after(1), completed_at=after(2), detail={"status": "owned"}
    )
    image = replace(completed(), steps={StepName.VALIDATION: step})

    assert from_item(to_item(image, TABLE)).steps[StepName.VALIDATION].status is StepStatus.COMPLETED
