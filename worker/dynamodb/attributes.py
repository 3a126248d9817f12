"""Convert between JSON values and DynamoDB attribute values, for the types that the table uses."""

import base64
from collections.abc import Mapping, Sequence
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Self

from worker.domain.step import Json

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

Attributes = dict[str, "AttributeValueTypeDef"]

_MAX_DIGITS: Final = 38
"""Digits of DynamoDB's numbers."""


class OpaqueText(str):  # noqa: SLOT000 - it has an attribute
    """
    An attribute value of a type that the worker does not use, as text; it is written back as it was read.

    Attributes:
        attribute: The value in DynamoDB's format.
    """

    attribute: Any

    def __new__(cls, text: str, attribute: Mapping[str, Any]) -> Self:
        """Return the text with its attribute value."""
        value = super().__new__(cls, text)
        value.attribute = attribute
        return value


class OpaqueList(list[Json]):
    """The same for a set, as a list."""

    def __init__(self, values: Sequence[Json], attribute: Mapping[str, Any]) -> None:
        super().__init__(values)
        self.attribute: Any = attribute


def encode(value: Json | float) -> "AttributeValueTypeDef":
    """
    Return a value as a DynamoDB attribute value.

    Raises:
        TypeError: The type is not supported. Fractions are not, because they would not read back equal.
    """
    match value:
        case OpaqueText() | OpaqueList():
            return value.attribute  # type: ignore[no-any-return]  # botocore has parsed it
        case str():
            return {"S": value}
        case bool():
            return {"BOOL": value}
        case int():
            return {"N": str(value)}
        case None:
            return {"NULL": True}
        case dict():
            return {"M": encode_map(value)}
        case list():
            return {"L": [encode(entry) for entry in value]}
    message = f"cannot store a value of type {type(value).__name__} in the table"
    raise TypeError(message)


def encode_map(values: Mapping[str, Json]) -> Attributes:
    """Return a map with each value as a DynamoDB attribute value."""
    return {name: encode(value) for name, value in values.items()}


def decode(attribute: Mapping[str, Any]) -> Json:
    """
    Return the value of a DynamoDB attribute value.

    Types that the worker does not use may be those of attributes that others have added: a set is returned
    as a list, bytes as text in base64 and a fraction as text. `encode` returns them as they were.
    """
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value  # type: ignore[no-any-return]  # botocore has parsed it
        case "N":
            return _number(value, attribute)
        case "NULL":
            return None
        case "M":
            return decode_map(value)
        case "L":
            return [decode(entry) for entry in value]
        case "SS":
            return OpaqueList(sorted(value), attribute)
        case "NS":
            numbers = sorted(value, key=Decimal)
            return OpaqueList([decode({"N": number}) for number in numbers], attribute)
        case "B":
            return OpaqueText(base64.b64encode(value).decode(), attribute)
        case "BS":
            return OpaqueList(sorted(base64.b64encode(each).decode() for each in value), attribute)
    return OpaqueText(str(value), attribute)  # a type of the future


def _number(text: str, attribute: Mapping[str, Any]) -> Json:
    if len(text) <= _MAX_DIGITS and text.isdecimal():  # nearly all, and several times as fast
        return int(text)
    number = Decimal(text)
    is_integer = number == number.to_integral_value() and number.adjusted() < _MAX_DIGITS
    return int(number) if is_integer else OpaqueText(text, attribute)


def decode_map(attributes: Mapping[str, Any]) -> dict[str, Json]:
    """Return a map with the value of each DynamoDB attribute value."""
    return {name: decode(attribute) for name, attribute in attributes.items()}
