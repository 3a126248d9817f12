"""Convert between JSON values and DynamoDB attribute values, for the types that the table uses."""

import base64
from collections.abc import Mapping
from decimal import Decimal
from typing import TYPE_CHECKING, Any

from worker.domain.step import Json

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

Attributes = dict[str, "AttributeValueTypeDef"]


def encode(value: Json | float) -> "AttributeValueTypeDef":
    """
    Return a value as a DynamoDB attribute value.

    Raises:
        TypeError: The type is not supported. Fractions are not, because they would not read back equal.
    """
    match value:
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
    as a list, and bytes as text in base64.
    """
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value  # type: ignore[no-any-return]  # botocore has parsed it
        case "N":
            return int(Decimal(value))
        case "NULL":
            return None
        case "M":
            return decode_map(value)
        case "L":
            return [decode(entry) for entry in value]
        case "SS":
            return sorted(value)
        case "NS":
            return [*sorted(int(float(number)) for number in value)]
        case "B":
            return base64.b64encode(value).decode()
        case "BS":
            return [*sorted(base64.b64encode(each).decode() for each in value)]
    return None  # a type of the future


def decode_map(attributes: Mapping[str, Any]) -> dict[str, Json]:
    """Return a map with the value of each DynamoDB attribute value."""
    return {name: decode(attribute) for name, attribute in attributes.items()}
