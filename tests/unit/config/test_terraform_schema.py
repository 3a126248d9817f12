"""The Terraform module fits the AWS provider's schema, and the checks of it find seeded mistakes."""

import json
import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.terraform import hcl, schema
from tests.terraform.mutated import mutated
from tests.terraform.parity import EVERYTHING, evaluated
from tests.terraform.schema import Provider

ROOT = hcl.MODULE.parents[1]
README = (hcl.MODULE / "README.md").read_text()


@pytest.fixture(scope="module")
def aws() -> Provider:
    wheel = schema.find_wheel()
    if wheel is None:
        pytest.skip(schema.MISSING)
    return schema.provider(wheel)


def findings(folder: Path, aws: Provider) -> list[str]:
    instances = [*evaluated(folder).resources, *evaluated(folder, **EVERYTHING).resources]
    return schema.check(hcl.read(folder), instances, aws)


def test_the_module_has_no_findings(aws: Provider) -> None:
    assert findings(hcl.MODULE, aws) == []


def test_the_readme_names_the_version_of_the_schema(aws: Provider) -> None:
    assert f"hashicorp/aws {aws.version()}" in README
    assert f"schema of {aws.version()}" in (hcl.MODULE / "versions.tf").read_text()


def test_the_readme_states_that_the_module_was_never_planned_or_applied() -> None:
    assert "**It was never planned or applied**" in README


STRUCTURE = {
    "unknown argument": (
        "queues.tf",
        "receive_wait_time_seconds ",
        "bogus = 1\n  receive_wait_time_seconds ",
        "aws_sqs_queue.events: no argument bogus",
    ),
    "unknown argument of a block": (
        "table.tf",
        "    enabled     = true\n",
        "    enabled     = true\n    bogus = 1\n",
        "aws_dynamodb_table.image_metadata.server_side_encryption: no argument bogus",
    ),
    "unknown block": (
        "table.tf",
        "  ttl {",
        "  time_to_live {",
        "aws_dynamodb_table.image_metadata: no block time_to_live",
    ),
    "unknown dynamic block": (
        "buckets.tf",
        'dynamic "queue"',
        'dynamic "queues"',
        "aws_s3_bucket_notification.uploads: no block queues",
    ),
    "unknown resource": (
        "queues.tf",
        'resource "aws_sqs_queue" "events_dead_letters"',
        'resource "aws_sqs_queues" "more" {}\n\nresource "aws_sqs_queue" "events_dead_letters"',
        "aws_sqs_queues.more: provider 6.69.1 has no resource aws_sqs_queues",
    ),
    "missing argument": (
        "table.tf",
        "  name         = var.table_name\n",
        "",
        "aws_dynamodb_table.image_metadata: name is required",
    ),
    "missing argument of a block": (
        "table.tf",
        '      key_type       = "HASH"\n',
        "",
        "aws_dynamodb_table.image_metadata.global_secondary_index.key_schema: key_type is required",
    ),
    "missing block": (
        "buckets.tf",
        '  rule {\n    object_ownership = "BucketOwnerEnforced"\n  }\n',
        "",
        "aws_s3_bucket_ownership_controls.uploads: rule is required",
    ),
    "block in place of an argument": (
        "queues.tf",
        "  redrive_allow_policy = jsonencode({",
        "  redrive_allow_policy {}\n  bogus = jsonencode({",
        "aws_sqs_queue.dead_letters: redrive_allow_policy is an argument, not a block",
    ),
    "argument in place of a block": (
        "table.tf",
        "  point_in_time_recovery {\n    enabled = true\n  }",
        "  point_in_time_recovery = [{ enabled = true }]",
        "aws_dynamodb_table.image_metadata: point_in_time_recovery is a block, not an argument",
    ),
    "block that occurs twice": (
        "table.tf",
        "  ttl {",
        "  ttl {}\n\n  ttl {",
        "aws_dynamodb_table.image_metadata: ttl occurs more than once",
    ),
    "ignored change of nothing": (
        "table.tf",
        "[read_capacity,",
        "[read_units,",
        "aws_dynamodb_table.image_metadata: ignore_changes names read_units, which is not an argument",
    ),
    "unknown attribute": (
        "outputs.tf",
        "aws_sqs_queue.events.arn",
        "aws_sqs_queue.events.amazon_resource_name",
        "output.queue_arn: aws_sqs_queue has no attribute amazon_resource_name",
    ),
    "undeclared resource": (
        "outputs.tf",
        "aws_sqs_queue.events.arn",
        "aws_sqs_queue.event.arn",
        "output.queue_arn: aws_sqs_queue.event is not declared",
    ),
    "undeclared variable": (
        "queues.tf",
        "var.visibility_timeout",
        "var.visibility",
        "var.visibility is used and not declared",
    ),
    "unused local": (
        "main.tf",
        "  account ",
        "  spare = 1\n  account ",
        "local.spare is declared and not used",
    ),
}


