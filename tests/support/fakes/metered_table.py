"""
A table that makes every write and counts what DynamoDB would charge for it.

Sizes are counted as in "DynamoDB item sizes and formats" of the developer guide. A write takes a unit for
each 1,024 bytes begun of the larger of the old and the new item, and twice that in a transaction. An index
takes a put where an entry appears, an update where something that it projects has changed, a delete and a put
where its key has; in a transaction as much as outside of one, as was measured on AWS (nubo-db/dynoxide, pull
request 188).
"""

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import Any

from tests.support import templates

Item = dict[str, Any]


def attribute_bytes(attribute: Mapping[str, Any]) -> int:
    """Count an attribute's value as DynamoDB does."""
    ((kind, value),) = attribute.items()
    match kind:
        case "S":
            return len(value.encode())
        case "N":
            return ceil(len(value.lstrip("-").strip("0")) / 2) + 1 + value.startswith("-")
        case "M":
            return 3 + item_bytes(value) + len(value)
        case "L":
            return 3 + sum(attribute_bytes(entry) + 1 for entry in value)
    return 1


def item_bytes(item: Item) -> int:
    """Count an item: its attributes' names and values."""
    return sum(len(name.encode()) + attribute_bytes(value) for name, value in item.items())


def item_write_units(*items: Item) -> int:
    """Return what writing the larger of the items takes, outside of a transaction."""
    return ceil(max(map(item_bytes, items)) / 1024)


@dataclass(frozen=True)
class Index:
    """A global secondary index: its hash and range key, and everything that it holds of an item."""

    name: str
    keys: tuple[str, ...]
    projected: frozenset[str]

    def entry(self, item: Item) -> Item:
        """Return what the index holds of an item; nothing where the item lacks one of its keys."""
        if not item.keys() >= set(self.keys):
            return {}
        return {name: item[name] for name in self.projected & item.keys()}

    def writes(self, old: Item, new: Item) -> list[tuple[str, int]]:
        """List what a change of an item writes: the hash key, and the units."""
        entries = [entry for entry in (self.entry(old), self.entry(new)) if entry]
        if not entries or (entries[0] == entries[-1] and len(entries) > 1):
            return []
        if len(entries) > 1 and all(entries[0][key] == entries[1][key] for key in self.keys):
            return [(entries[1][self.keys[0]]["S"], item_write_units(*entries))]
        return [(entry[self.keys[0]]["S"], item_write_units(entry)) for entry in entries]


def indexes() -> tuple[Index, ...]:
    """Return the indexes of the storage template's table."""
    table = templates.template("storage.yaml")["Resources"]["Table"]["Properties"]
    base = _keys(table)
    return tuple(
        Index(one["IndexName"], _keys(one), frozenset({*base, *_keys(one), *_others(one)}))
        for one in table["GlobalSecondaryIndexes"]
    )


def _keys(resource: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in resource["KeySchema"])


def _others(index: Mapping[str, Any]) -> list[str]:
    projected: list[str] = index["Projection"]["NonKeyAttributes"]
    return projected


@dataclass
class MeteredTable:
    """
    DynamoDB's client, as far as the ledger uses it.

    Attributes:
        items: By image id.
        table_units: Of each write to an item, in order.
        index_units: By index and hash key.
    """

    items: dict[str, Item] = field(default_factory=dict)
    indexes: tuple[Index, ...] = field(default_factory=indexes)
    table_units: list[int] = field(default_factory=list)
    index_units: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def update_item(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore's
        """Make a write."""
        self._write(request, factor=1)
        return {}

    async def transact_write_items(self, **request: Any) -> dict[str, Any]:  # noqa: ANN401 - as botocore's
        """Make several writes, at twice the price."""
        for one in request["TransactItems"]:
            self._write(one["Update"], factor=2)
        return {}

    @property
    def units(self) -> int:
        """All units so far."""
        return sum(self.table_units) + self.index_units.total()

    def index_write_units(self, name: str) -> int:
        """Return the units of one index so far."""
        return sum(units for (index, _), units in self.index_units.items() if index == name)

    def busiest_key_units(self, name: str) -> int:
        """Return the units of that key of an index that took most."""
        return max(units for (index, _), units in self.index_units.items() if index == name)

    def _write(self, request: Mapping[str, Any], *, factor: int) -> None:
        image_id = request["Key"]["imageId"]["S"]
        old = self.items.get(image_id, {})
        new = updated(old or request["Key"], request)
        self.items[image_id] = new
        self.table_units.append(factor * item_write_units(old, new))
        for index in self.indexes:
            for key, units in index.writes(old, new):
                self.index_units[index.name, key] += units


def updated(old: Item, request: Mapping[str, Any]) -> Item:
    """Carry out an update expression, as far as `worker.dynamodb.expressions` builds them."""
    sets, _, removes = request["UpdateExpression"].removeprefix("SET ").partition(" REMOVE ")
    new = {"M": dict(old)}
    for assignment in re.split(r", (?=#)", sets):
        target, _, expression = assignment.partition(" = ")
        *path, last = target.replace("#", "").split(".")
        holder = new
        for part in path:
            holder["M"][part] = holder = {"M": dict(holder["M"][part]["M"])}
        present = holder["M"].get(last)
        value = request["ExpressionAttributeValues"][re.findall(r":v\d+", expression)[-1]]
        if expression.startswith("list_append"):
            value = {"L": [*(present or {"L": []})["L"], *value["L"]]}
        elif " + " in expression:
            value = {"N": str(int(present["N"]) + int(value["N"]))}
        elif expression.startswith("if_not_exists"):
            value = present or value
        holder["M"][last] = value
    for name in removes.replace("#", "").split(", ") if removes else ():
        new["M"].pop(name, None)
    return new["M"]
