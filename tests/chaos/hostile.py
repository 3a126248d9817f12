"""The hostile uploads and messages of a chaos run, of every kind that once harmed other images."""

import asyncio
import json
import random
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from tests.chaos.uploads import Content, PlannedImage, valid_contents
from tests.support.killed_worker import KILLER
from tests.support.pictures import encoded, noise
from worker.domain.keys import PROFILE_IMAGE_ID
from worker.imaging.jpeg import MAX_SCANS
from worker.settings import Settings

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef
    from types_aiobotocore_sqs import SQSClient

ARCHIVED, UNDER_CUSTOMER_KEY, FORBIDDEN = "archived", "customer-key", "forbidden"
REJECTED_READS: Final[Mapping[str, tuple[int, str]]] = {
    ARCHIVED: (403, "InvalidObjectState"),
    UNDER_CUSTOMER_KEY: (400, "InvalidRequest"),
    FORBIDDEN: (403, "AccessDenied"),
}
"""Part of an upload's key -> status and error code with which S3 rejects to read it; see `FaultProxy`."""

_LONG_TEXT_USER, _LONG_LOGO_USER = "long-text", "long-logo"
_PREFERENCES: Final[Mapping[str, Mapping[str, "AttributeValueTypeDef"]]] = {
    _LONG_TEXT_USER: {"watermarkText": {"S": 70_000 * "x"}},
    _LONG_LOGO_USER: {"watermarkImage": {"S": f"{1_100 * 'x'}.png"}},
}
_MAX_KILLERS: Final = 2
"""Each kills its worker until its receives are used up, which takes seconds each time."""

_MESSAGES: Final = (
    "<html><body>502 Bad Gateway</body></html>",
    "null",
    "[" * 2_000,
    json.dumps({"Records": [{"eventName": "ObjectCreated:Put", "s3": {"object": {"key": 5}}}]}) + "}",
)


@dataclass(frozen=True, slots=True)
class _Kind:
    """
    One kind of hostile upload.

    Attributes:
        name: Name of the kind, in the image id.
        make: Returns the upload from its number and the content of a good one.
    """

    name: str
    make: Callable[[int, Content], PlannedImage]


def hostile_uploads(rng: random.Random, count: int) -> list[PlannedImage]:
    """Return this many hostile uploads, of all kinds in turn."""
    kinds = [kind for kind in _KINDS if kind.name != KILLER]
    chosen = [kinds[number % len(kinds)] for number in range(max(0, count - _MAX_KILLERS))]
    chosen += [kind for kind in _KINDS if kind.name == KILLER] * min(count, _MAX_KILLERS)
    return [kind.make(number, rng.choice(valid_contents())) for number, kind in enumerate(chosen)]


def _upload(
    name: str,
    *,
    user_id: str = "mallory",
    code: str | None = None,
    metadata: Mapping[str, str] | None = None,
    file: bytes | None = None,
    padded_to: int = 0,
) -> _Kind:
    def make(number: int, content: Content) -> PlannedImage:
        image_id = f"{name}_{number:04d}"
        image_id += "x" * (padded_to - len(f"uploads/{user_id}/{image_id}.jpg"))
        changed = Content(
            name=f"hostile: {name}",
            file=content.file if file is None else file,
            code=code,
            colour=content.colour,
        )
        return PlannedImage(
            image_id=image_id, user_id=user_id, versions=(changed,), metadata=metadata or {}, is_hostile=True
        )

    return _Kind(name, make)


def _scans() -> bytes:
    """Return a small progressive JPEG that takes long to decode."""
    content = encoded(noise(640, 480, mode="L"), progressive=True)
    start = content.rindex(b"\xff\xda")
    return content[:start] + 10 * MAX_SCANS * content[start:-2] + b"\xff\xd9"


_KINDS: Final[Sequence[_Kind]] = (
    _upload("metadata", metadata={f"{number:x}": "x" for number in range(200)}),
    _upload("long-key", code="key_too_long", padded_to=1024),
    _upload(ARCHIVED, code="source_archived"),
    _upload(UNDER_CUSTOMER_KEY, code="source_unreadable"),
    _upload(FORBIDDEN, code="access_denied"),
    _upload("text", user_id=_LONG_TEXT_USER),
    _upload("logo", user_id=_LONG_LOGO_USER),
    _upload("scans", code="too_many_scans", file=_scans()),
    _upload("control\x1b[31m\u202e"),
    _upload(KILLER, user_id=KILLER, code="worker_killed"),
)


async def store_preferences(dynamodb: "DynamoDBClient", settings: Settings) -> None:
    """Write the profiles of users whose preferences cannot be used."""
    for user_id, preferences in _PREFERENCES.items():
        await dynamodb.put_item(
            TableName=settings.table_name,
            Item={
                "imageId": {"S": PROFILE_IMAGE_ID},
                "userId": {"S": user_id},
                "profile": {"M": {"preferences": {"M": preferences}}},
            },
        )


def hostile_messages(count: int) -> list[str]:
    """Return this many different messages that cannot be read; each must become a dead letter."""
    return [f"{_MESSAGES[number % len(_MESSAGES)]} {number}" for number in range(count)]


async def send_messages(sqs: "SQSClient", url: str, messages: Sequence[str], *, pause_s: float) -> None:
    """Send messages one after the other."""
    for message in messages:
        await sqs.send_message(QueueUrl=url, MessageBody=message)
        await asyncio.sleep(pause_s)
