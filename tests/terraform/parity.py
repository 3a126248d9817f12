"""
The Terraform module and the CloudFormation templates in one neutral form, to be compared.

The neutral form is that of CloudFormation with every reference resolved: resources by logical id, with their
properties. Several resources of the module may be one of a template. An argument or a part of a template
without a place in the neutral form raises UnmappedError, so that it cannot differ unnoticed; INTENDED lists
the differences that are intended.
"""

import json
from collections.abc import Callable, Iterator, Mapping
from functools import cache
from typing import Any, Final

from tests.support import templates
from tests.terraform import hcl, stack
from tests.terraform.hcl import Evaluation, Instance

Properties = dict[str, Any]
Read = Callable[[str], dict[str, Any]]
"""Reads a template of the project by its file's name."""


template: Read = cache(templates.template)
"""Read a template once; nothing here changes it."""

INTENDED: Final = {
    "Metadata": "comments for checkov, which the module has in its own form",
    "Table.DependsOn": "for the rollback of a first deployment, which Terraform does not have",
    "iam name_prefix": "CloudFormation names policies and roles after the stack, the module after var.name",
    "lifecycle.ignore_changes": "CloudFormation keeps what autoscaling has set by itself; tested on its own",
    "aws_s3_bucket_policy depends_on": "one resource of CloudFormation, several of the provider",
    "aws_pipes_pipe depends_on": "one resource of CloudFormation, several of the provider",
    "Export": "outputs of a module are read by its caller",
    "alarms.yaml": "only the alarms of the table; those of the queue and the service stay in the template",
}
"""What differs, with the reason."""

SAME_RESOURCE: Final = {
    "aws_kms_key.image_worker": "Key",
    "aws_kms_alias.image_worker": "KeyAlias",
    "aws_s3_bucket.uploads": "Bucket",
    "aws_s3_bucket_public_access_block.uploads": "Bucket",
    "aws_s3_bucket_ownership_controls.uploads": "Bucket",
    "aws_s3_bucket_server_side_encryption_configuration.uploads": "Bucket",
    "aws_s3_bucket_cors_configuration.uploads": "Bucket",
    "aws_s3_bucket_versioning.uploads": "Bucket",
    "aws_s3_bucket_lifecycle_configuration.uploads": "Bucket",
    "aws_s3_bucket_notification.uploads": "Bucket",
    "aws_s3_bucket_policy.uploads": "BucketPolicy",
    "aws_s3_bucket.output": "OutputBucket",
    "aws_s3_bucket_public_access_block.output": "OutputBucket",
    "aws_s3_bucket_ownership_controls.output": "OutputBucket",
    "aws_s3_bucket_server_side_encryption_configuration.output": "OutputBucket",
    "aws_s3_bucket_versioning.output": "OutputBucket",
    "aws_s3_bucket_lifecycle_configuration.output": "OutputBucket",
    "aws_s3_bucket_policy.output": "OutputBucketPolicy",
    "aws_sqs_queue.events": "Queue",
    "aws_sqs_queue.dead_letters": "DeadLetterQueue",
    "aws_sqs_queue.events_dead_letters": "EventsDeadLetterQueue",
    "aws_sqs_queue_policy.events": "QueuePolicy",
    "aws_sqs_queue_policy.dead_letters": "DeadLetterQueuePolicy",
    "aws_sqs_queue_policy.events_dead_letters": "EventsDeadLetterQueuePolicy",
    "aws_cloudwatch_event_rule.scan_results": "ScanResults",
    "aws_cloudwatch_event_target.scan_results": "ScanResults",
    "aws_dynamodb_table.image_metadata": "Table",
    "aws_dynamodb_contributor_insights.table": "Table",
    "aws_dynamodb_contributor_insights.index": "Table",
    "aws_iam_policy.worker": "WorkerPolicy",
    "aws_iam_policy.uploader": "UploaderPolicy",
    "aws_iam_policy.operator": "OperatorPolicy",
    "aws_iam_policy.reader": "ReaderPolicy",
    "aws_iam_policy.console_reader": "ConsoleReaderPolicy",
    "aws_iam_policy.console_operator": "ConsoleOperatorPolicy",
    "aws_cloudwatch_metric_alarm.dynamodb_read_throttles": "ReadThrottles",
    "aws_cloudwatch_metric_alarm.dynamodb_write_throttles": "WriteThrottles",
    "aws_iam_role.pipe": "PipeRole",
    "aws_iam_role_policy.pipe": "PipeRole",
    "aws_pipes_pipe.events": "Pipe",
    "aws_cloudwatch_metric_alarm.pipe_failures": "PipeFailures",
    "aws_cloudwatch_metric_alarm.event_dead_letters": "EventDeadLetters",
} | {
    f"aws_appautoscaling_{kind}.dynamodb_{label}_{direction.lower()}_{kind}": f"{logical}{direction}{suffix}"
    for kind, suffix in (("target", "s"), ("policy", "Policy"))
    for label, logical in (
        ("table", "Table"),
        ("user_images", "UserImages"),
        ("status_index", "StatusIndex"),
        ("date_index", "DateIndex"),
    )
    for direction in ("Read", "Write")
}
"""The logical id of the template's resource for each resource of the module, without its key."""

