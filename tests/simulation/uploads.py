"""What is uploaded: good images, and hostile ones of every kind, with what each should end with."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any, Final

from worker.settings import Settings

MAGIC: Final = b"SIMULATED "
MAX_BYTES: Final[int] = Settings.model_fields["max_bytes"].default


class Kind(StrEnum):
    """Kinds of uploads."""

    GOOD = "good"
    CORRUPT = "corrupt"
    NOT_AN_IMAGE = "not an image"
    TOO_MANY_PIXELS = "too many pixels"
    TOO_MANY_BYTES = "too many bytes"
    OUT_OF_MEMORY = "out of memory"
    CRASHING = "crashes its decoder"
    HANGING = "hangs its decoder"
    KILLER = "kills its worker"
    TAKEOVER = "takes over its decoder"
    ARCHIVED = "archived"
    CUSTOMER_KEY = "encrypted with a customer's key"
    FOREIGN_KMS_KEY = "encrypted with a foreign KMS key"
    BROKEN_RESPONSE = "a response that the client cannot read"
    LONG_KEY = "a key of 1,024 bytes"
    ODD_NAME = "control characters in its name"
    DOT_SEGMENTS = "a key with the segment .."
    SLOW = "takes longer than a lease"


@dataclass(frozen=True, slots=True)
class Expectation:
    """
    How an upload should end.

    Attributes:
        codes: Error codes of which one is expected; None is completed.
        stored: Attributes of the object in S3 other than its content.
    """

    codes: frozenset[str | None]
    stored: Mapping[str, Any] = field(default_factory=dict)


def _fails(*codes: str | None, **stored: Any) -> Expectation:
    return Expectation(frozenset(codes), stored)


BROKEN: Final = "400, message: Got more than 8190 bytes when reading a header"
"""What the client says about a response that it cannot read."""

UNREADABLE: Final = "unreadable"
"""Code of the dead letter of an upload that gets no record."""

EXPECTED: Final[Mapping[Kind, Expectation]] = {
    Kind.GOOD: _fails(None),
    Kind.CORRUPT: _fails("corrupt"),
    Kind.NOT_AN_IMAGE: _fails("not_an_image"),
    Kind.TOO_MANY_PIXELS: _fails("too_many_pixels"),
    Kind.TOO_MANY_BYTES: _fails("too_many_bytes", content_length=MAX_BYTES + 1),
    Kind.OUT_OF_MEMORY: _fails("decode_out_of_memory"),
    Kind.CRASHING: _fails("decoder_crashed"),
    Kind.HANGING: _fails("decode_timeout"),
    Kind.KILLER: _fails("worker_killed"),
    Kind.TAKEOVER: _fails(None, "decoder_crashed"),
    Kind.ARCHIVED: _fails(
        "source_archived",
        unreadable=("InvalidObjectState", 403, "The operation is not valid for the object's storage class"),
    ),
    Kind.CUSTOMER_KEY: _fails(
        "source_unreadable",
        unreadable=("InvalidRequest", 400, "The object was stored using a form of Server Side Encryption"),
    ),
    # Unavailable until the worker has read another object, which shows that only this one cannot be read.
    Kind.FOREIGN_KMS_KEY: _fails(
        "access_denied",
        "source_unreadable",
        "unavailable",
        unreadable=("AccessDenied", 403, "is not authorized to perform: kms:Decrypt on the resource"),
    ),
    Kind.BROKEN_RESPONSE: _fails("source_unreadable", "unavailable", unreadable=BROKEN),
    Kind.LONG_KEY: _fails("key_too_long"),
    Kind.ODD_NAME: _fails(None),
    Kind.DOT_SEGMENTS: _fails(UNREADABLE),
    Kind.SLOW: _fails(None),
}

REJECTED_IN_DECODER: Final = frozenset(
    {Kind.CORRUPT, Kind.NOT_AN_IMAGE, Kind.TOO_MANY_PIXELS, Kind.OUT_OF_MEMORY, Kind.CRASHING}
)
"""Rejected by the simulated decoder with the code of `EXPECTED`."""

CHEAP: Final = (
    Kind.CORRUPT,
    Kind.NOT_AN_IMAGE,
    Kind.TOO_MANY_PIXELS,
    Kind.TOO_MANY_BYTES,
    Kind.CRASHING,
    Kind.ARCHIVED,
    Kind.CUSTOMER_KEY,
    Kind.FOREIGN_KMS_KEY,
    Kind.BROKEN_RESPONSE,
    Kind.LONG_KEY,
    Kind.ODD_NAME,
    Kind.DOT_SEGMENTS,
)
"""Hostile uploads that take no more of a decoder's time than a good one."""


def content_of(upload_id: str, kind: Kind, *, decode_ms: int) -> bytes:
    """Return the content of an upload: what the simulated decoder needs to know."""
    return MAGIC + json.dumps([upload_id, kind, decode_ms]).encode()


def parsed(content: bytes | bytearray | memoryview) -> tuple[str, Kind, int]:
    """Return upload id, kind and decoding time of a content."""
    upload_id, kind, decode_ms = json.loads(bytes(content).removeprefix(MAGIC))
    return upload_id, Kind(kind), decode_ms


_RESULT_START: Final = b"\xff\xd8"
_RESULT_BODY: Final = b"\xff\xdb"


def result_of(upload_id: str, *, recipe: str, size: str) -> bytes:
    """Return the file of a rendition: an identity inside the markers of a JPEG file."""
    return _RESULT_START + _RESULT_BODY + json.dumps([upload_id, recipe, size]).encode()


def identity_of(result: bytes) -> tuple[str, str, str] | None:
    """Return upload id, recipe hash and size of a rendition; None if it is not one of ours."""
    _, marker, identity = result.partition(_RESULT_BODY)
    if not marker:
        return None
    upload_id, recipe, size = json.loads(identity)
    return upload_id, recipe, size
