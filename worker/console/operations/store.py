"""
Keep operations in the table, as items of their own.

Their `imageId` is reserved, as that of profiles, and they have no attribute of an index's key, so that they
are in no list of images. Each write is conditional on the revision that was read, so that two consoles never
overwrite each other's changes.
"""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final
from uuid import uuid4

import structlog
from pydantic import TypeAdapter, ValidationError

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.console.operations.operation import Operation
from worker.domain.errors import TransientError
from worker.domain.keys import OPERATION_IMAGE_ID
from worker.domain.step import Json
from worker.dynamodb.attributes import decode_map
from worker.dynamodb.conditional_update import Applied, conditional_update
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.page_tokens import from_token, to_token
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodb.type_defs import QueryInputTypeDef

log = structlog.get_logger(__name__)

_ADAPTER: Final = TypeAdapter(Operation)
_MAX_ROUNDS: Final = 20
"""How often a change is repeated because the operation changed between the read and the write."""

_MAX_ID_CHARACTERS: Final = 64
"""More than an id has; DynamoDB rejects keys of more than 1,024 bytes."""

_KEYS: Final = ("operationId", "revision")
_OPTIONAL: Final = ("expected", "startedAt", "endedAt", "outcome", "owner", "heartbeatAt")


@dataclass(frozen=True, slots=True)
class OperationPage:
    """A page of operations, newest first, and the token of the next page."""

    operations: tuple[Operation, ...]
    next_token: str | None


class OperationStore:
    """
    Reads and writes operations. Every method raises `TransientError` if the table was unavailable.

    Args:
        client: DynamoDB client.
        table: Name of the table.
        retry: Retry policy for DynamoDB requests.
        now_s: Returns the current time in seconds since 1970.
    """

    def __init__(
        self,
        client: "DynamoDBClient",
        *,
        table: Table,
        retry: RetryPolicy,
        now_s: Callable[[], float] = time.time,
    ) -> None:
        self._client, self._table, self._retry, self._now_s = client, table, retry, now_s

    async def create(self, operation: Operation) -> Operation:
        """Write a new operation; return it as it is stored."""
        written = await self._write(operation, after=operation)
        if written is None:
            message = f"operation {operation.operation_id} exists already: request it again"
            raise TransientError(message, is_dependency_failure=False)
        return written

    async def get(self, operation_id: str) -> Operation | None:
        """Return an operation; None if it does not exist, has expired, or cannot be read."""
        if len(operation_id) > _MAX_ID_CHARACTERS:  # an address that somebody changed
            return None
        response = await call_with_retry(
            lambda: self._client.get_item(
                TableName=self._table.name,
                Key={"imageId": {"S": OPERATION_IMAGE_ID}, "userId": {"S": operation_id}},
                ConsistentRead=True,
            ),
            self._retry,
            what="read the operation",
        )
        item = response.get("Item")
        return self._operation(decode_map(item)) if item else None

    async def newest(self, *, limit: int, token: str | None = None) -> OperationPage:
        """Return a page of operations, newest first; raises `PageTokenError` for a token of another list."""
        query = f"{self._table.name} operations"
        request: QueryInputTypeDef = {
            "TableName": self._table.name,
            "KeyConditionExpression": "#imageId = :operations",
            "ExpressionAttributeNames": {"#imageId": "imageId"},
            "ExpressionAttributeValues": {":operations": {"S": OPERATION_IMAGE_ID}},
            "ScanIndexForward": False,
            "Limit": limit,
        }
        if token is not None:
            after = str(from_token(token, query=query))
            request["ExclusiveStartKey"] = {"imageId": {"S": OPERATION_IMAGE_ID}, "userId": {"S": after}}
        response = await call_with_retry(
            lambda: self._client.query(**request), self._retry, what="list the operations"
        )
        found = [self._operation(decode_map(item)) for item in response["Items"]]
        last = response.get("LastEvaluatedKey")
        return OperationPage(
            operations=tuple(operation for operation in found if operation is not None),
            next_token=to_token(decode_map(last)["userId"], query=query) if last else None,
        )

    async def change(self, operation_id: str, change: Callable[[Operation], Operation]) -> Operation | None:
        """
        Change an operation; return it as it is stored, or None if it does not exist.

        Args:
            operation_id: Id of the operation.
            change: Returns the changed operation; called again when another console changed it first.

        Raises:
            OperationStateError: `change` has raised it.
        """
        for _ in range(_MAX_ROUNDS):
            seen = await self.get(operation_id)
            if seen is None:
                return None
            written = await self._write(seen, after=change(seen))
            if written is not None:
                return written
        message = (
            f"operation {operation_id} changed {_MAX_ROUNDS} times while it was being updated: try again"
        )
        raise TransientError(message, is_dependency_failure=False)

    async def _write(self, seen: Operation, *, after: Operation) -> Operation | None:
        """Return what was written; None if another console has written since `seen` was read."""
        after = replace(after, revision=seen.revision + 1)
        write_id = uuid4().hex
        expression = UpdateExpression()
        values = _to_map(after)
        for name, value in values.items():
            if name not in _KEYS:
                expression.set(name, value)
        for name in _OPTIONAL:
            if seen.revision and name not in values:
                expression.remove(name)
        expression.set("revision", after.revision)
        expression.set("writeId", write_id)
        expression.require_equal("revision", seen.revision or None)
        request = expression.request(self._table, image_id=OPERATION_IMAGE_ID, user_id=after.operation_id)
        result = await conditional_update(self._client, request, self._retry, what="write the operation")
        is_written = isinstance(result, Applied) or (result.item or {}).get("writeId") == write_id
        return after if is_written else None

    def _operation(self, item: Mapping[str, Any]) -> Operation | None:
        try:
            operation = _ADAPTER.validate_python({**item, "operationId": item["userId"]})
        except ValidationError as error:
            log.warning(
                "operation.unreadable", operation_id=item.get("userId"), reason=str(error.errors()[0])
            )
            return None
        return operation if operation.ttl > self._now_s() else None


def _to_map(operation: Operation) -> dict[str, Json]:
    values: dict[str, Json] = _ADAPTER.dump_python(operation, mode="json", by_alias=True, exclude_none=True)
    return values


def document(operation: Operation) -> dict[str, Json]:
    """Return an operation as the console's JSON shows it."""
    return {name: value for name, value in _to_map(operation).items() if name not in {"revision", "ttl"}}
