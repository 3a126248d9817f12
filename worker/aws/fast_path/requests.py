"""The requests of the calls that each picture makes, written down."""

import base64
import json
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final
from urllib.parse import quote

import orjson

Parameters = Mapping[str, Any]

_JSON_OPERATIONS: Final = frozenset(
    {
        "ChangeMessageVisibilityBatch",
        "DeleteMessageBatch",
        "ReceiveMessage",
        "TransactWriteItems",
        "UpdateItem",
    }
)
"""Operations whose parameters are their body; all that they carry is text, numbers, lists and maps."""

_CONDITIONS: Final = {"IfMatch": "if-match", "IfNoneMatch": "if-none-match"}
_READ_BY: Final = frozenset({"Bucket", "Key", "VersionId", *_CONDITIONS})
_WRITTEN_BY: Final = frozenset({"Body", "Bucket", "ContentType", "Key", "Metadata", *_CONDITIONS})


@dataclass(frozen=True, slots=True)
class Written:
    """A request, but for where it goes, and what all of its kind have in common."""

    method: str
    tail: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    body: bytes = b""


def write(operation: str, parameters: Parameters) -> Written | None:
    """Write a request down; None where that is left to botocore."""
    if operation in _JSON_OPERATIONS:
        return Written("POST", body=_to_json(parameters))
    if operation == "GetObject" and parameters.keys() <= _READ_BY:
        return Written("GET", _tail(parameters), _conditions(parameters))
    if (
        operation == "PutObject"
        and parameters.keys() <= _WRITTEN_BY
        and isinstance(parameters["Body"], bytes)
    ):
        body: bytes = parameters["Body"]
        checksum = base64.b64encode(zlib.crc32(body).to_bytes(4, "big")).decode()
        headers = {"x-amz-checksum-crc32": checksum, **_conditions(parameters)}
        for name, value in parameters.get("Metadata", {}).items():
            headers[f"x-amz-meta-{name.lower()}"] = value
        if "ContentType" in parameters:
            headers["content-type"] = parameters["ContentType"]
        return Written("PUT", _tail(parameters), headers, body)
    return None


def _to_json(parameters: Parameters) -> bytes:
    try:
        return orjson.dumps(parameters)
    except orjson.JSONEncodeError:  # half a surrogate pair: AWS is to refuse it, as it refuses botocore's
        return json.dumps(parameters).encode()


def _tail(parameters: Parameters) -> str:
    version = f"?versionId={quote(parameters['VersionId'], safe='~')}" if "VersionId" in parameters else ""
    return quote(parameters["Key"], safe="/~") + version


def _conditions(parameters: Parameters) -> dict[str, str]:
    return {header: parameters[name] for name, header in _CONDITIONS.items() if name in parameters}