KINDS: Final = {
    "aws_kms_key": "AWS::KMS::Key",
    "aws_s3_bucket": "AWS::S3::Bucket",
    "aws_sqs_queue": "AWS::SQS::Queue",
    "aws_dynamodb_table": "AWS::DynamoDB::Table",
    "aws_iam_policy": "AWS::IAM::ManagedPolicy",
    "aws_iam_role": "AWS::IAM::Role",
    "aws_cloudwatch_event_rule": "AWS::Events::Rule",
    "aws_pipes_pipe": "AWS::Pipes::Pipe",
}
"""The resource types that others refer to."""


class UnmappedError(AssertionError):
    """An argument of the module or a part of a template has no place in the neutral form."""


class Arguments:
    """The arguments of a resource or block; each must be taken."""

    def __init__(self, values: dict[str, Any], address: str) -> None:
        self._left = dict(values)
        self._address = address

    def take(self, name: str) -> Any:
        """Return an argument, or None if it is not set."""
        return self._left.pop(name, None)

    def take_json(self, name: str) -> Any:
        """Return the value of an argument that is JSON."""
        text = self.take(name)
        return None if text is None else json.loads(text)

    def block(self, name: str) -> "Arguments | None":
        """Return the arguments of a block that occurs at most once."""
        blocks = self.blocks(name)
        if len(blocks) > 1:
            message = f"{self._address}: more than one {name}"
            raise UnmappedError(message)
        return blocks[0] if blocks else None

    def blocks(self, name: str) -> list["Arguments"]:
        """Return the arguments of each block of a type."""
        return [Arguments(values, f"{self._address}.{name}") for values in self.take(name) or []]

    def nested(self, name: str, mapping: "Mapped") -> Properties | None:
        """Return the mapped arguments of a block that occurs at most once."""
        block = self.block(name)
        return None if block is None else block.mapped(mapping)

    def mapped(self, mapping: "Mapped") -> Properties:
        """Return what the mapping makes of all arguments."""
        properties = (
            present({new: self.take(old) for old, new in mapping.items()})
            if isinstance(mapping, Mapping)
            else mapping(self)
        )
        if self._left:
            message = f"{self._address}: the comparison does not map {sorted(self._left)}"
            raise UnmappedError(message)
        return properties


Mapped = Mapping[str, str] | Callable[[Arguments], Properties]


def present(properties: Properties) -> Properties:
    """Return the properties that have a value."""
    return {name: value for name, value in properties.items() if value is not None}


def _key(arguments: Arguments) -> Properties:
    return {
        "Description": arguments.take("description"),
        "EnableKeyRotation": arguments.take("enable_key_rotation"),
        "RotationPeriodInDays": arguments.take("rotation_period_in_days"),
        "KeyPolicy": arguments.take_json("policy"),
    }


