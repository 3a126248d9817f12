import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.errors import UnreadableMessageError
from worker.domain.keys import UploadKey, parse_upload_key, result_key


def parsed(key: str) -> UploadKey:
    return parse_upload_key(key, prefix="uploads/")


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


@pytest.mark.parametrize("name", ["user_profile", "user_profile.jpg", "user_profile."])
def test_the_image_id_of_profiles_is_reserved(name: str) -> None:
    with pytest.raises(UnreadableMessageError, match="reserved image id"):
        parsed(f"uploads/user_1/{name}")


DOTS = {".", ".."}
USERS = st.text(st.characters(exclude_characters="/"), min_size=1).filter(lambda user: user not in DOTS)
IMAGES = st.text(min_size=1).filter(
    lambda name: not name.endswith("/") and name != "user_profile" and DOTS.isdisjoint(name.split("/"))
)


@given(USERS, IMAGES, st.text("abcdefgh0123456789", min_size=1))
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


def test_the_key_of_the_main_result_has_no_size() -> None:
    key = result_key(prefix="processed/", user_id="user_1", image_id="img_1", extension="jpg")

    assert key == "processed/user_1/img_1.jpg"


def test_the_key_of_another_size_ends_in_its_name() -> None:
    key = result_key(
        prefix="processed/", user_id="user_1", image_id="2024/img_1", extension="webp", size="small"
    )

    assert key == "processed/user_1/2024/img_1_small.webp"
