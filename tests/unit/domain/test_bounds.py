"""What uploads, decoders and errors may add to a record."""

import json
from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_report, a_requester, after
from tests.support.fakes.metered_table import item_bytes
from worker.domain.bounds import (
    MAX_DETAIL_BYTES,
    MAX_ITEM_BYTES,
    MAX_LEFTOVERS_BYTES,
    MAX_MESSAGE_BYTES,
    MAX_METADATA_BYTES,
    bounded_detail,
    bounded_text,
    with_metadata,
)
from worker.domain.claim import Claimed, decide, image_requeued, image_retried
from worker.domain.history import MAX_ENTRIES
from worker.domain.image import Description, Failure, Image, Rendition
from worker.domain.requester import Requester
from worker.domain.status import StepName
from worker.domain.step import Json
from worker.domain.transition import (
    Transition,
    apply_all,
    image_completed,
    image_failed,
    image_released,
    source_described,
    step_ended,
    step_started,
)
from worker.dynamodb.attributes import encode_map
from worker.dynamodb.items import to_item
from worker.dynamodb.table import Table

LONG = "\N{GRINNING FACE}" * 100_000
METADATA = {f"{number:03}{LONG[:120]}": LONG[:200] for number in range(1000)}
TABLE = Table("table", index_shards=8)


def size_of(image: Image) -> int:
    return item_bytes(encode_map(to_item(image, TABLE)))


@given(st.text(), st.integers(0, 50))
def test_a_text_is_cut_to_its_beginning_at_a_character(text: str, max_bytes: int) -> None:
    cut = bounded_text(text, max_bytes)

    assert text.startswith(cut)
    assert len(cut.encode()) <= max_bytes
    assert cut == text or len(text[: len(cut) + 1].encode()) > max_bytes


def test_a_lone_surrogate_does_not_break_the_bounds() -> None:
    assert bounded_text("\ud800" * 10, 3) == "???"
    assert with_metadata({}, {"\ud800": "\ud800"}) == {"\ud800": "\ud800"}
    assert bounded_detail({"a": "\ud800"}) == {"a": "\ud800"}


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=900),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=9), inner, max_size=5),
    max_leaves=20,
)


@settings(max_examples=40, deadline=None)
@given(st.dictionaries(st.text(max_size=20), json_values, max_size=10))
def test_a_detail_keeps_whole_values_within_the_bound(detail: dict[str, Json]) -> None:
    kept = bounded_detail(detail)

    assert kept.items() <= detail.items() or all(detail[name] == value for name, value in kept.items())
    assert (
        sum(len(json.dumps({n: v}, ensure_ascii=False).encode()) for n, v in kept.items()) <= MAX_DETAIL_BYTES
    )


def test_metadata_of_the_owner_stays_and_the_rest_is_added_as_far_as_it_fits() -> None:
    owner = {"camera": "mine", "big": "x" * (MAX_METADATA_BYTES - 100)}

    merged = with_metadata(owner, {"camera": "other", "lens": "L" * 50, "long": "x" * 50, "iso": "100"})

    assert merged == {**owner, "lens": "L" * 50, "iso": "100"}


def test_the_worst_item_stays_below_the_stated_maximum() -> None:
    """Longest keys, names, metadata, messages, details and renditions, and as many entries as possible."""
    user_id, image_id = "u" * 500, "i" * 500
    job = replace(a_job(), key=f"uploads/{user_id}/{image_id}.jpg", user_id=user_id, image_id=image_id)
    failure = Failure(code="decode_out_of_memory", message=LONG, step=StepName.WATERMARK, retryable=True)
    worker = "w" * 25
    decision = decide(None, job, a_claimant(f"{worker}/0"))
    assert isinstance(decision, Claimed)
    image = decision.image
    for number in range(1, 100):  # requests while the image is pending
        image = image_requeued(
            replace(apply_all(image, [image_released(failure, at=after(number))]) if image.lease else image),
            requester=Requester(by=LONG, via=LONG, command=LONG),
            at=after(number),
        )
    decision = decide(image, job, a_claimant(f"{worker}/1", now=after(200), recipe="r" * 16))
    assert isinstance(decision, Claimed)
    description = Description(
        file_name=LONG, file_size=10**12, file_type=LONG, tags=(LONG[:500],) * 20, metadata=METADATA
    )
    transitions: list[Transition] = [source_described(description, at=after(201))]
    for number, step in enumerate(StepName):
        report = replace(
            a_report(step),
            elapsed_ms=3_600_000,
            detail={f"{name:03}": LONG[:100] for name in range(500)},
            metadata=METADATA,
        )
        transitions += [step_started(step, at=after(202))] if number else []
        transitions.append(step_ended(report, at=after(202)))
    renditions = {
        f"size-{number:02}-{'n' * 50}": Rendition(
            key=f"processed/{user_id}/{image_id}_{'n' * 20}.avif",
            width=16_384,
            height=16_384,
            size_bytes=10**10,
            format="jpeg",
            e_tag="e" * 36,
        )
        for number in range(16)
    }
    main = next(iter(renditions))
    replaced = {size: replace(each, key=f"{each.key}.gif") for size, each in renditions.items()}
    completed = apply_all(
        replace(decision.image, renditions=replaced),
        [*transitions, image_completed(renditions, main_size=main, at=after(203))],
    )
    failed = replace(apply_all(decision.image, [*transitions, image_failed(failure, at=after(203))]))
    failed = replace(failed, renditions=renditions, processed_key=completed.processed_key)
    pending = image_retried(failed, requester=a_requester("images retry"), at=after(204))

    assert len(completed.history) > MAX_ENTRIES
    assert sum(len(each.key) + len(each.e_tag) for each in completed.leftovers) > MAX_LEFTOVERS_BYTES // 2
    assert max(map(size_of, (completed, failed, pending))) <= MAX_ITEM_BYTES
    assert failed.error
    assert len(failed.error.message.encode()) <= MAX_MESSAGE_BYTES
    assert size_of(completed) > 40_000, "the bounds are exercised"
