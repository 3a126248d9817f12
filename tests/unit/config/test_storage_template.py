import re
from typing import Any

import pytest

from tests.support import templates
from worker.aws.provision import STORAGE_TEMPLATE
from worker.bootstrap import storage_parameters
from worker.dynamodb.indexes import INDEXES, KEYS, LISTED_ATTRIBUTES
from worker.settings import Settings

INLINE_LIMIT_BYTES = 51_200
DAY_S = 86_400
KEY = {"Fn::If": ["CreatesKey", {"Fn::GetAtt": "Key.Arn"}, {"Ref": "KeyArn"}]}


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("storage.yaml")


def test_the_template_fits_into_one_request() -> None:
    assert STORAGE_TEMPLATE.stat().st_size < INLINE_LIMIT_BYTES


def test_the_defaults_are_those_of_the_settings(template: dict[str, Any]) -> None:
    defaults = {name: str(parameter["Default"]) for name, parameter in template["Parameters"].items()}
    expected = storage_parameters(Settings())
    assert expected == {name: defaults[name] for name in expected}


def test_every_setting_that_names_a_resource_is_a_parameter(template: dict[str, Any]) -> None:
    assert storage_parameters(Settings()).keys() <= template["Parameters"].keys()


def test_the_table_has_the_keys_and_indexes_that_check_looks_for(template: dict[str, Any]) -> None:
    table = _properties(template, "Table")
    indexes = {index["IndexName"]: index for index in table["GlobalSecondaryIndexes"]}
    assert _keys(table) == KEYS
    assert {name: _keys(index) for name, index in indexes.items()} == INDEXES


def test_indexes_hold_what_lists_show_and_nothing_that_changes_at_each_step(template: dict[str, Any]) -> None:
    for index in _properties(template, "Table")["GlobalSecondaryIndexes"]:
        assert index["Projection"]["ProjectionType"] == "INCLUDE"
        assert set(index["Projection"]["NonKeyAttributes"]) == LISTED_ATTRIBUTES


def test_only_attributes_of_keys_are_defined(template: dict[str, Any]) -> None:
    table = _properties(template, "Table")
    used = {key for each in [table, *table["GlobalSecondaryIndexes"]] for key in _keys(each)}
    assert {each["AttributeName"] for each in table["AttributeDefinitions"]} == used
    assert {each["AttributeType"] for each in table["AttributeDefinitions"]} == {"S"}


def test_the_table_expires_items_and_can_be_restored(template: dict[str, Any]) -> None:
    table = _properties(template, "Table")
    assert table["TimeToLiveSpecification"] == {"AttributeName": "ttl", "Enabled": True}
    assert table["PointInTimeRecoverySpecification"] == {"PointInTimeRecoveryEnabled": True}
    assert template["Parameters"]["BillingMode"]["Default"] == "PAY_PER_REQUEST"


@pytest.mark.parametrize("name", ["Bucket", "OutputBucket", "Table", "Key"])
def test_buckets_table_and_key_are_retained_unless_the_first_deployment_fails(
    template: dict[str, Any], name: str
) -> None:
    resource = template["Resources"][name]
    assert resource["DeletionPolicy"] == "RetainExceptOnCreate"
    assert resource["UpdateReplacePolicy"] == "Retain"


def test_the_table_cannot_be_deleted_by_a_call(template: dict[str, Any]) -> None:
    assert _properties(template, "Table")["DeletionProtectionEnabled"] is True


def test_the_table_is_created_last_so_that_a_failed_first_deployment_can_be_rolled_back(
    template: dict[str, Any],
) -> None:
    resources = template["Resources"]
    unconditional = {name for name, each in resources.items() if "Condition" not in each}
    before = _before(resources, "Table")
    assert unconditional <= before | {"Table"}
    assert [name for name, each in resources.items() if "Table" in _named_by(each)] == []


def test_the_key_has_an_alias_with_the_name_of_the_stack(template: dict[str, Any]) -> None:
    assert _properties(template, "KeyAlias") == {
        "AliasName": {"Fn::Sub": "alias/${AWS::StackName}"},
        "TargetKeyId": {"Ref": "Key"},
    }


def test_with_a_key_of_its_own_the_stack_creates_none(template: dict[str, Any]) -> None:
    assert {template["Resources"][name]["Condition"] for name in ("Key", "KeyAlias")} == {"CreatesKey"}
    table = _table(template, KeyArn="arn:aws:kms:us-east-1:123456789012:key/1")
    assert table["SSESpecification"]["KMSMasterKeyId"] == "arn:aws:kms:us-east-1:123456789012:key/1"
    assert template["Outputs"]["KeyArn"]["Value"] == KEY


OPTIONAL = ("OnDemandThroughput", "WarmThroughput", "ContributorInsightsSpecification")


