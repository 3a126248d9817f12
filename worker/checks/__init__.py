"""
Check that the AWS resources and permissions of the worker exist and are correct.

The checks change nothing: permissions are tested with requests that cannot have an effect. Permissions that
cannot be tested that way (to receive, send and delete) are not checked.
"""

import asyncio
from collections.abc import Iterable
from itertools import chain
from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy
from worker.checks.bucket import check_bucket, find_bucket, find_output_bucket
from worker.checks.confinement import check_confinement, unconfined
from worker.checks.events import check_pipe, check_stream
from worker.checks.finding import Finding
from worker.checks.queue import check_queue, find_dead_letter_queue, find_queue
from worker.checks.table import check_table, find_table
from worker.domain.errors import ConfigurationError

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

    from worker.settings import Settings

__all__ = [
    "Finding",
    "check",
    "check_at_start",
    "check_confinement",
    "check_pipe",
    "check_stream",
    "require",
    "unconfined",
]


async def check(
    sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient", settings: "Settings", *, retry: RetryPolicy
) -> list[Finding]:
    """Run all checks, and return the findings in the order bucket, queue, table."""
    parts = await asyncio.gather(
        check_bucket(s3, settings, retry),
        check_queue(sqs, settings, retry),
        check_table(dynamodb, settings, retry),
    )
    return list(chain.from_iterable(parts))


async def check_at_start(
    sqs: "SQSClient", s3: "S3Client", dynamodb: "DynamoDBClient", settings: "Settings", *, retry: RetryPolicy
) -> list[Finding]:
    """Check only that the required resources exist, with four or five concurrent requests."""
    findings = [
        find_bucket(s3, settings, retry),
        find_queue(sqs, settings, retry),
        find_dead_letter_queue(sqs, settings, retry),
        find_table(dynamodb, settings, retry),
    ]
    if settings.results_bucket != settings.bucket:
        findings.append(find_output_bucket(s3, settings, retry))
    return list(await asyncio.gather(*findings))


def require(findings: Iterable[Finding]) -> None:
    """
    Raise an error if a required check failed.

    Raises:
        ConfigurationError: A required check failed; the message is that of the first one, with its fix.
    """
    for finding in findings:
        if finding.required and not finding.ok:
            message = f"{finding.message}; {finding.fix}"
            raise ConfigurationError(message)
