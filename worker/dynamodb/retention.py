"""How long a record is kept: `ttl`, which DynamoDB acts on within days and we at once."""

from typing import TYPE_CHECKING

from worker.dynamodb.writes import Expression, lands

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient


async def set_ttl(
    client: "DynamoDBClient", table: str, *, image_id: str, user_id: str, ttl: int | None
) -> bool:
    """
    Set or clear the moment, in seconds since 1970, after which the image's record is gone.

    Returns:
        Whether there is such an image.

    Raises:
        TransientError: The table cannot be reached within its retries.
    """
    expression = Expression()
    if ttl is None:
        expression.remove("ttl")
    else:
        expression.set("ttl", ttl)
    expression.require(f"attribute_exists({expression.name('imageId')})")
    request = expression.request(table=table, image_id=image_id, user_id=user_id)
    return await lands(client, request, what="set the retention")
