"""
Make text safe to print on a terminal.

Names, ids, metadata and error messages come from uploads. A terminal acts on control and escape characters in
them, and shows text with bidirectional controls in another order ("Trojan Source", CVE-2021-42574).
"""

import re
from typing import Final

UNPRINTABLE: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
    r"\U000e0000-\U000e007f]"
)
"""
Control characters except tab and line feed, line separators, bidirectional controls, and characters that are
invisible and have no effect on the letters around them (unlike the joiners in emoji and several scripts).
"""


def printable(text: str) -> str:
    """Return the text with control, escape, bidirectional and invisible characters replaced by U+FFFD."""
    return UNPRINTABLE.sub("\N{REPLACEMENT CHARACTER}", text)
