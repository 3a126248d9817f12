"""
Object keys of results, built from a template so that no two images or sizes share a key.

A template is text with placeholders. `{version}` gives the results of a new upload, or of another recipe,
other keys, and so other URLs; the same upload has the same keys whenever it is processed by the same recipe.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final

from worker.domain import clock
from worker.domain.errors import KeyTooLongError
from worker.domain.image import Image
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
from worker.domain.keys import MAX_KEY_BYTES
from worker.domain.status import StepName

DEFAULT_RESULT_KEY: Final = "{prefix}{userId}/{imageId}{@size}.{ext}"

VERSION: Final = "{version}"
SIZE: Final = "{size}"
"""Name of the size."""
SIZE_UNLESS_MAIN: Final = "{@size}"
"""`@` and the name of the size; empty for the main result."""

PLACEHOLDERS: Final = (PREFIX, USER, IMAGE, SIZE_UNLESS_MAIN, SIZE, VERSION, EXTENSION)

SIZE_SEPARATOR: Final = "@"
"""Separates the image id from the name of the size; no name of a size contains it."""

_VERSION_DIGITS: Final = 12
_OF_SIZE_NAMES: Final = re.compile(r"[A-Za-z0-9_-]")
_OF_EXTENSIONS: Final = re.compile(r"[A-Za-z0-9]")


@dataclass(frozen=True, slots=True)
class ResultKeyTemplate:
    """
    A valid template; see `parse`.

    Attributes:
        parts: Texts and placeholders, in order.
    """

    parts: Sequence[str]

    @classmethod
    def parse(cls, template: str, *, prefix: str) -> "ResultKeyTemplate":
        """
        Return the template.

        Args:
            template: Text with `PLACEHOLDERS`; begins with the prefix or its placeholder.
            prefix: Prefix of all results, with its slash.

        Raises:
            KeyTemplateError: The template is invalid, or two images or sizes could have the same key.
        """
        first, *others = split_template(template, prefix=prefix) or [""]
        if not first.startswith(prefix):
            message = f"does not begin with the prefix of results, {prefix!r}; begin it with {PREFIX}"
            raise KeyTemplateError(message)
        below = [part for part in (first.removeprefix(prefix), *others) if part]
        require_known_parts(below, [placeholder for placeholder in PLACEHOLDERS if placeholder != PREFIX])
        _require_needed_parts(below)
        _require_readable_keys(below)
        found = cls((prefix, *below))
        _require_plain_segments(found)
        return found

    @property
    def has_version(self) -> bool:
        """Whether the key of a result changes with the upload and the recipe."""
        return VERSION in self.parts

    def user_prefix(self, user_id: str) -> str:
        """Return what the keys of all results of a user begin with, and those of no other user."""
        behind = self.parts.index(USER) + 1
        return "".join(user_id if part == USER else part for part in self.parts[:behind]) + "/"

    def prefixes(self, *, user_id: str, image_id: str) -> Sequence[str]:
        """Return what the keys of all results of an image begin with; those of some other images do, too."""
        behind = self.parts.index(IMAGE) + 1
        values = {USER: user_id, IMAGE: image_id}
        beginning = "".join(values.get(part, part) for part in self.parts[:behind])
        first, second = (
            part if part not in PLACEHOLDERS else "" for part in (*self.parts, "", "")[behind:][:2]
        )
        if SIZE_UNLESS_MAIN in self.parts[behind : behind + 1]:
            return [f"{beginning}{SIZE_SEPARATOR}", f"{beginning}{second}"]
        return [f"{beginning}{first}"]

    def key(
        self, *, user_id: str, image_id: str, extension: str, size: str, is_main: bool, version: str
    ) -> str:
        """
        Return the key of a result.

        Different images and sizes have different keys. Where `{@size}` follows text with its separator in the
        same segment, as in the image id `icon@2x`, the main result has the separator too: `icon@2x@.png`.

        Args:
            user_id: Id of the owner.
            image_id: Id of the image.
            extension: File extension of the format, without the dot.
            size: Name of the size, without slashes and separators.
            is_main: Whether it is the main result.
            version: Identifies upload and recipe: see `version_of`.

        Raises:
            KeyTooLongError: S3 would reject the key.
        """
        values: Mapping[str, str] = {
            USER: user_id,
            IMAGE: image_id,
            SIZE: size,
            VERSION: version,
            EXTENSION: extension,
        }
        key = ""
        for part in self.parts:
            if part == SIZE_UNLESS_MAIN:
                name, is_ambiguous = "" if is_main else size, SIZE_SEPARATOR in key.rpartition("/")[2]
                key += f"{SIZE_SEPARATOR}{name}" if name or is_ambiguous else ""
            else:
                key += values.get(part, part)
        length = len(key.encode(errors="surrogatepass"))
        if length > MAX_KEY_BYTES:
            raise KeyTooLongError(key=key, length_bytes=length, limit_bytes=MAX_KEY_BYTES)
        return key


def version_of(image: Image) -> str:
    """
    Return the text that stands for an image's upload and recipe in the keys of its results.

    It is the same for every message about the upload, and for every attempt once its steps have ended.
    """
    source = image.version
    if source.e_tag:
        identity = [source.e_tag]
    else:
        identity = [source.version_id or "", source.sequencer or "", clock.to_text(source.uploaded_at)]
    # Uploads of equal content may differ in their focal point.
    focus = str(image.detail_of(StepName.RESIZE).get("focus", ""))
    text = "\n".join([*identity, image.recipe or "", focus])
    return hashlib.sha256(text.encode()).hexdigest()[:_VERSION_DIGITS]


def _require_needed_parts(parts: Sequence[str]) -> None:
    for placeholder, whose in ((USER, "users"), (IMAGE, "images")):
        if placeholder not in parts:
            message = f"does not contain {placeholder}, so that {whose} would share keys; add it"
            raise KeyTemplateError(message)
    if (SIZE in parts) is (SIZE_UNLESS_MAIN in parts):
        message = (
            f"contains both {SIZE_UNLESS_MAIN} and {SIZE}; keep one of them"
            if SIZE in parts
            else f"contains neither {SIZE_UNLESS_MAIN} nor {SIZE}, so that sizes would share a key; add one"
        )
        raise KeyTemplateError(message)
    before, after = neighbours(parts, USER)
    if parts.index(USER) > parts.index(IMAGE) or not (before.endswith("/") and after.startswith("/")):
        message = (
            f"does not have {USER} as a segment of its own before {IMAGE}, so that users could share keys; "
            f"write {USER}/ before {IMAGE}"
        )
        raise KeyTemplateError(message)
    if early := [part for part in parts[: parts.index(IMAGE)] if part in PLACEHOLDERS and part != USER]:
        message = (
            f"has {early[0]} before {IMAGE}, so that the results of an image could not be listed; "
            f"write it behind {IMAGE}"
        )
        raise KeyTemplateError(message)


def _require_readable_keys(parts: Sequence[str]) -> None:
    """
    Require that what follows the image id can be read back from the end of a key: no two keys are equal then.

    A version has a fixed length. Other values end where a character begins that none of them contains.
    """
    for placeholder, of_value, what in (
        (SIZE, _OF_SIZE_NAMES, "letters, digits, _ or -"),
        (SIZE_UNLESS_MAIN, _OF_SIZE_NAMES, "letters, digits, _ or -"),
        (EXTENSION, _OF_EXTENSIONS, "letters or digits"),
    ):
        if placeholder not in parts:
            continue
        before, after = neighbours(parts, placeholder)
        characters = [after[:1] or "/", SIZE_SEPARATOR if placeholder == SIZE_UNLESS_MAIN else before[-1]]
        if any(text in "{}" or of_value.match(text) for text in characters):
            message = (
                f"has {what} or a placeholder next to {placeholder}, so that keys could be equal; "
                "separate it with another character, such as a dot"
            )
            raise KeyTemplateError(message)


def _require_plain_segments(template: ResultKeyTemplate) -> None:
    for is_main in (True, False):
        require_plain_segments(
            template.key(user_id="u", image_id="i", extension="jpg", size="s", is_main=is_main, version="v")
        )