def _bucket_part(of: Callable[[Arguments], Properties]) -> Callable[[Arguments], Properties]:
    """Return a mapping of a resource that configures a bucket."""

    def mapping(arguments: Arguments) -> Properties:
        arguments.take("bucket")
        return of(arguments)

    return mapping


def _public_access(arguments: Arguments) -> Properties:
    block = {
        "BlockPublicAcls": arguments.take("block_public_acls"),
        "BlockPublicPolicy": arguments.take("block_public_policy"),
        "IgnorePublicAcls": arguments.take("ignore_public_acls"),
        "RestrictPublicBuckets": arguments.take("restrict_public_buckets"),
    }
    return {"PublicAccessBlockConfiguration": present(block)}


def _ownership(arguments: Arguments) -> Properties:
    rules = [rule.mapped({"object_ownership": "ObjectOwnership"}) for rule in arguments.blocks("rule")]
    return {"OwnershipControls": {"Rules": rules}}


def _encryption(arguments: Arguments) -> Properties:
    def rule(each: Arguments) -> Properties:
        return {
            "ServerSideEncryptionByDefault": each.nested(
                "apply_server_side_encryption_by_default",
                {"sse_algorithm": "SSEAlgorithm", "kms_master_key_id": "KMSMasterKeyID"},
            ),
            "BucketKeyEnabled": each.take("bucket_key_enabled"),
        }

    rules = [each.mapped(rule) for each in arguments.blocks("rule")]
    return {"BucketEncryption": {"ServerSideEncryptionConfiguration": rules}}


def _cors(arguments: Arguments) -> Properties:
    names = {
        "allowed_origins": "AllowedOrigins",
        "allowed_methods": "AllowedMethods",
        "allowed_headers": "AllowedHeaders",
        "max_age_seconds": "MaxAge",
    }
    return {
        "CorsConfiguration": {"CorsRules": [each.mapped(names) for each in arguments.blocks("cors_rule")]}
    }


def _versioning(arguments: Arguments) -> Properties:
    return {"VersioningConfiguration": arguments.nested("versioning_configuration", {"status": "Status"})}


def _lifecycle_rules(arguments: Arguments) -> Properties:
    def rule(each: Arguments) -> Properties:
        if each.nested("filter", {}) is None:
            message = "a rule without a filter, which the provider deprecates"
            raise UnmappedError(message)
        return present(
            {
                "Id": each.take("id"),
                "Status": each.take("status"),
                "AbortIncompleteMultipartUpload": each.nested(
                    "abort_incomplete_multipart_upload", {"days_after_initiation": "DaysAfterInitiation"}
                ),
                "NoncurrentVersionExpiration": each.nested(
                    "noncurrent_version_expiration", {"noncurrent_days": "NoncurrentDays"}
                ),
            }
        )

    return {"LifecycleConfiguration": {"Rules": [each.mapped(rule) for each in arguments.blocks("rule")]}}


def _notification(arguments: Arguments) -> Properties:
    def queue(each: Arguments) -> Properties:
        (event,) = each.take("events")
        prefix = each.take("filter_prefix")
        key = {"Rules": [{"Name": "prefix", "Value": prefix}]}
        return present(
            {
                "Event": event,
                "Queue": each.take("queue_arn"),
                "Filter": None if prefix is None else {"S3Key": key},
            }
        )

    queues = [each.mapped(queue) for each in arguments.blocks("queue")]
    enabled = arguments.take("eventbridge")
    configuration = {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True} if enabled else None,
        "QueueConfigurations": queues or None,
    }
    return {"NotificationConfiguration": present(configuration)}


def _queue(arguments: Arguments) -> Properties:
    return present(
        {
            "QueueName": arguments.take("name"),
            "ReceiveMessageWaitTimeSeconds": arguments.take("receive_wait_time_seconds"),
            "VisibilityTimeout": arguments.take("visibility_timeout_seconds"),
            "MessageRetentionPeriod": arguments.take("message_retention_seconds"),
            "KmsMasterKeyId": arguments.take("kms_master_key_id"),
            "KmsDataKeyReusePeriodSeconds": arguments.take("kms_data_key_reuse_period_seconds"),
            "RedrivePolicy": arguments.take_json("redrive_policy"),
            "RedriveAllowPolicy": arguments.take_json("redrive_allow_policy"),
        }
    )


