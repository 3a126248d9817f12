"""
The Terraform module as Python values, without Terraform: its blocks, and their arguments for given variables.

Covers the part of the language that the module uses; anything else raises HclError, and so does an unknown
name.
"""

import json
import operator
import re
import textwrap
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any, cast

import hcl2
from lark import Token, Tree
from lark.exceptions import LarkError

MODULE = Path(__file__).parents[2] / "config" / "terraform"
Node = Tree[Token]


class HclError(ValueError):
    """The module cannot be read, or cannot be evaluated."""


@dataclass(frozen=True)
class Block:
    """A block, such as `resource "aws_sqs_queue" "events" { ... }`."""

    type: str
    labels: tuple[str, ...]
    attributes: dict[str, Node] = field(default_factory=dict)
    blocks: list["Block"] = field(default_factory=list)

    @property
    def address(self) -> str:
        return ".".join(self.labels if self.type == "resource" else (self.type, *self.labels))

    def of_type(self, kind: str) -> Iterator["Block"]:
        return (block for block in self.blocks if block.type == kind)


def read(folder: Path = MODULE) -> Block:
    """
    Return the blocks of all files of a module, as one.

    Raises:
        HclError: A file is not HCL, or sets an argument twice.
    """
    module = Block("module", ())
    for path in sorted(folder.glob("*.tf")):
        try:
            module.blocks.extend(_blocks(path.read_text()))
        except LarkError as error:
            message = f"{path.name} is not HCL: {str(error).splitlines()[0]}"
            raise HclError(message) from error
    return module


@cache
def _blocks(text: str) -> list[Block]:
    return _body(_child(hcl2.parses_to_tree(text), "body"), "module", ()).blocks


def _body(body: Node, kind: str, labels: tuple[str, ...]) -> Block:
    block = Block(kind, labels)
    for node in _trees(body):
        if node.data == "attribute":
            name_node, value = _trees(node)
            name = text_of(name_node)
            if name in block.attributes:
                message = f"{block.address}: {name} is set twice"
                raise HclError(message)
            block.attributes[name] = value
        elif node.data == "block":
            *names, inner = _trees(node)
            inner_kind, *inner_labels = map(text_of, names)
            block.blocks.append(_body(inner, inner_kind, tuple(inner_labels)))
    return block


def _trees(node: Node) -> list[Node]:
    """Return the children that have a meaning: no punctuation, line ends or comments."""
    return [
        child for child in node.children if isinstance(child, Tree) and child.data != "new_line_or_comment"
    ]


def _child(node: Node, name: str) -> Node:
    return next(child for child in _trees(node) if child.data == name)


def text_of(node: Node) -> str:
    """Return an identifier or the text of a literal string."""
    return "".join(str(token) for token in node.scan_values(lambda value: isinstance(value, Token))).strip(
        '"'
    )


@dataclass(frozen=True)
class Instance:
    """A resource or data source with the values of its arguments; an argument that is null is left out."""

    type: str
    name: str
    key: str | int | None
    arguments: dict[str, Any]

    @property
    def address(self) -> str:
        return f"{self.type}.{self.name}" + ("" if self.key is None else f"[{json.dumps(self.key)}]")


@dataclass(frozen=True)
class _Reference:
    """A resource as an expression sees it: its arguments, and what the provider computes."""

    instance: Instance
    computed: Callable[[Instance, str], Any]

    def attribute(self, name: str) -> Any:
        if name in self.instance.arguments:
            return self.instance.arguments[name]
        return self.computed(self.instance, name)


Names = Mapping[str, Any]
OPERATORS: dict[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq,
    "!=": operator.ne,
    "<": operator.lt,
    ">": operator.gt,
    "<=": operator.le,
    ">=": operator.ge,
    "+": operator.add,
    "-": operator.sub,
    "*": operator.mul,
    "/": operator.truediv,
    "%": operator.mod,
}
META = frozenset({"count", "for_each", "depends_on", "provider"})
"""Arguments of every resource, which Terraform itself reads."""


