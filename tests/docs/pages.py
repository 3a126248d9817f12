"""The documentation pages, and the code blocks and commands in them."""

import re
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = tuple(
    sorted(
        [
            ROOT / "README.md",
            ROOT / "CONTRIBUTING.md",
            *(ROOT / "docs").glob("*.md"),
            *(ROOT / "docs/operations").glob("*.md"),
        ]
    )
)

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_INLINE = re.compile(r"`image-worker ([^`]+)`")
_ASSIGNMENT = re.compile(r"[A-Z][A-Z0-9_]*=")


@dataclass(frozen=True, slots=True)
class Block:
    """A code block: its language, its text, and the line of the page at which it starts."""

    language: str
    text: str
    line: int


@dataclass(frozen=True, slots=True)
class Line:
    """A shell command, which may span several lines; `number` is the first of them."""

    words: tuple[str, ...]
    number: int

    @property
    def text(self) -> str:
        return " ".join(self.words)

    @property
    def variables(self) -> dict[str, str]:
        """The variables that the line sets, if it does nothing else."""
        words = self.words[1:] if self.words[0] == "export" else self.words
        if not all(_ASSIGNMENT.match(word) for word in words):
            return {}
        return dict(word.split("=", 1) for word in words)

    @property
    def arguments(self) -> tuple[str, ...] | None:
        """The arguments of `image-worker`, if the line runs it."""
        return self.words[1:] if self.words[0] in {"image-worker", ".venv/bin/image-worker"} else None


def blocks(page: Path) -> list[Block]:
    """Return the code blocks of a page that have a language."""
    text = page.read_text(encoding="utf-8")
    return [
        Block(found[1], found[2], text.count("\n", 0, found.start(2)) + 1) for found in _BLOCK.finditer(text)
    ]


def lines(block: Block) -> Iterator[Line]:
    """Yield the commands of a shell block."""
    incomplete = ""
    first = block.line
    for number, text in enumerate(block.text.splitlines(), start=block.line):
        first = first if incomplete else number
        if text.endswith("\\"):
            incomplete += text[:-1]
            continue
        incomplete += text
        try:
            words = shlex.split(incomplete, comments=True)
        except ValueError:  # an open quotation mark: the command continues on the next line
            incomplete += "\n"
            continue
        incomplete = ""
        if words:
            yield Line(tuple(words), first)
    assert not incomplete, f"the block at line {block.line} ends in the middle of a command"


def inline_commands(page: Path) -> set[str]:
    """Return the arguments of `image-worker` commands in the text of a page."""

    return {found.strip() for found in _INLINE.findall(page.read_text(encoding="utf-8"))}
