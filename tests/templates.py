"""CloudFormation templates as Python values: short tags become dictionaries, as in JSON templates."""

from pathlib import Path
from typing import Any

import yaml

from config.settings import CLOUDFORMATION


class _Loader(yaml.SafeLoader):
    """Reads `!Ref x` as `{"Ref": "x"}` and `!Sub x` as `{"Fn::Sub": "x"}`."""


def _tagged(loader: yaml.SafeLoader, tag: str, node: yaml.Node) -> dict[str, Any]:
    if isinstance(node, yaml.ScalarNode):
        value: Any = loader.construct_scalar(node)
    elif isinstance(node, yaml.SequenceNode):
        value = loader.construct_sequence(node, deep=True)
    else:
        value = loader.construct_mapping(node, deep=True)
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
    """Return what `create_table` needs to make the table of the storage template."""
    properties = template("storage.yaml")["Resources"]["Table"]["Properties"]
    wanted = ("BillingMode", "AttributeDefinitions", "KeySchema", "GlobalSecondaryIndexes")
    return {"TableName": table_name} | {name: properties[name] for name in wanted}
