"""
A DynamoDB table in memory that counts the write units of every write.

Sizes follow "DynamoDB item sizes and formats" in the developer guide. A write consumes one unit for each
1,024 bytes, rounded up, of the larger of the old and the new item, and twice that in a transaction. In an
index, a new entry is a put, a changed projected attribute an update, and a changed key a delete and a put;
they cost the same in a transaction, as measured on AWS (nubo-db/dynoxide, pull request 188).
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
    """Return the size of an attribute's value."""
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
    """Return the size of an item: the names and values of its attributes."""
    return sum(len(name.encode()) + attribute_bytes(value) for name, value in item.items())


def item_write_units(*items: Item) -> int:
    """Return the write units for the larger of the items, outside of a transaction."""
    return ceil(max(map(item_bytes, items)) / 1024)


@dataclass(frozen=True)
class Index:
    """A global secondary index: its hash and range key, and all attributes that it contains."""

    name: str
    keys: tuple[str, ...]
    projected: frozenset[str]

    def entry(self, item: Item) -> Item:
        """Return the entry of an item in the index; empty if the item does not have all its keys."""
        if not item.keys() >= set(self.keys):
            return {}
        return {name: item[name] for name in self.projected & item.keys()}

    def writes(self, old: Item, new: Item) -> list[tuple[str, int]]:
        """Return the hash key and write units of each index write that a change of an item causes."""
        entries = [entry for entry in (self.entry(old), self.entry(new)) if entry]
        if not entries or (entries[0] == entries[-1] and len(entries) > 1):
            return []
        if len(entries) > 1 and all(entries[0][key] == entries[1][key] for key in self.keys):
            return [(entries[1][self.keys[0]]["S"], item_write_units(*entries))]
        return [(entry[self.keys[0]]["S"], item_write_units(entry)) for entry in entries]


def indexes() -> tuple[Index, ...]:
    """Return the indexes of the table in the storage template."""
    table = templates.template("storage.yaml")["Resources"]["Table"]["Properties"]
    base = _keys(table)
    return tuple(
        Index(index["IndexName"], _keys(index), frozenset({*base, *_keys(index), *_projected(index)}))
        for index in table["GlobalSecondaryIndexes"]
    )


def _keys(resource: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(key["AttributeName"] for key in resource["KeySchema"])


def _projected(index: Mapping[str, Any]) -> list[str]:
    projected: list[str] = index["Projection"]["NonKeyAttributes"]
    return projected


@dataclass
class MeteredTable:
    """
    A DynamoDB client with the write calls of the ledger.

    Attributes:
        items: Items by image id.
        table_units: Write units of each write to the table, in order.
        index_units: Write units by index and hash key.
    """

    items: dict[str, Item] = field(default_factory=dict)
    indexes: tuple[Index, ...] = field(default_factory=indexes)
    table_units: list[int] = field(default_factory=list)
    index_units: Counter[tuple[str, str]] = field(default_factory=Counter)

    async def update_item(self, **request: Any) -> dict[str, Any]:
        """Carry out a write."""
        self._write(request, factor=1)
        return {}

    async def transact_write_items(self, **request: Any) -> dict[str, Any]:
        """Carry out several writes at twice the units."""
        for item in request["TransactItems"]:
            self._write(item["Update"], factor=2)
        return {}

    @property
    def units(self) -> int:
        """Total write units so far."""
        return sum(self.table_units) + self.index_units.total()

    def index_write_units(self, name: str) -> int:
        """Return the write units of one index so far."""
        return sum(units for (index, _), units in self.index_units.items() if index == name)

    def busiest_key_units(self, name: str) -> int:
        """Return the highest write units of a hash key of an index."""
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
    """Return an item after an update expression in the form that `worker.dynamodb.expressions` builds."""
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
            assert present
            value = {"N": str(int(present["N"]) + int(value["N"]))}
        elif expression.startswith("if_not_exists"):
            value = present or value
        holder["M"][last] = value
    for name in removes.replace("#", "").split(", ") if removes else ():
        new["M"].pop(name, None)
    return new["M"]
