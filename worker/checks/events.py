"""Check that the table has a stream, and that the pipe that publishes events runs."""

from typing import TYPE_CHECKING, Final

from botocore.exceptions import BotoCoreError, ClientError

from worker.aws.errors import error_code
from worker.aws.retry import RetryPolicy, retry_at_startup
from worker.checks.finding import PROVISION, Finding, failed, passed, request_failed

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_pipes import EventBridgePipesClient

    from worker.settings import Settings

_DEPLOY: Final = "deploy config/cloudformation/events.yaml, or set WORKER_EVENTS_PIPE_NAME"
_STARTING: Final = frozenset({"RUNNING", "CREATING", "STARTING", "UPDATING"})


async def check_stream(dynamodb: "DynamoDBClient", settings: "Settings", *, retry: RetryPolicy) -> Finding:
    """Check the stream of the table, which the worker itself does not need."""
    what, name = "stream", settings.table_name
    try:
        described = await retry_at_startup(lambda: dynamodb.describe_table(TableName=name), retry)
    except (BotoCoreError, ClientError) as error:
        return request_failed(what, error, action="dynamodb:DescribeTable", on=name, required=False)
    specification = described["Table"].get("StreamSpecification", {"StreamEnabled": False})
    if not specification["StreamEnabled"]:
        message = f"table {name} has no stream, so that there are no events"
        return failed(what, message, fix=PROVISION, required=False)
    view = specification.get("StreamViewType")
    if view != "NEW_AND_OLD_IMAGES":
        message = f"the stream of table {name} has {view}, not the items before and after each change"
        return failed(what, message, fix=_renew(name), required=False)
    return passed(what, f"table {name} has a stream with the items before and after", required=False)


def _renew(table_name: str) -> str:
    """Return how to replace the stream: DynamoDB cannot change what it contains."""
    off = '{"StreamEnabled": false}'
    return (
        f"run `aws dynamodb update-table --table-name {table_name} --stream-specification '{off}'`, "
        f"{PROVISION}, and deploy config/cloudformation/events.yaml again, which reads the new stream"
    )


async def check_pipe(pipes: "EventBridgePipesClient", settings: "Settings", *, retry: RetryPolicy) -> Finding:
    """Check the pipe that publishes events, which the worker itself does not need."""
    what, name = "pipe", settings.events_pipe_name
    try:
        pipe = await retry_at_startup(lambda: pipes.describe_pipe(Name=name), retry)
    except (BotoCoreError, ClientError) as error:
        if error_code(error) == "NotFoundException":
            message = f"there is no pipe {name}: events are published only by `image-worker events`"
            return failed(what, message, fix=_DEPLOY, required=False)
        return request_failed(what, error, action="pipes:DescribePipe", on=name, required=False)
    state = pipe["CurrentState"]
    if state not in _STARTING:
        reason = f": {pipe['StateReason']}" if pipe.get("StateReason") else ""
        return failed(
            what,
            f"pipe {name} is {state}{reason}",
            fix=f"run `aws pipes start-pipe --name {name}`",
            required=False,
        )
    source, table = pipe["Source"], f":table/{settings.table_name}/stream/"
    if table not in source:
        message = f"pipe {name} reads {source}, not the stream of table {settings.table_name}"
        return failed(what, message, fix=_DEPLOY, required=False)
    return passed(what, f"pipe {name} is {state}", required=False)
