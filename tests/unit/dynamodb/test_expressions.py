from tests.support.expressions import Request, resolved
from worker.dynamodb.expressions import UpdateExpression
from worker.dynamodb.table import Table


def request_of(expression: UpdateExpression) -> Request:
    return expression.request(Table("table", index_shards=8), image_id="img_1", user_id="user_1")


def test_an_update_sets_adds_appends_and_removes() -> None:
    expression = UpdateExpression()
    expression.set("status", "pending")
    expression.set_if_absent("createdAt", "now")
    expression.add("statistics.totalImages", 2)
    expression.append("history", ["entry"])
    expression.remove("ttl")

    assert resolved(request_of(expression), "UpdateExpression") == (
        "SET status = 'pending', createdAt = if_not_exists(createdAt, 'now'), "
        "statistics.totalImages = statistics.totalImages + 2, "
        "history = list_append(if_not_exists(history, []), ['entry']) REMOVE ttl"
    )


def test_all_conditions_are_required() -> None:
    expression = UpdateExpression()
    expression.set("status", "pending")
    expression.require_equal("attempt", 3)
    expression.require_equal("leaseOwner", None)
    expression.require_exists("imageId")
    expression.require_absent_or_less("lastUploadAt", "now")

    assert resolved(request_of(expression), "ConditionExpression") == (
        "attempt = 3 AND attribute_not_exists(leaseOwner) AND attribute_exists(imageId) "
        "AND (attribute_not_exists(lastUploadAt) OR lastUploadAt < 'now')"
    )


def test_each_part_of_a_path_has_a_placeholder_of_its_own() -> None:
    expression = UpdateExpression()
    expression.remove("statistics.totalImages")
    request = request_of(expression)

    assert request["UpdateExpression"] == "REMOVE #statistics.#totalImages"
    assert request["ExpressionAttributeNames"] == {
        "#statistics": "statistics",
        "#totalImages": "totalImages",
    }


def test_a_request_without_values_has_no_map_of_them_which_dynamodb_would_reject() -> None:
    expression = UpdateExpression()
    expression.remove("ttl")
    expression.require_exists("imageId")

    assert "ExpressionAttributeValues" not in request_of(expression)