def test_ceiling_warm_throughput_and_contributor_insights_are_off_by_default(
    template: dict[str, Any],
) -> None:
    table = _table(template)
    for each in [table, *table["GlobalSecondaryIndexes"]]:
        assert not set(OPTIONAL) & set(each)


def test_ceiling_warm_throughput_and_contributor_insights_cover_the_table_and_its_indexes(
    template: dict[str, Any],
) -> None:
    chosen: dict[str, Any] = {
        "MaxWriteRequestUnits": 900,
        "WarmReadUnits": 20_000,
        "ContributorInsights": "THROTTLED_KEYS",
    }
    table = _table(template, **chosen)
    for each in [table, *table["GlobalSecondaryIndexes"]]:
        assert each["OnDemandThroughput"] == {"MaxWriteRequestUnits": 900}
        assert each["WarmThroughput"] == {"ReadUnitsPerSecond": 20_000, "WriteUnitsPerSecond": 4000}
        assert each["ContributorInsightsSpecification"] == {"Enabled": True, "Mode": "THROTTLED_KEYS"}


def test_a_provisioned_table_has_no_ceiling_because_its_capacity_is_one(template: dict[str, Any]) -> None:
    chosen: dict[str, Any] = {"MaxWriteRequestUnits": 900, "BillingMode": "PROVISIONED"}
    assert "OnDemandThroughput" not in _table(template, **chosen)


@pytest.mark.parametrize("name", ["Bucket", "OutputBucket"])
def test_buckets_are_private_and_drop_unfinished_uploads(template: dict[str, Any], name: str) -> None:
    bucket = _properties(template, name)
    assert set(bucket["PublicAccessBlockConfiguration"].values()) == {True}
    assert bucket["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    assert {"DaysAfterInitiation": 1} in [
        rule.get("AbortIncompleteMultipartUpload") for rule in bucket["LifecycleConfiguration"]["Rules"]
    ]


@pytest.mark.parametrize("name", ["Bucket", "OutputBucket"])
def test_objects_are_encrypted_with_a_bucket_key(template: dict[str, Any], name: str) -> None:
    (rule,) = _properties(template, name)["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert rule == {
        "ServerSideEncryptionByDefault": {"SSEAlgorithm": "aws:kms", "KMSMasterKeyID": KEY},
        "BucketKeyEnabled": True,
    }


@pytest.mark.parametrize("name", ["Queue", "DeadLetterQueue"])
def test_messages_are_encrypted_with_the_key_which_is_kept_for_an_hour(
    template: dict[str, Any], name: str
) -> None:
    queue = _properties(template, name)
    assert (queue["KmsMasterKeyId"], queue["KmsDataKeyReusePeriodSeconds"]) == (KEY, 3600)
    assert "SqsManagedSseEnabled" not in queue, "one or the other"


def test_records_are_encrypted_with_the_key(template: dict[str, Any]) -> None:
    encryption = _properties(template, "Table")["SSESpecification"]
    assert encryption == {"SSEEnabled": True, "SSEType": "KMS", "KMSMasterKeyId": KEY}


def test_the_key_is_rotated_every_year(template: dict[str, Any]) -> None:
    key = _properties(template, "Key")
    assert (key["EnableKeyRotation"], key["RotationPeriodInDays"]) == (True, 365)


def test_the_key_policy_allows_iam_and_the_notifications_of_the_bucket(template: dict[str, Any]) -> None:
    account, bucket = _statements(template, "Key")
    assert account["Principal"] == {"AWS": {"Fn::Sub": "arn:${AWS::Partition}:iam::${AWS::AccountId}:root"}}
    assert bucket == {
        "Sid": "AllowS3Notifications",
        "Effect": "Allow",
        "Principal": {"Service": "s3.amazonaws.com"},
        "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
        "Resource": "*",
        "Condition": {
            "ArnEquals": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${BucketName}"}},
            "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
        },
    }


@pytest.mark.parametrize(
    ("policy", "actions", "services"),
    [
        (
            "WorkerPolicy",
            ["Decrypt", "DescribeKey", "Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"],
            ["s3", "sqs", "dynamodb"],
        ),
        ("ReaderPolicy", ["Decrypt", "DescribeKey"], ["dynamodb"]),
        ("ConsoleReaderPolicy", ["Decrypt", "DescribeKey"], ["s3", "sqs", "dynamodb"]),
        (
            "ConsoleOperatorPolicy",
            ["Encrypt", "GenerateDataKey", "ReEncryptFrom", "ReEncryptTo"],
            ["s3", "sqs", "dynamodb"],
        ),
    ],
)
def test_the_key_is_used_only_through_the_services_that_need_it(
    template: dict[str, Any], policy: str, actions: list[str], services: list[str]
) -> None:
    (statement,) = (one for one in _statements(template, policy) if one["Sid"] == "UseKey")
    assert statement["Action"] == [f"kms:{action}" for action in actions]
    assert statement["Resource"] == KEY
    assert statement["Condition"] == {
        "StringEquals": {
            "kms:ViaService": [
                {"Fn::Sub": f"{service}.${{AWS::Region}}.${{AWS::URLSuffix}}"} for service in services
            ]
        }
    }


