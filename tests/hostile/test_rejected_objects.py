"""Objects that S3 does not return: they fail with a code, and an error of all objects fails none at once."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import pytest

from tests.support.builders import a_job
from tests.support.emulators import SESSION
from tests.support.fault_proxy import Call, FaultProxy, fault_proxy, http, s3_error
from tests.support.shared_storage import dynamodb, provisioned, s3, shared_storage, sqs, storage
from worker.bootstrap import build_sources, open_client
from worker.domain.errors import RejectedError, TransientError
from worker.domain.job import Job, SourceVersion
from worker.s3.sources import S3Sources
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client

__all__ = ["dynamodb", "provisioned", "s3", "shared_storage", "sqs", "storage"]  # fixtures

pytestmark = pytest.mark.asyncio(loop_scope="session")


KMS = "User is not authorized to perform: kms:Decrypt on the resource associated with this ciphertext"
SSE_C = (
    "The object was stored using a form of Server Side Encryption. "
    "The correct parameters must be provided to retrieve the object."
)
ABOUT_THE_OBJECT = {
    "archived": (
        s3_error("InvalidObjectState", "not valid for its storage class", status=403),
        "source_archived",
    ),
    "customer key": (s3_error("InvalidRequest", SSE_C), "source_unreadable"),
}
ABOUT_THE_OBJECT_OR_ALL = {
    "foreign KMS key": (s3_error("AccessDenied", KMS, status=403), "source_unreadable"),
    "disabled KMS key": (s3_error("KMS.DisabledException", "it is disabled"), "source_unreadable"),
    "denied": (s3_error("AccessDenied", "Access Denied", status=403), "access_denied"),
    "an odd response": (
        http(b"", "x-amz-request-id: 1", 70_000 * "x"),
        "source_unreadable",
    ),
    "an error of the future": (s3_error("NotToday", "come back", status=451), "source_unreadable"),
}


@dataclass
class Bucket:
    """A bucket behind a proxy that responds to reads of some keys with an error."""

    sources: S3Sources
    proxy: FaultProxy
    good: Job
    bad: Job

    def reject(self, response: bytes, *, is_rejected: Callable[[str], bool]) -> None:
        def respond(call: Call) -> bytes | None:
            return response if call.method == "GET" and is_rejected(call.path) else None

        self.proxy.responds = respond

    async def read(self, job: Job) -> None:
        await self.sources.fetch(job, max_bytes=1000)


@asynccontextmanager
async def a_bucket(s3: "S3Client", settings: Settings) -> AsyncIterator[Bucket]:
    version = SourceVersion(e_tag=None, version_id=None, sequencer=None, uploaded_at=a_job().created_at)
    jobs = [replace(a_job(name), bucket=settings.bucket, version=version) for name in ("good", "bad")]
    for job in jobs:
        await s3.put_object(Bucket=job.bucket, Key=job.key, Body=b"image")
    assert settings.endpoint_url
    async with fault_proxy(settings.endpoint_url, seed=1) as proxy:
        proxied = settings.model_copy(update={"endpoint_url": proxy.endpoint_url})
        async with open_client("s3", proxied, session=SESSION) as client:
            yield Bucket(build_sources(client), proxy, *jobs)


@pytest.mark.parametrize(("response", "code"), ABOUT_THE_OBJECT.values(), ids=list(ABOUT_THE_OBJECT))
async def test_an_object_that_can_never_be_read_is_rejected_at_once(
    s3: "S3Client", provisioned: Settings, response: bytes, code: str
) -> None:
    async with a_bucket(s3, provisioned) as bucket:
        bucket.reject(response, is_rejected=lambda _: True)

        with pytest.raises(RejectedError) as rejected:
            await bucket.read(bucket.bad)

    assert (rejected.value.code, rejected.value.retryable) == (code, True)
    assert bucket.bad.key in str(rejected.value)


@pytest.mark.parametrize(
    ("response", "code"), ABOUT_THE_OBJECT_OR_ALL.values(), ids=list(ABOUT_THE_OBJECT_OR_ALL)
)
async def test_an_object_is_rejected_when_another_can_be_read(
    s3: "S3Client", provisioned: Settings, response: bytes, code: str
) -> None:
    async with a_bucket(s3, provisioned) as bucket:
        await bucket.read(bucket.good)
        bucket.reject(response, is_rejected=lambda path: path.endswith(bucket.bad.key))

        with pytest.raises(RejectedError) as rejected:
            await bucket.read(bucket.bad)

    assert (rejected.value.code, rejected.value.retryable) == (code, True)


async def test_an_object_whose_responses_are_damaged_on_their_way_is_retried(
    s3: "S3Client", provisioned: Settings
) -> None:
    async with a_bucket(s3, provisioned) as bucket:
        await bucket.read(bucket.good)
        damaged = http(b"image", "x-amz-checksum-crc32: AAAAAA==", "x-amz-request-id: 1")
        bucket.reject(damaged, is_rejected=lambda path: path.endswith(bucket.bad.key))

        with pytest.raises(TransientError, match="FlexibleChecksumError"):
            await bucket.read(bucket.bad)


@pytest.mark.parametrize("was_readable", [True, False], ids=["since then", "from the beginning"])
@pytest.mark.parametrize(
    ("response", "code"), ABOUT_THE_OBJECT_OR_ALL.values(), ids=list(ABOUT_THE_OBJECT_OR_ALL)
)
async def test_an_object_is_retried_when_no_other_can_be_read_either(
    s3: "S3Client", provisioned: Settings, response: bytes, code: str, was_readable: bool
) -> None:
    async with a_bucket(s3, provisioned) as bucket:
        if was_readable:
            await bucket.read(bucket.good)
        bucket.reject(response, is_rejected=lambda _: True)

        with pytest.raises(TransientError) as failed:
            await bucket.read(bucket.bad)

    assert (failed.value.code, failed.value.is_dependency_failure) == (code, False)
