"""Ids quoted for a shell and for Python."""

import ast
import subprocess

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from worker.domain.printable import UNPRINTABLE
from worker.presentation.quoting import python_text, shell_command, shell_word

HOSTILE = (
    "plain",
    "with space",
    "it's",
    "$(touch x)`id`",
    "a\nb\tc",
    "\x1b[31m'\\0123",
    "\u202egpj.exe",
    "'; rm -rf /; '",
    "-rf",
    "\\",
    "",
    "ünï ☺",
)


def words_of(line: str) -> list[str]:
    """Return the words that bash makes of a command line."""
    script = f"printf '%s\\0' {line}"
    ended = subprocess.run(
        ["/bin/bash", "-c", script], capture_output=True, check=True, env={"LC_ALL": "C.UTF-8"}
    )
    return ended.stdout.decode().split("\0")[:-1]


def test_a_shell_reads_every_word_as_it_was() -> None:
    assert words_of(shell_command(HOSTILE)) == list(HOSTILE)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"])), min_size=1))
def test_a_shell_reads_any_text_as_it_was(words: list[str]) -> None:
    assert words_of(shell_command(words)) == words


@given(st.text())
def test_python_reads_any_text_as_it_was_and_nothing_is_invisible(text: str) -> None:
    assert ast.literal_eval(python_text(text)) == text
    assert UNPRINTABLE.search(python_text(text)) is None


@pytest.mark.parametrize("text", ["\x1b[31m", "a\x85b", "\u202e", "\U000e0041"])
def test_a_shell_word_shows_what_is_invisible(text: str) -> None:
    assert UNPRINTABLE.search(shell_word(text)) is None
