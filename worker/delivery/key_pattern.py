"""Match keys with patterns: `*` within a folder, `**` across folders, `?`, `[abc]` and `{jpg,png}`."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import product
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from wcmatch.glob import WcMatcher

MAX_PATTERN_CHARACTERS: Final = 512
MAX_ACROSS_FOLDERS: Final = 2
"""
`**` in a pattern at most. Uploaders choose keys, and each `**` multiplies the time that a key of 500 folders
takes: 0.1 s with two, 5 s with three.
"""

_SPECIAL: Final = re.compile(r"[*?\[{\\]")
_WILDCARDS: Final = re.compile(r"(^\*\*$|\*\*/|/\*\*$|\*|\?)")
_LETTERS: Final = "\ue000", "\ue001"
"""Characters that no pattern contains: only a wildcard matches them."""


@dataclass(frozen=True)
class KeyPattern:
    """
    A pattern of object keys.

    Attributes:
        text: The pattern, as in `uploads/*/avatars/**`.
    """

    text: str

    def matches(self, key: str) -> bool:
        """Return whether the whole key matches."""
        return self._matcher.match(key)

    @cached_property
    def literal_prefix(self) -> str:
        """What all keys that match begin with."""
        special = _SPECIAL.search(self.text)
        return self.text[: special.start()] if special else self.text

    def covers(self, other: "KeyPattern") -> bool:
        """
        Return whether every key that another pattern matches is matched by this one.

        It is tried on examples of the other's keys, in which wildcards stand for characters that only a
        wildcard matches. Of a pattern with `[`, `{` or an escape, only an equal one is known to cover it.
        """
        if self.text == other.text:
            return True
        if re.search(r"[\[{\\]", other.text):
            return False
        return all(map(self.matches, other.examples()))

    def examples(self) -> Iterator[str]:
        """Yield keys that match, for each way in which a wildcard matches."""
        parts = _WILDCARDS.split(self.text)
        choices = [
            _examples_of(part, before=before) for before, part in zip(["", *parts], parts, strict=False)
        ]
        yield from map("".join, product(*choices))

    @cached_property
    def _matcher(self) -> "WcMatcher[str]":
        # Imported here, because most workers have no patterns.
        from wcmatch import glob

        flags = glob.GLOBSTAR | glob.BRACE | glob.DOTGLOB | glob.CASE | glob.FORCEUNIX
        return glob.compile(self.text, flags=flags)


def _examples_of(part: str, *, before: str) -> tuple[str, ...]:
    one, two = _LETTERS
    folders = one, one + two, f"{one}/{two}"
    match part:
        case "**":
            return folders
        case "**/":
            return "", *(f"{each}/" for each in folders)
        case "/**":
            return tuple(f"/{each}" for each in folders)
        case "*":
            # It matches nothing only beside other characters of its folder.
            return (one, one + two, "") if before and not before.endswith("/") else (one, one + two)
        case "?":
            return (one,)
        case _:
            return (part,)
