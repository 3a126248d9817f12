from dataclasses import replace
from datetime import timedelta

import pytest

from tests.support.builders import NOON, a_claimant, a_job, a_rendition, after
from worker.domain.claim import Claimed, decide
from worker.domain.image import Image, Lease

MINUTE = timedelta(minutes=1)


def an_image() -> Image:
    result = decide(None, a_job(), a_claimant())
    assert isinstance(result, Claimed)
    return result.image


def test_the_total_bytes_are_those_of_the_upload_and_all_results() -> None:
    results = {"medium": a_rendition(size_bytes=100), "thumbnail": a_rendition(size_bytes=20)}

    assert replace(an_image(), file_size=1000, renditions=results).total_bytes() == 1120


def test_an_upload_of_unknown_size_adds_nothing_to_the_total_bytes() -> None:
    results = {"medium": a_rendition(size_bytes=100)}

    assert replace(an_image(), file_size=None, renditions=results).total_bytes() == 100


@pytest.mark.parametrize(("seconds", "expected"), [(-1, False), (0, True), (1, True)])
def test_an_image_is_expired_from_the_second_of_its_ttl(seconds: int, expected: bool) -> None:
    image = replace(an_image(), ttl=int(NOON.timestamp()))

    assert image.is_expired(after(seconds)) is expected


def test_an_image_without_ttl_never_expires() -> None:
    assert not an_image().is_expired(NOON.replace(year=9999))


@pytest.mark.parametrize(
    ("seconds", "expected"), [(59.999, True), (60, False), (61, False), (-300, True), (-301, False)]
)
def test_a_lease_is_valid_until_it_expires_unless_it_ends_later_than_any_worker_could_have_set(
    seconds: float, expected: bool
) -> None:
    image = replace(an_image(), lease=Lease(owner="worker-a/1", expires_at=after(60)))

    assert image.is_leased(after(seconds), lease_time=MINUTE) is expected


def test_an_image_without_a_lease_is_not_leased() -> None:
    assert not replace(an_image(), lease=None).is_leased(NOON, lease_time=MINUTE)
