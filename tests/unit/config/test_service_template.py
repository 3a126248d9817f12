import re
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from tests.support import templates
from worker.aws.provision import STACK_NAME
from worker.bootstrap import storage_parameters
from worker.cli import enqueue
from worker.cli.app import COMMANDS
from worker.delivery.consumer import RELEASE_TIMEOUT_S
from worker.settings import Settings
from worker.telemetry import observer

DOCKERFILE = Path(__file__).parents[3] / "Dockerfile"

PARENT_MB = 200
"""Memory of the worker process in MiB without the images in flight."""

FARGATE_MB = {
    1024: range(2048, 8193, 1024),
    2048: range(4096, 16385, 1024),
    4096: range(8192, 30721, 1024),
}
"""Memory that Fargate has for so many CPU units ("Task CPU and memory", Amazon ECS developer guide)."""


@pytest.fixture(scope="module")
def template() -> dict[str, Any]:
    return templates.template("service.yaml")


def properties(template: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = template["Resources"][name]["Properties"]
    return found


def default(template: dict[str, Any], parameter: str) -> Any:
    return template["Parameters"][parameter]["Default"]


def container(template: dict[str, Any]) -> dict[str, Any]:
    (only,) = properties(template, "TaskDefinition")["ContainerDefinitions"]
    return dict(only)


def environment(template: dict[str, Any]) -> dict[str, Any]:
    return {one["Name"]: one["Value"] for one in container(template)["Environment"]}


def test_the_storage_stack_is_the_one_that_provision_makes(template: dict[str, Any]) -> None:
    assert default(template, "StorageStack") == STACK_NAME


def test_every_variable_of_the_environment_is_a_setting(template: dict[str, Any]) -> None:
    known = {f"WORKER_{name.upper()}" for name in Settings.model_fields} | {"AWS_REGION"}
    assert environment(template).keys() <= known


def test_the_worker_gets_the_same_values_as_the_storage_stack(template: dict[str, Any]) -> None:
    settings = {
        "BucketName": "WORKER_BUCKET",
        "OutputBucketName": "WORKER_OUTPUT_BUCKET",
        "UploadsPrefix": "WORKER_UPLOADS_PREFIX",
        "ProcessedPrefix": "WORKER_PROCESSED_PREFIX",
        "LogosPrefix": "WORKER_WATERMARK_LOGOS_PREFIX",
        "QueueName": "WORKER_QUEUE_NAME",
        "DeadLetterQueueName": "WORKER_DEAD_LETTER_QUEUE_NAME",
        "VisibilityTimeout": "WORKER_VISIBILITY_TIMEOUT_S",
        "TableName": "WORKER_TABLE_NAME",
        "RequireScan": "WORKER_REQUIRE_SCAN",
    }
    of_provisioning = {
        "MaxReceiveCount",
        "CorsOrigins",
        "Stream",
        "EventsDeadLetterQueueName",
        "EventsPipeName",
    }
    assert settings.keys() == storage_parameters(Settings()).keys() - of_provisioning
    storage, variables = templates.template("storage.yaml")["Parameters"], environment(template)
    for parameter, setting in settings.items():
        assert variables[setting] == {"Ref": parameter}
        assert template["Parameters"][parameter]["Default"] == storage[parameter]["Default"]


def test_the_worker_sends_dead_letters_before_the_queue_does(template: dict[str, Any]) -> None:
    queue = templates.template("storage.yaml")["Parameters"]["MaxReceiveCount"]
    assert environment(template)["WORKER_MAX_RECEIVES"] == {"Ref": "MaxReceives"}
    assert default(template, "MaxReceives") == Settings().max_receives < queue["Default"]


def test_the_memory_of_a_task_covers_uploads_and_decoders(template: dict[str, Any]) -> None:
    settings = Settings()
    uploads_mb = default(template, "Concurrency") * settings.max_bytes / 2**20
    children_mb = default(template, "Processes") * settings.decoder_memory_mb
    (tmp,) = container(template)["LinuxParameters"]["Tmpfs"]["Fn::If"][1]
    memory_mb = default(template, "Memory")
    assert uploads_mb + children_mb + PARENT_MB + tmp["Size"] <= memory_mb
    assert memory_mb in FARGATE_MB[default(template, "Cpu")]


def test_a_task_has_one_decoder_for_each_cpu(template: dict[str, Any]) -> None:
    assert default(template, "Processes") == default(template, "Cpu") / 1024
    variables = environment(template)
    assert variables["WORKER_PROCESSES"] == {"Ref": "Processes"}
    assert variables["WORKER_CONCURRENCY"] == {"Ref": "Concurrency"}


def test_a_stopping_task_is_not_killed_before_it_has_drained(template: dict[str, Any]) -> None:
    drain = template["Parameters"]["DrainTimeout"]
    assert container(template)["StopTimeout"] == 120, "the most that Fargate gives"
    assert drain["MaxValue"] + RELEASE_TIMEOUT_S < 120
    assert drain["Default"] == Settings().drain_timeout_s
    assert environment(template)["WORKER_DRAIN_TIMEOUT_S"] == {"Ref": "DrainTimeout"}


def test_the_container_can_write_only_to_tmpfs(template: dict[str, Any]) -> None:
    worker = container(template)
    assert worker["ReadonlyRootFilesystem"] is True
    (user,) = re.findall(r"^USER (.+)$", DOCKERFILE.read_text(), re.MULTILINE)
    assert worker["User"] == user != "root"
    assert worker["LinuxParameters"]["Capabilities"] == {"Drop": ["ALL"]}
    condition, (tmp,), _without = worker["LinuxParameters"]["Tmpfs"]["Fn::If"]
    assert template["Conditions"][condition] == {"Fn::Equals": [{"Ref": "AWS::Partition"}, "aws"]}
    assert tmp["ContainerPath"] == "/tmp"
    assert {"noexec", "nosuid", "nodev"} <= set(tmp["MountOptions"])
    assert "Privileged" not in worker


def test_the_security_group_allows_no_incoming_connections(template: dict[str, Any]) -> None:
    group = templates.resolved(properties(template, "SecurityGroup"), template)
    assert "SecurityGroupIngress" not in group
    assert [
        (one["FromPort"], one["ToPort"], one.get("CidrIp", one.get("CidrIpv6")))
        for one in group["SecurityGroupEgress"]
    ] == [(443, 443, "0.0.0.0/0"), (443, 443, "::/0")]
    assert "PortMappings" not in container(template)
    assert environment(template)["WORKER_HTTP_HOST"] == "127.0.0.1"
    assert default(template, "AssignPublicIp") == "DISABLED"


def test_the_commands_of_the_container_and_its_health_check_exist(
    template: dict[str, Any],
) -> None:
    worker = container(template)
    form, program, health = worker["HealthCheck"]["Command"]
    assert (form, program) == ("CMD", "image-worker")
    assert {health, *worker["Command"]} <= {command.name for command in COMMANDS}


def test_logs_that_cannot_be_delivered_do_not_stop_the_worker(template: dict[str, Any]) -> None:
    logs = container(template)["LogConfiguration"]
    assert logs["LogDriver"] == "awslogs"
    assert logs["Options"]["mode"] == "non-blocking"
    assert logs["Options"]["awslogs-group"] == {"Ref": "LogGroup"}
    assert properties(template, "LogGroup")["RetentionInDays"] == {"Ref": "LogRetentionDays"}
    assert environment(template)["WORKER_LOG_FORMAT"] == "json", "the metric filters read JSON"


def test_the_task_role_has_the_worker_policy_and_task_protection(template: dict[str, Any]) -> None:
    role = templates.resolved(properties(template, "TaskRole"), template)
    assert role["ManagedPolicyArns"] == [{"Fn::ImportValue": {"Fn::Sub": "${StorageStack}-WorkerPolicyArn"}}]
    exported = templates.template("storage.yaml")["Outputs"]["WorkerPolicyArn"]
    assert exported == {
        "Value": {"Ref": "WorkerPolicy"},
        "Export": {"Name": {"Fn::Sub": "${AWS::StackName}-WorkerPolicyArn"}},
    }
    (inline,) = role["Policies"]
    (statement,) = inline["PolicyDocument"]["Statement"]
    assert (statement["Effect"], statement["Action"]) == ("Allow", "ecs:UpdateTaskProtection")
    arn, _cluster = statement["Resource"]["Fn::Sub"]
    assert arn == "arn:${AWS::Partition}:ecs:${AWS::Region}:${AWS::AccountId}:task/${Name}/*"


@pytest.mark.parametrize("name", ["service.yaml", "console.yaml"])
def test_the_task_may_read_its_configuration_file_and_no_other_object(name: str) -> None:
    template = templates.template(name)
    url = "s3://settings/image-worker.toml"
    role = templates.resolved(properties(template, "TaskRole"), template, ConfigFile=url)
    (statement,) = role["Policies"][-1]["PolicyDocument"]["Statement"]
    assert statement["Action"] == "s3:GetObject"
    arn, names = statement["Resource"]["Fn::Sub"]
    assert arn == "arn:${AWS::Partition}:s3:::${Object}"
    assert names == {"Object": {"Fn::Select": [1, {"Fn::Split": ["s3://", url]}]}}
    assert environment(template)["WORKER_CONFIG_FILE"] == {"Ref": "ConfigFile"}
    assert re.fullmatch(template["Parameters"]["ConfigFile"]["AllowedPattern"], url)


@pytest.mark.parametrize("role", ["TaskRole", "ExecutionRole"])
def test_only_tasks_of_this_account_take_the_roles(template: dict[str, Any], role: str) -> None:
    (trust,) = properties(template, role)["AssumeRolePolicyDocument"]["Statement"]
    assert trust["Principal"] == {"Service": "ecs-tasks.amazonaws.com"}
    assert trust["Condition"]["StringEquals"] == {"aws:SourceAccount": {"Ref": "AWS::AccountId"}}


def test_a_deployment_that_does_not_come_up_is_rolled_back_with_all_tasks_kept(
    template: dict[str, Any],
) -> None:
    deployment = properties(template, "Service")["DeploymentConfiguration"]
    assert templates.resolved(deployment, template) == {
        "MinimumHealthyPercent": 100,
        "MaximumPercent": 200,
        "DeploymentCircuitBreaker": {"Enable": True, "Rollback": True},
    }
    assert "DesiredCount" not in properties(template, "Service"), "autoscaling sets it"


def test_the_first_task_is_never_on_spot_capacity_and_no_other_unless_asked_for(
    template: dict[str, Any],
) -> None:
    on_demand, spot = templates.resolved(
        properties(template, "Service")["CapacityProviderStrategy"], template
    )
    assert on_demand == {"CapacityProvider": "FARGATE", "Base": 1, "Weight": 1}
    assert spot == {"CapacityProvider": "FARGATE_SPOT", "Weight": 0}
    capacity = properties(template, "ClusterCapacity")
    assert capacity["CapacityProviders"] == ["FARGATE", "FARGATE_SPOT"]


def test_capacity_providers_wait_for_the_cluster_and_the_service_waits_for_them(
    template: dict[str, Any],
) -> None:
    """In an account that never had ECS, creating the cluster creates the role that they need."""
    assert "CapacityProviders" not in properties(template, "Cluster")
    assert properties(template, "ClusterCapacity")["Cluster"] == {"Ref": "Cluster"}
    service = properties(template, "Service")["Cluster"]
    assert service == {"Fn::If": ["MakesCluster", {"Ref": "ClusterCapacity"}, {"Ref": "ClusterName"}]}


def test_alarms_that_exist_roll_a_deployment_back(template: dict[str, Any]) -> None:
    deployment = properties(template, "Service")["DeploymentConfiguration"]
    names = "image-events-failures,image-events-no-progress"
    alarms = templates.resolved(deployment, template, DeploymentAlarms=names)["Alarms"]
    assert alarms == {"AlarmNames": {"Fn::Split": [",", names]}, "Enable": True, "Rollback": True}
    stack = templates.template("alarms.yaml")
    existing = {
        one["Properties"]["AlarmName"]["Fn::Sub"].replace(
            "${QueueName}", stack["Parameters"]["QueueName"]["Default"]
        )
        for one in stack["Resources"].values()
    }
    assert set(names.split(",")) <= existing
    assert names in template["Parameters"]["DeploymentAlarms"]["Description"]


@pytest.mark.parametrize("name", ["service.yaml", "console.yaml"])
def test_logs_outlive_their_stack(name: str) -> None:
    log_group = templates.template(name)["Resources"]["LogGroup"]
    assert (log_group["DeletionPolicy"], log_group["UpdateReplacePolicy"]) == (
        "RetainExceptOnCreate",
        "Retain",
    )


@pytest.mark.parametrize("name", ["service.yaml", "console.yaml"])
def test_an_environment_file_has_a_name_that_ecs_accepts(name: str) -> None:
    pattern = templates.template(name)["Parameters"]["EnvironmentFileArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, "")
    assert re.fullmatch(pattern, "arn:aws:s3:::settings/image-worker/worker.env")
    assert re.fullmatch(pattern, "arn:aws-us-gov:s3:::settings/worker.env")
    assert not re.fullmatch(pattern, "arn:aws:s3:::settings/worker.txt")
    assert not re.fullmatch(pattern, "s3://settings/worker.env")


@pytest.mark.parametrize("name", ["SecurityGroup", "TaskSecurityGroup"])
def test_dns_servers_of_your_own_are_reachable_by_udp_and_tcp(name: str) -> None:
    template = templates.template("service.yaml" if name == "SecurityGroup" else "console.yaml")
    rules = [template["Resources"][f"DnsOver{protocol}"] for protocol in ("Udp", "Tcp")]
    assert [one["Condition"] for one in rules] == ["HasDnsServers", "HasDnsServers"]
    assert [one["Properties"]["IpProtocol"] for one in rules] == ["udp", "tcp"]
    for one in rules:
        assert one["Properties"]["GroupId"] == {"Ref": name}
        assert one["Properties"]["CidrIp"] == {"Ref": "DnsServerCidr"}
        assert one["Properties"]["FromPort"] == one["Properties"]["ToPort"] == 53


def test_the_check_of_uploads_runs_as_scheduled_with_permissions_to_read_only(
    template: dict[str, Any],
) -> None:
    role = templates.resolved(properties(template, "UploadCheckTaskRole"), template)
    assert role["ManagedPolicyArns"] == [
        {"Fn::ImportValue": {"Fn::Sub": "${StorageStack}-ConsoleReaderPolicyArn"}}
    ]
    assert role["Policies"] == []
    (check,) = properties(template, "UploadCheckTask")["ContainerDefinitions"]
    command, *options = check["Command"]
    assert command == "enqueue"
    assert "--dry-run" in options
    known = {option for parameter in get_command(enqueue.app).params for option in parameter.opts}
    assert {option for option in options if option.startswith("--")} <= known
    worker = container(template)
    assert [worker[name] for name in ("Image", "User")] == [check[name] for name in ("Image", "User")]
    variables = environment(template)
    for one in check["Environment"]:
        assert variables[one["Name"]] == one["Value"]
    target = properties(template, "UploadCheck")["Target"]
    assert target["EcsParameters"]["TaskDefinitionArn"] == {"Ref": "UploadCheckTask"}
    statements = properties(template, "UploadCheckScheduleRole")["Policies"][0]["PolicyDocument"]["Statement"]
    assert [one["Action"] for one in statements] == ["ecs:RunTask", "iam:PassRole"]


def test_the_result_of_the_check_becomes_a_metric(template: dict[str, Any]) -> None:
    counted = properties(template, "UnannouncedUploads")
    assert counted["FilterPattern"] == '{ $.event = "uploads.checked" }'
    (transformation,) = counted["MetricTransformations"]
    assert transformation["MetricValue"] == "$.unannounced"
    written = Path(enqueue.__file__).read_text()
    assert '"uploads.checked", unannounced=' in re.sub(r"\s+", " ", written).replace("( ", "(")


def test_running_tasks_are_counted_where_scaling_reads_them(template: dict[str, Any]) -> None:
    assert properties(template, "Cluster")["ClusterSettings"] == [
        {"Name": "containerInsights", "Value": "enabled"}
    ]
    metrics = _metrics(template)
    cluster = {"Fn::If": ["MakesCluster", {"Ref": "Cluster"}, {"Ref": "ClusterName"}]}
    assert metrics["running"]["MetricStat"]["Metric"] == {
        "Namespace": "ECS/ContainerInsights",
        "MetricName": "RunningTaskCount",
        "Dimensions": [
            {"Name": "ClusterName", "Value": cluster},
            {"Name": "ServiceName", "Value": {"Fn::GetAtt": "Service.Name"}},
        ],
    }


def test_work_is_visible_messages_messages_in_flight_and_messages_just_sent(
    template: dict[str, Any],
) -> None:
    metrics = _metrics(template)
    assert {name: metrics[name]["MetricStat"]["Metric"] for name in ("visible", "inFlight", "sent")} == {
        name: {
            "Namespace": "AWS/SQS",
            "MetricName": metric,
            "Dimensions": [{"Name": "QueueName", "Value": {"Ref": "QueueName"}}],
        }
        for name, metric in {
            "visible": "ApproximateNumberOfMessagesVisible",
            "inFlight": "ApproximateNumberOfMessagesNotVisible",
            "sent": "NumberOfMessagesSent",
        }.items()
    }
    assert [name for name, one in metrics.items() if one["ReturnData"]] == ["workPerTask"]
    assert [metrics[name]["MetricStat"]["Stat"] for name in ("visible", "inFlight", "sent")] == [
        "Average",
        "Average",
        "Sum",
    ]


@pytest.mark.parametrize(
    ("visible", "in_flight", "sent", "running", "work_per_task"),
    [
        (1184.0, 16.0, 6000.0, 4.0, 1800.0),  # what four tasks are meant to have
        (0.0, 0.0, 0.0, 1.0, 0.0),
        (0.0, None, 3600.0, 2.0, 1800.0),  # they keep up with what comes, and are needed all the same
        (1200.0, None, None, 2.0, 600.0),  # SQS says nothing of what is not there
        (900.0, None, None, 0.0, 900.0),  # no task yet: there is a figure that calls for one
    ],
)
def test_the_tracked_value_is_the_work_per_running_task(
    template: dict[str, Any],
    visible: float,
    in_flight: float | None,
    sent: float | None,
    running: float,
    work_per_task: float,
) -> None:
    expression = _metrics(template)["workPerTask"]["Expression"]
    assert work_per_task == templates.metric_math(
        expression, visible=visible, inFlight=in_flight, sent=sent, running=running
    )


def test_the_target_is_a_share_of_what_a_task_does_in_a_minute(template: dict[str, Any]) -> None:
    said = re.search(
        r"([\d.]+) x 60 s / ([\d.]+) s = (\d+)", template["Parameters"]["WorkPerTask"]["Description"]
    )
    assert said is not None
    share, picture_s, messages = map(float, said.groups())
    assert 0 < share < 1
    assert share * 60 / picture_s == pytest.approx(messages)
    assert messages == default(template, "WorkPerTask")


def test_tasks_are_added_sooner_than_removed_and_one_always_runs(template: dict[str, Any]) -> None:
    policy, target = properties(template, "BacklogPolicy"), properties(template, "ScalableTarget")
    tracking = policy["TargetTrackingScalingPolicyConfiguration"]
    assert tracking["TargetValue"] == {"Ref": "WorkPerTask"}
    assert tracking["ScaleOutCooldown"] == {"Ref": "ScaleOutCooldown"}
    assert tracking["ScaleInCooldown"] == {"Ref": "ScaleInCooldown"}
    assert default(template, "ScaleOutCooldown") < default(template, "ScaleInCooldown")
    assert (target["MinCapacity"], target["MaxCapacity"]) == ({"Ref": "MinTasks"}, {"Ref": "MaxTasks"})
    assert template["Parameters"]["MinTasks"]["MinValue"] == 1
    assert default(template, "MinTasks") <= default(template, "MaxTasks")


def test_the_desired_count_of_the_service_is_scaled(template: dict[str, Any]) -> None:
    target = properties(template, "ScalableTarget")
    assert target["ServiceNamespace"] == "ecs"
    assert target["ScalableDimension"] == "ecs:service:DesiredCount"
    assert target["ResourceId"]["Fn::Sub"][0] == "service/${Name}/${Service.Name}"
    assert properties(template, "BacklogPolicy")["ScalingTargetId"] == {"Ref": "ScalableTarget"}


@pytest.mark.parametrize(
    ("name", "event", "metric"),
    [
        ("CompletedImages", "image.completed", "ImagesCompleted"),
        ("FailedImages", "image.failed", "ImagesFailed"),
        ("ReleasedImages", "image.released", "ImagesReleased"),
    ],
)
def test_the_line_that_ends_an_attempt_is_counted(
    template: dict[str, Any], name: str, event: str, metric: str
) -> None:
    counted = properties(template, name)
    assert f'"{event}"' in Path(observer.__file__).read_text(), "the worker writes no such line"
    assert counted["FilterPattern"] == f'{{ $.event = "{event}" }}'
    (transformation,) = counted["MetricTransformations"]
    assert transformation == {
        "MetricNamespace": template["Outputs"]["MetricNamespace"]["Value"],
        "MetricName": metric,
        "MetricValue": "1",
        "DefaultValue": 0,
        "Unit": "Count",
    }


def test_the_description_says_how_to_deploy_it(template: dict[str, Any]) -> None:
    assert "--template-file service.yaml --capabilities CAPABILITY_IAM" in template["Description"]
    assert len(template["Description"].encode()) <= 1024, "CloudFormation takes no longer one"


def _metrics(template: dict[str, Any]) -> dict[str, dict[str, Any]]:
    tracking = properties(template, "BacklogPolicy")["TargetTrackingScalingPolicyConfiguration"]
    return {one["Id"]: one for one in tracking["CustomizedMetricSpecification"]["Metrics"]}
