import json
from collections.abc import Callable
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, timedelta
from typing import Any
from urllib.parse import quote_plus

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from tests.support.builders import NOON, UPLOAD_KEYS, a_job, a_message
from worker.domain.job import Job, SourceVersion, padded_sequencer
from worker.domain.message import Unreadable
from worker.sqs.events import KeyLayout, parse, to_body

KEY_LAYOUT = KeyLayout(bucket="image-uploads", upload_keys=UPLOAD_KEYS, processed_prefix="processed/")

KEY = "uploads/user_1/img_1.jpg"
SEQUENCER = "0055AED6DCD90281E5"

UNUSUAL_KEYS = {
    "a plus": "uploads/user_1/one+one.jpg",
    "an encoded plus": "uploads/user_1/one%2Bone.jpg",
    "a percent sign": "uploads/user_1/100%.jpg",
    "spaces": "uploads/user_1/my holiday picture.jpg",
    "Unicode": "uploads/user_1/Ærø 日本 🏝️.jpg",
    "dots": "uploads/user_1/v1..2/a...jpg",
    "1,024 bytes": "uploads/user_1/" + "é" * 502 + ".jpeg",
}


def an_s3_record(key: str = KEY, *, name: str = "ObjectCreated:Put", **changes: object) -> dict[str, Any]:
    """Return one record of an S3 notification; its key is form-encoded, as S3 does it."""
    found = {"key": quote_plus(key, safe="/"), "size": 1024, "eTag": "abc123", "sequencer": SEQUENCER}
    return {
        "eventVersion": "2.1",
        "eventSource": "aws:s3",
        "awsRegion": "eu-west-1",
        "eventTime": "2024-01-01T12:00:00.123Z",
        "eventName": name,
        "s3": {
            "s3SchemaVersion": "1.0",
            "configurationId": "uploads",
            "bucket": {"name": "image-uploads", "arn": "arn:aws:s3:::image-uploads"},
            "object": {name: value for name, value in (found | changes).items() if value is not None},
        },
    }


def an_s3_notification(*records: object) -> dict[str, Any]:
    return {"Records": list(records)}


def from_sns(inner: object) -> dict[str, Any]:
    """Wrap a notification as SNS does: as text."""
    return {
        "Type": "Notification",
        "MessageId": "7c2b4d1e",
        "TopicArn": "arn:aws:sns:eu-west-1:123456789012:uploads",
        "Subject": "Amazon S3 Notification",
        "Message": json.dumps(inner),
        "Timestamp": "2024-01-01T12:00:01.000Z",
    }


def an_eventbridge_event(key: str = KEY) -> dict[str, Any]:
    """Return EventBridge's event, whose key is plain."""
    return {
        "version": "0",
        "id": "17793124-05d4-b198-2fde-7ededc63b103",
        "detail-type": "Object Created",
        "source": "aws.s3",
        "time": "2024-01-01T12:00:00.123Z",
        "resources": ["arn:aws:s3:::image-uploads"],
        "detail": {
            "version": "0",
            "bucket": {"name": "image-uploads"},
            "object": {"key": key, "size": 1024, "etag": "abc123", "sequencer": SEQUENCER},
            "reason": "PutObject",
        },
    }


def an_own_job(key: str = KEY) -> dict[str, Any]:
    return {
        "version": 1,
        "bucket": "image-uploads",
        "key": key,
        "eTag": "abc123",
        "sequencer": SEQUENCER,
        "uploadedAt": "2024-01-01T12:00:00.123Z",
        "size": 1024,
        "reason": "retry",
    }


SHAPES = {
    "S3": lambda key: an_s3_notification(an_s3_record(key)),
    "SNS": lambda key: from_sns(an_s3_notification(an_s3_record(key))),
    "EventBridge": an_eventbridge_event,
    "EventBridge over SNS": lambda key: from_sns(an_eventbridge_event(key)),
    "our own job": an_own_job,
}


def parsed(body: object) -> list[Job | Unreadable]:
    return parse(a_message(body if isinstance(body, str) else json.dumps(body)), KEY_LAYOUT)


