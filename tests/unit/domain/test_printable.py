import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.printable import printable

BIDIRECTIONAL = {"LRE", "RLE", "PDF", "LRO", "RLO", "LRI", "RLI", "FSI", "PDI"}


@given(st.text())
def test_no_character_is_left_that_a_terminal_acts_on(text: str) -> None:
    safe = printable(text)

    assert len(safe) == len(text)
    assert not [
        character
        for character in safe
        if (unicodedata.category(character) == "Cc" and character not in "\t\n")
        or unicodedata.bidirectional(character) in BIDIRECTIONAL
    ]


@pytest.mark.parametrize("text", ["beach.jpg", "Zoë © 2024", "海辺\n写真", "👩‍👩‍👧", "שלום", "a\tb"])
def test_other_text_is_left_as_it_is(text: str) -> None:
    assert printable(text) == text
