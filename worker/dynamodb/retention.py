"""Set the `ttl` of an image, after which reads ignore it and DynamoDB deletes it within days."""

from typing import TYPE_CHECKING

from worker.aws.retry import RetryPolicy
from worker.dynamodb.conditional_update import Applied, conditional_update
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.table import Table

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


async def set_ttl(
    client: "DynamoDBClient",
    table: Table,
    retry: RetryPolicy,
    *,
    image_id: str,
    user_id: str,
    ttl: int | None,
) -> bool:
    """
    Set when the record of an image expires.

    Args:
        client: DynamoDB client.
        table: Name of the table and number of its index shards.
        retry: Retry policy for DynamoDB requests.
        image_id: Id of the image.
        user_id: Id of the owner.
        ttl: Seconds since 1970; None keeps the record forever.

    Returns:
        Whether the image exists.

    Raises:
        TransientError: The table was unavailable.
    """
    expression = UpdateExpression()
    if ttl is None:
        expression.remove("ttl")
    else:
        expression.set("ttl", ttl)
    expression.require_exists("imageId")
    request = expression.request(table, image_id=image_id, user_id=user_id)
    result = await conditional_update(client, request, retry, what="set the retention")
    return isinstance(result, Applied)