@pytest.mark.parametrize("mistake", STRUCTURE)
def test_a_mistake_in_names_nesting_or_requiredness_is_found(
    mistake: str, tmp_path: Path, aws: Provider
) -> None:
    *mutation, expected = STRUCTURE[mistake]
    assert expected in schema.check(hcl.read(mutated(tmp_path, *mutation)), [], aws)


TYPES = {
    "string for a number": (
        "queues.tf",
        "receive_wait_time_seconds         = 20",
        'receive_wait_time_seconds = "20"',
        "aws_sqs_queue.events: receive_wait_time_seconds is '20', not a number",
    ),
    "string for a boolean": (
        "buckets.tf",
        "block_public_acls       = true",
        'block_public_acls = "true"',
        "aws_s3_bucket_public_access_block.uploads: block_public_acls is 'true', not a bool",
    ),
    "string for a list": (
        "buckets.tf",
        'allowed_methods = ["POST"]',
        'allowed_methods = "POST"',
        "aws_s3_bucket_cors_configuration.uploads.cors_rule: allowed_methods is 'POST', not a list(string)",
    ),
    "number for a string": (
        "table.tf",
        'attribute_name = "ttl"',
        "attribute_name = 1",
        "aws_dynamodb_table.image_metadata.ttl: attribute_name is 1, not a string",
    ),
    "object for a JSON text": (
        "queues.tf",
        "redrive_allow_policy = jsonencode({",
        "redrive_allow_policy = merge({",
        "aws_sqs_queue.dead_letters: redrive_allow_policy is",
    ),
    "list for a map": (
        "events.tf",
        "dimensions          = { PipeName = var.events_pipe_name }",
        "dimensions = [var.events_pipe_name]",
        "aws_cloudwatch_metric_alarm.pipe_failures: dimensions is",
    ),
}


@pytest.mark.parametrize("mistake", TYPES)
def test_an_argument_of_the_wrong_type_is_found(mistake: str, tmp_path: Path, aws: Provider) -> None:
    *mutation, expected = TYPES[mistake]
    found = findings(mutated(tmp_path, *mutation), aws)
    assert [each for each in found if each.startswith(expected)] != []


BROKEN = {
    "a brace less": ("queues.tf", "}\n", "\n"),
    "an argument without a value": ("table.tf", "range_key    = ", "range_key = \n"),
    "an argument twice": ("table.tf", "  range_key ", '  range_key = "x"\n  range_key '),
}


@pytest.mark.parametrize("mistake", BROKEN)
def test_broken_hcl_is_found(mistake: str, tmp_path: Path) -> None:
    with pytest.raises(hcl.HclError, match=r"is not HCL|is set twice"):
        hcl.read(mutated(tmp_path, *BROKEN[mistake]))


def test_the_check_has_an_exit_status(aws: Provider) -> None:
    from tests.terraform import __main__ as program

    assert program.main() == 0


CHECKOV = ROOT / ".venv-checkov" / "bin" / "checkov"


@pytest.mark.skipif(not CHECKOV.exists(), reason="checkov is not installed; run: make check")
def test_checkov_finds_a_bucket_that_may_be_public(tmp_path: Path) -> None:
    copy = mutated(
        tmp_path, "buckets.tf", "block_public_acls       = true", "block_public_acls       = false"
    )
    arguments = [
        "--framework",
        "terraform",
        "--skip-download",
        "--compact",
        "--output",
        "json",
        "-d",
        str(copy),
    ]
    run = subprocess.run(
        [CHECKOV, *arguments], capture_output=True, text=True, check=False, timeout=100, env=dict(os.environ)
    )
    assert run.returncode == 1
    found = {each["check_id"] for each in json.loads(run.stdout)["results"]["failed_checks"]}
    assert found == {"CKV_AWS_53", "CKV2_AWS_6"}


TERRAFORM = shutil.which("terraform")


@pytest.mark.skipif(TERRAFORM is None, reason="terraform is not installed")
def test_terraform_fmt_finds_a_badly_formatted_file(tmp_path: Path) -> None:
    def formatted(folder: Path) -> bool:
        run = subprocess.run(
            [str(TERRAFORM), "fmt", "-check", "-recursive", folder],
            capture_output=True,
            check=False,
            timeout=60,
        )
        return run.returncode == 0

    assert formatted(hcl.MODULE)
    assert not formatted(mutated(tmp_path, "table.tf", "  ttl {", "ttl {"))
