import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.support.builders import UPLOAD_KEYS
from worker.domain.errors import UnreadableMessageError
from worker.domain.keys import UploadKey, next_image_id


def parsed(key: str) -> UploadKey:
    return UPLOAD_KEYS.parse_key(key)


@pytest.mark.parametrize(
    ("key", "expected"),
    [
        ("uploads/user_1/img_1.jpg", UploadKey("user_1", "img_1")),
        ("uploads/user_1/IMG_0001.JPG", UploadKey("user_1", "IMG_0001")),
        ("uploads/user_1/one+one.png", UploadKey("user_1", "one+one")),
        ("uploads/user_1/one%2Bone.png", UploadKey("user_1", "one%2Bone")),
        ("uploads/user_1/my holiday.jpeg", UploadKey("user_1", "my holiday")),
        ("uploads/Ærø/日本 🏝️.webp", UploadKey("Ærø", "日本 🏝️")),
        ("uploads/user_1/2024/june/beach.jpg", UploadKey("user_1", "2024/june/beach")),
        ("uploads/user_1/v1.2/beach", UploadKey("user_1", "v1.2/beach")),
        ("uploads/user_1//img.jpg", UploadKey("user_1", "/img")),
        ("uploads/user_1/img", UploadKey("user_1", "img")),
        ("uploads/user_1/img.", UploadKey("user_1", "img")),
        ("uploads/user_1/img.2.final.jpg", UploadKey("user_1", "img.2.final")),
        ("uploads/user_1/.jpg", UploadKey("user_1", ".jpg")),
        ("uploads/user_1/folder/.hidden", UploadKey("user_1", "folder/.hidden")),
        ("uploads/user_1/a..jpg", UploadKey("user_1", "a.")),
        ("uploads/uploads/uploads/img.jpg", UploadKey("uploads", "uploads/img")),
        ("uploads/user_1/user_profile/a.jpg", UploadKey("user_1", "user_profile/a")),
        ("uploads/user_1/old/user_profile.jpg", UploadKey("user_1", "old/user_profile")),
        ("uploads/user_profile/img.jpg", UploadKey("user_profile", "img")),
    ],
)
def test_a_key_contains_its_user_and_image(key: str, expected: UploadKey) -> None:
    assert expected == parsed(key)


@pytest.mark.parametrize(
    "key",
    [
        "",
        "uploads/",
        "uploads/user_1",
        "uploads/user_1/",
        "uploads//img.jpg",
        "uploads/user_1/folder/",
        "upload/user_1/img.jpg",
        "/uploads/user_1/img.jpg",
        "Uploads/user_1/img.jpg",
        "processed/user_1/img.jpg",
    ],
)
def test_a_key_of_another_form_is_rejected(key: str) -> None:
    with pytest.raises(
        UnreadableMessageError, match=r"does not have the form uploads/\{userId\}/\{imageId\}"
    ):
        parsed(key)


@pytest.mark.parametrize(
    "key",
    [
        "uploads/user_1/../user_2/img.jpg",
        "uploads/user_1/./img.jpg",
        "uploads/../user_1/img.jpg",
        "uploads/./img.jpg",
        "uploads/user_1/folder/..",
        "uploads/user_1/..",
        "uploads/user_1/..jpg",
        "uploads/user_1/...jpg",
    ],
)
def test_a_key_that_programs_resolve_to_another_key_is_rejected(key: str) -> None:
    with pytest.raises(UnreadableMessageError, match=r"has a segment '\.' or '\.\.'"):
        parsed(key)


@pytest.mark.parametrize(
    "name",
    ["user_profile", "user_profile.jpg", "user_profile.", "console_operation", "console_operation.jpg"],
)
def test_the_image_ids_of_items_that_are_not_images_are_reserved(name: str) -> None:
    with pytest.raises(UnreadableMessageError, match="reserved image id"):
        parsed(f"uploads/user_1/{name}")