def _queue_policy(arguments: Arguments) -> Properties:
    return {"Queues": [arguments.take("queue_url")], "PolicyDocument": arguments.take_json("policy")}


def _rule(arguments: Arguments) -> Properties:
    return {
        "Name": arguments.take("name"),
        "Description": arguments.take("description"),
        "EventPattern": arguments.take_json("event_pattern"),
    }


def _rule_target(arguments: Arguments) -> Properties:
    arguments.take("rule")
    return {"Targets": [{"Id": arguments.take("target_id"), "Arn": arguments.take("arn")}]}


def _capacity(arguments: Arguments) -> Properties:
    """Return the properties that a table and an index have in common."""
    provisioned = {
        "ReadCapacityUnits": arguments.take("read_capacity"),
        "WriteCapacityUnits": arguments.take("write_capacity"),
    }
    return {
        "ProvisionedThroughput": present(provisioned) or None,
        "OnDemandThroughput": arguments.nested(
            "on_demand_throughput",
            {
                "max_read_request_units": "MaxReadRequestUnits",
                "max_write_request_units": "MaxWriteRequestUnits",
            },
        ),
        "WarmThroughput": arguments.nested(
            "warm_throughput",
            {"read_units_per_second": "ReadUnitsPerSecond", "write_units_per_second": "WriteUnitsPerSecond"},
        ),
    }


def _index(arguments: Arguments) -> Properties:
    return present(
        {
            "KeySchema": [
                each.mapped({"attribute_name": "AttributeName", "key_type": "KeyType"})
                for each in arguments.blocks("key_schema")
            ],
            "Projection": present(
                {
                    "ProjectionType": arguments.take("projection_type"),
                    "NonKeyAttributes": arguments.take("non_key_attributes"),
                }
            ),
            **_capacity(arguments),
        }
    )


def _table(arguments: Arguments) -> Properties:
    def encryption(each: Arguments) -> Properties:
        return {
            "SSEEnabled": each.take("enabled"),
            "SSEType": "KMS",  # of a key of the customer, the only type
            "KMSMasterKeyId": each.take("kms_key_arn"),
        }

    indexes = {each.take("name"): each.mapped(_index) for each in arguments.blocks("global_secondary_index")}
    view = arguments.take("stream_view_type")
    if arguments.take("stream_enabled") is not (view is not None):
        message = "stream_enabled and stream_view_type disagree"
        raise UnmappedError(message)
    return present(
        {
            "TableName": arguments.take("name"),
            "BillingMode": arguments.take("billing_mode"),
            "KeySchema": [
                {"AttributeName": arguments.take("hash_key"), "KeyType": "HASH"},
                {"AttributeName": arguments.take("range_key"), "KeyType": "RANGE"},
            ],
            "AttributeDefinitions": [
                each.mapped({"name": "AttributeName", "type": "AttributeType"})
                for each in arguments.blocks("attribute")
            ],
            "GlobalSecondaryIndexes": indexes,
            **_capacity(arguments),
            "DeletionProtectionEnabled": arguments.take("deletion_protection_enabled"),
            "StreamSpecification": None if view is None else {"StreamViewType": view},
            "TimeToLiveSpecification": arguments.nested(
                "ttl", {"attribute_name": "AttributeName", "enabled": "Enabled"}
            ),
            "PointInTimeRecoverySpecification": arguments.nested(
                "point_in_time_recovery", {"enabled": "PointInTimeRecoveryEnabled"}
            ),
            "SSESpecification": arguments.nested("server_side_encryption", encryption),
        }
    )


