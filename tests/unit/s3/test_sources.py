from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.focus import Focus
from worker.domain.image import Description
from worker.s3.sources import describe


def described(**metadata: str) -> Description:
    response = {"ContentType": "image/jpeg", "Metadata": metadata}
    return describe(cast("Any", response), size_bytes=1)


@pytest.mark.parametrize(
    ("stored", "expected"),
    [
        ("vacation.jpg", "vacation.jpg"),
        ("caf%C3%A9.jpg", "café.jpg"),
        ("=?UTF-8?B?WsO8cmljaC5qcGc=?=", "Zürich.jpg"),
        ("=?UTF-8?Q?Z=C3=BCrich_am_See.jpg?=", "Zürich am See.jpg"),
        ("=?utf-8?b?w6k=?= =?utf-8?b?w6k=?=", "éé"),
        ("=?ISO-8859-1?Q?caf=E9?=", "café"),
        ("=?UTF-8?B?MTAwJTI1LmpwZw==?=", "100%25.jpg"),
        ("a=?b%20c", "a=?b c"),
        ("=?UTF-8?B?w?=", "=?UTF-8?B?w?="),
        ("=?UTF-8?B?/w==?=", "=?UTF-8?B?/w==?="),
        ("=?bogus?B?w6k=?=", "=?bogus?B?w6k=?="),
        ("=?raw_unicode_escape?q?=5Cud800?=", "?"),
    ],
    ids=[
        "plain",
        "percent-encoded",
        "base64 word",
        "quoted word",
        "two words",
        "Latin-1 word",
        "a percent sign in a word",
        "no word",
        "damaged base64",
        "not UTF-8",
        "unknown charset",
        "a surrogate",
    ],
)
def test_a_file_name_is_decoded_as_it_was_encoded(stored: str, expected: str) -> None:
    assert expected == described(filename=stored).file_name


@given(
    st.text(st.characters(max_codepoint=126, min_codepoint=32))
    | st.from_regex(r"=\?[ -~]{1,20}\?[bBqQ]\?[ -~]*\?=")
)
def test_any_metadata_becomes_text_that_can_be_stored(value: str) -> None:
    assert all(text.encode() for text in described(comment=value).metadata.values())


@pytest.mark.parametrize("name", ["focus", "Focus", "FOCUS"])
def test_a_focal_point_is_read_from_the_metadata(name: str) -> None:
    description = described(**{name: "0.4%2C0.2"})
    assert (description.focus, description.ignored, description.metadata) == (Focus(0.4, 0.2), {}, {})


@given(st.text(min_size=1))
def test_a_focal_point_that_cannot_be_used_is_ignored_with_the_reason(text: str) -> None:
    description = described(focus=text)
    assert (description.focus is None) == ("focus" in description.ignored)
    assert len(description.ignored.get("focus", "")) < 700
