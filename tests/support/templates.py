"""CloudFormation templates as Python values: short tags become dictionaries, as in JSON templates."""

from functools import cache
from pathlib import Path
from typing import Any

import yaml

CLOUDFORMATION = Path(__file__).parents[2] / "config" / "cloudformation"


class _Loader(yaml.SafeLoader):
    """Reads `!Ref x` as `{"Ref": "x"}` and `!Sub x` as `{"Fn::Sub": "x"}`."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    elif isinstance(node, yaml.MappingNode):
        value = loader.construct_mapping(node, deep=True)
    else:
        message = f"a YAML node of an unknown type: {node}"
        raise TypeError(message)
    return {tag if tag in {"Ref", "Condition"} else f"Fn::{tag}": value}


_Loader.add_multi_constructor("!", _tagged)


def template(name: str, folder: Path = CLOUDFORMATION) -> dict[str, Any]:
    """Read a template of the project."""
    loader = _Loader((folder / name).read_text())
    try:
        return loader.get_single_data()
    finally:
        loader.dispose()


def table_properties(table_name: str) -> dict[str, Any]:
    """Return what `create_table` needs to make the storage template's table, with its default parameters."""
    return {"TableName": table_name} | _of_every_table()


@cache
def _of_every_table() -> dict[str, Any]:
    storage = template("storage.yaml")
    properties = resolved(storage["Resources"]["Table"]["Properties"], storage)
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    return {name: properties[name] for name in wanted}


def resolved(value: Any, of: dict[str, Any], **parameters: str) -> Any:
    """
    Resolve references to parameters, and choices by their equality, in a part of a template.

    Args:
        value: The part.
        of: The template.
        parameters: Those that have another value than their default.
    """
    values = {name: one.get("Default") for name, one in of.get("Parameters", {}).items()} | parameters
    match value:
        case {"Ref": name} if name in values:
            return values[name]
        case {"Fn::Equals": [one, other]}:
            return resolved(one, of, **parameters) == resolved(other, of, **parameters)
        case {"Condition": str(name)}:
            return resolved(of["Conditions"][name], of, **parameters)
        case {"Fn::Not": [one]}:
            return not resolved(one, of, **parameters)
        case {"Fn::And": conditions}:
            return all(resolved(one, of, **parameters) for one in conditions)
        case {"Fn::Or": conditions}:
            return any(resolved(one, of, **parameters) for one in conditions)
        case {"Fn::If": [condition, then, otherwise]}:
            chosen = then if resolved(of["Conditions"][condition], of, **parameters) else otherwise
            return resolved(chosen, of, **parameters)
        case dict():
            members = {name: resolved(one, of, **parameters) for name, one in value.items()}
            return {name: one for name, one in members.items() if one != {"Ref": "AWS::NoValue"}}
        case list():
            entries = [resolved(one, of, **parameters) for one in value]
            return [one for one in entries if one != {"Ref": "AWS::NoValue"}]
    return value


def metric_math(expression: str, **metrics: float | None) -> float:
    """
    Compute an expression of CloudWatch's metric math at one moment.

    Args:
        expression: Of the functions that the project's templates use.
        metrics: The values by their ids; None where a metric has no figure.
    """
    functions = {
        "IF": lambda condition, then, otherwise: then if condition else otherwise,
        "FILL": lambda value, filler: filler if value is None else value,
    }
    return eval(expression, {"__builtins__": {}, **functions}, metrics)  # noqa: S307 - a template of this project
