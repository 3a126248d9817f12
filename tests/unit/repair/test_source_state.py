"""What lies under a key, beside what the record knows of it."""

from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from botocore.exceptions import ClientError

from tests.support.builders import NOON, a_claimant, a_job, after
from tests.support.retry import NO_WAIT
from worker.domain.claim import Claimed, decide
from worker.domain.errors import TransientError
from worker.domain.image import Failure, Image
from worker.domain.transition import apply, image_released
from worker.repair.requests import job_of
from worker.repair.source_state import SourceState, SourceStatus, check_source


class FakeBucket:
    """Answers HEAD: by version where one is asked for, else with what lies on top."""

    def __init__(self, e_tag: str | None, *, at: datetime = NOON, code: str = "404", **versions: str) -> None:
        self.e_tag, self.at, self.code, self.versions = e_tag, at, code, versions

    async def head_object(self, **request: str) -> dict[str, Any]:
        version = request.get("VersionId")
        e_tag = self.versions.get(version) if version else self.e_tag
        if e_tag is None:
            raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, "HeadObject")
        return {"ETag": f'"{e_tag}"', "LastModified": self.at, "ContentLength": 7}


def pending(*, version_id: str | None = None) -> Image:
    """Return a pending image that was uploaded at noon and a half second."""
    job = a_job(uploaded_at=after(0.5), e_tag="old")
    job = replace(job, version=replace(job.version, version_id=version_id))
    answer = decide(None, job, a_claimant(now=after(1)))
    assert isinstance(answer, Claimed)
    failure = Failure(code="unavailable", message="away", step=None, retryable=True)
    return apply(answer.image, image_released(failure, at=after(2)))


async def looked_at(bucket: FakeBucket, image: Image) -> SourceState:
    client: Any = bucket
    return await check_source(client, image, NO_WAIT)


async def test_what_lies_there_as_it_is_recorded_is_asked_for_as_it_is_recorded() -> None:
    image = pending()

    source = await looked_at(FakeBucket("old"), image)

    assert (source.status, source.job) == (SourceStatus.AS_RECORDED, job_of(image))


async def test_what_replaced_the_upload_within_the_same_second_is_taken_by_a_claim() -> None:
    image = pending()

    source = await looked_at(FakeBucket("new", at=NOON), image)

    assert source.status is SourceStatus.REPLACED
    assert source.job.version.e_tag == "new"
    answer = decide(image, source.job, a_claimant("other/1", now=after(60)))
    assert isinstance(answer, Claimed)
    assert answer.image.version.e_tag == "new"


async def test_what_replaced_the_upload_later_keeps_its_own_time() -> None:
    source = await looked_at(FakeBucket("new", at=after(30)), pending())

    assert source.job.version.uploaded_at == after(30)


async def test_a_version_that_is_kept_is_as_recorded_whatever_lies_on_top_of_it() -> None:
    source = await looked_at(FakeBucket("new", v1="old"), pending(version_id="v1"))

    assert source.status is SourceStatus.AS_RECORDED


async def test_a_version_that_is_gone_gives_place_to_what_lies_on_top() -> None:
    source = await looked_at(FakeBucket("new"), pending(version_id="v1"))

    assert (source.status, source.job.version.version_id) == (SourceStatus.REPLACED, None)


async def test_an_upload_that_is_not_there_is_gone() -> None:
    assert (await looked_at(FakeBucket(None), pending())).status is SourceStatus.GONE


async def test_a_bucket_that_refuses_to_tell_is_no_bucket_without_the_upload() -> None:
    with pytest.raises(TransientError):
        await looked_at(FakeBucket(None, code="403"), pending())
