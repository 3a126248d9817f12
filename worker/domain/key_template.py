"""Templates of object keys: text with placeholders in braces, as in `uploads/{userId}/{imageId}.{ext}`."""

import re
from collections import Counter
from collections.abc import Sequence
from typing import Final

PREFIX: Final = "{prefix}"
USER: Final = "{userId}"
IMAGE: Final = "{imageId}"
EXTENSION: Final = "{ext}"

_PLACEHOLDER: Final = re.compile(r"(\{[^{}]*\})")
_OTHER_CHARACTER: Final = re.compile(r"[^A-Za-z0-9/._~@=+,!-]")


class KeyTemplateError(ValueError):
    """Raised for a template that is invalid; its message says why and what to do."""


def split_template(template: str, *, prefix: str) -> list[str]:
    """Return the texts and placeholders of a template, with the prefix in place of its placeholder."""
    if template.startswith(PREFIX):
        template = prefix + template.removeprefix(PREFIX)
    return [part for part in _PLACEHOLDER.split(template) if part]


def require_known_parts(parts: Sequence[str], known: Sequence[str]) -> None:
    """Raise a `KeyTemplateError` for unknown or repeated placeholders and unusual characters."""
    for part in parts:
        if part == PREFIX:
            message = f"contains {PREFIX} after its beginning; remove it there"
            raise KeyTemplateError(message)
        if part.startswith("{") and part not in known:
            message = f"contains the unknown placeholder {part}; use {', '.join(known)}"
            raise KeyTemplateError(message)
        if part not in known and (other := _OTHER_CHARACTER.search(part)):
            message = f"contains {other[0]!r}; use letters, digits, /._~@=+,!- and {', '.join(known)}"
            raise KeyTemplateError(message)
    for placeholder, times in Counter(part for part in parts if part in known).items():
        if times > 1:
            message = f"contains {placeholder} {times} times; keep one of them"
            raise KeyTemplateError(message)


def require_plain_segments(key: str) -> None:
    """Raise a `KeyTemplateError` if a key that a template makes has a segment that is empty or dots."""
    for segment in key.split("/"):
        if segment in {"", ".", ".."}:
            message = f"makes keys with the segment {segment!r}; write a name between two slashes"
            raise KeyTemplateError(message)


def neighbours(parts: Sequence[str], placeholder: str) -> tuple[str, str]:
    """Return the parts before and after a placeholder; a slash and nothing at the ends."""
    index = parts.index(placeholder)
    return parts[index - 1] if index else "/", parts[index + 1] if index + 1 < len(parts) else ""