def the_job(body: object) -> Job:
    (job,) = parsed(body)
    assert isinstance(job, Job)
    return job


def the_reason(body: object) -> str:
    (unreadable,) = parsed(body)
    assert isinstance(unreadable, Unreadable)
    return unreadable.reason


@pytest.mark.parametrize("shape", SHAPES)
def test_every_shape_of_message_yields_the_same_job(shape: str) -> None:
    expected = Job(
        bucket="image-uploads",
        key=KEY,
        user_id="user_1",
        image_id="img_1",
        version=SourceVersion(
            e_tag="abc123",
            version_id=None,
            sequencer=padded_sequencer(SEQUENCER),
            uploaded_at=NOON + timedelta(milliseconds=123),
        ),
        size_bytes=1024,
    )

    assert expected == the_job(SHAPES[shape](KEY))


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("key", UNUSUAL_KEYS.values(), ids=UNUSUAL_KEYS.keys())
def test_an_unusual_key_is_decoded_from_every_shape(shape: str, key: str) -> None:
    assert key == the_job(SHAPES[shape](key)).key


def test_a_plus_is_a_space_in_form_encoded_keys_only() -> None:
    record = an_s3_record()
    record["s3"]["object"]["key"] = "uploads/user_1/a+b%2Bc.jpg"

    assert the_job(an_s3_notification(record)).key == "uploads/user_1/a b+c.jpg"
    assert the_job(an_eventbridge_event("uploads/user_1/a+b%2Bc.jpg")).key == "uploads/user_1/a+b%2Bc.jpg"


@pytest.mark.parametrize("shape", SHAPES)
def test_a_key_of_more_than_1024_bytes_is_unreadable(shape: str) -> None:
    reason = the_reason(SHAPES[shape]("uploads/user_1/" + "é" * 505))

    assert reason == "its key has 1025 bytes; the limit of S3 is 1024"


@pytest.mark.parametrize("version", ["2.0", "2.1", "2.2", "2.9"])
@pytest.mark.parametrize(
    "name",
    [
        "ObjectCreated:Put",
        "ObjectCreated:Post",
        "ObjectCreated:Copy",
        "ObjectCreated:CompleteMultipartUpload",
        "s3:ObjectCreated:Put",
    ],
)
def test_every_way_to_create_an_object_is_an_upload_in_every_version_2(version: str, name: str) -> None:
    record = an_s3_record(name=name) | {"eventVersion": version}

    assert the_job(an_s3_notification(record)).image_id == "img_1"


def test_a_versioned_object_is_pinned_by_its_version() -> None:
    assert the_job(an_s3_notification(an_s3_record(versionId="v-7"))).version.version_id == "v-7"


def test_the_version_null_of_an_unversioned_object_is_none() -> None:
    assert the_job(an_s3_notification(an_s3_record(versionId="null"))).version.version_id is None


def test_the_quotes_around_an_etag_are_removed() -> None:
    assert the_job(an_s3_notification(an_s3_record(eTag='"abc123"'))).version.e_tag == "abc123"


def test_missing_fields_are_none_and_a_missing_time_is_that_of_the_message() -> None:
    record = an_s3_record(size=None, eTag=None, sequencer=None)
    del record["eventTime"]

    job = the_job(an_s3_notification(record))

    assert (job.size_bytes, job.version) == (
        None,
        SourceVersion(e_tag=None, version_id=None, sequencer=None, uploaded_at=NOON),
    )


@pytest.mark.parametrize("size", [-1, True, "1024", 1.5, [], {}])
def test_an_invalid_size_is_ignored(size: object) -> None:
    assert the_job(an_s3_notification(an_s3_record(size=size))).size_bytes is None


def test_several_records_become_jobs_in_their_order() -> None:
    keys = [f"uploads/user_1/img_{number}.jpg" for number in range(5)]

    jobs = parsed(an_s3_notification(*map(an_s3_record, keys)))

    assert keys == [job.key for job in jobs if isinstance(job, Job)]


