"""Object keys: parse those of uploads, build those of results."""

from dataclasses import dataclass

from worker.domain.errors import UnreadableMessageError

PROFILE_IMAGE_ID = "user_profile"
"""The `imageId` of a user's profile in the table, which no image may have."""


_FOLDER_SUFFIXES = ("/", "_$folder$")
"""Ends of the keys of empty objects that programs show as folders: the S3 console's, and Hadoop's."""


def is_folder(key: str, size: object) -> bool:
    """Return whether an object is a folder: its key has the form of one, and it is empty as far as known."""
    return key.endswith(_FOLDER_SUFFIXES) and (size is None or size == 0)


@dataclass(frozen=True, slots=True)
class UploadKey:
    """User and image of `uploads/{userId}/{imageId}.{ext}`; the extension does not determine the format."""

    user_id: str
    image_id: str


def parse_upload_key(key: str, *, prefix: str) -> UploadKey:
    """
    Parse the key of an upload. The image id is everything after the user id, without the last extension.

    Raises:
        UnreadableMessageError: The key has another form, a segment `.` or `..`, or the reserved image id.
    """
    rest = key.removeprefix(prefix)
    user_id, slash, name = rest.partition("/")
    if rest == key or not slash or not user_id or not name or name.endswith("/"):
        message = f"the key {key!r} does not have the form {prefix}{{userId}}/{{imageId}}.{{ext}}"
        raise UnreadableMessageError(message)
    folder, slash, file_name = name.rpartition("/")
    stem, _, _ = file_name.rpartition(".")
    image_id = folder + slash + (stem or file_name)
    if image_id == PROFILE_IMAGE_ID:
        message = (
            f"the key {key!r} has the reserved image id {PROFILE_IMAGE_ID!r}; upload it under another name"
        )
        raise UnreadableMessageError(message)
    if not {".", ".."}.isdisjoint((user_id, *name.split("/"), *image_id.split("/"))):
        message = (
            f"the key {key!r} has a segment '.' or '..', which programs resolve to another key; rename it"
        )
        raise UnreadableMessageError(message)
    return UploadKey(user_id=user_id, image_id=image_id)


def result_key(*, prefix: str, user_id: str, image_id: str, extension: str, size: str | None = None) -> str:
    """
    Return the key of a result: `processed/{userId}/{imageId}.{ext}`, other sizes `..._{size}.{ext}`.

    Args:
        prefix: Key prefix of results, with its slash.
        user_id: Id of the owner.
        image_id: Id of the image.
        extension: File extension of the format, without the dot.
        size: Name of the size; None for the main one.
    """
    suffix = "" if size is None else f"_{size}"
    return f"{prefix}{user_id}/{image_id}{suffix}.{extension}"
