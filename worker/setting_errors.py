"""Explain why the value of a setting is invalid."""

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Final

from worker.domain.mask import mask_secrets

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

_MESSAGES: Final[Mapping[str, str]] = {
    "int_parsing": "{value} is not a whole number",
    "int_from_float": "{value} is not a whole number",
    "int_type": "{value} is not a whole number",
    "float_parsing": "{value} is not a number",
    "float_type": "{value} is not a number",
    "bool_parsing": "{value} is neither true nor false",
    "bool_type": "{value} is neither true nor false",
    "string_type": "{value} is not a text",
    "list_type": "{value} is not a list",
    "dict_type": "{value} is not a table",
    "missing": "it is missing",
    "greater_than": "{value} is not more than {gt}",
    "greater_than_equal": "{value} is less than {ge}",
    "less_than": "{value} is not less than {lt}",
    "less_than_equal": "{value} is more than {le}",
    "enum": "{value} is not {expected}",
    "literal_error": "{value} is not {expected}",
    "string_too_short": "{value} has fewer than {min_length} characters",
    "string_too_long": "{value} has more than {max_length} characters",
    "too_short": "it has {actual_length} entries, fewer than {min_length}",
    "too_long": "it has {actual_length} entries, more than {max_length}",
}
"""Error type of pydantic -> message."""


def describe(details: "ErrorDetails") -> str:
    """Return what is wrong with a value."""
    value = mask_secrets(repr(details["input"]))
    context = details.get("ctx", {})
    alternatives = re.fullmatch(r"\^\(([\w|]+)\)\$", str(context.get("pattern")))
    if alternatives:
        return f"{value} is not one of {alternatives[1].replace('|', ', ')}"
    pattern = _MESSAGES.get(details["type"])
    if pattern is None:
        return f"{value}: {details['msg'][0].lower()}{details['msg'][1:]}"
    bounds = {name: f"{bound:g}" if isinstance(bound, float) else bound for name, bound in context.items()}
    return pattern.format(value=value, **bounds)