@pytest.mark.parametrize("prefix", ["uploads/", ""])
def test_only_uploads_cause_notifications(template: dict[str, Any], prefix: str) -> None:
    configuration = _properties(template, "Bucket")["NotificationConfiguration"]
    (notification,) = _chosen(template, configuration)["QueueConfigurations"]
    assert notification["Event"] == "s3:ObjectCreated:*"
    assert notification["Queue"] == {"Fn::GetAtt": "Queue.Arn"}
    assert _chosen(template, notification["Filter"], UploadsPrefix=prefix) == (
        {"S3Key": {"Rules": [{"Name": "prefix", "Value": {"Ref": "UploadsPrefix"}}]}}
        if prefix
        else {"Ref": "AWS::NoValue"}
    )


def test_the_bucket_depends_on_the_policy_that_allows_its_notifications(template: dict[str, Any]) -> None:
    assert template["Resources"]["Bucket"]["DependsOn"] == "QueuePolicy"
    assert "Bucket.Arn" not in str(_properties(template, "QueuePolicy"))


def test_only_the_bucket_in_this_account_may_send_to_the_queue(template: dict[str, Any]) -> None:
    allowed = [each for each in _statements(template, "QueuePolicy") if each["Effect"] == "Allow"]
    assert allowed == [
        {
            "Sid": "AllowS3Notifications",
            "Effect": "Allow",
            "Principal": {"Service": "s3.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": "Queue.Arn"},
            "Condition": {
                "ArnEquals": {"aws:SourceArn": {"Fn::Sub": "arn:${AWS::Partition}:s3:::${BucketName}"}},
                "StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}},
            },
        }
    ]


def test_with_required_scans_the_queue_receives_scan_results_in_place_of_uploads(
    template: dict[str, Any],
) -> None:
    assert template["Resources"]["ScanResults"]["Condition"] == "RequiresScan"
    configuration = _properties(template, "Bucket")["NotificationConfiguration"]
    assert _chosen(template, configuration, RequireScan="true") == {
        "EventBridgeConfiguration": {"EventBridgeEnabled": True}
    }
    rule = _properties(template, "ScanResults")
    assert rule["Targets"] == [{"Id": "queue", "Arn": {"Fn::GetAtt": "Queue.Arn"}}]
    queue, key, worker = (
        [
            each
            for each in _statements(template, name, RequireScan="true")
            if each not in _statements(template, name)
        ]
        for name in ("QueuePolicy", "Key", "WorkerPolicy")
    )
    assert queue == [
        {
            "Sid": "AllowScanResults",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": "sqs:SendMessage",
            "Resource": {"Fn::GetAtt": "Queue.Arn"},
            "Condition": {"ArnEquals": {"aws:SourceArn": {"Fn::GetAtt": "ScanResults.Arn"}}},
        }
    ]
    assert key == [
        {
            "Sid": "AllowScanResults",
            "Effect": "Allow",
            "Principal": {"Service": "events.amazonaws.com"},
            "Action": ["kms:Decrypt", "kms:GenerateDataKey*"],
            "Resource": "*",
            "Condition": {"StringEquals": {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}},
        }
    ]
    assert worker == [
        {
            "Sid": "ReadScanResults",
            "Effect": "Allow",
            "Action": ["s3:GetObjectTagging", "s3:GetObjectVersionTagging"],
            "Resource": {"Fn::Sub": "${Bucket.Arn}/${UploadsPrefix}*"},
        }
    ]


