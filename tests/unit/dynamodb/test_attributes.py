from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from worker.domain.status import ImageStatus
from worker.domain.step import Json
from worker.dynamodb.attributes import decode, decode_map, encode, encode_map

TEXT = st.text(st.characters(exclude_categories=["Cs"]))
NUMBERS = st.integers(-(10**38) + 1, 10**38 - 1)
VALUES: st.SearchStrategy[Json] = st.recursive(
    st.none() | st.booleans() | NUMBERS | TEXT,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXT, inner, max_size=4),
    max_leaves=8,
)


@given(VALUES)
def test_a_value_reads_back_equal_and_of_the_same_type(value: Json) -> None:
    again = decode(encode(value))

    assert (type(value), value) == (type(again), again)


@given(st.dictionaries(TEXT, VALUES, max_size=4))
def test_a_map_reads_back_equal(values: dict[str, Json]) -> None:
    assert values == decode_map(encode_map(values))


@pytest.mark.parametrize(
    ("value", "attribute"),
    [
        ("", {"S": ""}),
        (ImageStatus.PENDING, {"S": "pending"}),
        (True, {"BOOL": True}),
        (False, {"BOOL": False}),
        (0, {"N": "0"}),
        (1, {"N": "1"}),
        (-(2**70), {"N": "-1180591620717411303424"}),
        (None, {"NULL": True}),
        ([], {"L": []}),
        ({}, {"M": {}}),
        ({"tags": ["a", 1, None]}, {"M": {"tags": {"L": [{"S": "a"}, {"N": "1"}, {"NULL": True}]}}}),
    ],
)
def test_a_value_is_wrapped_in_its_type(value: Json, attribute: dict[str, Any]) -> None:
    assert encode(value) == attribute


@pytest.mark.parametrize(
    "value", [1.0, 0.5, b"bytes", {"a"}, ("a",), object(), Decimal(1), {"inner": 1.5}, [[1.5]]]
)
def test_what_would_not_read_back_equal_is_refused(value: Any) -> None:  # noqa: ANN401 - anything else
    with pytest.raises(TypeError, match="the record holds no "):
        encode(value)


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"N": "150"}, 150),
        ({"N": "-7"}, -7),
        ({"N": "1E+3"}, 1000),
        ({"N": "2.0"}, 2),
        ({"SS": ["b", "a"]}, ["a", "b"]),
    ],
)
def test_what_others_wrote_is_read_as_they_meant_it(attribute: dict[str, Any], value: Json) -> None:
    assert decode(attribute) == value


@pytest.mark.parametrize("attribute", [{"B": b"bytes"}, {"NS": ["1"]}, {"BS": [b"bytes"]}])
def test_a_type_that_the_record_does_not_use_is_refused(attribute: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match="the record holds no attribute of type"):
        decode(attribute)
