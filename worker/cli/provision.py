"""`image-worker provision`: create or update the AWS resources."""

from typing import Annotated

import typer

from worker.aws.provision import STACK_NAME
from worker.bootstrap import deploy_storage, open_client
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start

app = typer.Typer(add_completion=False)


@app.command()
@asynchronous
async def provision(
    *,
    stack_name: Annotated[str, typer.Option(help="Name of the CloudFormation stack.")] = STACK_NAME,
    json: output.JsonOption = False,
) -> None:
    """
    Create or update the buckets, queues and table with CloudFormation.

    Deploys config/cloudformation/storage.yaml to AWS, or to AWS_ENDPOINT_URL if set. Safe to repeat.

    Example: image-worker provision
    """
    settings = start()
    async with (
        open_client("cloudformation", settings) as cloudformation,
        open_client("dynamodb", settings) as dynamodb,
    ):
        with output.working(f"deploying the stack {stack_name}"):
            deployment = await deploy_storage(cloudformation, dynamodb, settings, stack_name=stack_name)
    if json:
        document = {
            "stack": deployment.stack_name,
            "result": deployment.done,
            "outputs": dict(deployment.outputs),
        }
        output.print_json(document)
        return
    console = output.console()
    console.print(f"Stack [bold]{deployment.stack_name}[/]: {deployment.done}")
    console.print(output.table(["output", "value"], sorted(deployment.outputs.items())))
