"""
Object keys of uploads, by a template; `result_keys` builds those of results.

Uploads of different keys are always different images. The image id is the part of the key that the template
names, or a hash of the key. If another key has it already, as `a.jpg` after `a.png`, the image id has the
extension too, and if that is taken as well, it ends in a hash of the key.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.domain.errors import UnreadableMessageError
from worker.domain.key_template import (
    EXTENSION,
    IMAGE,
    PREFIX,
    USER,
    KeyTemplateError,
    neighbours,
    require_known_parts,
    require_plain_segments,
    split_template,
)

DEFAULT_UPLOAD_KEY: Final = "{prefix}{userId}/{imageId}.{ext}"

FOLDERS: Final = "{folders}"
"""Any number of folders, which are not part of the image id."""
_FOLDERS_SLASH: Final = f"{FOLDERS}/"
HASHED_IMAGE: Final = "{imageId:hash}"
"""Any text; the image id is a hash of the whole key."""

PLACEHOLDERS: Final = (PREFIX, USER, FOLDERS, IMAGE, HASHED_IMAGE, EXTENSION)

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
_IMAGE_HASH_DIGITS = 32


def is_folder(key: str, size: object) -> bool:
    """Return whether an object is a folder: its key has the form of one, and it is empty as far as known."""
    return key.endswith(_FOLDER_SUFFIXES) and (size is None or size == 0)


@dataclass(frozen=True, slots=True)
class UploadKey:
    """User and preferred image id of an upload's key; the extension does not determine the format."""

    user_id: str
    image_id: str


@dataclass(frozen=True, slots=True)
class UploadKeyTemplate:
    """
    A valid template of the keys of uploads; see `parse`.

    Attributes:
        parts: Texts and placeholders, in order.
        constant_user: Owner of all uploads, if their keys do not contain it.
        pattern: Matches the keys.
    """

    parts: Sequence[str]
    constant_user: str | None
    pattern: re.Pattern[str]

    @classmethod
    def parse(
        cls, template: str = DEFAULT_UPLOAD_KEY, *, prefix: str, constant_user: str | None = None
    ) -> "UploadKeyTemplate":
        """
        Return the template.

        Args:
            template: Text with `PLACEHOLDERS`.
            prefix: What `{prefix}` stands for, with its slash.
            constant_user: Owner of all uploads, for keys that do not contain it.

        Raises:
            KeyTemplateError: The template is invalid, or the owner of an upload is not determined.
        """
        parts: Sequence[str] = split_template(template, prefix=prefix)
        require_known_parts(parts, [placeholder for placeholder in PLACEHOLDERS if placeholder != PREFIX])
        _require_owner(parts, constant_user)
        _require_image(parts)
        _require_extension(parts)
        parts = _with_slash_of_folders(parts)
        found = cls(parts, constant_user, _pattern(parts))
        require_plain_segments(found.key(user_id="u", name="i", extension="jpg"))
        return found

    def __str__(self) -> str:
        return "".join(self.parts)

    @property
    def prefix(self) -> str:
        """What the keys of all uploads begin with; may be empty."""
        return self._beginning({})

    def user_prefix(self, user_id: str) -> str | None:
        """Return what the keys of all uploads of a user begin with; None if the user cannot have any."""
        if self.constant_user is not None:
            return self.prefix if user_id == self.constant_user else None
        return self._beginning({USER: user_id})

    def is_of_user(self, key: str, user_id: str) -> bool:
        """Return whether an object is one of a user: an upload, or another object in the user's folder."""
        prefix = self.user_prefix(user_id)
        if prefix is None or not key.startswith(prefix):
            return False
        return self.constant_user is None or self.pattern.fullmatch(key) is not None

    def parse_key(self, key: str) -> UploadKey:
        """
        Return the user and the preferred image id of an upload.

        Raises:
            UnreadableMessageError: The key has another form, a segment `.` or `..`, or a reserved image id.
        """
        user_id, image_id, extension = self._parts_of(key)
        is_companion = extension.lower() in _COMPANION_EXTENSIONS and HASHED_IMAGE not in self.parts
        return UploadKey(user_id, f"{image_id}.{extension}" if is_companion else image_id)

    def image_ids(self, key: str) -> frozenset[str]:
        """Return every image id that the upload of a key can have; raises the errors of `parse_key`."""
        _, plain_id, _ = self._parts_of(key)
        ids = []
        for first in (plain_id, self.parse_key(key).image_id):
            image_id: str | None = first
            while image_id is not None:
                ids.append(image_id)
                image_id = next_image_id(image_id, key=key)
        return frozenset(ids)

    def is_key_of(self, key: str, *, user_id: str, image_id: str) -> bool:
        """Return whether the upload of a key can be this image of this user."""
        try:
            return self.parse_key(key).user_id == user_id and image_id in self.image_ids(key)
        except UnreadableMessageError:
            return False

    def key(self, *, user_id: str, name: str, extension: str) -> str:
        """
        Return the key of a new upload.

        Args:
            user_id: Id of the owner.
            name: Unique name of the upload.
            extension: File extension without the dot; empty for none.
        """
        dotted = f".{extension}" if extension else ""
        has_extension = EXTENSION in self.parts
        image = name if has_extension else f"{name}{dotted}"
        values = {USER: user_id, IMAGE: image, HASHED_IMAGE: image, _FOLDERS_SLASH: "", EXTENSION: extension}
        key = "".join(values.get(part, part) for part in self.parts)
        return key if extension or not has_extension else key.removesuffix(".")

    def _beginning(self, values: Mapping[str, str]) -> str:
        beginning = ""
        for part in self.parts:
            if part.startswith("{") and part not in values:
                break
            beginning += values.get(part, part)
        return beginning

    def _parts_of(self, key: str) -> tuple[str, str, str]:
        """Return the user, the image id and the extension of a key."""
        match = self.pattern.fullmatch(key)
        if match is None:
            message = f"the key {key!r} does not have the form {self}"
            raise UnreadableMessageError(message)
        found = match.groupdict()
        user_id = found.get("user", self.constant_user or "")
        image_id, extension = found["image"], found.get("extension") or ""
        if HASHED_IMAGE in self.parts:
            image_id = hashlib.sha256(key.encode(errors="surrogatepass")).hexdigest()[:_IMAGE_HASH_DIGITS]
        if image_id in RESERVED_IMAGE_IDS:
            message = f"the key {key!r} has the reserved image id {image_id!r}; upload it under another name"
            raise UnreadableMessageError(message)
        if not {".", ".."}.isdisjoint((*key.split("/"), *image_id.split("/"))):
            message = (
                f"the key {key!r} has a segment '.' or '..', which programs resolve to another key; rename it"
            )
            raise UnreadableMessageError(message)
        return user_id, image_id, extension


