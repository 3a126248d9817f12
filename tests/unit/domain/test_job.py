from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import NOON, a_job, after
from worker.domain.job import SourceVersion, padded_sequencer

LOCALSTACK = padded_sequencer("0055AED6DCD90281E5")
"""The sequencer that LocalStack sends with every event."""


def a_version(
    e_tag: str | None = "etag-1", *, sequencer: str | None = None, uploaded_at: datetime = NOON
) -> SourceVersion:
    padded = padded_sequencer(sequencer) if sequencer else None
    return SourceVersion(e_tag=e_tag, version_id=None, sequencer=padded, uploaded_at=uploaded_at)


VERSIONS = st.builds(
    SourceVersion,
    e_tag=st.none() | st.sampled_from(["etag-1", "etag-2", "etag-3"]),
    version_id=st.none(),
    sequencer=st.none()
    | st.just(LOCALSTACK)
    | st.text("0123456789ABCDEF", max_size=32).map(padded_sequencer),
    uploaded_at=st.integers(-3, 3).map(after),
)


@given(VERSIONS)
def test_no_upload_is_newer_than_itself(version: SourceVersion) -> None:
    assert not version.is_newer_than(version)


@given(VERSIONS, VERSIONS)
def test_of_two_uploads_at_most_one_is_newer(left: SourceVersion, right: SourceVersion) -> None:
    assert not (left.is_newer_than(right) and right.is_newer_than(left))


@given(st.lists(VERSIONS.filter(lambda version: version.sequencer not in {None, LOCALSTACK}), min_size=1))
def test_uploads_with_sequencers_have_a_total_order(versions: list[SourceVersion]) -> None:
    newest = max(versions, key=lambda version: version.sequencer or "")

    assert not any(
        version.is_newer_than(newest) for version in versions if version.sequencer != newest.sequencer
    )


@pytest.mark.parametrize(
    ("older", "newer"),
    [
        ("0055AED6DCD90281E5", "0055AED6DCD90281E6"),
        ("0055AED6DCD90281E5", "0055AED6DCD90281E51"),
        ("0055AED6DCD90281E", "0055AED6DCD90281E1"),
        ("0055aed6dcd90281e5", "0055AED6DCD90281E6"),
        ("0055AED6DCD90281E5", "0055aed6dcd90281e6"),
        ("0", "1"),
        ("09", "1"),
    ],
)
def test_sequencers_are_compared_from_the_left(older: str, newer: str) -> None:
    late_but_older = a_version("etag-1", sequencer=older, uploaded_at=after(60))

    assert a_version("etag-2", sequencer=newer).is_newer_than(late_but_older)
    assert not late_but_older.is_newer_than(a_version("etag-2", sequencer=newer))


@given(st.text("0123456789ABCDEF", min_size=1, max_size=32), st.integers(0, 8))
def test_trailing_zeros_of_a_sequencer_have_no_effect(sequencer: str, zeros: int) -> None:
    longer = (sequencer + "0" * zeros)[:32]

    assert padded_sequencer(sequencer) == padded_sequencer(longer)


def test_a_second_event_for_the_same_object_is_not_newer() -> None:
    assert not a_version(uploaded_at=after(60)).is_newer_than(a_version())


@pytest.mark.parametrize("sequencers", [(None, None), (None, "0055"), ("0055", None), ("0055", "0055")])
def test_without_comparable_sequencers_the_later_upload_of_different_content_is_newer(
    sequencers: tuple[str | None, str | None],
) -> None:
    first, second = sequencers
    earlier = a_version("etag-1", sequencer=first)
    later = a_version("etag-2", sequencer=second, uploaded_at=after(1))

    assert (later.is_newer_than(earlier), earlier.is_newer_than(later)) == (True, False)


def test_another_version_with_the_same_content_is_another_object() -> None:
    first = SourceVersion(e_tag="same", version_id="v1", sequencer=None, uploaded_at=NOON)
    second = replace(first, version_id="v2", uploaded_at=after(1))
    assert second.is_newer_than(first)
    assert not replace(second, version_id=None).is_newer_than(first), "it may be the same"


def test_of_two_uploads_at_the_same_time_without_sequencers_neither_is_newer() -> None:
    left, right = a_version("etag-1"), a_version("etag-2")

    assert (left.is_newer_than(right), right.is_newer_than(left)) == (False, False)


@pytest.mark.parametrize("e_tags", [(None, "etag-1"), ("etag-1", None), (None, None)])
def test_an_upload_without_an_e_tag_is_not_newer_by_its_time_alone(
    e_tags: tuple[str | None, str | None],
) -> None:
    later, earlier = e_tags

    assert not a_version(later, uploaded_at=after(60)).is_newer_than(a_version(earlier))


def test_the_creation_time_of_a_job_is_that_of_its_upload() -> None:
    assert a_job(uploaded_at=after(7)).created_at == after(7)