DOTS = {".", ".."}
USERS = st.text(st.characters(exclude_characters="/"), min_size=1).filter(lambda user: user not in DOTS)
IMAGES = st.text(min_size=1).filter(
    lambda name: not name.endswith("/") and name != "user_profile" and DOTS.isdisjoint(name.split("/"))
)


# Not "aae" nor any other extension of a file that is stored with a photograph: the ids of those have it.
EXTENSIONS = st.text("bcdgh012456789", min_size=1)


@given(USERS, IMAGES, EXTENSIONS)
def test_a_key_built_from_a_user_and_an_image_parses_back(user: str, image: str, extension: str) -> None:
    assert UploadKey(user, image) == parsed(f"uploads/{user}/{image}.{extension}")


@given(st.text())
def test_any_key_is_parsed_or_rejected(rest: str) -> None:
    try:
        found = parsed(f"uploads/{rest}")
    except UnreadableMessageError:
        return
    assert rest.startswith(f"{found.user_id}/{found.image_id}")
    assert "/" not in found.user_id
    assert found.user_id
    assert found.image_id
    assert found.image_id != "user_profile"
    assert DOTS.isdisjoint(rest.split("/"))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("IMG_0001.HEIC", "IMG_0001"),
        ("IMG_0001.jpg", "IMG_0001"),
        ("IMG_0001.MOV", "IMG_0001.MOV"),
        ("2024/DSC_7.NEF", "2024/DSC_7.NEF"),
        ("DSC_7.jpg.xmp", "DSC_7.jpg.xmp"),
        ("notes", "notes"),
        (".mov", ".mov"),
    ],
)
def test_a_file_that_accompanies_a_photograph_keeps_its_extension(name: str, expected: str) -> None:
    assert parsed(f"uploads/user_1/{name}").image_id == expected


def test_an_upload_whose_image_id_is_taken_has_another_one() -> None:
    key = "uploads/user_1/2024/a.jpg"

    second = next_image_id("2024/a", key=key)
    assert second == "2024/a.jpg"
    third = next_image_id(second, key=key)
    assert third is not None
    assert re.fullmatch(r"2024/a\.jpg-[0-9a-f]{16}", third)
    assert next_image_id(third, key=key) is None
    assert {"2024/a", second, third} == UPLOAD_KEYS.image_ids(key)


# Few characters, so that names are often alike in all but case, Unicode form, extension or size.
WORD = st.text("aA@_.-/ \u00e9\u0301e", min_size=1, max_size=6)
NAMES = (
    st.tuples(
        WORD | st.sampled_from(["pic", "IMG_1", "pic_small", "pic@small"]),
        st.sampled_from(
            ["", ".jpg", ".JPG", ".png", ".HEIC", ".HEIC.jpg", ".mov", "@small.png", "_small.jpg"]
        ),
    )
    .map("".join)
    .filter(lambda name: not name.endswith("/"))
)


def is_accepted(name: str) -> bool:
    try:
        parsed(f"uploads/u/{name}")
    except UnreadableMessageError:
        return False
    return True


def image_ids_after(names: Iterable[str]) -> dict[str, str]:
    """Return the image id of each upload, in the order in which they are claimed."""
    key_by_id: dict[str, str] = {}
    for name in names:
        key = f"uploads/u/{name}"
        image_id: str | None = parsed(key).image_id
        while image_id in key_by_id:
            image_id = next_image_id(image_id, key=key)
        assert image_id is not None
        key_by_id[image_id] = key
    return key_by_id


@given(st.lists(NAMES.filter(is_accepted), unique=True, min_size=2, max_size=8))
def test_uploads_of_different_keys_have_different_image_ids_in_any_order(names: list[str]) -> None:
    forward, backward = image_ids_after(names), image_ids_after(reversed(names))

    assert len(forward) == len(backward) == len(names)
    for image_id, key in [*forward.items(), *backward.items()]:
        assert image_id in UPLOAD_KEYS.image_ids(key)
