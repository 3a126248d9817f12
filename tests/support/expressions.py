"""Reading the expressions of DynamoDB requests."""

import re
from typing import Any

from worker.domain.step import Json
from worker.dynamodb.attributes import decode

Request = Any  # botocore's types differ for each operation


def resolved(request: Request, clause: str) -> str:
    """Return an expression of the request with its placeholders replaced by names and values."""
    text: str = request[clause]
    for placeholder, name in sorted(request["ExpressionAttributeNames"].items(), reverse=True):
        text = text.replace(placeholder, name)
    return re.sub(r":v\d+", lambda found: repr(decode(request["ExpressionAttributeValues"][found[0]])), text)


def assigned(request: Request) -> dict[str, Json]:
    """Return the attributes that the request sets to a plain value, with the values."""
    names, values = request["ExpressionAttributeNames"], request["ExpressionAttributeValues"]
    update = request["UpdateExpression"].partition(" REMOVE ")[0]
    found = re.findall(r"(#\w+) = (:v\d+)(?:,|$)", update)
    return {names[name]: decode(values[value]) for name, value in found}
