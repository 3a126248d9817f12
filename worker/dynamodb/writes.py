"""
The conditional writes, as requests.

Each is the difference between two states of an image, and the named condition under which it may land.
"""

from dataclasses import replace
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_conditional_check_failed
from worker.aws.retry import TABLE, call_with_retry
from worker.domain import clock
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.domain.step import Json
from worker.dynamodb.attributes import encode
from worker.dynamodb.items import to_item

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, UpdateTypeDef

_KEY = ("imageId", "userId")


class Expression:
    """
    Builds one update. Every name goes through an alias, because DynamoDB reserves many of ours.

    Sets, removals and conditions are added one by one; `request` puts them together.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, AttributeValueTypeDef] = {}
        self._set: list[str] = []
        self._remove: list[str] = []
        self._conditions: list[str] = []

    def name(self, path: str) -> str:
        """Return the alias of an attribute, or of a dotted path into maps."""
        parts = []
        for part in path.split("."):
            self._names[f"#{part}"] = part
            parts.append(f"#{part}")
        return ".".join(parts)

    def value(self, value: Json) -> str:
        """Return the placeholder of a value."""
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = encode(value)
        return placeholder

    def set(self, path: str, value: Json) -> None:
        """Give an attribute a value."""
        self._set.append(f"{self.name(path)} = {self.value(value)}")

    def set_if_absent(self, path: str, value: Json) -> None:
        """Give an attribute a value unless it has one."""
        self._set.append(f"{self.name(path)} = if_not_exists({self.name(path)}, {self.value(value)})")

    def increase(self, path: str, by: int) -> None:
        """Add to a number that is there."""
        self._set.append(f"{self.name(path)} = {self.name(path)} + {self.value(by)}")

    def append(self, path: str, values: list[Json]) -> None:
        """Put values at the end of a list, which may be absent."""
        present = f"if_not_exists({self.name(path)}, {self.value([])})"
        self._set.append(f"{self.name(path)} = list_append({present}, {self.value(values)})")

    def remove(self, path: str) -> None:
        """Take an attribute away."""
        self._remove.append(self.name(path))

    def require(self, condition: str) -> None:
        """Refuse the write unless the condition, made of `name` and `value`, holds."""
        self._conditions.append(condition)

    def require_equal(self, path: str, value: Json) -> None:
        """Refuse the write unless the attribute has the value; None: unless it is absent."""
        if value is None:
            self.require(f"attribute_not_exists({self.name(path)})")
        else:
            self.require(f"{self.name(path)} = {self.value(value)}")

    def request(self, *, table: str, image_id: str, user_id: str) -> "UpdateTypeDef":
        """Return the update, for `update_item` and for `transact_write_items` alike."""
        clauses = [f"SET {', '.join(self._set)}"] if self._set else []
        clauses += [f"REMOVE {', '.join(self._remove)}"] if self._remove else []
        request: UpdateTypeDef = {
            "TableName": table,
            "Key": {"imageId": {"S": image_id}, "userId": {"S": user_id}},
            "UpdateExpression": " ".join(clauses),
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if self._values:  # DynamoDB refuses an empty map
            request["ExpressionAttributeValues"] = self._values
        return request


async def lands(client: "DynamoDBClient", request: "UpdateTypeDef", *, what: str) -> bool:
    """
    Make a conditional write that means the same however often it is made; tell whether it landed.

    Raises:
        TransientError: The table cannot be reached within its retries.
    """
    try:
        await call_with_retry(lambda: client.update_item(**request), TABLE, what=what)
    except ClientError as error:
        if is_conditional_check_failed(error):
            return False
        raise
    return True


def creating(image: Image, *, table: str, index_shards: int) -> "UpdateTypeDef":
    """Write a whole image, on condition `absent`."""
    expression = Expression()
    _write_difference(expression, {}, to_item(image, index_shards=index_shards))
    expression.require_equal("imageId", None)
    return expression.request(table=table, image_id=image.image_id, user_id=image.user_id)


def taking(seen: Image, after: Image, *, table: str, index_shards: int) -> "UpdateTypeDef":
    """Write a claim, on condition `unchanged`: nobody has claimed, ended or renewed since it was seen."""
    expression = _difference(seen, after, index_shards)
    expression.require_equal("attempt", seen.attempt)
    expression.require_equal("status", seen.status.value)
    expression.require_equal(
        "leaseExpiresAt", clock.to_epoch_ms(seen.lease.expires_at) if seen.lease else None
    )
    return expression.request(table=table, image_id=seen.image_id, user_id=seen.user_id)


def continuing(before: Image, after: Image, *, table: str, index_shards: int) -> "UpdateTypeDef":
    """Write what a worker did, on condition `held`, and that the trail is as long as it left it."""
    expression = _difference(before, after, index_shards)
    require_held(expression, before)
    expression.require(f"size({expression.name('history')}) = {expression.value(len(before.history))}")
    return expression.request(table=table, image_id=before.image_id, user_id=before.user_id)


def renewing(image: Image, until_ms: int, *, table: str) -> "UpdateTypeDef":
    """Move the end of the lease, on condition `held`."""
    expression = Expression()
    expression.set("leaseExpiresAt", until_ms)
    require_held(expression, image)
    return expression.request(table=table, image_id=image.image_id, user_id=image.user_id)


def require_held(expression: Expression, image: Image) -> None:
    """Add the condition `held`: the same attempt, the same owner, status processing."""
    expression.require_equal("attempt", image.attempt)
    expression.require_equal("leaseOwner", image.lease.owner if image.lease else None)
    expression.require_equal("status", ImageStatus.PROCESSING.value)


def has_landed(stored: Image, before: Image, after: Image) -> bool:
    """Tell from the item that refused a write whether that very write had landed, its answer lost."""
    return (
        stored.attempt == after.attempt
        and len(stored.history) > len(before.history)
        and stored.history[: len(after.history)] == after.history
    )


def resumed(stored: Image, before: Image, after: Image) -> Image | None:
    """
    Return the state from which a refused write can go on, if part of it had landed with its answer lost.

    That is so when the image is still held by the same lease, and the trail of the item that refused holds
    more than was known and nothing that we would not write. The lease's end is left as it is.
    """
    is_held = (
        stored.lease is not None and before.lease is not None and stored.lease.owner == before.lease.owner
    )
    is_part = len(before.history) < len(stored.history) < len(after.history)
    if not is_held or not is_part or stored.attempt != before.attempt or not _is_start(stored, after):
        return None
    return replace(stored, lease=before.lease)


def _is_start(stored: Image, after: Image) -> bool:
    return after.history[: len(stored.history)] == stored.history


def _difference(before: Image, after: Image, index_shards: int) -> Expression:
    expression = Expression()
    old, new = (to_item(image, index_shards=index_shards) for image in (before, after))
    _write_difference(expression, old, new)
    return expression


def _write_difference(expression: Expression, old: dict[str, Json], new: dict[str, Json]) -> None:
    for path, value in new.items():
        if path in _KEY or old.get(path) == value:
            continue
        before = old.get(path)
        if (
            path == "history"
            and isinstance(before, list)
            and isinstance(value, list)
            and _continues(value, before)
        ):
            expression.append(path, value[len(before) :])
        else:
            expression.set(path, value)
    for path in old.keys() - new.keys():
        expression.remove(path)


def _continues(trail: list[Json], before: list[Json]) -> bool:
    """Tell whether the audit trail only grew; it begins anew where an item past its ttl is replaced."""
    return trail[: len(before)] == before
