"""GuardDuty's scan results as messages, with and without required scans."""

import json
from copy import deepcopy
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import UPLOAD_KEYS, a_message
from tests.support.scan_results import a_scan_result
from worker.domain.job import Job, SourceVersion
from worker.domain.message import Unreadable
from worker.domain.scan import ScanStatus
from worker.sqs.events import KeyLayout, parse, to_body

LAYOUT = KeyLayout(bucket="image-uploads", upload_keys=UPLOAD_KEYS, processed_prefix="processed/")
KEY = "uploads/user_1/my photo +1.jpg"
UPLOADED = {
    "detail-type": "Object Created",
    "time": "2024-01-01T12:00:00Z",
    "detail": {"bucket": {"name": "image-uploads"}, "object": {"key": KEY, "etag": "abc123"}},
}
NOTIFIED = {
    "Records": [
        {
            "eventVersion": "2.1",
            "eventName": "ObjectCreated:Put",
            "s3": {"bucket": {"name": "image-uploads"}, "object": {"key": "uploads/user_1/a.jpg"}},
        }
    ]
}


def parsed(body: object, *, requires_scan: bool | None = True) -> list[Job | Unreadable]:
    return parse(a_message(body=json.dumps(body)), LAYOUT, requires_scan=requires_scan)


@pytest.mark.parametrize("status", ScanStatus)
@pytest.mark.parametrize("is_wrapped", [False, True], ids=["plain", "by SNS"])
def test_a_scan_result_is_a_job_with_its_status(status: ScanStatus, *, is_wrapped: bool) -> None:
    event: Any = a_scan_result(KEY, status=status, version_id="v1")
    if is_wrapped:
        event = {"TopicArn": "arn:aws:sns:x:1:t", "Message": json.dumps(event)}
    (job,) = parsed(event)
    assert job == Job(
        bucket="image-uploads",
        key=KEY,
        user_id="user_1",
        image_id="my photo +1",
        version=SourceVersion(
            e_tag="abc123",
            version_id="v1",
            sequencer=None,
            uploaded_at=datetime(2024, 1, 1, 12, 0, 30, tzinfo=UTC),
        ),
        scan=status,
    )


def test_with_required_scans_no_event_of_an_upload_is_a_job() -> None:
    for event in (UPLOADED, NOTIFIED, {"TopicArn": "x", "Message": json.dumps(NOTIFIED)}):
        assert parsed(event) == []
        assert all(isinstance(part, Job) for part in parsed(event, requires_scan=False))
        assert all(isinstance(part, Job) for part in parsed(event, requires_scan=None)), "a dead letter"


def test_without_required_scans_a_scan_result_is_not_lost_but_becomes_a_dead_letter() -> None:
    (part,) = parsed(a_scan_result(KEY), requires_scan=False)
    assert isinstance(part, Unreadable)
    assert "set WORKER_REQUIRE_SCAN=true, or remove the rule" in part.reason
    (dead_letter,) = parsed(json.loads(part.body), requires_scan=None)
    assert isinstance(dead_letter, Job)


def test_a_job_that_is_sent_again_has_no_scan_result() -> None:
    (job,) = parsed(a_scan_result(KEY))
    assert isinstance(job, Job)
    forged = json.loads(to_body(job, reason="redriven")) | {"scan": "NO_THREATS_FOUND", "supersedes": False}
    (again,) = parsed(forged)
    assert isinstance(again, Job)
    assert (again.scan, again.supersedes) == (None, True)


@pytest.mark.parametrize("key", ["processed/user_1/a.jpg", "uploads/user_1/"])
def test_results_and_folders_are_skipped(key: str) -> None:
    assert all(not isinstance(part, Job) for part in parsed(a_scan_result(key)))
    assert parsed(a_scan_result("processed/user_1/a.jpg")) == []


def changed(*path: str, to: object = None) -> dict[str, Any]:
    event = deepcopy(a_scan_result(KEY))
    place: Any = event
    for name in path[:-1]:
        place = place[name]
    if to is None:
        del place[path[-1]]
    else:
        place[path[-1]] = to
    return event


@pytest.mark.parametrize(
    ("event", "reason"),
    [
        (changed("detail"), "detail is not a JSON object"),
        (changed("detail", to=[]), "detail is not a JSON object"),
        (changed("detail", "s3ObjectDetails"), "detail.s3ObjectDetails is not"),
        (changed("detail", "scanResultDetails"), "detail.scanResultDetails is not"),
        (changed("detail", "scanResultDetails", "scanResultStatus"), "it has no scanResultStatus"),
        (changed("detail", "scanResultDetails", "scanResultStatus", to="CLEAN"), "known are NO_THREATS"),
        (changed("detail", "scanResultDetails", "scanResultStatus", to="no_threats_found"), "known are"),
        (changed("detail", "scanResultDetails", "scanResultStatus", to=["NO_THREATS_FOUND"]), "it has no"),
        (changed("detail", "s3ObjectDetails", "eTag"), "it has no eTag"),
        (changed("detail", "s3ObjectDetails", "eTag", to=""), "it has no eTag"),
        (changed("detail", "s3ObjectDetails", "objectKey"), "it has no objectKey"),
        (changed("detail", "s3ObjectDetails", "objectKey", to="elsewhere/a.jpg"), "elsewhere/a.jpg"),
        (changed("detail", "s3ObjectDetails", "bucketName", to="another"), "its bucket is 'another'"),
        (changed("time", to="yesterday"), "its time 'yesterday' is not"),
        (
            changed("detail-type", to="GuardDuty Malware Protection Post Scan Action Failed"),
            "it is not an S3",
        ),
    ],
)
def test_a_damaged_scan_result_is_unreadable_with_a_reason(event: dict[str, Any], reason: str) -> None:
    (part,) = parsed(event)
    assert isinstance(part, Unreadable)
    assert reason in part.reason


@given(
    st.sampled_from([("detail",), ("detail", "s3ObjectDetails"), ("detail", "scanResultDetails")]),
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=5), inner, max_size=2),
        max_leaves=5,
    ),
)
def test_any_other_content_yields_reasons_and_raises_nothing(path: tuple[str, ...], content: Any) -> None:
    (part,) = parsed(changed(*path, to=[] if content is None else content))
    assert isinstance(part, Unreadable)
