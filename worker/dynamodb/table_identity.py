"""Read the id of the table, which tells a restored table from the one whose name it has."""

from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy, call_with_retry
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


class TableIdentity:
    """
    Keeps the id that DynamoDB gave the table when it was created or restored.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
    """

    def __init__(self, client: "DynamoDBClient", *, table: Table, retry: RetryPolicy) -> None:
        self._client, self._table, self._retry = client, table, retry
        self._table_id: str | None = None

    async def get(self) -> str:
        """
        Return the id as it was last read; empty if the service has none.

        Raises:
            TransientError: The table was unavailable.
        """
        if self._table_id is None:
            return await call_with_retry(self.refresh, self._retry, what="read the id of the table")
        return self._table_id

    async def refresh(self) -> str:
        """Read the id with one request, as a probe of the table; raises what the client raises."""
        response = await self._client.describe_table(TableName=self._table.name)
        self._table_id = response["Table"].get("TableId", "")
        return self._table_id
