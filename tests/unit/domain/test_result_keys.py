import re
from dataclasses import replace
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_report, after
from worker.domain.claim import Claimed, decide
from worker.domain.errors import KeyTooLongError
from worker.domain.focus import Focus
from worker.domain.image import Image
from worker.domain.job import Job, SourceVersion
from worker.domain.key_template import KeyTemplateError
from worker.domain.result_keys import (
    DEFAULT_RESULT_KEY,
    ResultKeyTemplate,
    version_of,
)
from worker.domain.status import StepName
from worker.domain.step import EXTENSIONS, with_focus
from worker.domain.transition import Transition, apply_all, step_ended, step_started

VERSIONED = "{prefix}{userId}/{imageId}/{version}{@size}.{ext}"


def parsed(template: str, *, prefix: str = "processed/") -> ResultKeyTemplate:
    return ResultKeyTemplate.parse(template, prefix=prefix)


def key_of(
    template: ResultKeyTemplate,
    *,
    user_id: str = "user_1",
    image_id: str = "img_1",
    size: str | None = None,
    extension: str = "jpg",
    version: str = "0123456789ab",
) -> str:
    """Return the key of a size, or of the main result for None."""
    return template.key(
        user_id=user_id,
        image_id=image_id,
        extension=extension,
        size=size or "medium",
        is_main=size is None,
        version=version,
    )


def test_by_default_the_key_of_the_main_result_has_no_size() -> None:
    assert key_of(parsed(DEFAULT_RESULT_KEY)) == "processed/user_1/img_1.jpg"


def test_by_default_the_key_of_another_size_ends_in_its_name() -> None:
    key = key_of(parsed(DEFAULT_RESULT_KEY), image_id="2024/img_1", extension="webp", size="small")

    assert key == "processed/user_1/2024/img_1@small.webp"


@pytest.mark.parametrize(
    ("image_id", "size", "expected"),
    [
        ("icon@2x", None, "icon@2x@.png"),
        ("icon@2x", "small", "icon@2x@small.png"),
        ("icon@", None, "icon@@.png"),
        ("a@b/icon", None, "a@b/icon.png"),
        ("pic_thumbnail", None, "pic_thumbnail.png"),
    ],
)
def test_an_image_id_with_the_separator_of_sizes_is_told_apart(
    image_id: str, size: str | None, expected: str
) -> None:
    key = key_of(parsed(DEFAULT_RESULT_KEY), user_id="u", image_id=image_id, extension="png", size=size)

    assert key == f"processed/u/{expected}"


@pytest.mark.parametrize(
    ("template", "main", "small"),
    [
        (
            VERSIONED,
            "processed/user_1/img_1/0123456789ab.jpg",
            "processed/user_1/img_1/0123456789ab@small.jpg",
        ),
        (
            "{prefix}{userId}/{imageId}-{version}{@size}.{ext}",
            "processed/user_1/img_1-0123456789ab.jpg",
            "processed/user_1/img_1-0123456789ab@small.jpg",
        ),
        (
            "processed/of/{userId}/{imageId}/{size}/{version}.{ext}",
            "processed/of/user_1/img_1/medium/0123456789ab.jpg",
            "processed/of/user_1/img_1/small/0123456789ab.jpg",
        ),
        (
            "{prefix}{userId}/{imageId}/{size}",
            "processed/user_1/img_1/medium",
            "processed/user_1/img_1/small",
        ),
    ],
)
def test_a_template_determines_the_keys(template: str, main: str, small: str) -> None:
    found = parsed(template)

    assert (key_of(found), key_of(found, size="small")) == (main, small)


