"""Write units of an image, and the load on single partition keys of the indexes."""

from collections import Counter
from typing import Any

import pytest

from tests.support.builders import a_claimant, after
from tests.support.fakes.metered_table import (
    MeteredTable,
    attribute_bytes,
    indexes,
    item_bytes,
    item_write_units,
)
from worker.bootstrap import RETRY_POLICIES
from worker.domain.claim import Claimed
from worker.domain.image import Description, Rendition
from worker.domain.job import Job, SourceVersion, padded_sequencer
from worker.domain.status import StepMove, StepName
from worker.domain.step import Json, StepReport
from worker.domain.transition import (
    Transition,
    image_completed,
    source_described,
    step_ended,
    step_started,
)
from worker.dynamodb.attributes import decode_map, encode_map
from worker.dynamodb.items import from_item
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.table import Table
from worker.settings import Settings

MAX_UNITS = 20
KEY_UNITS_PER_S = 1_000
"""DynamoDB's limit for one partition key of a table or an index."""
IMAGES_PER_S = 1_000

USER = "user_12345678-1234-1234-1234-123456789012"
IMAGE = "img_1234567890abcdef"
UPLOAD_BYTES = 2_048_576
PROFILE: dict[str, Any] = {
    "imageId": "user_profile",
    "userId": USER,
    "email": "user@example.com",
    "profile": {
        "firstName": "John",
        "lastName": "Doe",
        "avatar": f"avatars/{USER}.jpg",
        "preferences": {"defaultImageSize": "medium", "watermarkEnabled": True, "watermarkText": "John's"},
    },
    "statistics": {
        "totalImages": 150,
        "totalStorageUsed": 1_073_741_824,
        "lastUploadAt": "2023-12-31T12:00:00.000Z",
    },
    "createdAt": "2023-01-01T10:00:00.000Z",
    "updatedAt": "2023-12-31T12:00:07.512Z",
    "ttl": 1_735_689_600,
}
DETAILS: dict[StepName, dict[str, Json]] = {
    StepName.VALIDATION: {"result": "valid", "format": "jpeg", "mode": "RGB", "frames": 1},
    StepName.RESIZE: {
        "dimensions": {
            "original": {"width": 4032, "height": 3024},
            "processed": {"width": 800, "height": 600},
        }
    },
    StepName.WATERMARK: {"watermarkType": "text", "watermarkText": "Processed by Image Platform"},
}
"""The details that a decoder reports for a photograph."""
EXIF = {"camera": "Apple iPhone 12", "takenAt": "2023-12-31T16:20:41+01:00"}


def transitions(*, file_name: str | None = "vacation-photo.jpg") -> list[Transition]:
    """Return the transitions of a photograph after its claim, as the worker makes them."""
    description = Description(
        file_name=file_name,
        file_size=UPLOAD_BYTES,
        file_type="image/jpeg",
        tags=("vacation", "family"),
        metadata={"description": "Family vacation photo", "location": "Beach Resort"},
    )
    made: list[Transition] = [source_described(description, at=after(0.031))]
    steps = list(StepName)
    for number, step in enumerate(steps):
        report = StepReport(
            step=step,
            move=StepMove.COMPLETED,
            elapsed_ms=12,
            detail=DETAILS[step],
            metadata=EXIF if step is StepName.VALIDATION else {},
        )
        made.append(step_ended(report, at=after(0.1 + number / 50)))
        made += [step_started(each, at=after(0.1 + number / 50)) for each in steps[number + 1 : number + 2]]
    rendition = Rendition(
        key=f"processed/{USER}/{IMAGE}.jpg",
        width=800,
        height=600,
        size_bytes=82_120,
        format="jpeg",
        e_tag="9b2cf535f27731c974343645a3985328",
    )
    return [*made, image_completed({"medium": rendition}, main_size="medium", at=after(0.2))]


