from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_rendition, after, all_transitions
from worker.domain import clock
from worker.domain.claim import Claimed, decide
from worker.domain.image import Failure, HistoryEntry, Image, Lease, Rendition, StepRecord
from worker.domain.job import SourceVersion, padded_sequencer
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.step import Json
from worker.domain.transition import apply_all, image_failed, image_released, step_failed
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import date_shard, from_item, shard_of, status_shard, to_item

FAILURE = Failure(code="truncated", message="the file ends early", step=StepName.VALIDATION, retryable=False)

PROMISED = {
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
"""Every attribute of the example in dynamodb.md."""

OURS = {
    "sourceBucket",
    "sourceVersion",
    "attempt",
    "leaseOwner",
    "leaseExpiresAt",
    "recipe",
    "renditions",
    "error",
    "history",
    "countedBytes",
    "statusShard",
    "dateShard",
}
"""What record.md adds."""


def processing() -> Image:
    answer = decide(None, a_job(), a_claimant())
    assert isinstance(answer, Claimed)
    return answer.image


def completed() -> Image:
    return replace(apply_all(processing(), all_transitions()), counted_bytes=1100, ttl=1_735_689_600)


def failed() -> Image:
    moves = [
        step_failed(FAILURE, step=StepName.VALIDATION, at=after(2)),
        image_failed(FAILURE, at=after(2)),
    ]
    return apply_all(processing(), moves)


def released() -> Image:
    return apply_all(processing(), [image_released(replace(FAILURE, step=None), at=after(2))])


def read_back(image: Image) -> Image:
    return from_item(decode_map(encode_map(to_item(image, index_shards=8))))


@pytest.mark.parametrize(
    "image",
    [processing(), completed(), failed(), released()],
    ids=["processing", "completed", "failed", "released"],
)
def test_an_image_reads_back_equal(image: Image) -> None:
    assert image == read_back(image)


WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1)
COUNTS = st.integers(0, 2**53)
MOMENTS = st.datetimes(min_value=datetime(1000, 1, 1), timezones=st.just(UTC)).map(  # noqa: DTZ001
    clock.to_milliseconds
)
JSON: st.SearchStrategy[Json] = st.recursive(
    st.booleans() | COUNTS | WORDS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(WORDS, inner, max_size=2),
    max_leaves=4,
)
DETAILS = st.dictionaries(
    WORDS.filter(lambda name: name not in {"status", "startedAt", "completedAt"}), JSON, max_size=2
)
STEPS = st.sampled_from(StepName)
IMAGES = st.builds(
    Image,
    image_id=WORDS,
    user_id=WORDS,
    bucket=WORDS,
    key=WORDS,
    version=st.builds(
        SourceVersion,
        e_tag=st.none() | WORDS,
        version_id=st.none() | WORDS,
        sequencer=st.none() | st.text("0123456789ABCDEF", max_size=32).map(padded_sequencer),
        uploaded_at=MOMENTS,
    ),
    status=st.sampled_from(ImageStatus),
    created_at=MOMENTS,
    updated_at=MOMENTS,
    processed_at=st.none() | MOMENTS,
    file_name=WORDS,
    file_size=st.none() | COUNTS,
    file_type=st.none() | WORDS,
    steps=st.fixed_dictionaries(
        {
            step: st.builds(
                StepRecord,
                status=st.sampled_from(StepStatus),
                started_at=st.none() | MOMENTS,
                completed_at=st.none() | MOMENTS,
                detail=DETAILS,
            )
            for step in StepName
        }
    ),
    attempt=COUNTS,
    lease=st.none() | st.builds(Lease, owner=WORDS, expires_at=MOMENTS),
    recipe=st.none() | WORDS,
    renditions=st.dictionaries(
        WORDS,
        st.builds(
            Rendition, key=WORDS, width=COUNTS, height=COUNTS, size_bytes=COUNTS, format=WORDS, e_tag=WORDS
        ),
        max_size=2,
    ),
    processed_key=st.none() | WORDS,
    error=st.none()
    | st.builds(Failure, code=WORDS, message=WORDS, step=st.none() | STEPS, retryable=st.booleans()),
    history=st.lists(
        st.builds(
            HistoryEntry,
            at=MOMENTS,
            status=WORDS,
            step=st.none() | STEPS,
            attempt=COUNTS,
            worker=st.none() | WORDS,
            detail=DETAILS,
        ),
        max_size=3,
    ).map(tuple),
    tags=st.lists(WORDS, max_size=3).map(tuple),
    metadata=st.dictionaries(WORDS, WORDS, max_size=3),
    counted_bytes=st.none() | COUNTS,
    ttl=st.none() | COUNTS,
).map(lambda image: replace(image, version=replace(image.version, uploaded_at=image.created_at)))


@given(IMAGES)
def test_any_image_reads_back_equal(image: Image) -> None:
    assert image == read_back(image)


def test_a_completed_image_has_every_attribute_that_was_promised() -> None:
    item = to_item(completed(), index_shards=8)

    assert item.keys() >= PROMISED


def test_an_item_has_no_attribute_that_nobody_promised() -> None:
    whole = replace(completed(), lease=processing().lease, error=FAILURE)

    assert to_item(whole, index_shards=8).keys() == PROMISED | OURS


def test_a_completed_image_looks_as_the_document_shows_it() -> None:
    item: dict[str, Any] = to_item(completed(), index_shards=8)

    assert {name: item[name] for name in PROMISED} == {
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


def test_what_was_added_to_the_document_looks_as_the_design_says() -> None:
    item = to_item(replace(completed(), error=FAILURE), index_shards=8)

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


def test_a_lease_is_written_as_its_owner_and_the_millisecond_of_its_end() -> None:
    item = to_item(processing(), index_shards=8)

    assert (item["leaseOwner"], item["leaseExpiresAt"]) == ("worker-a/1", 1_704_110_460_000)


def test_what_has_no_value_has_no_attribute() -> None:
    item = to_item(processing(), index_shards=8)

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


def test_the_index_keys_hold_status_and_day_and_the_images_shard() -> None:
    item = to_item(completed(), index_shards=8)
    shard = shard_of("img_1", 8)

    assert (item["statusShard"], item["dateShard"]) == (f"completed#{shard}", f"2024-01-01#{shard}")
    assert (status_shard("failed", "03"), date_shard("2024-01-01", "03")) == ("failed#03", "2024-01-01#03")


def test_the_shard_of_an_image_is_the_same_in_every_process() -> None:
    assert [shard_of(f"img_{number}", 8) for number in range(4)] == ["05", "03", "01", "07"]


@given(WORDS, st.integers(1, 64))
def test_a_shard_is_two_digits_below_their_number(image_id: str, index_shards: int) -> None:
    shard = shard_of(image_id, index_shards)

    assert (len(shard), 0 <= int(shard) < index_shards) == (2, True)


def test_images_spread_over_all_shards() -> None:
    assert {shard_of(f"img_{number}", 8) for number in range(200)} == {f"{shard:02d}" for shard in range(8)}


def test_an_item_that_is_no_image_is_refused() -> None:
    with pytest.raises(KeyError):
        from_item({"imageId": "user_profile", "userId": "user_1", "createdAt": "2024-01-01T10:00:00Z"})


def test_moments_of_any_precision_are_read() -> None:
    item = to_item(completed(), index_shards=8) | {"processedAt": "2024-01-01T12:00:20Z"}

    assert from_item(item).processed_at == after(20)
