"""
The arguments of the AWS provider's resources, from the bindings that CDK Terrain generates.

The provider itself is not on PyPI. The package cdktn-provider-aws has a Python class for each resource, with
the names, nesting, types and requiredness of its arguments. `make check` downloads its wheel, pinned
by hash, and this module reads it without installing or running it.
"""

import ast
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any, Final
from zipfile import ZipFile

from tests.terraform.hcl import META, Block, Instance, text_of

WHEELS: Final = Path(__file__).parents[2] / ".terraform-provider"
MISSING: Final = (
    f"{WHEELS.name} has no wheel of cdktn-provider-aws, so the module is not checked; run: make check"
)
PACKAGE: Final = "cdktn_provider_aws"
LIFECYCLE: Final = {"create_before_destroy", "prevent_destroy", "ignore_changes", "replace_triggered_by"}
_LINK: Final = re.compile(r":param (\w+): (.*?)\{@link \S+#(\w+) ")
_REFERENCE: Final = re.compile(r"(data\.)?(aws_\w+)\.(\w+)(?:\[[^\]]*\])?\.(\w+)")
_NAME: Final = re.compile(r"(var|local)\.(\w+)")


@dataclass(frozen=True)
class Argument:
    """An argument of a resource, or a nested block."""

    required: bool
    type: str
    is_block: bool = False
    repeats: bool = False
    nested: "dict[str, Argument]" = field(default_factory=dict)


@dataclass(frozen=True)
class Schema:
    """A resource or data source."""

    arguments: dict[str, Argument]
    attributes: frozenset[str]
    """The names that an expression may read: arguments, and what the provider computes."""


class Provider:
    """The provider's resources."""

    def __init__(self, wheel: Path) -> None:
        """Take the wheel of cdktn-provider-aws."""
        self._wheel = ZipFile(wheel)
        self._modules = set(self._wheel.namelist())
        self._schemas: dict[str, Schema | None] = {}

    def version(self) -> str:
        """Return the version of the provider that the bindings were generated from."""
        (metadata,) = (name for name in self._modules if name.endswith(".dist-info/METADATA"))
        text = self._wheel.read(metadata).decode()
        found = re.search(r"hashicorp/aws provider version (\S+)", text)
        if found is None:
            message = f"{metadata} does not name the provider's version"
            raise ValueError(message)
        return found[1]

    def schema(self, kind: str, *, data: bool = False) -> Schema | None:
        """Return the schema of a resource or data source, or None if the provider does not have it."""
        module = ("data_aws_" if data else "") + kind.removeprefix("aws_")
        if module not in self._schemas:
            path = f"{PACKAGE}/{module}/__init__.py"
            self._schemas[module] = _schema(self._wheel.read(path)) if path in self._modules else None
        return self._schemas[module]


def find_wheel() -> Path | None:
    """Return the wheel that `make check` has downloaded."""
    return next(iter(sorted(WHEELS.glob(f"{PACKAGE}-*.whl"))), None)


@cache
def provider(wheel: Path) -> Provider:
    """Return the provider's resources, which are read once."""
    return Provider(wheel)


def _schema(source: bytes) -> Schema:
    classes = {node.name: node for node in ast.parse(source).body if isinstance(node, ast.ClassDef)}
    resource = next(node for name, node in classes.items() if f"{name}Config" in classes)
    properties = {
        node.name for node in resource.body if isinstance(node, ast.FunctionDef) and node.decorator_list
    }
    arguments = _arguments(classes, f"{resource.name}Config")
    return Schema(arguments, frozenset(properties | arguments.keys()))


def _arguments(classes: Mapping[str, ast.ClassDef], name: str) -> dict[str, Argument]:
    init = next(node for node in classes[name].body if isinstance(node, ast.FunctionDef))
    documented = {
        python: (terraform, text.startswith(f"{terraform} block"))
        for python, text, terraform in _LINK.findall(ast.get_docstring(init) or "")
    }
    found: dict[str, Argument] = {}
    for argument, default in zip(init.args.kwonlyargs, init.args.kw_defaults, strict=True):
        if argument.arg in documented and argument.annotation is not None:
            terraform, is_block = documented[argument.arg]
            annotation = ast.unparse(argument.annotation)
            nested = re.search(r"'(?!_cdktn)(\w+)'", annotation)
            found[terraform] = Argument(
                required=default is None,
                type=_type(annotation),
                is_block=is_block,
                repeats="Sequence[" in annotation,
                nested=_arguments(classes, nested[1]) if nested else {},
            )
    return found


def _type(annotation: str) -> str:
    kind = next((kind for text, kind in TYPES.items() if text in annotation), "object")
    if "Mapping[" in annotation:
        return f"map({kind})"
    return f"list({kind})" if "Sequence[" in annotation else kind


TYPES: Final = {"Dict[": "object", "bool": "bool", "jsii.Number": "number", "builtins.str": "string"}


def check(module: Block, instances: list[Instance], aws: Provider) -> list[str]:
    """
    Return what is wrong with a module, one line for each finding.

    Args:
        instances: The module's resources with the values of their arguments, of which the types are checked.
    """
    return [
        *_check_structure(module, aws),
        *_check_references(module, aws),
        *dict.fromkeys(finding for instance in instances for finding in _check_types(instance, aws)),
    ]