def _insights(arguments: Arguments) -> Properties:
    arguments.take("table_name")
    index = arguments.take("index_name")
    specification = {"ContributorInsightsSpecification": {"Enabled": True, "Mode": arguments.take("mode")}}
    return {"GlobalSecondaryIndexes": {index: specification}} if index else specification


def _iam_policy(arguments: Arguments) -> Properties:
    arguments.take("name_prefix")
    return {"PolicyDocument": arguments.take_json("policy")}


def _role(arguments: Arguments) -> Properties:
    arguments.take("name_prefix")
    return {"AssumeRolePolicyDocument": arguments.take_json("assume_role_policy")}


def _role_policy(arguments: Arguments) -> Properties:
    arguments.take("role")
    return {
        "Policies": [
            {"PolicyName": arguments.take("name"), "PolicyDocument": arguments.take_json("policy")},
        ]
    }


_TARGET: Final = {
    "service_namespace": "ServiceNamespace",
    "resource_id": "ResourceId",
    "scalable_dimension": "ScalableDimension",
}


def _scaling_policy(arguments: Arguments) -> Properties:
    def tracking(each: Arguments) -> Properties:
        return {
            "TargetValue": each.take("target_value"),
            "PredefinedMetricSpecification": each.nested(
                "predefined_metric_specification", {"predefined_metric_type": "PredefinedMetricType"}
            ),
        }

    return {
        "PolicyName": arguments.take("name"),
        "PolicyType": arguments.take("policy_type"),
        "ScalingTargetId": {new: arguments.take(old) for old, new in _TARGET.items()},
        "TargetTrackingScalingPolicyConfiguration": arguments.nested(
            "target_tracking_scaling_policy_configuration", tracking
        ),
    }


_METRIC: Final = {"namespace": "Namespace", "metric_name": "MetricName", "dimensions": "Dimensions"}


def _alarm(arguments: Arguments) -> Properties:
    def query(each: Arguments) -> Properties:
        metric = each.block("metric")

        def stat(one: Arguments) -> Properties:
            return {
                "Stat": one.take("stat"),
                "Period": one.take("period"),
                "Metric": present({new: one.take(old) for old, new in _METRIC.items()}),
            }

        return present(
            {
                "Label": each.take("label"),
                "Expression": each.take("expression"),
                "ReturnData": each.take("return_data"),
                "MetricStat": None if metric is None else metric.mapped(stat),
            }
        )

    names = _METRIC | {
        "alarm_name": "AlarmName",
        "alarm_description": "AlarmDescription",
        "statistic": "Statistic",
        "period": "Period",
        "comparison_operator": "ComparisonOperator",
        "threshold": "Threshold",
        "evaluation_periods": "EvaluationPeriods",
        "datapoints_to_alarm": "DatapointsToAlarm",
        "treat_missing_data": "TreatMissingData",
        "alarm_actions": "AlarmActions",
        "ok_actions": "OKActions",
    }
    metrics = {each.take("id"): each.mapped(query) for each in arguments.blocks("metric_query")}
    return present({new: arguments.take(old) for old, new in names.items()} | {"Metrics": metrics or None})


def _pipe(arguments: Arguments) -> Properties:
    def stream(each: Arguments) -> Properties:
        names = {
            "starting_position": "StartingPosition",
            "batch_size": "BatchSize",
            "maximum_record_age_in_seconds": "MaximumRecordAgeInSeconds",
            "maximum_retry_attempts": "MaximumRetryAttempts",
            "on_partial_batch_item_failure": "OnPartialBatchItemFailure",
            "parallelization_factor": "ParallelizationFactor",
        }
        dead_letters = each.nested("dead_letter_config", {"arn": "Arn"})
        return present(
            {new: each.take(old) for old, new in names.items()} | {"DeadLetterConfig": dead_letters}
        )

    def source(each: Arguments) -> Properties:
        criteria = each.block("filter_criteria")
        filters = [] if criteria is None else criteria.blocks("filter")
        return {
            "DynamoDBStreamParameters": each.nested("dynamodb_stream_parameters", stream),
            "FilterCriteria": {
                "Filters": [
                    one.mapped(lambda pattern: {"Pattern": pattern.take_json("pattern")}) for one in filters
                ]
            },
        }

    def target(each: Arguments) -> Properties:
        bus = each.nested(
            "eventbridge_event_bus_parameters", {"source": "Source", "detail_type": "DetailType"}
        )
        return present(
            {"EventBridgeEventBusParameters": bus, "InputTemplate": each.take("input_template")},
        )

    return {
        "Name": arguments.take("name"),
        "Description": arguments.take("description"),
        "RoleArn": arguments.take("role_arn"),
        "DesiredState": arguments.take("desired_state"),
        "Source": arguments.take("source"),
        "Target": arguments.take("target"),
        "SourceParameters": arguments.nested("source_parameters", source),
        "TargetParameters": arguments.nested("target_parameters", target),
    }


