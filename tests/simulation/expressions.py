"""
Evaluate DynamoDB's condition, filter, key and update expressions.

Expressions are compiled to closures and cached by their text: the worker's use the same placeholders again
and again. Items and values are attribute values as in requests (`{"S": "text"}`), never changed in place.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Final, TypeAlias

Attribute: TypeAlias = Any
"""`{"S": "text"}`; a `dict` with one entry."""

Item: TypeAlias = dict[str, Attribute]


class ExpressionError(Exception):
    """Raised for what DynamoDB rejects with a `ValidationException`."""


@dataclass(frozen=True, slots=True)
class Scope:
    """An item and the placeholders of a request."""

    item: Item
    names: Mapping[str, str]
    values: Mapping[str, Attribute]


Operand: TypeAlias = Callable[[Scope], Attribute | None]
Condition: TypeAlias = Callable[[Scope], bool]
Path: TypeAlias = tuple[str | int, ...]

_TOKEN: Final = re.compile(r"\s*(<>|<=|>=|[=<>(),+\-.\[\]]|[#:]?\w+)")
_COMPARISONS: Final = frozenset({"=", "<>", "<", "<=", ">", ">="})
_TRUTHS: Final = frozenset({"attribute_exists", "attribute_not_exists", "begins_with", "contains"})


def holds(expression: str | None, scope: Scope) -> bool:
    """Return whether a condition holds for the item; True without one."""
    return expression is None or _compiled_condition(expression)(scope)


def updated(expression: str, scope: Scope) -> Item:
    """Return the item after an update; every operand is that of the item before it."""
    sets, removes, adds = _compiled_update(expression)
    item = dict(scope.item)
    owned: set[int] = {id(item)}
    assigned = [(_resolved(path, scope), operand(scope)) for path, operand in sets]
    for target, value in assigned:
        if value is None:
            message = "The provided expression refers to an attribute that does not exist in the item"
            raise ExpressionError(message)
        _assign(item, target, value, owned)
    for path, operand in adds:
        target, amount = _resolved(path, scope), operand(scope)
        before = _found(scope.item, target) or {"N": "0"}
        _assign(item, target, _sum(before, amount, 1), owned)
    for path in removes:
        _remove(item, _resolved(path, scope), owned)
    return item


class _Parser:
    """Recursive descent over the tokens of an expression."""

    def __init__(self, text: str) -> None:
        self.tokens = _TOKEN.findall(text)
        if "".join(self.tokens) != re.sub(r"\s+", "", text):
            message = f"Invalid expression: {text}"
            raise ExpressionError(message)
        self.at = 0

    @property
    def next(self) -> str:
        return self.tokens[self.at] if self.at < len(self.tokens) else ""

    def take(self, expected: str | None = None) -> str:
        token = self.next
        if not token or (expected is not None and token.upper() != expected):
            message = f"Invalid expression: expected {expected}, found {token!r} in {' '.join(self.tokens)}"
            raise ExpressionError(message)
        self.at += 1
        return token

    def accept(self, word: str) -> bool:
        if self.next.upper() == word:
            self.at += 1
            return True
        return False

    def path(self) -> Path:
        parts: list[str | int] = [self.take()]
        while True:
            if self.accept("."):
                parts.append(self.take())
            elif self.accept("["):
                parts.append(int(self.take()))
                self.take("]")
            else:
                return tuple(parts)

    def operand(self) -> Operand:
        word = self.next
        if word.startswith(":"):
            self.take()
            return lambda scope: scope.values[word]
        if self.at + 1 < len(self.tokens) and self.tokens[self.at + 1] == "(":
            return self._function(self.take())
        path = self.path()
        return lambda scope: _found(scope.item, _resolved(path, scope))

    def _function(self, name: str) -> Operand:
        self.take("(")
        if name == "if_not_exists":
            path = self.path()
            self.take(",")
            other = self.operand()
            self.take(")")
            return lambda scope: _first(_found(scope.item, _resolved(path, scope)), other, scope)
        arguments = [self.operand()]
        while self.accept(","):
            arguments.append(self.operand())
        self.take(")")
        if name == "list_append":
            first, second = arguments
            return lambda scope: {"L": [*_list(first(scope)), *_list(second(scope))]}
        if name == "size":
            (measured,) = arguments
            return lambda scope: _size(measured(scope))
        message = f"Invalid function name: {name}"
        raise ExpressionError(message)

    def value(self) -> Operand:
        """Parse the right side of an assignment."""
        left = self.operand()
        if self.next in {"+", "-"}:
            sign = 1 if self.take() == "+" else -1
            right = self.operand()
            return lambda scope: _sum(left(scope), right(scope), sign)
        return left

    def condition(self) -> Condition:
        terms = [self._conjunction()]
        while self.accept("OR"):
            terms.append(self._conjunction())
        return terms[0] if len(terms) == 1 else lambda scope: any(term(scope) for term in terms)

    def _conjunction(self) -> Condition:
        terms = [self._term()]
        while self.accept("AND"):
            terms.append(self._term())
        return terms[0] if len(terms) == 1 else lambda scope: all(term(scope) for term in terms)

    def _term(self) -> Condition:
        if self.accept("NOT"):
            term = self._term()
            return lambda scope: not term(scope)
        if self.accept("("):
            inner = self.condition()
            self.take(")")
            return inner
        if self.next in _TRUTHS:
            return self._truth(self.take())
        return self._comparison(self.operand())

    def _truth(self, name: str) -> Condition:
        self.take("(")
        path = self.path()
        argument = self.operand() if self.accept(",") else None
        self.take(")")
        if argument is None:
            wanted = name == "attribute_exists"
            return lambda scope: (_found(scope.item, _resolved(path, scope)) is not None) is wanted
        test = _begins_with if name == "begins_with" else _contains
        return lambda scope: test(_found(scope.item, _resolved(path, scope)), argument(scope))

    def _comparison(self, left: Operand) -> Condition:
        if self.accept("BETWEEN"):
            low = self.operand()
            self.take("AND")
            high = self.operand()
            return lambda scope: (
                _compared("<=", low(scope), left(scope)) and _compared("<=", left(scope), high(scope))
            )
        if self.accept("IN"):
            self.take("(")
            options = [self.operand()]
            while self.accept(","):
                options.append(self.operand())
            self.take(")")
            return lambda scope: any(_compared("=", left(scope), option(scope)) for option in options)
        comparator = self.take()
        if comparator not in _COMPARISONS:
            message = f"Invalid comparator: {comparator}"
            raise ExpressionError(message)
        right = self.operand()
        return lambda scope: _compared(comparator, left(scope), right(scope))


@lru_cache(4096)
def _compiled_condition(expression: str) -> Condition:
    parser = _Parser(expression)
    condition = parser.condition()
    if parser.next:
        message = f"Invalid expression: {parser.next!r} is left over"
        raise ExpressionError(message)
    return condition


@lru_cache(4096)
def _compiled_update(
    expression: str,
) -> tuple[Sequence[tuple[Path, Operand]], Sequence[Path], Sequence[tuple[Path, Operand]]]:
    parser = _Parser(expression)
    sets: list[tuple[Path, Operand]] = []
    removes: list[Path] = []
    adds: list[tuple[Path, Operand]] = []
    while parser.next:
        clause = parser.take().upper()
        while True:
            path = parser.path()
            if clause == "SET":
                parser.take("=")
                sets.append((path, parser.value()))
            elif clause == "REMOVE":
                removes.append(path)
            elif clause == "ADD":
                adds.append((path, parser.operand()))
            else:
                message = f"Invalid clause: {clause}"
                raise ExpressionError(message)
            if not parser.accept(","):
                break
    return sets, removes, adds


def _resolved(path: Path, scope: Scope) -> Path:
    return tuple(scope.names[part] if isinstance(part, str) and part[0] == "#" else part for part in path)


def _found(item: Item, path: Path) -> Attribute | None:
    first, *rest = path
    value = item.get(first)  # type: ignore[arg-type]  # a path begins with a name
    for part in rest:
        if value is None:
            return None
        if isinstance(part, int):
            entries = value.get("L", ())
            value = entries[part] if part < len(entries) else None
        else:
            value = value.get("M", {}).get(part)
    return value


def _assign(item: Item, path: Path, value: Attribute, owned: set[int]) -> None:
    *parents, last = path
    holder = _holder(item, parents, owned)
    if isinstance(last, int):
        if not isinstance(holder, list):
            raise ExpressionError(_INVALID_PATH)
        holder[last : last + 1] = [value]
    elif isinstance(holder, dict):
        holder[last] = value
    else:
        raise ExpressionError(_INVALID_PATH)


def _remove(item: Item, path: Path, owned: set[int]) -> None:
    *parents, last = path
    if parents and _found(item, tuple(parents)) is None:
        raise ExpressionError(_INVALID_PATH)
    holder = _holder(item, parents, owned)
    if isinstance(last, int):
        del holder[last : last + 1]
    else:
        holder.pop(last, None)


_INVALID_PATH: Final = "The document path provided in the update expression is invalid for update"


def _holder(item: Item, parents: Sequence[str | int], owned: set[int]) -> Any:
    """Return a map or list inside the item, copied on the way unless it is a copy already."""
    holder: Any = item
    for part in parents:
        try:
            attribute = holder[part]
        except (KeyError, IndexError, TypeError) as error:
            raise ExpressionError(_INVALID_PATH) from error
        ((kind, inner),) = attribute.items()
        if kind not in {"M", "L"}:
            raise ExpressionError(_INVALID_PATH)
        if id(inner) not in owned:
            inner = dict(inner) if kind == "M" else list(inner)
            owned.add(id(inner))
            holder[part] = {kind: inner}
        holder = inner
    return holder


def _first(found: Attribute | None, other: Operand, scope: Scope) -> Attribute | None:
    return found if found is not None else other(scope)


def _list(attribute: Attribute | None) -> list[Attribute]:
    if attribute is None or "L" not in attribute:
        message = "An operand in the update expression has an incorrect data type"
        raise ExpressionError(message)
    entries: list[Attribute] = attribute["L"]
    return entries


def _sum(left: Attribute | None, right: Attribute | None, sign: int) -> Attribute:
    if left is None or right is None or "N" not in left or "N" not in right:
        message = "An operand in the update expression has an incorrect data type"
        raise ExpressionError(message)
    return {"N": str(int(left["N"]) + sign * int(right["N"]))}


def _size(attribute: Attribute | None) -> Attribute | None:
    if attribute is None:
        return None
    ((kind, value),) = attribute.items()
    return {"N": str(len(value.encode()) if kind == "S" else len(value))}


def _compared(comparator: str, left: Attribute | None, right: Attribute | None) -> bool:
    if left is None or right is None:
        return comparator == "<>" and left is not right
    if comparator == "=":
        return _equal(left, right)
    if comparator == "<>":
        return not _equal(left, right)
    ((kind, low),), ((other_kind, high),) = left.items(), right.items()
    if kind != other_kind or kind not in {"S", "N"}:
        return False
    if kind == "N":
        low, high = float(low), float(high)
    else:
        low, high = low.encode(), high.encode()
    return {"<": low < high, "<=": low <= high, ">": low > high, ">=": low >= high}[comparator]


def _equal(left: Attribute, right: Attribute) -> bool:
    if "N" in left and "N" in right:
        return float(left["N"]) == float(right["N"])
    return bool(left == right)


def _begins_with(attribute: Attribute | None, prefix: Attribute | None) -> bool:
    return (
        attribute is not None and prefix is not None and str(attribute.get("S", "")).startswith(prefix["S"])
    )


def _contains(attribute: Attribute | None, part: Attribute | None) -> bool:
    if attribute is None or part is None:
        return False
    ((kind, value),) = attribute.items()
    return part in value if kind == "L" else next(iter(part.values())) in value