def _check_structure(module: Block, aws: Provider) -> Iterator[str]:
    for kind in ("resource", "data"):
        for block in module.of_type(kind):
            schema = aws.schema(block.labels[0], data=kind == "data")
            if schema is None:
                yield f"{block.address}: provider {aws.version()} has no {kind} {block.labels[0]}"
                continue
            yield from _check_block(block, schema.arguments, block.address, META | {"lifecycle"})
            for lifecycle in block.of_type("lifecycle"):
                yield from _check_lifecycle(lifecycle, schema, block.address)


def _check_block(
    block: Block, arguments: Mapping[str, Argument], address: str, meta: frozenset[str] = frozenset()
) -> Iterator[str]:
    for name in block.attributes.keys() - meta:
        if name not in arguments:
            yield f"{address}: no argument {name}"
        elif arguments[name].is_block:
            yield f"{address}: {name} is a block, not an argument"
    counts: dict[str, int] = {}
    for nested in block.blocks:
        name = nested.labels[0] if nested.type == "dynamic" else nested.type
        counts[name] = counts.get(name, 0) + 1
        if name not in meta:
            yield from _check_nested(name, nested, arguments.get(name), address)
    for name, argument in arguments.items():
        if argument.required and name not in block.attributes and name not in counts:
            yield f"{address}: {name} is required"
        if not argument.repeats and counts.get(name, 0) > 1:
            yield f"{address}: {name} occurs more than once"


def _check_nested(name: str, nested: Block, argument: Argument | None, address: str) -> Iterator[str]:
    if argument is None:
        yield f"{address}: no block {name}"
    elif not argument.is_block:
        yield f"{address}: {name} is an argument, not a block"
    else:
        (content,) = nested.of_type("content") if nested.type == "dynamic" else (nested,)
        yield from _check_block(content, argument.nested, f"{address}.{name}")


def _check_lifecycle(lifecycle: Block, schema: Schema, address: str) -> Iterator[str]:
    for name in lifecycle.attributes.keys() - LIFECYCLE:
        yield f"{address}: no argument {name} in lifecycle"
    if "ignore_changes" in lifecycle.attributes:
        ignored = set(re.findall(r"\w+", text_of(lifecycle.attributes["ignore_changes"])))
        for name in sorted(ignored - schema.arguments.keys()):
            yield f"{address}: ignore_changes names {name}, which is not an argument"


def _check_references(module: Block, aws: Provider) -> Iterator[str]:
    declared = {(kind, *block.labels) for kind in ("resource", "data") for block in module.of_type(kind)}
    names = {("var", block.labels[0]) for block in module.of_type("variable")}
    names |= {("local", name) for block in module.of_type("locals") for name in block.attributes}
    used: set[tuple[str, str]] = set()
    for address, text in _expressions(module, module.address):
        if found := _NAME.fullmatch(text):
            used.add((found[1], found[2]))
        elif found := _REFERENCE.fullmatch(text):
            data, kind, name, attribute = found.groups()
            if ("data" if data else "resource", kind, name) not in declared:
                yield f"{address}: {kind}.{name} is not declared"
                continue
            schema = aws.schema(kind, data=bool(data))
            if schema is not None and attribute not in schema.attributes:
                yield f"{address}: {kind} has no attribute {attribute}"
    for kind, name in sorted(used - names):
        yield f"{kind}.{name} is used and not declared"
    for kind, name in sorted(names - used):
        yield f"{kind}.{name} is declared and not used"


def _expressions(block: Block, address: str) -> Iterator[tuple[str, str]]:
    """Yield the text of each traversal, such as `aws_sqs_queue.events.arn`."""
    for node in block.attributes.values():
        for part in node.iter_subtrees():
            if part.data in {"get_attr_expr_term", "full_splat_expr_term"}:
                yield address, text_of(part)
    for nested in block.blocks:
        yield from _expressions(nested, nested.address if block.type == "module" else address)


def _check_types(instance: Instance, aws: Provider) -> Iterator[str]:
    schema = aws.schema(instance.type)
    if schema is not None:
        address = f"{instance.type}.{instance.name}"
        yield from _check_values(instance.arguments, schema.arguments, address)


def _check_values(
    values: Mapping[str, Any], arguments: Mapping[str, Argument], address: str
) -> Iterator[str]:
    for name, value in values.items():
        argument = arguments.get(name)
        if argument is None:
            continue  # found in the structure, or of Terraform itself
        if argument.is_block:
            for each in value:
                yield from _check_values(each, argument.nested, f"{address}.{name}")
        elif not _has_type(value, argument.type):
            yield f"{address}: {name} is {value!r}, not a {argument.type}"


def _has_type(value: Any, kind: str) -> bool:
    """Return whether a value has exactly a type, without the conversions that Terraform would try."""
    if found := re.fullmatch(r"list\((\w+)\)", kind):
        return isinstance(value, list) and all(_has_type(each, found[1]) for each in value)
    if found := re.fullmatch(r"map\((\w+)\)", kind):
        return isinstance(value, dict) and all(_has_type(each, found[1]) for each in value.values())
    match kind:
        case "string":
            return isinstance(value, str)
        case "number":
            return isinstance(value, int | float) and not isinstance(value, bool)
        case "bool":
            return isinstance(value, bool)
    return isinstance(value, dict)