MAPPINGS: Final[dict[str, Mapped]] = {
    "aws_kms_key": _key,
    "aws_kms_alias": {"name": "AliasName", "target_key_id": "TargetKeyId"},
    "aws_s3_bucket": {"bucket": "BucketName"},
    "aws_s3_bucket_public_access_block": _bucket_part(_public_access),
    "aws_s3_bucket_ownership_controls": _bucket_part(_ownership),
    "aws_s3_bucket_server_side_encryption_configuration": _bucket_part(_encryption),
    "aws_s3_bucket_cors_configuration": _bucket_part(_cors),
    "aws_s3_bucket_versioning": _bucket_part(_versioning),
    "aws_s3_bucket_lifecycle_configuration": _bucket_part(_lifecycle_rules),
    "aws_s3_bucket_notification": _bucket_part(_notification),
    "aws_s3_bucket_policy": lambda arguments: {
        "Bucket": arguments.take("bucket"),
        "PolicyDocument": arguments.take_json("policy"),
    },
    "aws_sqs_queue": _queue,
    "aws_sqs_queue_policy": _queue_policy,
    "aws_cloudwatch_event_rule": _rule,
    "aws_cloudwatch_event_target": _rule_target,
    "aws_dynamodb_table": _table,
    "aws_dynamodb_contributor_insights": _insights,
    "aws_iam_policy": _iam_policy,
    "aws_iam_role": _role,
    "aws_iam_role_policy": _role_policy,
    "aws_appautoscaling_target": _TARGET | {"min_capacity": "MinCapacity", "max_capacity": "MaxCapacity"},
    "aws_appautoscaling_policy": _scaling_policy,
    "aws_cloudwatch_metric_alarm": _alarm,
    "aws_pipes_pipe": _pipe,
}


def computed(instance: Instance, attribute: str) -> Any:
    """Return an attribute that the provider computes, with the value that `stack` gives it."""
    match instance.type, attribute:
        case "aws_caller_identity", "account_id":
            return stack.ACCOUNT
        case "aws_partition", "partition":
            return stack.PARTITION
        case "aws_partition", "dns_suffix":
            return stack.URL_SUFFIX
        case "aws_region", "region":
            return stack.REGION
    logical_id = SAME_RESOURCE[f"{instance.type}.{instance.name}"]
    kind = KINDS[instance.type]
    arguments = instance.arguments
    name = arguments.get("bucket") or arguments.get("name") or logical_id
    match kind, attribute:
        case _, "arn":
            return stack.arn(kind, name)
        case "AWS::SQS::Queue", "url":
            return stack.queue_url(name)
        case "AWS::DynamoDB::Table", "stream_arn":
            return stack.stream_arn(name)
        case ("AWS::S3::Bucket", "id") | ("AWS::KMS::Key", "key_id") | ("AWS::IAM::Role", "name"):
            return name
    message = f"{instance.address}: the comparison does not know the attribute {attribute}"
    raise UnmappedError(message)


