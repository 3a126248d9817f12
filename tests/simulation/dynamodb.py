"""A simulated DynamoDB table: conditional updates, transactions, indexes that lag, limits of size."""

import marshal
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from operator import itemgetter
from typing import Any, Final, TypeAlias

from tests.simulation.chance import Chance
from tests.simulation.expressions import ExpressionError, Item, Scope, holds, updated
from tests.simulation.loop import ProcessLoop, Scheduler
from tests.simulation.network import Fault, Parameters, Request, client_error

Key: TypeAlias = tuple[str, str]
"""Image id and user id."""

TABLE: Final = "image-processing-metadata"
MAX_ITEM_BYTES: Final = 400 * 1024
_MAX_HASH_KEY_BYTES: Final = 2048
_MAX_RANGE_KEY_BYTES: Final = 1024
_MAX_TRANSACTION: Final = 100
_TOKEN_S: Final = 600
_MAX_ENTRY_BYTES: Final = 400
"""A bound for the size of an entry of the history, which saves most of the counting."""
_LAG_S: Final = 1.0
"""How long reads that are not consistent, and indexes, may return what was there before."""

_INDEXES: Final = {
    None: ("imageId", "userId"),
    "UserImages": ("userId", "createdAt"),
    "StatusIndex": ("statusShard", "createdAt"),
    "DateIndex": ("dateShard", "createdAt"),
}


@dataclass(frozen=True, slots=True)
class Write:
    """An applied write: the item before and after it; None if there is none."""

    sender: ProcessLoop | None
    key: Key
    before: Item | None
    after: Item | None


@dataclass(frozen=True, slots=True)
class _Rejected(Exception):  # noqa: N818 - an outcome
    """Raised when a condition does not hold."""

    item: Item | None