async def written(made: list[Transition], *, before_the_end: int = 0) -> MeteredTable:
    """Claim an image, record the first transitions in one write if there are any, and settle the rest."""
    client: Any = (table := MeteredTable(items={"user_profile": encode_map(PROFILE)}))
    ledger = DynamoLedger(client, table=Table("metadata", index_shards=8), retry=RETRY_POLICIES.table)
    version = SourceVersion(
        e_tag="d41d8cd98f00b204e9800998ecf8427e",
        version_id=None,
        sequencer=padded_sequencer("0055AED6DCD90281E5"),
        uploaded_at=after(-1),
    )
    key = f"uploads/{USER}/{IMAGE}.jpg"
    job = Job(
        bucket="image-uploads",
        key=key,
        user_id=USER,
        image_id=IMAGE,
        version=version,
        size_bytes=UPLOAD_BYTES,
    )
    claim = await ledger.claim(job, a_claimant("ip-10-0-12-34-9f3c/5d8a01c2", recipe="8c5a1f0e9b7d3246"))
    assert isinstance(claim, Claimed)
    image = claim.image
    if before_the_end:
        image = await ledger.record(image, made[:before_the_end])
    image = await ledger.settle(image, made[before_the_end:])
    assert from_item(decode_map(table.items[IMAGE])) == image
    return table


def largest_share(shards: int) -> float:
    """Return the share of images in the fullest shard."""
    images, table = 20_000, Table("metadata", index_shards=shards)
    return max(Counter(table.shard_of(f"img_{number:016x}") for number in range(images)).values()) / images


@pytest.mark.parametrize(
    ("attribute", "expected"),
    [
        ({"S": "Küste"}, 6),
        ({"N": "0"}, 1),
        ({"N": "27"}, 2),
        ({"N": "-27"}, 3),
        ({"N": "1704110400000"}, 5),
        ({"BOOL": True}, 1),
        ({"L": []}, 3),
        ({"M": {"ms": {"N": "9"}}}, 3 + 1 + 2 + 2),
    ],
)
def test_attributes_have_the_size_that_dynamodb_documents(attribute: dict[str, Any], expected: int) -> None:
    assert attribute_bytes(attribute) == expected


async def test_an_image_that_is_completed_in_two_writes_costs_sixteen_of_at_most_twenty_units() -> None:
    table = await written(transitions())

    claim, image, profile = table.table_units
    assert (claim, image, profile) == (1, 2 * 3, 2 * 1)
    assert {index.name: table.index_write_units(index.name) for index in indexes()} == {
        "UserImages": 2,
        "StatusIndex": 3,
        "DateIndex": 2,
    }
    assert table.units == 16 <= MAX_UNITS


async def test_a_further_write_costs_only_the_item_if_nothing_changes_in_the_indexes() -> None:
    unnamed = transitions(file_name=None)
    assert (await written(unnamed, before_the_end=3)).units == (await written(unnamed)).units + 2


async def test_a_further_write_with_the_file_name_is_written_to_each_index_too() -> None:
    assert (await written(transitions(), before_the_end=3)).units == (
        await written(transitions())
    ).units + 2 + 3


async def test_the_item_of_a_photograph_takes_three_units_and_its_entry_in_an_index_one() -> None:
    item = (await written(transitions())).items[IMAGE]
    assert item_write_units(item) == 3
    assert [item_write_units(index.entry(item)) for index in indexes()] == [1, 1, 1]


async def test_the_largest_attribute_of_an_item_is_the_history() -> None:
    item = (await written(transitions())).items[IMAGE]
    largest = sorted(item, key=lambda name: item_bytes({name: item[name]}), reverse=True)
    assert largest[:3] == ["history", "processingSteps", "renditions"]


@pytest.mark.parametrize("before_the_end", [0, 3])
@pytest.mark.parametrize("index", ["StatusIndex", "DateIndex"])
async def test_at_a_thousand_images_per_second_no_key_of_a_sharded_index_reaches_half_of_its_limit(
    index: str, before_the_end: int
) -> None:
    per_image = (await written(transitions(), before_the_end=before_the_end)).busiest_key_units(index)
    assert per_image == (3 if before_the_end else 2)
    assert per_image * IMAGES_PER_S * largest_share(Settings().index_shards) < KEY_UNITS_PER_S / 2


@pytest.mark.parametrize("index", ["StatusIndex", "DateIndex"])
async def test_a_thousand_images_per_second_overload_two_shards_and_not_four(
    index: str,
) -> None:
    in_two_writes, in_three = await written(transitions()), await written(transitions(), before_the_end=3)
    assert in_two_writes.busiest_key_units(index) * IMAGES_PER_S * largest_share(2) >= KEY_UNITS_PER_S
    assert in_three.busiest_key_units(index) * IMAGES_PER_S * largest_share(4) < KEY_UNITS_PER_S


async def test_the_index_of_one_user_s_images_sustains_five_hundred_images_per_second() -> None:
    assert (await written(transitions())).busiest_key_units("UserImages") * 500 == KEY_UNITS_PER_S
