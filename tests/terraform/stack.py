"""CloudFormation templates as the resources that they create with given parameters, references resolved."""

import re
from collections.abc import Callable, Mapping
from functools import cached_property
from typing import Any, Final

PARTITION: Final = "aws-cn"  # not the usual one, so that a literal "aws" in an ARN is found
REGION: Final = "cn-north-1"
ACCOUNT: Final = "123456789012"
URL_SUFFIX: Final = "amazonaws.com.cn"
PSEUDO: Final = {
    "AWS::Partition": PARTITION,
    "AWS::Region": REGION,
    "AWS::AccountId": ACCOUNT,
    "AWS::URLSuffix": URL_SUFFIX,
}
NO_VALUE: Final = object()
RESOURCE_KEYS: Final = {
    "Type",
    "Properties",
    "Condition",
    "DependsOn",
    "DeletionPolicy",
    "UpdateReplacePolicy",
    "Metadata",
}

_NAMES: Final = {
    "AWS::S3::Bucket": "BucketName",
    "AWS::SQS::Queue": "QueueName",
    "AWS::DynamoDB::Table": "TableName",
    "AWS::Events::Rule": "Name",
    "AWS::Pipes::Pipe": "Name",
}
_ARNS: Final = {
    "AWS::S3::Bucket": f"arn:{PARTITION}:s3:::{{name}}",
    "AWS::SQS::Queue": f"arn:{PARTITION}:sqs:{REGION}:{ACCOUNT}:{{name}}",
    "AWS::DynamoDB::Table": f"arn:{PARTITION}:dynamodb:{REGION}:{ACCOUNT}:table/{{name}}",
    "AWS::Events::Rule": f"arn:{PARTITION}:events:{REGION}:{ACCOUNT}:rule/{{name}}",
    "AWS::Pipes::Pipe": f"arn:{PARTITION}:pipes:{REGION}:{ACCOUNT}:pipe/{{name}}",
    "AWS::KMS::Key": f"arn:{PARTITION}:kms:{REGION}:{ACCOUNT}:key/{{name}}",
    "AWS::IAM::ManagedPolicy": f"arn:{PARTITION}:iam::{ACCOUNT}:policy/{{name}}",
    "AWS::IAM::Role": f"arn:{PARTITION}:iam::{ACCOUNT}:role/{{name}}",
}


def arn(kind: str, name: str) -> str:
    """Return the ARN of a resource by its type and its name, which is the logical id if AWS makes a name."""
    return _ARNS[kind].format(name=name)


def queue_url(name: str) -> str:
    """Return the URL of a queue."""
    return f"https://sqs.{REGION}.{URL_SUFFIX}/{ACCOUNT}/{name}"


def stream_arn(table_name: str) -> str:
    """Return the ARN of a table's stream."""
    return arn("AWS::DynamoDB::Table", table_name) + "/stream/2026-01-01T00:00:00.000"


class Stack:
    """What a template creates for given parameters."""

    def __init__(self, template: dict[str, Any], name: str, parameters: Mapping[str, Any]) -> None:
        """Take the template, the name of the stack, and parameters that differ from their default."""
        self._template = template
        self._name = name
        defaults = {key: each.get("Default") for key, each in template["Parameters"].items()}
        self._parameters = {
            key: _parameter(template["Parameters"][key]["Type"], value)
            for key, value in (defaults | dict(parameters)).items()
        }

    def resources(self) -> dict[str, dict[str, Any]]:
        """Return the resources by logical id, with their properties resolved."""
        return {
            logical_id: {**resource, "Properties": self.resolved(resource["Properties"])}
            for logical_id, resource in self._template["Resources"].items()
            if self._exists(resource)
        }

    def outputs(self) -> dict[str, Any]:
        """Return the values of the outputs."""
        return {
            name: self.resolved(output["Value"])
            for name, output in self._template["Outputs"].items()
            if self._exists(output)
        }

    def _exists(self, part: dict[str, Any]) -> bool:
        return "Condition" not in part or self._condition(part["Condition"])

    def _condition(self, name: str) -> bool:
        return bool(self.resolved(self._template["Conditions"][name]))

    def resolved(self, value: Any) -> Any:
        """Return a part of the template with its intrinsic functions resolved."""
        if isinstance(value, list):
            return [each for each in map(self.resolved, value) if each is not NO_VALUE]
        if not isinstance(value, dict):
            return value
        if len(value) == 1:
            ((name, argument),) = value.items()
            if name in self._functions and not (name == "Condition" and isinstance(argument, dict)):
                return self._functions[name](argument)
            if name.startswith("Fn::"):
                message = f"the intrinsic function {name} is not resolved"
                raise ValueError(message)
        members = {key: self.resolved(each) for key, each in value.items()}
        return {key: each for key, each in members.items() if each is not NO_VALUE}

    @cached_property
    def _functions(self) -> dict[str, Callable[[Any], Any]]:
        resolved = self.resolved
        return {
            "Ref": self._reference,
            "Condition": self._condition,
            "Fn::GetAtt": lambda path: self._attribute(*path.split(".")),
            "Fn::Sub": self._substitute,
            "Fn::If": lambda choice: resolved(choice[1 if self._condition(choice[0]) else 2]),
            "Fn::Equals": lambda both: str(resolved(both[0])) == str(resolved(both[1])),
            "Fn::Not": lambda one: not resolved(one[0]),
            "Fn::And": lambda conditions: all(map(resolved, conditions)),
            "Fn::Or": lambda conditions: any(map(resolved, conditions)),
            "Fn::Join": lambda join: join[0].join(resolved(join[1])),
            "Fn::Split": lambda split: resolved(split[1]).split(split[0]),
            "Fn::Select": lambda select: resolved(select[1])[select[0]],
        }

    def _substitute(self, text: str) -> str:
        return re.sub(r"\$\{([^!}]+)\}", lambda found: str(self._substituted(found[1])), text)

    def _substituted(self, name: str) -> Any:
        return self._attribute(*name.split(".")) if "." in name else self._reference(name)

    def _reference(self, name: str) -> Any:
        if name == "AWS::NoValue":
            return NO_VALUE
        if name == "AWS::StackName":
            return self._name
        if name in PSEUDO:
            return PSEUDO[name]
        if name in self._parameters:
            return self._parameters[name]
        kind = self._template["Resources"][name]["Type"]
        if kind == "AWS::SQS::Queue":
            return queue_url(self._physical(name))
        return self._attribute(name, "Arn") if kind == "AWS::IAM::ManagedPolicy" else self._physical(name)

    def _attribute(self, logical_id: str, attribute: str) -> str:
        resource = self._template["Resources"][logical_id]
        if not self._exists(resource):
            message = f"{logical_id} does not exist with these parameters"
            raise ValueError(message)
        match attribute:
            case "Arn":
                return arn(resource["Type"], self._physical(logical_id))
            case "QueueName":
                return self._physical(logical_id)
            case "StreamArn":
                return stream_arn(self._physical(logical_id))
        message = f"the attribute {attribute} of {logical_id} is not resolved"
        raise ValueError(message)

    def _physical(self, logical_id: str) -> str:
        """Return a resource's name, or its logical id if AWS makes a name."""
        resource = self._template["Resources"][logical_id]
        name = resource["Properties"].get(_NAMES.get(resource["Type"]))
        return logical_id if name is None else str(self.resolved(name))


def _parameter(kind: str, value: Any) -> Any:
    if kind == "CommaDelimitedList" and isinstance(value, str):
        return value.split(",") if value else [""]
    return value
