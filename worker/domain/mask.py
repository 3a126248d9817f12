"""Mask credentials in log events and error messages."""

import re
from collections.abc import Mapping
from typing import Final, TypeVar

MASK: Final = "[masked]"

_SECRET_NAME: Final = re.compile(
    r"secret|passw(?:or)?d|passphrase|authorization|credential|signature|cookie"
    r"|(?:api|access|private|signing)key"
    r"|(?:access|auth|bearer|id|identity|refresh|security|session)token$"
)
"""Names of credentials, in lower case and without separators. Page tokens and fencing tokens do not match."""

_SECRET_TEXT: Final = (
    # In a signed URL, and wherever else text contains name=value or "name": "value".
    re.compile(
        r"(?i)((?:x-amz-(?:signature|security-token|credential)"
        r"|(?:secret|session|security|access|auth)[-_]?(?:access[-_]?)?(?:key|token)(?![-_]?id)"
        r"|passw(?:or)?d|signature)[\"']?\s*(?:=|%3d|:)\s*[\"']?)[^\s&\"',;<>]+"
    ),
    re.compile(r"(?i)(authorization[\"']?\s*[:=]\s*[\"']?(?:[\w-]+ )?)[^\s\"',][^\r\n\"']*"),
    # The credentials in https://user:password@host.
    re.compile(r"(?i)(\b[a-z][a-z0-9+.-]*://)[^\s/@]+(?=@)"),
)
_ACCESS_KEY_ID: Final = re.compile(r"\b(?:AKIA|ASIA|ABIA|ACCA)[A-Z0-9]{12,}\b")

T = TypeVar("T")


def mask_secrets(value: T, *, name: str = "") -> T:
    """
    Return the value with every credential in it replaced by `[masked]`, at any depth.

    Args:
        value: A text, or a structure of mappings and sequences; anything else is searched as its text.
        name: Name of the field with this value; a name such as `password` masks the value whole.
    """
    return _masked(value, name=name)  # type: ignore[return-value]  # a structure keeps its shape


def _masked(value: object, *, name: str = "") -> object:
    if name and value is not None and _SECRET_NAME.search(name.lower().replace("_", "").replace("-", "")):
        return MASK
    if isinstance(value, str):
        return _masked_text(value)
    if isinstance(value, Mapping):
        return {key: _masked(item, name=str(key)) for key, item in value.items()}
    if isinstance(value, list | tuple | set | frozenset):
        return [_masked(item) for item in value]
    if value is None or isinstance(value, int | float):
        return value
    text = str(value)
    masked = _masked_text(text)
    return value if masked == text else masked


def _masked_text(text: str) -> str:
    for pattern in _SECRET_TEXT:
        text = pattern.sub(rf"\1{MASK}", text)
    return _ACCESS_KEY_ID.sub(MASK, text)
