"""
Make text safe to print on a terminal.

Names, ids, metadata and error messages come from uploads. A terminal acts on control and escape characters in
them, and shows text with bidirectional controls in another order ("Trojan Source", CVE-2021-42574).
"""

import re
from typing import Final

UNPRINTABLE: Final = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069]")
"""Control characters except tab and line feed, line separators, and bidirectional controls."""


def printable(text: str) -> str:
    """Return the text with control, escape and bidirectional characters replaced by U+FFFD."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
