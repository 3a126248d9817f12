"""
Parse the object keys of uploads; `result_keys` builds those of results.

Uploads of different keys are always different images. The image id is the `{imageId}` of the key
`uploads/{userId}/{imageId}.{ext}`. If another key has it already, as `a.jpg` after `a.png`, the image id has
the extension too, and if that is taken as well, it ends in a hash of the key.
"""

import hashlib
from dataclasses import dataclass

from worker.domain.errors import UnreadableMessageError

MAX_KEY_BYTES = 1024
"""Limit of S3 for the length of a key in UTF-8."""

PROFILE_IMAGE_ID = "user_profile"
"""The `imageId` of a user's profile in the table, which no image may have."""

OPERATION_IMAGE_ID = "console_operation"
"""The `imageId` of the console's operations in the table, which no image may have."""

RESERVED_IMAGE_IDS = frozenset({PROFILE_IMAGE_ID, OPERATION_IMAGE_ID})
"""Image ids of items that are not images."""

_FOLDER_SUFFIXES = ("/", "_$folder$")
"""Ends of the keys of empty objects that programs show as folders: the S3 console's, and Hadoop's."""

_COMPANION_EXTENSIONS = frozenset(
    [
        *("mov", "mp4", "m4v", "3gp", "avi", "mts", "wav", "m4a", "aae", "xmp", "thm", "lrv", "pp3", "dop"),
        *("3fr", "arw", "cr2", "cr3", "crw", "dng", "erf", "iiq", "kdc", "mef", "mos", "mrw", "nef", "nrw"),
        *("orf", "pef", "raf", "raw", "rw2", "srw", "x3f"),
    ]
)
"""
Extensions of films, sidecar files and raw files, which cameras and programs store with a photograph under its
name. Their image id has the extension, so that the photograph has the id without one, whichever of the two is
processed first.
"""

_HASH_DIGITS = 16


def is_folder(key: str, size: object) -> bool:
    """Return whether an object is a folder: its key has the form of one, and it is empty as far as known."""
    return key.endswith(_FOLDER_SUFFIXES) and (size is None or size == 0)


@dataclass(frozen=True, slots=True)
class UploadKey:
    """User and preferred image id of an upload's key; the extension does not determine the format."""

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
    image_id = _without_extension(name)
    if image_id in RESERVED_IMAGE_IDS:
        message = f"the key {key!r} has the reserved image id {image_id!r}; upload it under another name"
        raise UnreadableMessageError(message)
    if not {".", ".."}.isdisjoint((user_id, *name.split("/"), *image_id.split("/"))):
        message = (
            f"the key {key!r} has a segment '.' or '..', which programs resolve to another key; rename it"
        )
        raise UnreadableMessageError(message)
    is_companion = name[len(image_id) + 1 :].lower() in _COMPANION_EXTENSIONS
    return UploadKey(user_id=user_id, image_id=name if is_companion else image_id)


def image_ids(key: str, *, prefix: str) -> frozenset[str]:
    """Return every image id that the upload of a key can have; raises the errors of `parse_upload_key`."""
    user_id = parse_upload_key(key, prefix=prefix).user_id
    image_id: str | None = _without_extension(key.removeprefix(f"{prefix}{user_id}/"))
    ids = []
    while image_id is not None:
        ids.append(image_id)
        image_id = next_image_id(image_id, key=key)
    return frozenset(ids)


def next_image_id(image_id: str, *, key: str) -> str | None:
    """
    Return the image id that an upload has if another key has `image_id`; None after the last one.

    Args:
        image_id: Image id of the upload so far.
        key: Key of the upload.
    """
    folder, slash, _ = image_id.rpartition("/")
    with_extension = folder + slash + key.rpartition("/")[2]
    digest = hashlib.sha256(key.encode()).hexdigest()[:_HASH_DIGITS]
    with_hash = f"{with_extension}-{digest}"
    following = {with_extension: with_hash, with_hash: None}
    return following.get(image_id, with_extension)


def _without_extension(name: str) -> str:
    folder, slash, file_name = name.rpartition("/")
    return folder + slash + (file_name.rpartition(".")[0] or file_name)