def _merge(*maps: dict[str, Any]) -> dict[str, Any]:
    return {name: value for each in maps for name, value in each.items()}


def _regex(pattern: str, text: str) -> str:
    found = re.search(pattern, text)
    if found is None:
        message = f"{text!r} does not match {pattern}"
        raise HclError(message)
    return found[0]


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "compact": lambda texts: [text for text in texts if text],
    "concat": lambda *lists: [each for one in lists for each in one],
    "contains": lambda values, value: value in values,
    "join": lambda separator, texts: separator.join(texts),
    "jsonencode": lambda value: json.dumps(value, sort_keys=True),
    "length": len,
    "merge": _merge,
    "regex": _regex,
    "replace": lambda text, old, new: text.replace(old, new),
    "toset": lambda values: sorted(set(values)),
    "trimspace": str.strip,
}


class Evaluation:
    """The resources and outputs of a module for given variables."""

    def __init__(
        self, module: Block, computed: Callable[[Instance, str], Any], variables: Mapping[str, Any]
    ) -> None:
        """
        Take the module and its inputs.

        Args:
            computed: Returns an attribute that the provider computes, such as an ARN.
            variables: Those that have another value than their default.
        """
        self._module = module
        self._computed = computed
        self._declared = {block.labels[0]: block for block in module.of_type("variable")}
        if unknown := variables.keys() - self._declared.keys():
            message = f"the module has no variables {sorted(unknown)}"
            raise HclError(message)
        self.variables = {
            name: variables[name] if name in variables else self._value(block.attributes["default"], {})
            for name, block in self._declared.items()
        }
        self._local_nodes = {
            name: node for block in module.of_type("locals") for name, node in block.attributes.items()
        }
        self._instances: dict[tuple[str, ...], Any] = {}

    @cached_property
    def resources(self) -> list[Instance]:
        """All resources that the module creates."""
        found: list[Instance] = []
        for block in self._module.of_type("resource"):
            match self._resource(block):
                case Instance() as one:
                    found.append(one)
                case dict() as several:
                    found.extend(several.values())
                case list() as several:
                    found.extend(several)
        return found

    @cached_property
    def outputs(self) -> dict[str, Any]:
        """The outputs that are not null."""
        values = {
            block.labels[0]: self._value(block.attributes["value"], {})
            for block in self._module.of_type("output")
        }
        return {name: value for name, value in values.items() if value is not None}

    def depends_on(self, address: str) -> list[str]:
        """Return the addresses, without keys, that a resource names in `depends_on`."""
        (block,) = (each for each in self._module.of_type("resource") if each.address == address)
        node = block.attributes.get("depends_on")
        return [] if node is None else [text_of(each) for each in _trees(_trees(node)[0])]

    def invalid(self) -> list[str]:
        """Return the error messages of the validations that fail."""
        return [
            self._value(validation.attributes["error_message"], {})
            for block in self._declared.values()
            for validation in block.of_type("validation")
            if not self._value(validation.attributes["condition"], {})
        ]

    def _resource(self, block: Block) -> Instance | list[Instance] | dict[str, Instance]:
        key = (block.type, *block.labels)
        if key not in self._instances:
            self._instances[key] = self._created(block)
        return cast("Instance | list[Instance] | dict[str, Instance]", self._instances[key])

    def _created(self, block: Block) -> Instance | list[Instance] | dict[str, Instance]:
        kind, name = block.labels

        def instance(key: str | int | None, names: Names) -> Instance:
            return Instance(kind, name, key, self._arguments(block, names))

        if "count" in block.attributes:
            count = self._value(block.attributes["count"], {})
            return [instance(index, {"count": {"index": index}}) for index in range(count)]
        if "for_each" in block.attributes:
            values = self._value(block.attributes["for_each"], {})
            pairs = values.items() if isinstance(values, dict) else zip(values, values, strict=True)
            return {key: instance(key, {"each": {"key": key, "value": value}}) for key, value in pairs}
        return instance(None, {})

    def _arguments(self, block: Block, names: Names) -> dict[str, Any]:
        """Return the values of a block's arguments; those of its nested blocks are lists."""
        values = {
            name: self._value(node, names) for name, node in block.attributes.items() if name not in META
        }
        arguments = {name: value for name, value in values.items() if value is not None}
        for nested in block.blocks:
            if nested.type == "dynamic":
                (label,) = nested.labels
                (content,) = nested.of_type("content")
                each = [
                    self._arguments(content, {**names, label: {"key": index, "value": value}})
                    for index, value in enumerate(self._value(nested.attributes["for_each"], names))
                ]
            elif nested.type == "lifecycle":
                label, each = nested.type, [_lifecycle(nested)]
            else:
                label, each = nested.type, [self._arguments(nested, names)]
            if each:
                arguments.setdefault(label, []).extend(each)
        return arguments

    def _value(self, node: Node, names: Names) -> Any:
        handler = getattr(self, f"_{node.data}", None)
        if handler is None:
            message = f"HCL that this evaluation does not know: {node.data}"
            raise HclError(message)
        return handler(node, names)

    def _expr_term(self, node: Node, names: Names) -> Any:
        (inner,) = _trees(node)
        return self._value(inner, names)

    def _identifier(self, node: Node, names: Names) -> Any:
        name = text_of(node)
        if name in names:
            return names[name]
        if name == "var":
            return self.variables
        if name == "local":
            return _Locals(self._local)
        if name == "data":
            return _Locals(lambda kind: _Locals(lambda label: self._referenced("data", kind, label)))
        if name.startswith("aws_"):
            return _Locals(lambda label: self._referenced("resource", name, label))
        message = f"unknown name {name}"
        raise HclError(message)

    def _local(self, name: str) -> Any:
        if name not in self._local_nodes:
            message = f"local.{name} is not declared"
            raise HclError(message)
        return self._value(self._local_nodes[name], {})

    def _referenced(self, kind: str, *labels: str) -> Any:
        for block in self._module.of_type(kind):
            if block.labels == labels:
                match self._resource(block):
                    case Instance() as one:
                        return _Reference(one, self._computed)
                    case dict() as several:
                        return {key: _Reference(one, self._computed) for key, one in several.items()}
                    case several:
                        return [_Reference(one, self._computed) for one in several]
        message = f"{'.'.join(labels)} is not declared"
        raise HclError(message)

    def _get_attr_expr_term(self, node: Node, names: Names) -> Any:
        of, attribute = _trees(node)
        return _member(self._value(of, names), text_of(_trees(attribute)[0]))

    def _index_expr_term(self, node: Node, names: Names) -> Any:
        of, index = _trees(node)
        values, key = self._value(of, names), self._value(_trees(index)[0], names)
        try:
            return values[key]
        except (KeyError, IndexError) as error:
            message = f"{text_of(of)} has no element {key!r}"
            raise HclError(message) from error

    def _full_splat_expr_term(self, node: Node, names: Names) -> Any:
        of, splat = _trees(node)
        values = self._value(of, names)
        for attribute in _trees(splat):
            values = [_member(value, text_of(_trees(attribute)[0])) for value in values]
        return values

    def _conditional(self, node: Node, names: Names) -> Any:
        condition, then, otherwise = _trees(node)
        return self._value(then if self._value(condition, names) else otherwise, names)

    def _binary_op(self, node: Node, names: Names) -> Any:
        left, term = _trees(node)
        sign, right = _trees(term)
        match text_of(sign):
            case "&&":
                return self._value(left, names) and self._value(right, names)
            case "||":
                return self._value(left, names) or self._value(right, names)
            case symbol:
                return OPERATORS[symbol](self._value(left, names), self._value(right, names))

    def _unary_op(self, node: Node, names: Names) -> Any:
        value = self._value(_trees(node)[0], names)
        return -value if str(node.children[0]) == "-" else not value

    def _int_lit(self, node: Node, _: Names) -> int:
        return int(text_of(node))

    def _float_lit(self, node: Node, _: Names) -> float:
        return float(text_of(node))

    def _literal_value(self, node: Node, _: Names) -> bool | None:
        return {"true": True, "false": False, "null": None}[text_of(node)]

    def _string(self, node: Node, names: Names) -> str:
        return "".join(self._part(part, names) for part in _trees(node))

    def _part(self, part: Node, names: Names) -> str:
        (inner,) = part.children
        if isinstance(inner, Token):
            if inner.type.startswith("ESCAPED_"):
                message = f"{inner} in a string is not evaluated"
                raise HclError(message)
            return cast("str", json.loads(f'"{inner}"'))
        value = self._value(_trees(inner)[0], names)
        if not isinstance(value, str | int | float) or isinstance(value, bool):
            message = f"{text_of(inner)} in a string is {value!r}"
            raise HclError(message)
        return str(value)

    def _heredoc_template_trim(self, node: Node, _: Names) -> str:
        lines = str(node.children[0]).rstrip("\n").split("\n")[1:-1]
        if any("${" in line or "%{" in line for line in lines):
            message = "a heredoc with an interpolation is not evaluated"
            raise HclError(message)
        return textwrap.dedent("\n".join(lines) + "\n")

    def _tuple(self, node: Node, names: Names) -> list[Any]:
        return [self._value(each, names) for each in _trees(node)]

    def _object(self, node: Node, names: Names) -> dict[str, Any]:
        return {
            self._key(key, names): self._value(value, names)
            for key, value in (_trees(element) for element in _trees(node))
        }

    def _key(self, key: Node, names: Names) -> str:
        (term,) = _trees(key)
        inner = _trees(term)[0] if term.data == "expr_term" else term
        return text_of(inner) if inner.data == "identifier" else str(self._value(term, names))

    def _for_object_expr(self, node: Node, names: Names) -> dict[str, Any]:
        intro, key, value, *condition = _trees(node)
        return {
            self._value(key, bound): self._value(value, bound)
            for bound in self._iterated(intro, condition, names)
        }

    def _for_tuple_expr(self, node: Node, names: Names) -> list[Any]:
        intro, value, *condition = _trees(node)
        return [self._value(value, bound) for bound in self._iterated(intro, condition, names)]

    def _iterated(self, intro: Node, condition: list[Node], names: Names) -> Iterable[Names]:
        *variables, values_node = _trees(intro)
        values = self._value(values_node, names)
        pairs: Iterable[tuple[Any, Any]] = values.items() if isinstance(values, dict) else enumerate(values)
        for key, value in pairs:
            both = (key, value)[-len(variables) :]
            bound = {**names, **dict(zip(map(text_of, variables), both, strict=True))}
            if all(self._value(_trees(each)[0], bound) for each in condition):
                yield bound

    def _function_call(self, node: Node, names: Names) -> Any:
        name_node, *rest = _trees(node)
        name = text_of(name_node)
        arguments = _trees(rest[0]) if rest else []
        if name == "can":
            try:
                self._value(arguments[0], names)
            except HclError:
                return False
            return True
        if name not in FUNCTIONS:
            message = f"HCL that this evaluation does not know: the function {name}"
            raise HclError(message)
        return FUNCTIONS[name](*(self._value(each, names) for each in arguments))


@dataclass(frozen=True)
class _Locals:
    """Names that are looked up when they are used."""

    look_up: Callable[[str], Any]


def _member(value: Any, name: str) -> Any:
    match value:
        case _Locals():
            return value.look_up(name)
        case _Reference():
            return value.attribute(name)
        case dict() if name in value:
            return value[name]
    message = f"{value!r} has no {name}"
    raise HclError(message)


def _lifecycle(block: Block) -> dict[str, Any]:
    """Return the arguments of `lifecycle`, whose lists hold names in place of values."""
    return {
        name: [text_of(each) for each in _trees(_trees(node)[0])]
        if _trees(node)[0].data == "tuple"
        else text_of(node)
        for name, node in block.attributes.items()
    }