@pytest.mark.parametrize("place", [0, 1, 2])
@pytest.mark.parametrize("bad", [None, "text", 7, [], {"eventVersion": "1.0"}, {"eventVersion": "2.1"}])
def test_an_unreadable_record_is_separated_from_the_others(place: int, bad: object) -> None:
    bad = bad if not isinstance(bad, dict) else an_s3_record("elsewhere/img.jpg") | bad
    records: list[object] = [an_s3_record("uploads/user_1/a.jpg"), an_s3_record("uploads/user_1/b.jpg")]
    records.insert(place, bad)

    parts = parsed(an_s3_notification(*records))

    assert [part.image_id for part in parts if isinstance(part, Job)] == ["a", "b"]
    unreadable = parts[place]
    assert isinstance(unreadable, Unreadable)
    assert an_s3_notification(bad) == json.loads(unreadable.body)


@pytest.mark.parametrize("wrapped", [False, True])
def test_the_test_event_of_s3_is_skipped(wrapped: bool) -> None:
    body = {
        "Service": "Amazon S3",
        "Event": "s3:TestEvent",
        "Time": "2024-01-01T12:00:00.000Z",
        "Bucket": "image-uploads",
        "RequestId": "5582815E1AEA5ADF",
        "HostId": "8cLeGAmw098X5cv4Zkwcmo8vvZa3eH3eKxsPzbB9wrR",
    }

    assert parsed(from_sns(body) if wrapped else body) == []


@pytest.mark.parametrize("name", ["ObjectRemoved:Delete", "s3:ObjectRemoved:Delete", "ObjectTagging:Put"])
def test_other_events_of_objects_are_skipped(name: str) -> None:
    assert parsed(an_s3_notification(an_s3_record(name=name))) == []


@pytest.mark.parametrize("wrapped", [False, True])
@pytest.mark.parametrize(
    "name",
    [
        "Object Deleted",
        "Object Restore Initiated",
        "Object Restore Completed",
        "Object Restore Expired",
        "Object Tags Added",
        "Object Tags Deleted",
        "Object ACL Updated",
        "Object Storage Class Changed",
        "Object Access Tier Changed",
        "Object Something New",
    ],
)
def test_other_eventbridge_events_of_s3_are_skipped(name: str, wrapped: bool) -> None:
    event = an_eventbridge_event() | {"detail-type": name}

    assert parsed(from_sns(event) if wrapped else event) == []


def with_size(body: dict[str, Any], size: int | None) -> dict[str, Any]:
    """Return the message about an object of another size."""
    found: dict[str, Any] = json.loads(json.dumps(body).replace("1024", json.dumps(size)))
    return found


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("size", [0, None])
@pytest.mark.parametrize(
    "key",
    [
        "uploads/",
        "uploads/alice/",
        "uploads/alice/2024/june/",
        "uploads/alice//",
        "uploads/alice_$folder$",
        "elsewhere/",
    ],
)
def test_a_folder_is_skipped_in_every_shape(shape: str, key: str, size: int | None) -> None:
    assert parsed(with_size(SHAPES[shape](key), size)) == []


@pytest.mark.parametrize("shape", SHAPES)
def test_an_object_with_content_is_never_taken_for_a_folder(shape: str) -> None:
    assert "does not have the form" in the_reason(SHAPES[shape]("uploads/alice/2024/"))


def test_a_folder_among_uploads_is_skipped() -> None:
    assert the_job(an_s3_notification(an_s3_record("uploads/alice/", size=0), an_s3_record())).key == KEY


@pytest.mark.parametrize("shape", SHAPES)
def test_results_are_skipped(shape: str) -> None:
    assert parsed(SHAPES[shape]("processed/user_1/img_1.jpg")) == []


def test_a_result_among_uploads_is_skipped() -> None:
    body = an_s3_notification(an_s3_record("processed/user_1/img_1.jpg"), an_s3_record())

    assert the_job(body).key == KEY


