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
    read = decode(encode(value))

    assert (type(value), value) == (type(read), read)


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
def test_a_value_is_encoded_as_its_dynamodb_type(value: Json, attribute: dict[str, Any]) -> None:
    assert encode(value) == attribute


@pytest.mark.parametrize(
    "value", [1.0, 0.5, b"bytes", {"a"}, ("a",), object(), Decimal(1), {"inner": 1.5}, [[1.5]]]
)
def test_a_value_that_would_not_read_back_equal_is_rejected(value: Any) -> None:
    with pytest.raises(TypeError, match="cannot store a value of type "):
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
def test_values_written_by_other_clients_are_read(attribute: dict[str, Any], value: Json) -> None:
    assert decode(attribute) == value


@pytest.mark.parametrize(
    ("attribute", "value"),
    [
        ({"B": b"bytes"}, "Ynl0ZXM="),
        ({"BS": [b"bytes"]}, ["Ynl0ZXM="]),
        ({"NS": ["10", "9"]}, [9, 10]),
        ({"N": "1.5"}, "1.5"),
        ({"N": "1E+125"}, "1E+125"),
        ({"NS": ["2.5", "1"]}, [1, "2.5"]),
        ({"FUTURE": "x"}, "x"),
    ],
)
def test_types_that_only_others_write_are_shown_and_written_back_unchanged(
    attribute: dict[str, Any], value: Json
) -> None:
    assert decode(attribute) == value
    assert encode(decode(attribute)) == attribute
