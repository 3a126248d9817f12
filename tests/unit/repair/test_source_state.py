"""The state of an image's upload in the bucket, compared with its record."""

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
    """Responds to HEAD: with the requested version, or else the latest."""

    def __init__(self, e_tag: str | None, *, at: datetime = NOON, code: str = "404", **versions: str) -> None:
        self.e_tag, self.at, self.code, self.versions = e_tag, at, code, versions

    async def head_object(self, **request: str) -> dict[str, Any]:
        version = request.get("VersionId")
        e_tag = self.versions.get(version) if version else self.e_tag
        if e_tag is None:
            raise ClientError({"Error": {"Code": self.code, "Message": "no"}}, "HeadObject")
        return {"ETag": f'"{e_tag}"', "LastModified": self.at, "ContentLength": 7}


def pending(*, version_id: str | None = None) -> Image:
    """Return a pending image that was uploaded half a second after noon."""
    job = a_job(uploaded_at=after(0.5), e_tag="old")
    job = replace(job, version=replace(job.version, version_id=version_id))
    decision = decide(None, job, a_claimant(now=after(1)))
    assert isinstance(decision, Claimed)
    failure = Failure(code="unavailable", message="unreachable", step=None, retryable=True)
    return apply(decision.image, image_released(failure, at=after(2)))


async def source_of(bucket: FakeBucket, image: Image) -> SourceState:
    client: Any = bucket
    return await check_source(client, image, NO_WAIT)


async def test_an_unchanged_upload_is_as_recorded() -> None:
    image = pending()

    source = await source_of(FakeBucket("old"), image)

    assert (source.status, source.job) == (SourceStatus.AS_RECORDED, job_of(image))


async def test_a_claim_accepts_an_upload_replaced_within_the_same_second() -> None:
    image = pending()

    source = await source_of(FakeBucket("new", at=NOON), image)

    assert source.status is SourceStatus.REPLACED
    assert source.job.version.e_tag == "new"
    decision = decide(image, source.job, a_claimant("other/1", now=after(60)))
    assert isinstance(decision, Claimed)
    assert decision.image.version.e_tag == "new"


async def test_a_later_replacement_keeps_its_own_time() -> None:
    source = await source_of(FakeBucket("new", at=after(30)), pending())

    assert source.job.version.uploaded_at == after(30)


async def test_an_existing_version_is_as_recorded_even_if_there_is_a_newer_one() -> None:
    source = await source_of(FakeBucket("new", v1="old"), pending(version_id="v1"))

    assert source.status is SourceStatus.AS_RECORDED


async def test_a_deleted_version_is_replaced_by_the_latest() -> None:
    source = await source_of(FakeBucket("new"), pending(version_id="v1"))

    assert (source.status, source.job.version.version_id) == (SourceStatus.REPLACED, None)


async def test_a_missing_upload_is_gone() -> None:
    assert (await source_of(FakeBucket(None), pending())).status is SourceStatus.GONE


async def test_a_denied_request_does_not_mean_that_the_upload_is_gone() -> None:
    with pytest.raises(TransientError):
        await source_of(FakeBucket(None, code="403"), pending())