def without(body: dict[str, Any], *path: str) -> dict[str, Any]:
    """Return a copy without the value at the path."""
    copy = inner = deepcopy(body)
    for name in path[:-1]:
        inner = inner[name]
    del inner[path[-1]]
    return copy


RECORD = an_s3_record()
EVENT = an_eventbridge_event()
JOB = an_own_job()
UNREADABLE = {
    "nothing": ("", "it is not JSON"),
    "no JSON": ("uploads/user_1/img_1.jpg", "it is not JSON"),
    "half of a JSON object": ('{"Records": [', "it is not JSON"),
    "too many digits": ("9" * 5000, "it is not JSON"),
    "nested too deeply": ("[" * 100_000, "it is not JSON"),
    "a list": ([], "the message is not a JSON object"),
    "a number": (7, "the message is not a JSON object"),
    "null": (None, "the message is not a JSON object"),
    "an object of another's": ({"hello": "world"}, "it is not an S3 notification"),
    "another EventBridge event": (EVENT | {"detail-type": "Scheduled Event"}, "it is not an S3 notification"),
    "SNS around a list": (from_sns([]), "the message inside the SNS notification is not a JSON object"),
    "SNS around text": (from_sns({}) | {"Message": "hello"}, "it is not JSON"),
    "Records that are not a list": ({"Records": {}}, "its Records are not a list"),
    "Records that are null": ({"Records": None}, "its Records are not a list"),
    "a record that is text": (an_s3_notification("record"), "the record is not a JSON object"),
    "version 1": (an_s3_notification(RECORD | {"eventVersion": "1.0"}), "its eventVersion is '1.0'"),
    "version 20": (an_s3_notification(RECORD | {"eventVersion": "20.1"}), "its eventVersion is '20.1'"),
    "no event name": (an_s3_notification(without(RECORD, "eventName")), "eventName"),
    "an empty record": (an_s3_notification({}), "eventName"),
    "a record without s3": (an_s3_notification(without(RECORD, "s3")), "s3 is not a JSON object"),
    "a record without bucket": (
        an_s3_notification(without(RECORD, "s3", "bucket")),
        "s3.bucket is not a JSON",
    ),
    "a record without object": (
        an_s3_notification(without(RECORD, "s3", "object")),
        "s3.object is not a JSON",
    ),
    "a record without key": (an_s3_notification(without(RECORD, "s3", "object", "key")), "it has no key"),
    "an empty key": (an_s3_notification(an_s3_record("")), "it has no key"),
    "a bucket without name": (
        an_s3_notification(without(RECORD, "s3", "bucket", "name")),
        "it has no name",
    ),
    "no time": (
        an_s3_notification(RECORD | {"eventTime": "noon"}),
        "its time 'noon' is not an ISO 8601 timestamp",
    ),
    "a time that is a number": (
        an_s3_notification(RECORD | {"eventTime": 12}),
        "its time 12 is not an ISO 8601",
    ),
    "a time before time": (
        an_s3_notification(RECORD | {"eventTime": "0001-01-01T00:00:00+14:00"}),
        "is not an ISO 8601 timestamp",
    ),
    "an event without detail": (without(EVENT, "detail"), "detail is not a JSON object"),
    "an event without object": (without(EVENT, "detail", "object"), "detail.object is not a JSON object"),
    "an event without bucket": (without(EVENT, "detail", "bucket"), "detail.bucket is not a JSON object"),
    "an event without key": (without(EVENT, "detail", "object", "key"), "it has no key"),
    "a job of version 2": (JOB | {"version": 2}, "its version is 2; supported is 1"),
    "a job without bucket": (without(JOB, "bucket"), "it has no bucket"),
    "a job whose key is a number": (JOB | {"key": 7}, "it has no key"),
    "a key elsewhere": (an_own_job("elsewhere/user_1/img_1.jpg"), "does not have the form uploads/{userId}/"),
    "a key without a user": (an_own_job("uploads/img_1.jpg"), "does not have the form uploads/{userId}/"),
    "the profile's id": (an_own_job("uploads/user_1/user_profile.jpg"), "the reserved image id"),
    "another image's id": (JOB | {"imageId": "img_2"}, "its imageId 'img_2' is not one that"),
    "an image id that is a list": (JOB | {"imageId": ["img_1"]}, "its imageId ['img_1'] is not one that"),
    "a key that is not Unicode": (an_own_job("uploads/user_1/\ud800.jpg"), "is not valid Unicode"),
    "another bucket": (JOB | {"bucket": "other"}, "its bucket is 'other'; this worker processes"),
}