class DynamoDB:
    """
    The table.

    Args:
        scheduler: Returns the time.
        chance: Decides which reads are stale.
        on_write: Called after each applied write.
        table_id: Id of the table: each restored one has another.
        items: What is in it at first.
    """

    name = "dynamodb"

    def __init__(
        self,
        scheduler: Scheduler,
        chance: Chance,
        on_write: Callable[[list[Write]], None],
        *,
        table_id: str,
        items: Mapping[Key, Item],
    ) -> None:
        self._scheduler, self._chance, self._on_write = scheduler, chance, on_write
        self._table_id = table_id
        self.items: dict[Key, Item] = dict(items)
        self._previous: dict[Key, tuple[float, Item | None]] = {}
        self._tokens: dict[str, tuple[float, object]] = {}

    def call(self, operation: str, parameters: Parameters, request: Request) -> Any:
        if request.fault is Fault.CONFLICT:
            raise _conflict(operation, parameters)
        try:
            return getattr(self, f"_{operation}")(parameters, request)
        except ExpressionError as error:
            raise client_error(operation, "ValidationException", 400, str(error)) from error

    # Changes from outside the worker.

    def snapshot(self) -> dict[Key, Item]:
        return dict(self.items)

    def abandon(self) -> None:
        """Report no write from now on: a restored table has taken the place of this one."""
        self._on_write = lambda _: None

    def delete(self, key: Key) -> None:
        self.items.pop(key, None)

    # Operations.

    def _update_item(self, parameters: Parameters, request: Request) -> Any:
        key = _key(parameters["Key"])
        try:
            after = self._evaluated(parameters)
        except _Rejected as rejected:
            shown = _shown(parameters, rejected.item)
            raise client_error("UpdateItem", "ConditionalCheckFailedException", 400, **shown) from None
        self._apply([(key, after)], request.sender)
        return {}

    def _delete_item(self, parameters: Parameters, request: Request) -> Any:
        try:
            self._check(parameters)
        except _Rejected as rejected:
            shown = _shown(parameters, rejected.item)
            raise client_error("DeleteItem", "ConditionalCheckFailedException", 400, **shown) from None
        self._apply([(_key(parameters["Key"]), None)], request.sender)
        return {}

    def _put_item(self, parameters: Parameters, request: Request) -> Any:
        item = dict(parameters["Item"])
        key = _key(item)
        before = self.items.get(key)
        if not holds(parameters.get("ConditionExpression"), _scope(before or {}, parameters)):
            shown = _shown(parameters, before)
            raise client_error("PutItem", "ConditionalCheckFailedException", 400, **shown)
        _check_size(item)
        self._apply([(key, item)], request.sender)
        return {}

    def _transact_write_items(self, parameters: Parameters, request: Request) -> Any:
        entries, token = parameters["TransactItems"], parameters.get("ClientRequestToken")
        seen = self._tokens.get(token) if token else None
        if seen is not None and self._scheduler.now_s - seen[0] < _TOKEN_S:
            if seen[1] != entries:
                raise client_error("TransactWriteItems", "IdempotentParameterMismatchException", 400)
            return {}
        if len(entries) > _MAX_TRANSACTION:
            message = f"Member must have length less than or equal to {_MAX_TRANSACTION}"
            raise ExpressionError(message)
        reasons, changes = self._evaluated_together(entries)
        if any(reason["Code"] != "None" for reason in reasons):
            raise client_error(
                "TransactWriteItems", "TransactionCanceledException", 400, CancellationReasons=reasons
            )
        self._apply(changes, request.sender)
        if token:
            self._tokens[token] = (self._scheduler.now_s, entries)
        return {}

    def _get_item(self, parameters: Parameters, request: Request) -> Any:
        item = self._read(
            _key(parameters["Key"]), request, consistent=parameters.get("ConsistentRead", False)
        )
        return {"Item": item} if item is not None else {}

    def _batch_get_item(self, parameters: Parameters, request: Request) -> Any:
        ((table, wanted),) = parameters["RequestItems"].items()
        keys = [_key(key) for key in wanted["Keys"]]
        consistent = wanted.get("ConsistentRead", False)
        found = [self._read(key, request, consistent=consistent) for key in keys]
        return {"Responses": {table: [item for item in found if item is not None]}}

    def _query(self, parameters: Parameters, request: Request) -> Any:
        hash_name, range_name = _INDEXES[parameters.get("IndexName")]
        consistent = parameters.get("ConsistentRead", False)
        found: list[Item] = []
        for key in list(self.items):
            item = self._read(key, request, consistent=consistent)
            if item is None or hash_name not in item or range_name not in item:
                continue
            if holds(parameters["KeyConditionExpression"], _scope(item, parameters)):
                found.append(item)
        by_key = itemgetter(range_name, "imageId", "userId")
        found.sort(
            key=lambda item: [value["S"] for value in by_key(item)],
            reverse=not parameters.get("ScanIndexForward", True),
        )
        start = parameters.get("ExclusiveStartKey")
        if start is not None:
            ordered = [value["S"] for value in by_key(start)]
            is_forward = parameters.get("ScanIndexForward", True)
            found = [
                item
                for item in found
                if ([value["S"] for value in by_key(item)] > ordered) is is_forward
                and [value["S"] for value in by_key(item)] != ordered
            ]
        limit = parameters.get("Limit", len(found))
        page, rest = found[:limit], found[limit:]
        matching = [
            item for item in page if holds(parameters.get("FilterExpression"), _scope(item, parameters))
        ]
        response: dict[str, Any] = {"Items": matching, "Count": len(matching)}
        if rest:
            names = {"imageId", "userId", hash_name, range_name}
            response["LastEvaluatedKey"] = {name: page[-1][name] for name in names}
        return response

    def _describe_table(self, _parameters: Parameters, _request: Request) -> Any:
        return {"Table": {"TableStatus": "ACTIVE", "TableId": self._table_id}}

    # Their parts.

    def _read(self, key: Key, request: Request, *, consistent: bool) -> Item | None:
        previous = self._previous.get(key)
        is_stale = (
            not consistent
            and previous is not None
            and request.fault is Fault.STALE_READ
            and self._scheduler.now_s - previous[0] < _LAG_S
        )
        return previous[1] if is_stale and previous else self.items.get(key)

    def _evaluated(self, parameters: Parameters) -> Item:
        key = _key(parameters["Key"])
        before = self.items.get(key)
        scope = _scope(before or {}, parameters)
        if not holds(parameters.get("ConditionExpression"), scope):
            raise _Rejected(before)
        base = before if before is not None else dict(parameters["Key"])
        after = updated(parameters["UpdateExpression"], _scope(base, parameters))
        _check_size(after)
        return after

    def _check(self, parameters: Parameters) -> None:
        item = self.items.get(_key(parameters["Key"]))
        if not holds(parameters["ConditionExpression"], _scope(item or {}, parameters)):
            raise _Rejected(item)

    def _evaluated_together(
        self, entries: Sequence[Any]
    ) -> tuple[list[dict[str, Any]], list[tuple[Key, Item | None]]]:
        reasons: list[dict[str, Any]] = []
        changes: list[tuple[Key, Item | None]] = []
        for entry in entries:
            ((kind, parameters),) = entry.items()
            try:
                if kind == "ConditionCheck":
                    self._check(parameters)
                elif kind == "Delete":
                    self._check(parameters)
                    changes.append((_key(parameters["Key"]), None))
                else:
                    changes.append((_key(parameters["Key"]), self._evaluated(parameters)))
                reasons.append({"Code": "None"})
            except _Rejected as rejected:
                shown = _shown(parameters, rejected.item)
                reasons.append({"Code": "ConditionalCheckFailed", "Message": "failed", **shown})
        if len({key for key, _ in changes}) < len(changes):
            message = "Transaction request cannot include multiple operations on one item"
            raise ExpressionError(message)
        return reasons, changes

    def _apply(self, changes: Sequence[tuple[Key, Item | None]], sender: ProcessLoop | None) -> None:
        writes = []
        for key, after in changes:
            before = self.items.get(key)
            self._previous[key] = (self._scheduler.now_s, before)
            if after is None:
                self.items.pop(key, None)
            else:
                self.items[key] = after
            writes.append(Write(sender, key, before, after))
        self._on_write(writes)