@pytest.mark.parametrize(
    "name", ["QueuePolicy", "DeadLetterQueuePolicy", "BucketPolicy", "OutputBucketPolicy"]
)
def test_everything_is_denied_without_tls(template: dict[str, Any], name: str) -> None:
    (denied,) = (each for each in _statements(template, name) if each["Effect"] == "Deny")
    assert denied["Principal"] == "*"
    assert denied["Action"] in {"s3:*", "sqs:*"}
    assert denied["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}


def test_the_queue_uses_long_polling_and_a_redrive_policy(template: dict[str, Any]) -> None:
    queue = _properties(template, "Queue")
    assert queue["ReceiveMessageWaitTimeSeconds"] == 20
    assert queue["VisibilityTimeout"] == {"Ref": "VisibilityTimeout"}
    assert queue["RedrivePolicy"] == {
        "deadLetterTargetArn": {"Fn::GetAtt": "DeadLetterQueue.Arn"},
        "maxReceiveCount": {"Ref": "MaxReceiveCount"},
    }


def test_dead_letters_are_kept_longer_than_messages_live(template: dict[str, Any]) -> None:
    queue, dead = _properties(template, "Queue"), _properties(template, "DeadLetterQueue")
    assert dead["MessageRetentionPeriod"] == 14 * DAY_S
    assert queue["MessageRetentionPeriod"] < dead["MessageRetentionPeriod"]


DISTRIBUTION = "arn:aws:cloudfront::123456789012:distribution/E2EXAMPLE"


@pytest.mark.parametrize(
    ("policy", "bucket", "output_bucket"),
    [("BucketPolicy", "Bucket", ""), ("OutputBucketPolicy", "OutputBucket", "image-results")],
)
def test_only_a_named_distribution_may_read_results(
    template: dict[str, Any], policy: str, bucket: str, output_bucket: str
) -> None:
    parameters = {"DistributionArn": DISTRIBUTION, "OutputBucketName": output_bucket}
    allowed = {
        "Sid": "AllowDistribution",
        "Effect": "Allow",
        "Principal": {"Service": "cloudfront.amazonaws.com"},
        "Action": "s3:GetObject",
        "Resource": {"Fn::Sub": f"${{{bucket}.Arn}}/${{ProcessedPrefix}}*"},
        "Condition": {"StringEquals": {"aws:SourceArn": {"Ref": "DistributionArn"}}},
    }

    with_distribution = _statements(template, policy, **parameters)
    assert [each for each in with_distribution if each["Effect"] == "Allow"] == [allowed]
    without = _statements(template, policy, OutputBucketName=output_bucket)
    assert [each for each in without if each["Effect"] == "Allow"] == []


def test_a_distribution_reads_nothing_of_the_uploads_if_results_have_a_bucket(
    template: dict[str, Any],
) -> None:
    parameters = {"DistributionArn": DISTRIBUTION, "OutputBucketName": "image-results"}
    statements = _statements(template, "BucketPolicy", **parameters)
    assert [each["Effect"] for each in statements] == ["Deny"]


def test_a_named_distribution_may_decrypt_with_the_key(template: dict[str, Any]) -> None:
    *_, allowed = _statements(template, "Key", DistributionArn=DISTRIBUTION)
    assert (allowed["Principal"], allowed["Action"]) == (
        {"Service": "cloudfront.amazonaws.com"},
        "kms:Decrypt",
    )
    assert allowed["Condition"] == {"StringEquals": {"aws:SourceArn": {"Ref": "DistributionArn"}}}


def _statements(template: dict[str, Any], name: str, **parameters: str) -> list[dict[str, Any]]:
    """Return the statements of a policy, without those that other parameters would add."""
    properties = _properties(template, name)
    document = properties["PolicyDocument" if "PolicyDocument" in properties else "KeyPolicy"]
    return [
        statement
        for each in document["Statement"]
        if (statement := _chosen(template, each, **parameters)) != {"Ref": "AWS::NoValue"}
    ]


def _chosen(template: dict[str, Any], value: Any, **parameters: str) -> Any:
    """Return what a choice at the top of a part of the template comes to."""
    match value:
        case {"Fn::If": [condition, then, otherwise]}:
            is_true = templates.resolved(template["Conditions"][condition], template, **parameters)
            return then if is_true else otherwise
    return value


def _table(template: dict[str, Any], **parameters: str) -> dict[str, Any]:
    resolved: dict[str, Any] = templates.resolved(_properties(template, "Table"), template, **parameters)
    return resolved


def _named_by(value: Any) -> set[str]:
    """Return the resources and parameters that a part of a template refers to."""
    match value:
        case {"Ref": str(name)}:
            return {name}
        case {"Fn::GetAtt": str(name)}:
            return {name.partition(".")[0]}
        case {"Fn::Sub": str(text)}:
            return {each.partition(".")[0] for each in re.findall(r"\$\{([^}]+)\}", text)}
        case dict():
            return {name for each in value.values() for name in _named_by(each)}
        case list():
            return {name for each in value for name in _named_by(each)}
    return set()


def _before(resources: dict[str, Any], name: str) -> set[str]:
    """Return the resources that CloudFormation creates before another."""
    depends_on = resources[name].get("DependsOn", [])
    direct = _named_by(resources[name]) | ({depends_on} if isinstance(depends_on, str) else set(depends_on))
    direct &= resources.keys()
    return direct.union(*(_before(resources, each) for each in direct))


def _keys(resource: dict[str, Any]) -> tuple[str, ...]:
    return tuple(
        key["AttributeName"] for key in sorted(resource["KeySchema"], key=lambda key: key["KeyType"])
    )


def _properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    return template["Resources"][name]["Properties"]
