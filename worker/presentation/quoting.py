"""Quote text from uploads, so that a person can copy it into a shell or a Python program."""

import shlex
from collections.abc import Sequence

from worker.domain.printable import UNPRINTABLE


def shell_word(text: str) -> str:
    r"""
    Return the text as one word of a shell.

    Text with characters that cannot be shown is quoted as `$'a\033b'`, which bash, zsh and POSIX (2024) have:
    each of these characters is an escape sequence of its bytes.
    """
    if not (UNPRINTABLE.search(text) or "\n" in text or "\t" in text):
        return shlex.quote(text)
    return "$'" + "".join(map(_escaped, text)) + "'"


def _escaped(character: str) -> str:
    if character in "\\'":
        return f"\\{character}"
    if character in "\n\t" or UNPRINTABLE.match(character):
        # Octal, because it has at most three digits: a hexadecimal digit may follow.
        return "".join(f"\\{byte:03o}" for byte in character.encode(errors="replace"))
    return character


def shell_command(words: Sequence[str]) -> str:
    """Return a command line of a shell."""
    return " ".join(map(shell_word, words))


def python_text(text: str) -> str:
    """Return the text as a literal of Python; characters that cannot be shown are escape sequences."""
    return UNPRINTABLE.sub(lambda found: ascii(found[0])[1:-1], repr(text))