def _scope(item: Item, parameters: Parameters) -> Scope:
    return Scope(
        item,
        parameters.get("ExpressionAttributeNames") or {},
        parameters.get("ExpressionAttributeValues") or {},
    )


def _shown(parameters: Parameters, item: Item | None) -> dict[str, Any]:
    is_wanted = parameters.get("ReturnValuesOnConditionCheckFailure") == "ALL_OLD"
    return {"Item": item} if is_wanted and item is not None else {}


def _key(attributes: Mapping[str, Any]) -> Key:
    image_id, user_id = attributes["imageId"]["S"], attributes["userId"]["S"]
    for value, limit in ((image_id, _MAX_HASH_KEY_BYTES), (user_id, _MAX_RANGE_KEY_BYTES)):
        if not 0 < len(value.encode()) <= limit:
            message = f"One or more parameter values are not valid: the key has {len(value)} characters"
            raise ExpressionError(message)
    return image_id, user_id


def _check_size(item: Item) -> None:
    if item_bytes(item, at_least=MAX_ITEM_BYTES) > MAX_ITEM_BYTES:
        message = "Item size to update has exceeded the maximum allowed size"
        raise ExpressionError(message)


def _item_bytes(attribute: Any) -> int:
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":
            return len(value) // 2 + 2
        case "M":
            return 3 + sum(len(name.encode()) + 1 + _item_bytes(each) for name, each in value.items())
        case "L":
            return 3 + sum(1 + _item_bytes(each) for each in value)
    return 1


def item_bytes(item: Item, *, at_least: int) -> int:
    """Return the size of an item, as DynamoDB counts it; an upper bound if that is below `at_least`."""
    entries = item.get("history", {"L": ()})["L"]
    rest = {name: value for name, value in item.items() if name != "history"}
    bound = _MAX_ENTRY_BYTES * len(entries) + len(marshal.dumps(rest, 0))
    return bound if bound < at_least else _item_bytes({"M": item})


def _conflict(operation: str, parameters: Parameters) -> Exception:
    if operation == "transact_write_items":
        reasons = [
            {"Code": "TransactionConflict"},
            *({"Code": "None"} for _ in parameters["TransactItems"][1:]),
        ]
        return client_error(
            "TransactWriteItems", "TransactionCanceledException", 400, CancellationReasons=reasons
        )
    return client_error("UpdateItem", "TransactionConflictException", 400)
