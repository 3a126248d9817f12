from collections.abc import Sequence
from dataclasses import replace
from itertools import product

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import a_job
from worker.domain.errors import ImageIdTakenError, UnreadableMessageError
from worker.domain.job import Job
from worker.domain.key_template import KeyTemplateError
from worker.domain.keys import DEFAULT_UPLOAD_KEY, UploadKey, UploadKeyTemplate
from worker.domain.result_keys import DEFAULT_RESULT_KEY, ResultKeyTemplate


def template(text: str, *, user: str | None = None) -> UploadKeyTemplate:
    return UploadKeyTemplate.parse(text, prefix="uploads/", constant_user=user)


@pytest.mark.parametrize(
    ("text", "user", "key", "expected"),
    [
        ("photos/{imageId}.{ext}", "shop", "photos/2024/beach.jpg", UploadKey("shop", "2024/beach")),
        ("photos/{imageId}", "shop", "photos/2024/beach.jpg", UploadKey("shop", "2024/beach.jpg")),
        ("photos/{folders}/{imageId}.{ext}", "shop", "photos/2024/05/beach.jpg", UploadKey("shop", "beach")),
        ("photos/{folders}/{imageId}.{ext}", "shop", "photos/beach.jpg", UploadKey("shop", "beach")),
        ("photos/{folders}/{imageId}", "shop", "photos/2024/beach.jpg", UploadKey("shop", "beach.jpg")),
        ("photos/{folders}/IMG_{imageId}.{ext}", "s", "photos/a/IMG_7.jpg", UploadKey("s", "7")),
        ("{userId}/{imageId}.{ext}", None, "alice/2024/beach.jpg", UploadKey("alice", "2024/beach")),
        ("u/{userId}/raw/{imageId}/original.{ext}", None, "u/al/raw/7/original.png", UploadKey("al", "7")),
        ("{imageId}.{ext}", "shop", "beach.jpg", UploadKey("shop", "beach")),
        ("{prefix}{imageId}.{ext}", "shop", "uploads/beach.MOV", UploadKey("shop", "beach.MOV")),
    ],
)
def test_a_template_names_the_owner_and_the_image(
    text: str, user: str | None, key: str, expected: UploadKey
) -> None:
    keys = template(text, user=user)
    found = keys.parse_key(key)
    assert expected == found
    assert keys.is_key_of(key, user_id=found.user_id, image_id=found.image_id)
    assert not keys.is_key_of(key, user_id="mallory", image_id=found.image_id)


def test_the_image_id_may_be_a_hash_of_the_key() -> None:
    keys = template("photos/{imageId:hash}", user="shop")
    image_ids = [keys.parse_key(f"photos/2024/beach.{extension}").image_id for extension in ("jpg", "mov")]

    assert [len(image_id) for image_id in image_ids] == [32, 32]
    assert len(set(image_ids)) == 2


@pytest.mark.parametrize(
    ("text", "user", "key"),
    [
        ("photos/{imageId}.{ext}", "shop", "uploads/beach.jpg"),
        ("photos/{imageId}.{ext}", "shop", "photos/2024/"),
        ("photos/{folders}/{imageId}.{ext}", "shop", "photos/2024/"),
        ("photos/{imageId}.{ext}", "shop", "photos/../beach.jpg"),
        ("photos/{folders}/{imageId}.{ext}", "shop", "photos/./beach.jpg"),
        ("photos/{folders}/{imageId}.{ext}", "shop", "photos/2024/user_profile.jpg"),
        ("{userId}/{imageId}.{ext}", None, "beach.jpg"),
        ("{userId}/{imageId}/original.{ext}", None, "alice/original.jpg"),
    ],
)
def test_a_key_of_another_form_is_rejected(text: str, user: str | None, key: str) -> None:
    with pytest.raises(UnreadableMessageError):
        template(text, user=user).parse_key(key)


@pytest.mark.parametrize(
    ("text", "user", "reason"),
    [
        ("", "shop", "contains neither {imageId} nor {imageId:hash}; add one"),
        ("photos/{imageId}.{ext}", None, "set WORKER_UPLOAD_USER"),
        ("{prefix}{userId}/{imageId}.{ext}", "shop", "WORKER_UPLOAD_USER has no effect; remove one"),
        ("photos/{imageId}.{ext}", "a/b", "set that to a name without slashes"),
        ("photos/{imageId}.{ext}", "..", "set that to a name without slashes"),
        ("photos/{imageId}-{imageId:hash}", "shop", "keep one of them"),
        ("photos/{imageId}-{imageId}", "shop", "contains {imageId} 2 times"),
        ("photos/{id}.{ext}", "shop", "unknown placeholder {id}; use {userId}, {folders}, {imageId}"),
        ("photos/{prefix}{imageId}", "shop", "contains {prefix} after its beginning"),
        ("my photos/{imageId}", "shop", "contains ' '"),
        ("photos*/{imageId}", "shop", "contains '*'"),
        ("photos/{imageId}{ext}", "shop", "end it with .{ext}"),
        ("photos/{imageId}.{ext}/full", "shop", "end it with .{ext}"),
        ("photos/{imageId}/{folders}/a", "shop", "write {folders}/ before it"),
        ("photos/a{folders}/{imageId}", "shop", "write {folders}/ before it"),
        ("{folders}/{userId}/{imageId}", None, "write {userId}/ before them"),
        ("photos/{userId}-{imageId}", None, "write {userId}/ before them"),
        ("/photos/{imageId}", "shop", "makes keys with the segment ''"),
        ("photos//{imageId}", "shop", "makes keys with the segment ''"),
        ("photos/../{imageId}", "shop", "makes keys with the segment '..'"),
    ],
)
def test_a_template_that_does_not_determine_owner_and_image_is_invalid(
    text: str, user: str | None, reason: str
) -> None:
    with pytest.raises(KeyTemplateError) as caught:
        template(text, user=user)
    assert reason in str(caught.value)


