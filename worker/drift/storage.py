"""All resources of the storage stack."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import TYPE_CHECKING

from botocore.exceptions import ClientError

from worker.aws.errors import is_no_such_bucket, is_no_such_table
from worker.aws.repairs import Deployed, Repair
from worker.domain.errors import ConfigurationError
from worker.drift.notification import Notification
from worker.drift.queues import Queues
from worker.drift.table import TableDrift

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


class Storage:
    """
    Finds what the bucket's notification, the queues and the table differ in from the template.

    Args:
        s3: S3 client.
        sqs: SQS client.
        dynamodb: DynamoDB client.
        parameters: Parameters of the storage stack.
    """

    def __init__(
        self, s3: "S3Client", sqs: "SQSClient", dynamodb: "DynamoDBClient", parameters: Mapping[str, str]
    ) -> None:
        requires_scan = parameters["RequireScan"] == "true"
        self._bucket, self._table_name = parameters["BucketName"], parameters["TableName"]
        self._notification = Notification(
            s3,
            bucket=self._bucket,
            prefix=parameters["UploadsPrefix"],
            through_eventbridge=requires_scan,
        )
        self._queues = Queues(
            sqs,
            bucket=self._bucket,
            visibility_timeout_s=int(parameters["VisibilityTimeout"]),
            max_receive_count=int(parameters["MaxReceiveCount"]),
            requires_scan=requires_scan,
        )
        self._table = TableDrift(dynamodb, self._table_name, has_stream=parameters["Stream"] == "Enabled")

    async def after_creation(self) -> Sequence[Repair]:
        """Return the repairs of what the creation of the stack has left out."""
        return await self._table.find()

    async def before_update(self, deployed: Deployed) -> Sequence[Repair]:
        """Return the repairs of indexes, and of the notification if other programs have some as well."""
        repairs: list[Repair] = []
        if deployed.outputs.get("TableName") == self._table_name:
            repairs += await _unless_missing(self._table.find_missing_indexes(deployed.template))
        if deployed.outputs.get("BucketName") == self._bucket:
            sent_to_eventbridge = deployed.parameters.get("RequireScan") == "true"
            find = self._notification.find_before_update(
                deployed.outputs["QueueArn"], sent_to_eventbridge=sent_to_eventbridge
            )
            repairs += await _unless_missing(find)
        return repairs

    async def after_update(self, outputs: Mapping[str, str]) -> Sequence[Repair]:
        """Return the repairs of everything that is still different."""
        queue_arn = outputs["QueueArn"]
        try:
            return [
                *await self._queues.find(
                    queue_arn=queue_arn,
                    dead_letter_arn=outputs["DeadLetterQueueArn"],
                    key_arn=outputs["KeyArn"],
                ),
                *await self._notification.find(queue_arn),
                *await self._table.find(),
            ]
        except ClientError as error:
            if not is_no_such_bucket(error) and not is_no_such_table(error):
                raise
            missing = f"bucket {self._bucket}" if is_no_such_bucket(error) else f"table {self._table_name}"
            message = (
                f"the stack has created the {missing}, which does not exist any more, and CloudFormation did "
                "not create it again; restore it (docs/operations/restore.md), or delete the stack and "
                "provision again"
            )
            raise ConfigurationError(message) from error


async def _unless_missing(find: Awaitable[list[Repair]]) -> list[Repair]:
    """Return what `find` returns, or nothing if the resource was deleted: the update creates it again."""
    try:
        return await find
    except ClientError as error:
        if is_no_such_bucket(error) or is_no_such_table(error):
            return []
        raise