def of_module(evaluation: Evaluation) -> dict[str, Properties]:
    """Return the module's resources in the neutral form."""
    neutral: dict[str, Properties] = {}
    for instance in evaluation.resources:
        address = f"{instance.type}.{instance.name}"
        if address not in SAME_RESOURCE or instance.type not in MAPPINGS:
            message = f"the comparison does not map {address}"
            raise UnmappedError(message)
        arguments = Arguments(instance.arguments, instance.address)
        lifecycle = arguments.block("lifecycle")
        resource = neutral.setdefault(SAME_RESOURCE[address], {})
        if lifecycle is not None:
            lifecycle.take("ignore_changes")
            retained = lifecycle.mapped({"prevent_destroy": "Retained"})
            _merge(resource, {"Retained": retained["Retained"] == "true"}, address)
        _merge(resource, {"Properties": arguments.mapped(MAPPINGS[instance.type])}, address)
        after = {SAME_RESOURCE[each] for each in evaluation.depends_on(address)} - {SAME_RESOURCE[address]}
        if after and instance.type not in {"aws_pipes_pipe", "aws_s3_bucket_policy"}:
            _merge(resource, {"DependsOn": sorted(after)}, address)
    return neutral


def _merge(into: Properties, more: Properties, address: str) -> None:
    for name, value in more.items():
        if name not in into:
            into[name] = value
        elif isinstance(value, dict) and isinstance(into[name], dict):
            _merge(into[name], value, address)
        else:
            message = f"{address}: {name} is configured twice"
            raise UnmappedError(message)


def differences(evaluation: Evaluation, read: Read = template) -> list[str]:
    """Return what differs between the module and the templates, one line for each property or output."""
    outputs = {
        snake(name): value
        for kind, one in stacks(evaluation.variables, read).items()
        if kind in {"storage", "events"}
        for name, value in one.outputs().items()
    }
    module = {"resources": of_module(evaluation), "outputs": evaluation.outputs}
    return list(_differing("", module, {"resources": of_templates(evaluation, read), "outputs": outputs}))


def _differing(path: str, module: Any, expected: Any) -> Iterator[str]:
    if isinstance(module, dict) and isinstance(expected, dict):
        for name in sorted(module.keys() | expected.keys()):
            yield from _differing(f"{path}.{name}".lstrip("."), module.get(name), expected.get(name))
    elif isinstance(module, list) and isinstance(expected, list) and len(module) == len(expected):
        for index, (one, other) in enumerate(zip(module, expected, strict=True)):
            yield from _differing(f"{path}[{index}]", one, other)
    elif module != expected or isinstance(module, bool) is not isinstance(expected, bool):
        yield f"{path}: {module!r} in the module, {expected!r} in the templates"


def of_templates(evaluation: Evaluation, read: Read = template) -> dict[str, Properties]:
    """Return the resources of the stacks that equal the module with its variables."""
    return {
        logical_id: _neutral(logical_id, resource, resources)
        for resources in (one.resources() for one in stacks(evaluation.variables, read).values())
        for logical_id, resource in resources.items()
        if resource["Type"] != "AWS::CloudWatch::Alarm" or logical_id in SAME_RESOURCE.values()
    }


def _neutral(logical_id: str, resource: Properties, others: Mapping[str, Properties]) -> Properties:
    """Return a template's resource with its lists by name, and its references as values."""
    if unknown := resource.keys() - stack.RESOURCE_KEYS:
        message = f"{logical_id}: the comparison does not map {sorted(unknown)}"
        raise UnmappedError(message)
    properties = dict(resource["Properties"])
    for name, key in (("GlobalSecondaryIndexes", "IndexName"), ("Metrics", "Id")):
        if name in properties:
            properties[name] = {each.pop(key): each for each in map(dict, properties[name])}
    if "ScalingTargetId" in properties:
        target = others[properties["ScalingTargetId"]]["Properties"]
        properties["ScalingTargetId"] = {name: target[name] for name in _TARGET.values()}
    if resource["Type"] == "AWS::Pipes::Pipe":
        filters = properties["SourceParameters"]["FilterCriteria"]["Filters"]
        for each in filters:
            each["Pattern"] = json.loads(each["Pattern"])
    neutral: Properties = {"Properties": _with_dimensions_by_name(properties)}
    policies = {resource.get("DeletionPolicy", "Delete"), resource.get("UpdateReplacePolicy", "Delete")}
    if policies == {"RetainExceptOnCreate", "Retain"}:
        neutral["Retained"] = True
    elif policies != {"Delete"}:
        message = f"{logical_id}: the comparison does not map the policies {sorted(policies)}"
        raise UnmappedError(message)
    if "DependsOn" in resource and logical_id != "Table":
        after = resource["DependsOn"]
        neutral["DependsOn"] = sorted([after] if isinstance(after, str) else after)
    return neutral


