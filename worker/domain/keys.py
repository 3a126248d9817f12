"""The names of objects: where uploads lie and where their results go."""

from dataclasses import dataclass

from worker.domain.errors import UnreadableMessageError

PROFILE_IMAGE_ID = "user_profile"
"""The `imageId` under which a user's profile lies in the table; no image may be called so."""


@dataclass(frozen=True, slots=True)
class UploadKey:
    """Whom and what `uploads/{userId}/{imageId}.{ext}` names; the format is what the content says."""

    user_id: str
    image_id: str


def parse_upload_key(key: str, *, prefix: str) -> UploadKey:
    """
    Take an upload's key apart. The image id is all that follows the user, less the last extension.

    Raises:
        UnreadableMessageError: The key has another form, or names the profile's reserved id.
    """
    rest = key.removeprefix(prefix)
    user_id, slash, name = rest.partition("/")
    if rest == key or not slash or not user_id or not name or name.endswith("/"):
        message = f"the key {key!r} is not of the form {prefix}{{userId}}/{{imageId}}.{{ext}}"
        raise UnreadableMessageError(message)
    folder, slash, file_name = name.rpartition("/")
    stem, _, _ = file_name.rpartition(".")
    image_id = folder + slash + (stem or file_name)
    if image_id == PROFILE_IMAGE_ID:
        message = (
            f"the key {key!r} names the reserved image id {PROFILE_IMAGE_ID!r}; upload it by another name"
        )
        raise UnreadableMessageError(message)
    return UploadKey(user_id=user_id, image_id=image_id)


def result_key(*, prefix: str, user_id: str, image_id: str, extension: str, size: str | None = None) -> str:
    """
    Name a result: `processed/{userId}/{imageId}.{ext}`, other sizes `..._{size}.{ext}`.

    Args:
        prefix: Where results go, with its slash.
        user_id: The owner.
        image_id: The image.
        extension: Of the format that was written, without the dot.
        size: The rendition's name; None for the main one.
    """
    suffix = "" if size is None else f"_{size}"
    return f"{prefix}{user_id}/{image_id}{suffix}.{extension}"