def test_the_prefix_of_a_template_is_the_text_before_its_first_placeholder() -> None:
    assert template(DEFAULT_UPLOAD_KEY).prefix == "uploads/"
    assert template("a/b-{imageId}", user="shop").prefix == "a/b-"
    assert template("{userId}/{imageId}").prefix == ""


def test_the_objects_of_a_user_are_those_in_the_folder_or_the_uploads_of_the_constant_user() -> None:
    by_folder, constant = template("u/{userId}/in/{imageId}"), template("p/{folders}/{imageId}", user="shop")

    assert by_folder.user_prefix("alice") == "u/alice/in/"
    assert by_folder.is_of_user("u/alice/in/", "alice")
    assert not by_folder.is_of_user("u/alice/out/a.jpg", "alice")
    assert (constant.user_prefix("shop"), constant.user_prefix("alice")) == ("p/", None)
    assert constant.is_of_user("p/2024/a.jpg", "shop")
    assert not constant.is_of_user("p/2024/", "shop")
    assert not constant.is_of_user("p/2024/a.jpg", "alice")


TEMPLATES = [
    template(text, user=None if "{userId}" in text else "shop")
    for text in (
        DEFAULT_UPLOAD_KEY,
        "{prefix}{imageId}.{ext}",
        "{prefix}{imageId}",
        "{prefix}{folders}/{imageId}.{ext}",
        "{prefix}{folders}/{imageId}",
        "{prefix}{userId}/{folders}/{imageId:hash}",
        "{prefix}{imageId:hash}.{ext}",
        "{userId}/{imageId}/original.{ext}",
        "{prefix}IMG_{imageId}",
    )
]
RESULTS = [
    ResultKeyTemplate.parse(text, prefix="processed/")
    for text in (DEFAULT_RESULT_KEY, "{prefix}{userId}/{imageId}/{version}{@size}.{ext}")
]
# Few texts, so that names are often alike in all but case, folder, extension or size.
NAMES = st.lists(
    st.sampled_from(
        [
            *("photo", "IMG_", "a", "A", "/", "/original", ".", ".jpg", ".png", ".HEIC", ".MOV", "@"),
            *("_thumbnail", "@thumbnail", "@thumbnail.jpg", "\u00e9", "e\u0301"),
        ]
    ),
    min_size=1,
    max_size=5,
).map("".join)


def job_of(key: str, found: UploadKey) -> Job:
    return replace(a_job(), key=key, user_id=found.user_id, image_id=found.image_id)


def records_of(jobs: Sequence[Job]) -> dict[tuple[str, str], str]:
    """Return the key of the upload that each record is of, in the order in which they are claimed."""
    records: dict[tuple[str, str], str] = {}
    for each in jobs:
        job = each
        while (taken_by := records.get((job.user_id, job.image_id))) is not None:
            job = job.with_next_image_id(taken_by=taken_by)
        records[job.user_id, job.image_id] = job.key
    return records


@given(st.sampled_from(TEMPLATES), st.lists(NAMES, unique=True, min_size=2, max_size=8))
def test_different_keys_have_different_records_and_results_for_every_template(
    keys: UploadKeyTemplate, names: list[str]
) -> None:
    jobs = []
    for name in names:
        key = f"{keys.prefix}{name}"
        try:
            found = keys.parse_key(key)
        except UnreadableMessageError:
            continue
        jobs.append(job_of(key, found))
    for order in (jobs, jobs[::-1]):
        records = records_of(order)
        assert sorted(records.values()) == sorted(job.key for job in jobs)
        assert all(
            keys.is_key_of(key, user_id=user, image_id=image_id) for (user, image_id), key in records.items()
        )
        for results in RESULTS:
            made = [
                results.key(
                    user_id=user,
                    image_id=image_id,
                    extension="jpg",
                    size=size,
                    is_main=is_main,
                    version="0123456789ab",
                )
                for (user, image_id), (size, is_main) in product(
                    records, [("medium", True), ("thumbnail", False)]
                )
            ]
            assert len(made) == len(set(made)) == 2 * len(jobs)


@given(st.sampled_from(TEMPLATES), st.text("aA.-_ ", min_size=1, max_size=8), st.sampled_from(["", "jpg"]))
def test_a_new_upload_has_a_key_of_the_template(keys: UploadKeyTemplate, user: str, extension: str) -> None:
    owner = keys.constant_user or f"u{user}"
    key = keys.key(user_id=owner, name="img_0123456789abcdef", extension=extension)

    assert keys.parse_key(key).user_id == owner
    assert key.startswith(keys.prefix)
    assert "img_0123456789abcdef" in key
    assert keys.is_of_user(key, owner)


def test_an_upload_whose_every_image_id_is_taken_fails_with_the_key_that_has_the_last_one() -> None:
    job = job_of("uploads/user_1/a.jpg", UploadKey("user_1", "a"))
    last = job.with_next_image_id(taken_by="uploads/user_1/a.png").with_next_image_id(taken_by="x")
    with pytest.raises(ImageIdTakenError, match=r"is that of uploads/user_1/b\.jpg") as caught:
        last.with_next_image_id(taken_by="uploads/user_1/b.jpg")
    assert caught.value.code == "image_id_taken"