@pytest.mark.parametrize(
    ("template", "reason"),
    [
        ("{userId}/{imageId}{@size}.{ext}", "does not begin with the prefix of results, 'processed/'; begin"),
        ("other/{userId}/{imageId}{@size}.{ext}", "does not begin with the prefix of results"),
        ("{prefix}{userId}/{prefix}{imageId}{@size}", "contains {prefix} after its beginning; remove"),
        ("{prefix}{userId}/{image}{@size}.{ext}", "unknown placeholder {image}; use {userId}, {imageId}"),
        ("{prefix}{userId}/{imageId}{@size}.{ext", "contains '{'; use letters"),
        ("{prefix}{userId}/{imageId}{@size}}.{ext}", "contains '}'; use letters"),
        ("{prefix}{userId}/{imageId} {@size}.{ext}", "contains ' '; use letters"),
        ("{prefix}{userId}/{imageId}?{@size}.{ext}", "contains '?'; use letters"),
        ("{prefix}{userId}/{imageId}{@size}.{ext}.{ext}", "contains {ext} 2 times; keep one"),
        ("{prefix}{imageId}{@size}.{ext}", "does not contain {userId}, so that users would share keys; add"),
        ("{prefix}{userId}/{version}{@size}", "does not contain {imageId}, so that images would share keys"),
        (
            "{prefix}{userId}/{imageId}.{ext}",
            "contains neither {@size} nor {size}, so that sizes would share",
        ),
        ("{prefix}{userId}/{imageId}/{size}{@size}", "contains both {@size} and {size}; keep one"),
        ("{prefix}{userId}-{imageId}{@size}.{ext}", "does not have {userId} as a segment of its own"),
        ("{prefix}{imageId}/{userId}/{size}.{ext}", "does not have {userId} as a segment of its own before"),
        ("{prefix}{userId}/{imageId}_{size}.{ext}", "next to {size}, so that keys could be equal; separate"),
        ("{prefix}{userId}/{imageId}{size}.{ext}", "next to {size}, so that keys could be equal; separate"),
        ("{prefix}{userId}/{imageId}/{size}{ext}", "next to {size}, so that keys could be equal; separate"),
        ("{prefix}{userId}/{imageId}{@size}.x{ext}", "next to {ext}, so that keys could be equal; separate"),
        ("{prefix}{userId}/{@size}/{imageId}", "has {@size} before {imageId}, so that the results of an"),
        (
            "{prefix}{version}/{userId}/{imageId}{@size}",
            "has {version} before {imageId}, so that",
        ),
        ("{prefix}{userId}/{imageId}{@size}-{version}", "next to {@size}, so that keys could be equal"),
        ("{prefix}{userId}/{imageId}/.{@size}", "makes keys with the segment '.'"),
        ("{prefix}{userId}/../{imageId}{@size}", "makes keys with the segment '..'"),
        ("{prefix}{userId}//{imageId}{@size}", "makes keys with the segment ''"),
        ("{prefix}{userId}/{imageId}/{size}/", "makes keys with the segment ''"),
    ],
)
def test_a_template_whose_keys_could_be_equal_or_wrong_is_invalid(template: str, reason: str) -> None:
    with pytest.raises(KeyTemplateError) as caught:
        parsed(template)

    assert reason in str(caught.value)


def test_a_key_that_s3_would_reject_is_too_long() -> None:
    with pytest.raises(KeyTooLongError, match="1,030 bytes"):
        key_of(parsed(DEFAULT_RESULT_KEY), image_id="i" * (1030 - len("processed/user_1/.jpg")))


# Few characters and names, so that parts of keys are often alike.
TEXTS = ["/", ".", "-", "_", "@", "/@", "a", "/a/", "./", "small"]
DOTS = {".", ".."}
USERS = st.text("a@.-", min_size=1, max_size=3).filter(lambda user: user not in DOTS)
IMAGES = st.text("aA@_.-/\u00e9\u0301", min_size=1, max_size=8).filter(
    lambda name: not name.endswith("/") and DOTS.isdisjoint(name.split("/"))
) | st.sampled_from(["a@small", "a/small", "a.small", "a.jpg", "small", "a/0123456789ab"])
SIZES = st.none() | st.sampled_from(["small", "a", "_a", "-", "jpg"])
EXTENSION = st.sampled_from(sorted(EXTENSIONS.values()))
VERSIONS = st.sampled_from(["0123456789ab", "aaaaaaaaaaaa"])
RESULTS = st.tuples(USERS, IMAGES, SIZES, EXTENSION, VERSIONS)
VALID = [
    DEFAULT_RESULT_KEY,
    VERSIONED,
    "{prefix}{userId}/{imageId}-{version}{@size}.{ext}",
    "{prefix}{userId}/{imageId}/{version}/{size}.{ext}",
    "{prefix}a/{userId}/-{imageId}.{size}.{ext}",
    "{prefix}{userId}/{imageId}{version}{@size}",
    "{prefix}{userId}/{imageId}@{version}{@size}@{ext}",
    "{prefix}{userId}/{imageId}.{size}.{version}",
]


