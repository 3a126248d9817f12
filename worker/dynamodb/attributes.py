"""DynamoDB's typed attribute values, for the types that the record uses."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from worker.domain.step import Json

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef

Attributes = dict[str, "AttributeValueTypeDef"]


def encode(value: Json | float) -> "AttributeValueTypeDef":
    """
    Wrap a value in its DynamoDB type.

    Raises:
        TypeError: The record holds no such type (fractions among them: they do not survive a round trip).
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
    message = f"the record holds no {type(value).__name__}"
    raise TypeError(message)


def encode_map(values: Mapping[str, Json]) -> Attributes:
    """Wrap each value of a map in its DynamoDB type."""
    return {name: encode(value) for name, value in values.items()}


def decode(attribute: Mapping[str, Any]) -> Json:
    """
    Take a value out of its DynamoDB type.

    Raises:
        TypeError: The attribute is of a type that the record does not use.
    """
    ((kind, value),) = attribute.items()
    match kind:
        case "S" | "BOOL":
            return value  # type: ignore[no-any-return]  # what botocore has parsed already
        case "N":
            return int(float(value)) if "." in value or "e" in value.lower() else int(value)
        case "NULL":
            return None
        case "M":
            return decode_map(value)
        case "L":
            return [decode(entry) for entry in value]
        case "SS":
            return sorted(value)
    message = f"the record holds no attribute of type {kind}"
    raise TypeError(message)


def decode_map(attributes: Mapping[str, Any]) -> dict[str, Json]:
    """Take each value of a map out of its DynamoDB type."""
    return {name: decode(attribute) for name, attribute in attributes.items()}
