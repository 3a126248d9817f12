"""Build update and condition expressions."""

from typing import TYPE_CHECKING

from worker.domain import clock
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.domain.step import Json
from worker.dynamodb.attributes import encode
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb.type_defs import AttributeValueTypeDef, DeleteTypeDef, UpdateTypeDef


class UpdateExpression:
    """
    Builds one conditional update or deletion from assignments, removals and conditions.

    All conditions have to hold. Paths are attribute names, with dots into maps. Every name is replaced by a
    placeholder, because many of them are reserved words of DynamoDB.
    """

    def __init__(self) -> None:
        self._names: dict[str, str] = {}
        self._values: dict[str, AttributeValueTypeDef] = {}
        self._set: list[str] = []
        self._remove: list[str] = []
        self._conditions: list[str] = []

    def set(self, path: str, value: Json) -> None:
        """Set the attribute at a path to a value."""
        self._set.append(f"{self._name(path)} = {self._value(value)}")

    def set_if_absent(self, path: str, value: Json) -> None:
        """Set an attribute unless it exists."""
        self._set.append(f"{self._name(path)} = if_not_exists({self._name(path)}, {self._value(value)})")

    def add(self, path: str, amount: int) -> None:
        """Add to a number, which has to exist."""
        self._set.append(f"{self._name(path)} = {self._name(path)} + {self._value(amount)}")

    def append(self, path: str, values: list[Json]) -> None:
        """Append to a list, which is created if it does not exist."""
        stored = f"if_not_exists({self._name(path)}, {self._value([])})"
        self._set.append(f"{self._name(path)} = list_append({stored}, {self._value(values)})")

    def remove(self, path: str) -> None:
        """Remove an attribute."""
        self._remove.append(self._name(path))

    def require_exists(self, path: str) -> None:
        """Require that the attribute exists."""
        self._conditions.append(f"attribute_exists({self._name(path)})")

    def require_equal(self, path: str, value: Json) -> None:
        """Require that the attribute has the value; None requires that it does not exist."""
        if value is None:
            self._conditions.append(f"attribute_not_exists({self._name(path)})")
        else:
            self._conditions.append(f"{self._name(path)} = {self._value(value)}")

    def require_absent_or_less(self, path: str, value: Json) -> None:
        """Require that the attribute does not exist or is less than the value."""
        name = self._name(path)
        self._conditions.append(f"(attribute_not_exists({name}) OR {name} < {self._value(value)})")

    def require_unchanged(self, image: Image) -> None:
        """Require that the image has not been claimed, renewed or ended since it was read."""
        lease_end = clock.to_epoch_ms(image.lease.expires_at) if image.lease else None
        self.require_equal("attempt", image.attempt)
        self.require_equal("status", str(image.status))
        self.require_equal("leaseExpiresAt", lease_end)

    def require_held(self, image: Image) -> None:
        """Require that the image is processing under the same lease."""
        self.require_equal("attempt", image.attempt)
        self.require_equal("leaseOwner", image.lease.owner if image.lease else None)
        self.require_equal("status", ImageStatus.PROCESSING.value)

    def require_same_history(self, image: Image) -> None:
        """Require that the stored history has as many entries as the image's: under a lease it only grows."""
        self._conditions.append(f"size({self._name('history')}) = {self._value(len(image.history))}")

    def require_same_update(self, image: Image) -> None:
        """Require that the image's history is the stored one: shortening it changes `updatedAt`."""
        self.require_same_history(image)
        self.require_equal("updatedAt", clock.to_text(image.updated_at))

    def request(self, table: Table, *, image_id: str, user_id: str) -> "UpdateTypeDef":
        """Return the request, for `update_item` or as an `Update` of `transact_write_items`."""
        clauses = [f"SET {', '.join(self._set)}"] if self._set else []
        clauses += [f"REMOVE {', '.join(self._remove)}"] if self._remove else []
        conditional = self._conditional_request(table, image_id=image_id, user_id=user_id)
        return {**conditional, "UpdateExpression": " ".join(clauses)}

    def delete_request(self, table: Table, *, image_id: str, user_id: str) -> "DeleteTypeDef":
        """Return the request that deletes the item under the conditions, which have to be all there is."""
        return self._conditional_request(table, image_id=image_id, user_id=user_id)

    def _conditional_request(self, table: Table, *, image_id: str, user_id: str) -> "DeleteTypeDef":
        request: DeleteTypeDef = {
            "TableName": table.name,
            "Key": {"imageId": {"S": image_id}, "userId": {"S": user_id}},
            "ConditionExpression": " AND ".join(self._conditions),
            "ExpressionAttributeNames": self._names,
            "ReturnValuesOnConditionCheckFailure": "ALL_OLD",
        }
        if self._values:  # DynamoDB rejects an empty map
            request["ExpressionAttributeValues"] = self._values
        return request

    def _name(self, path: str) -> str:
        parts = path.split(".")
        self._names.update({f"#{part}": part for part in parts})
        return ".".join(f"#{part}" for part in parts)

    def _value(self, value: Json) -> str:
        placeholder = f":v{len(self._values)}"
        self._values[placeholder] = encode(value)
        return placeholder