def next_image_id(image_id: str, *, key: str) -> str | None:
    """
    Return the image id that an upload has if another key has `image_id`; None after the last one.

    Args:
        image_id: Image id of the upload so far.
        key: Key of the upload.
    """
    with_hash = f"-{hashlib.sha256(key.encode()).hexdigest()[:_HASH_DIGITS]}"
    if image_id.endswith(with_hash):
        return None
    folder, slash, name = image_id.rpartition("/")
    file_name = key.rpartition("/")[2]
    has_more = file_name.startswith(name) and file_name != name
    return f"{folder}{slash}{file_name}" if has_more else f"{image_id}{with_hash}"


def _require_owner(parts: Sequence[str], constant_user: str | None) -> None:
    if constant_user is not None and (constant_user in {"", ".", ".."} or "/" in constant_user):
        message = (
            f"has the owner {constant_user!r} from WORKER_UPLOAD_USER; set that to a name without slashes"
        )
        raise KeyTemplateError(message)
    if USER not in parts:
        if constant_user is None:
            message = (
                f"does not contain {USER}, so that uploads have no owner; add it, or set WORKER_UPLOAD_USER "
                "to the owner of all uploads"
            )
            raise KeyTemplateError(message)
        return
    if constant_user is not None:
        message = f"contains {USER}, so that WORKER_UPLOAD_USER has no effect; remove one of the two"
        raise KeyTemplateError(message)
    before, after = neighbours(parts, USER)
    early = [part for part in parts[: parts.index(USER)] if part in PLACEHOLDERS]
    if early or not (before.endswith("/") and after.startswith("/")):
        message = (
            f"does not have {USER} as a segment of its own before other placeholders, so that the uploads of "
            f"a user could not be listed; write {USER}/ before them"
        )
        raise KeyTemplateError(message)


def _require_image(parts: Sequence[str]) -> None:
    if (IMAGE in parts) is (HASHED_IMAGE in parts):
        message = (
            f"contains both {IMAGE} and {HASHED_IMAGE}; keep one of them"
            if IMAGE in parts
            else f"contains neither {IMAGE} nor {HASHED_IMAGE}; add one"
        )
        raise KeyTemplateError(message)
    if FOLDERS in parts:
        before, after = neighbours(parts, FOLDERS)
        is_late = parts.index(FOLDERS) > _index_of_image(parts)
        if is_late or not (before.endswith("/") and after.startswith("/")):
            message = f"does not have {FOLDERS} as a segment before the image id; write {FOLDERS}/ before it"
            raise KeyTemplateError(message)


def _require_extension(parts: Sequence[str]) -> None:
    if EXTENSION in parts:
        before, after = neighbours(parts, EXTENSION)
        if after or not before.endswith("."):
            message = f"does not have {EXTENSION} behind a dot at its end; end it with .{EXTENSION}"
            raise KeyTemplateError(message)


def _index_of_image(parts: Sequence[str]) -> int:
    return parts.index(IMAGE if IMAGE in parts else HASHED_IMAGE)


def _pattern(parts: Sequence[str]) -> re.Pattern[str]:
    """
    Return the pattern of the keys. An extension may be missing, together with its dot.

    The image id spans folders unless `{folders}` stands for them, and neither it nor its last segment is
    empty. A file name that only begins with a dot has no extension.
    """
    image = "(?P<image>[^/]+?)" if _FOLDERS_SLASH in parts else "(?P<image>.+?(?<!/))"
    patterns = {
        USER: "(?P<user>[^/]+)",
        _FOLDERS_SLASH: "(?:[^/]*/)*",
        IMAGE: image,
        HASHED_IMAGE: image,
        EXTENSION: r"(?:\.(?P<extension>[^./]*))?",
    }
    texts = [*parts[:-2], parts[-2].removesuffix("."), EXTENSION] if EXTENSION in parts else parts
    return re.compile("".join(patterns.get(text) or re.escape(text) for text in texts), re.DOTALL)


def _with_slash_of_folders(parts: Sequence[str]) -> Sequence[str]:
    """Return the parts with the slash behind `{folders}` as part of it: no folders, no slash."""
    return [
        _FOLDERS_SLASH if part == FOLDERS else part.removeprefix("/") if before == FOLDERS else part
        for before, part in zip(["", *parts], parts, strict=False)
    ]