def _with_dimensions_by_name(value: Any) -> Any:
    match value:
        case dict():
            return {
                name: {one["Name"]: one["Value"] for one in each}
                if name == "Dimensions"
                else _with_dimensions_by_name(each)
                for name, each in value.items()
            }
        case list():
            return [_with_dimensions_by_name(each) for each in value]
    return value


def stacks(variables: Mapping[str, Any], read: Read = template) -> dict[str, stack.Stack]:
    """Return the stacks that equal the module with these variables."""
    storage = read("storage.yaml")
    name = variables["name"]
    parameters = {
        parameter: as_parameter(storage["Parameters"][parameter], variables[snake(parameter)])
        for parameter in storage["Parameters"]
    }
    found = {"storage": stack.Stack(storage, name, parameters)}
    table = {"TableName": variables["table_name"]}
    if variables["billing_mode"] == "PROVISIONED":
        scaled = {
            each: variables[snake(each)] for each in ("MinCapacity", "MaxCapacity", "TargetUtilization")
        }
        found["capacity"] = stack.Stack(read("capacity.yaml"), name, table | scaled)
    found["alarms"] = stack.Stack(read("alarms.yaml"), name, table | {"TopicArn": variables["topic_arn"]})
    if variables["events_pipe"]:
        outputs = found["storage"].outputs()
        events = {
            "TableStreamArn": outputs["TableStreamArn"],
            "DeadLetterQueueArn": outputs["EventsDeadLetterQueueArn"],
            "KeyArn": outputs["KeyArn"],
            "PipeName": variables["events_pipe_name"],
            "TopicArn": variables["topic_arn"],
        } | {each: variables[f"events_{snake(each)}"] for each in EVENTS_PARAMETERS}
        found["events"] = stack.Stack(read("events.yaml"), name, events)
    return found


EVERYTHING: Final[Mapping[str, Any]] = {
    "additional_table_name": "restored",
    "output_bucket_name": "results",
    "bucket_versioning": True,
    "billing_mode": "PROVISIONED",
    "require_scan": True,
    "cors_origins": ["https://www.example.com"],
    "stream": True,
    "events_pipe": True,
    "distribution_arn": "arn:aws-cn:cloudfront::123456789012:distribution/ABC123",
    "contributor_insights": "THROTTLED_KEYS",
    "warm_read_units": 20_000,
    "topic_arn": "arn:aws-cn:sns:cn-north-1:123456789012:on-call",
}
"""Variables with which the module creates every resource."""

EVENTS_PARAMETERS: Final = ("TargetType", "TargetArn", "TargetKeyArn", "MaxAgeSeconds", "MaxAttempts")
"""The parameters of events.yaml that are variables with the prefix events_."""


def snake(name: str) -> str:
    """Return the name of a variable or an output of the module for that of a template."""
    return "".join(f"_{each.lower()}" if each.isupper() else each for each in name).lstrip("_")


def as_parameter(parameter: dict[str, Any], value: Any) -> Any:
    """Return a variable's value as that of a parameter."""
    if isinstance(value, bool):
        return parameter["AllowedValues"][value]
    return ",".join(value) if isinstance(value, list) else value


def evaluated(folder: Any = hcl.MODULE, **variables: Any) -> Evaluation:
    """Return the module for variables that have another value than their default."""
    return Evaluation(hcl.read(folder), computed, variables)