def edited(template: str, edits: list[tuple[int, int, str]]) -> str:
    """Return a template with parts exchanged, and texts in place of others."""
    parts = re.findall(r"\{[^{}]*\}|[^{}]", template)[1:]
    for one, other, text in edits:
        first, second = one % len(parts), other % len(parts)
        parts[first], parts[second] = parts[second], text or parts[first]
    return "{prefix}" + "".join(parts)


EDITS = st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20), st.sampled_from(["", *TEXTS])), max_size=3)
TEMPLATES = st.builds(edited, st.sampled_from(VALID), EDITS)


def keys_differ(template: ResultKeyTemplate, results: list[tuple[str, str, str | None, str, str]]) -> bool:
    """Return whether all results of different images or sizes have different keys."""

    def key(result: tuple[str, str, str | None, str, str]) -> str:
        user, image, size, extension, version = result
        return key_of(template, user_id=user, image_id=image, size=size, extension=extension, version=version)

    return all(key(one) != key(other) for one, other in combinations(results, 2) if one[:3] != other[:3])


@given(st.sampled_from(VALID), st.lists(RESULTS, min_size=2, max_size=6))
def test_no_two_images_or_sizes_share_a_key(
    template: str, results: list[tuple[str, str, str | None, str, str]]
) -> None:
    assert keys_differ(parsed(template), results)


@settings(max_examples=300)
@given(TEMPLATES, st.lists(RESULTS, min_size=2, max_size=6))
def test_no_accepted_template_lets_two_images_or_sizes_share_a_key(
    text: str, results: list[tuple[str, str, str | None, str, str]]
) -> None:
    try:
        template = parsed(text)
    except KeyTemplateError:
        return
    assert keys_differ(template, results)


@given(st.sampled_from(VALID), RESULTS)
def test_the_keys_of_an_image_begin_with_its_prefixes(
    template: str, result: tuple[str, str, str | None, str, str]
) -> None:
    user, image, size, extension, version = result
    found = parsed(template)

    key = key_of(found, user_id=user, image_id=image, size=size, extension=extension, version=version)

    assert key.startswith(tuple(found.prefixes(user_id=user, image_id=image)))


def test_the_prefixes_of_an_image_exclude_most_others() -> None:
    assert parsed(DEFAULT_RESULT_KEY).prefixes(user_id="u", image_id="a") == [
        "processed/u/a@",
        "processed/u/a.",
    ]
    assert parsed(VERSIONED).prefixes(user_id="u", image_id="a") == ["processed/u/a/"]


def claimed(job: Job, *, recipe: str = "recipe") -> Image:
    decision = decide(None, job, a_claimant(recipe=recipe))
    assert isinstance(decision, Claimed)
    return decision.image


def test_an_upload_has_one_version_whatever_message_announces_it() -> None:
    first = a_job()
    listed = replace(first, version=replace(first.version, sequencer=None, version_id=None))

    assert version_of(claimed(first)) == version_of(claimed(listed))
    assert version_of(claimed(first)) == version_of(replace(claimed(first), attempt=7))


def test_a_new_upload_and_another_recipe_have_another_version() -> None:
    versions = [
        version_of(claimed(a_job())),
        version_of(claimed(a_job(upload=2))),
        version_of(claimed(a_job(), recipe="another")),
    ]

    assert len(set(versions)) == 3
    assert {len(version) for version in versions} == {12}


def test_equal_uploads_with_another_focal_point_have_another_version() -> None:
    def version(focus: Focus | None) -> str:
        image = claimed(a_job())
        moves: list[Transition] = [
            step_ended(a_report(StepName.VALIDATION), at=after(1)),
            step_started(StepName.RESIZE, at=after(1)),
            step_ended(with_focus(a_report(StepName.RESIZE), focus), at=after(2)),
        ]
        return version_of(apply_all(image, moves))

    assert len({version(None), version(Focus(0.4, 0.2)), version(Focus(0.4, 0.3))}) == 3
    assert version(None) == version_of(claimed(a_job()))


def test_uploads_whose_messages_have_no_e_tag_have_different_versions() -> None:
    def version(upload: int) -> str:
        job = a_job(upload=upload)
        source = SourceVersion(
            e_tag=None, version_id=None, sequencer=None, uploaded_at=job.version.uploaded_at
        )
        return version_of(claimed(replace(job, version=source)))

    assert version(1) == version(1) != version(2)