@pytest.mark.parametrize(("body", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_an_unreadable_message_has_a_reason(body: object, reason: str) -> None:
    assert reason in the_reason(body)


@pytest.mark.parametrize(("body", "reason"), UNREADABLE.values(), ids=UNREADABLE.keys())
def test_the_body_of_an_unreadable_part_is_unreadable_for_the_same_reason(body: object, reason: str) -> None:
    (part,) = parsed(body)

    assert isinstance(part, Unreadable)
    assert reason in the_reason(part.body)


@pytest.mark.parametrize("text", ["\ud800", "\x00", "\x1b[31m"])
@pytest.mark.parametrize(
    "body",
    [
        lambda text: an_s3_notification(RECORD | {"eventVersion": text}),
        lambda text: an_s3_notification(RECORD | {"eventTime": text}),
        lambda text: JOB | {"version": text},
        lambda text: JOB | {"bucket": text},
        an_own_job,
        lambda text: an_own_job(f"uploads/user_1/{text}/user_profile/"),
    ],
    ids=["event version", "time", "job version", "bucket", "key", "folder"],
)
def test_a_reason_is_text_that_a_message_attribute_can_carry(
    body: Callable[[str], object], text: str
) -> None:
    assert the_reason(body(text)).isprintable()


@pytest.mark.parametrize(
    "body",
    [JOB | {"version": 2, "priority": "low"}, {"version": 3, "images": [{"id": "img_1"}]}],
    ids=["2", "3"],
)
def test_a_job_of_a_newer_version_is_unreadable_for_this_one_only(body: dict[str, Any]) -> None:
    (part,) = parsed(body)

    assert isinstance(part, Unreadable)
    assert part.is_newer
    assert json.loads(part.body) == body
    assert "a newer version of image-worker has sent it; update image-worker" in part.reason


@pytest.mark.parametrize("version", [0, -1, None, "2", [2], 1.5])
def test_a_job_whose_version_no_worker_writes_is_unreadable_for_all(version: object) -> None:
    (part,) = parsed(JOB | {"version": version})

    assert isinstance(part, Unreadable)
    assert not part.is_newer


def test_fields_that_a_newer_version_has_added_to_a_job_are_sent_on_with_it() -> None:
    added = {"priority": 1.5, "labels": ["a", None], "inner": {"x": True}}

    job = the_job(JOB | added)

    sent = json.loads(to_body(job, reason="redrive"))
    assert {name: sent[name] for name in added} == added
    assert sent["reason"] == "redrive"
    assert the_job(sent) == the_job(JOB)


def test_only_the_first_matching_shape_is_read() -> None:
    assert the_job(an_s3_notification(an_s3_record()) | an_own_job("uploads/user_2/img_2.jpg")).key == KEY


KEYS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=60).map(
    lambda name: f"uploads/user_1/{name}.jpg"
)


def is_accepted(key: str) -> bool:
    """Return whether the key has neither the reserved image id nor a segment of dots."""
    segments = {*key.split("/"), *key.removesuffix(".jpg").split("/")}
    return key != "uploads/user_1/user_profile.jpg" and segments.isdisjoint({".", ".."})


@given(KEYS.filter(is_accepted))
def test_any_key_is_the_same_in_every_shape(key: str) -> None:
    assert {key} == {the_job(shape(key)).key for shape in SHAPES.values()}


MOMENTS = st.datetimes(min_value=NOON.replace(tzinfo=None, year=1000), timezones=st.just(UTC)).map(
    lambda at: at.replace(microsecond=at.microsecond // 1000 * 1000)
)
WORDS = st.text(st.characters(exclude_characters='"', exclude_categories=["Cs"]), min_size=1)


@given(
    st.builds(
        Job,
        bucket=st.just("image-uploads"),
        key=st.just(KEY),
        user_id=st.just("user_1"),
        image_id=st.just("img_1"),
        version=st.builds(
            SourceVersion,
            e_tag=st.none() | WORDS,
            version_id=st.none() | WORDS.filter(lambda version: version != "null"),
            sequencer=st.none() | st.text("0123456789ABCDEF", min_size=1, max_size=32).map(padded_sequencer),
            uploaded_at=MOMENTS,
        ),
        size_bytes=st.none() | st.integers(min_value=0),
    )
)
@example(a_job())
def test_a_job_survives_serialisation(job: Job) -> None:
    assert job == the_job(to_body(job, reason="retry"))


@pytest.mark.parametrize("key", ["uploads/user_1/a.png", "uploads/user_1/a.mov", "uploads/user_1/2024/a"])
def test_our_own_job_names_the_image_id_that_its_record_has(key: str) -> None:
    for image_id in UPLOAD_KEYS.image_ids(key):
        job = replace(the_job(an_own_job(key)), image_id=image_id)
        assert job == the_job(to_body(job, reason="retry"))


def test_the_body_of_a_job_has_its_reason() -> None:
    assert json.loads(to_body(a_job(), reason="dead letter"))["reason"] == "dead letter"


ANY_TEXT = st.text(st.characters() | st.sampled_from("\ud800\udfff\x00"))
ANY_NUMBER = st.integers() | st.floats() | st.sampled_from([10**400, -(10**400)])
ANY_LEAF = st.none() | st.booleans() | ANY_NUMBER | ANY_TEXT
ANY_JSON = st.recursive(
    ANY_LEAF,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(ANY_TEXT, inner, max_size=3),
    max_leaves=8,
)


def places_in(value: object) -> list[tuple[str | int, ...]]:
    """Return the path of every place in a JSON value, its root's first."""
    entries = (
        value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else []
    )
    return [(), *((name, *path) for name, inner in entries for path in places_in(inner))]


def put_in(value: Any, path: tuple[str | int, ...], replacement: object) -> object:
    """Return the value with something else at the path."""
    if not path:
        return replacement
    copy = value.copy()
    copy[path[0]] = put_in(value[path[0]], path[1:], replacement)
    return copy


@st.composite
def damaged_messages(draw: st.DrawFn) -> object:
    """Return a message that is well-formed but for anything at all at one or two of its places."""
    two = an_s3_notification(an_s3_record(), an_s3_record())
    body: object = draw(st.sampled_from([two, an_eventbridge_event(), an_own_job()]))
    for _ in range(draw(st.integers(1, 2))):
        body = put_in(body, draw(st.sampled_from(places_in(body))), draw(ANY_JSON))
    return from_sns(body) if draw(st.booleans()) else body


def assert_every_part_makes_sense(body: str) -> None:
    for part in parsed(body):
        match part:
            case Unreadable(reason=reason, body=alone):
                assert reason
                assert {Unreadable} == {type(again) for again in parsed(alone)}
            case Job(key=key, user_id=user_id, image_id=image_id):
                assert key.startswith(f"uploads/{user_id}/{image_id}")
                assert len(key.encode()) <= 1024


@given(damaged_messages())
def test_a_damaged_message_yields_jobs_or_reasons_and_raises_nothing(body: object) -> None:
    assert_every_part_makes_sense(json.dumps(body))


@given(ANY_JSON)
def test_any_json_yields_jobs_or_reasons_and_raises_nothing(body: object) -> None:
    assert_every_part_makes_sense(json.dumps(body))


@given(ANY_TEXT)
@example('{"Records": [{"s3": NaN}], "Event": Infinity}')
@example('{"Records": ' + "[" * 2000 + "]" * 2000 + "}")
def test_any_text_yields_jobs_or_reasons_and_raises_nothing(body: str) -> None:
    assert_every_part_makes_sense(body)
