"""Which object a scan result is about, and whether a scan allows it to be read."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from botocore.exceptions import ClientError
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import NOON, a_claimant, a_job
from tests.support.fakes.ledger import MemoryLedger
from tests.support.retry import NO_WAIT
from worker.domain.claim import Claimed, Superseded
from worker.domain.errors import (
    NotScannedError,
    RejectedError,
    ScanFailedError,
    SourceMissingError,
    ThreatFoundError,
    TransientError,
)
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.domain.scan import ScanStatus
from worker.s3.scans import SCAN_TAG, S3Scans

UPLOADED_AT = datetime(2024, 1, 1, 12, 0, 5, tzinfo=UTC)


class FakeS3:
    """A bucket with one object at a time, of any key."""

    def __init__(self, e_tag: str = "one", *, version_id: str | None = None, **tags: str) -> None:
        self.e_tag: str | None = e_tag
        self.version_id, self.tags = version_id, tags
        self.last_modified = UPLOADED_AT
        self.error: ClientError | None = None
        self.heads = 0

    async def head_object(self, **_: Any) -> dict[str, Any]:
        self.heads += 1
        self._raise()
        versioned = {"VersionId": self.version_id} if self.version_id else {}
        return {"ETag": f'"{self.e_tag}"', "LastModified": self.last_modified, **versioned}

    async def get_object_tagging(self, **request: Any) -> dict[str, Any]:
        self._raise()
        assert request.get("VersionId") == self.version_id
        return {"TagSet": [{"Key": name, "Value": value} for name, value in self.tags.items()]}

    def _raise(self) -> None:
        if self.error is not None:
            raise self.error
        if self.e_tag is None:
            raise s3_error("404", 404)


def s3_error(code: str, status: int) -> ClientError:
    response: Any = {"Error": {"Code": code}, "ResponseMetadata": {"HTTPStatusCode": status}}
    return ClientError(response, "HeadObject")


def scans(s3: FakeS3) -> S3Scans:
    return S3Scans(s3, retry=NO_WAIT)  # type: ignore[arg-type] # a fake


def a_scanned_job(e_tag: str = "one", *, version_id: str | None = None) -> Job:
    version = SourceVersion(e_tag=e_tag, version_id=version_id, sequencer=None, uploaded_at=NOON)
    return replace(a_job(), version=version, scan=ScanStatus.NO_THREATS_FOUND)


async def test_the_time_of_the_upload_is_that_of_the_object_and_not_that_of_the_scan() -> None:
    found = await scans(FakeS3()).find_upload(a_scanned_job())
    assert found is not None
    assert (found.version.uploaded_at, found.version.e_tag, found.supersedes) == (UPLOADED_AT, "one", True)


@pytest.mark.parametrize(
    ("scanned", "stored"),
    [
        ({"e_tag": "one"}, {"e_tag": "two"}),
        ({"version_id": "v1"}, {"version_id": "v2"}),
        ({"version_id": "v1"}, {"version_id": "null"}),
        ({"version_id": "v1"}, {}),
    ],
)
async def test_the_scan_of_a_replaced_object_is_obsolete(
    scanned: dict[str, str], stored: dict[str, str]
) -> None:
    s3 = FakeS3(stored.get("e_tag", "one"), version_id=stored.get("version_id"))
    job = a_scanned_job(scanned.get("e_tag", "one"), version_id=scanned.get("version_id"))
    assert await scans(s3).find_upload(job) is None


async def test_the_version_of_the_scanned_object_is_read_also_if_the_event_does_not_name_it() -> None:
    found = await scans(FakeS3(version_id="v7")).find_upload(a_scanned_job())
    assert found is not None
    assert found.version.version_id == "v7"


@pytest.mark.parametrize("error", [s3_error("404", 404), s3_error("400", 400), s3_error("AccessDenied", 403)])
async def test_an_object_that_is_missing_or_cannot_be_read_supersedes_no_other(error: ClientError) -> None:
    s3 = FakeS3()
    s3.error = error
    found = await scans(s3).find_upload(a_scanned_job())
    assert found == replace(a_scanned_job(), supersedes=False)


async def test_an_unavailable_bucket_is_no_answer() -> None:
    s3 = FakeS3()
    s3.error = s3_error("503", 503)
    with pytest.raises(TransientError):
        await scans(s3).find_upload(a_scanned_job())


async def test_a_job_that_names_its_object_costs_no_request_and_another_one_gets_its_etag() -> None:
    s3 = FakeS3()
    assert await scans(s3).find_upload(a_job()) == a_job()
    assert s3.heads == 0
    unnamed = replace(a_job(), version=replace(a_job().version, e_tag=None))
    found = await scans(s3).find_upload(unnamed)
    assert found is not None
    assert found.version.e_tag == "one"


@pytest.mark.parametrize(
    ("status", "error"),
    [
        ("NO_THREATS_FOUND", None),
        ("THREATS_FOUND", ThreatFoundError),
        ("UNSUPPORTED", ScanFailedError),
        ("ACCESS_DENIED", ScanFailedError),
        ("FAILED", ScanFailedError),
        ("SOMETHING_NEW", ScanFailedError),
        ("", ScanFailedError),
        (None, NotScannedError),
    ],
)
async def test_only_a_tag_without_threats_allows_an_upload_without_a_scan_result_in_its_message(
    status: str | None, error: type[RejectedError | TransientError] | None
) -> None:
    s3 = FakeS3(Other="NO_THREATS_FOUND", **({} if status is None else {SCAN_TAG: status}))
    if error is None:
        await scans(s3).require_clean(a_job())
        return
    with pytest.raises(error):
        await scans(s3).require_clean(a_job())


async def test_the_tag_of_the_version_that_is_read_counts() -> None:
    s3 = FakeS3(version_id="v1", **{SCAN_TAG: "NO_THREATS_FOUND"})
    job = replace(a_job(), version=replace(a_job().version, version_id="v1"))
    await scans(s3).require_clean(job)


async def test_an_upload_that_was_deleted_is_missing_and_an_unavailable_bucket_is_transient() -> None:
    s3 = FakeS3()
    s3.e_tag = None
    with pytest.raises(SourceMissingError):
        await scans(s3).require_clean(a_job())
    s3.error = s3_error("503", 503)
    with pytest.raises(TransientError):
        await scans(s3).require_clean(a_job())


class Uploads:
    """Uploads of one key, whose scan results arrive in any order and more than once."""

    def __init__(self) -> None:
        self.s3, self.ledger = FakeS3(), MemoryLedger()
        self.now = UPLOADED_AT
        self.count = 0

    def upload(self, *, after_ms: int, began_s_ago: int) -> None:
        """Replace the object; S3 reports the time at which its upload began, in whole seconds."""
        self.now += timedelta(milliseconds=after_ms)
        self.count += 1
        self.s3.e_tag = str(self.count)
        began = self.now - timedelta(seconds=began_s_ago)
        self.s3.last_modified = began.replace(microsecond=0)

    async def deliver(self, number: int) -> None:
        """Handle the scan result of an upload as the handler does it."""
        job = await scans(self.s3).find_upload(a_scanned_job(str(number)))
        while job is not None:
            result = await self.ledger.claim(job, a_claimant(f"worker/{self.now}/{number}", now=self.now))
            if isinstance(result, Claimed):
                self.ledger.images[job.image_id, job.user_id] = replace(result.image, lease=None)
            recorded = result.image if isinstance(result, Superseded) else None
            job = await scans(self.s3).find_upload(job, recorded=recorded) if recorded else None

    @property
    def image(self) -> Image:
        (image,) = self.ledger.images.values()
        return image


actions = st.lists(
    st.tuples(st.integers(1, 1500), st.sampled_from([0, 0, 1, 30]))  # an upload
    | st.integers(0, 4),  # the scan result of the upload so many before the latest one
    min_size=1,
    max_size=12,
)


@given(actions)
async def test_in_any_order_of_scan_results_the_record_ends_with_the_latest_upload(
    taken: list[tuple[int, int] | int],
) -> None:
    uploads = Uploads()
    uploads.upload(after_ms=0, began_s_ago=0)
    for action in taken:
        if isinstance(action, tuple):
            uploads.upload(after_ms=action[0], began_s_ago=action[1])
        else:
            await uploads.deliver(max(1, uploads.count - action))
    for number in range(1, uploads.count + 1):  # every scan result arrives, the earliest uploads' last
        await uploads.deliver(uploads.count + 1 - number)
    assert uploads.image.version.e_tag == str(uploads.count)
