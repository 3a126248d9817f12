"""`image-worker provision`: create or update the AWS resources."""

from typing import Annotated

import typer
from rich.markup import escape

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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show what would be changed.")] = False,
    json: output.JsonOption = False,
) -> None:
    """
    Create or update the buckets, queues and table with CloudFormation.

    Deploys config/cloudformation/storage.yaml to AWS, or to AWS_ENDPOINT_URL if set, and corrects what was
    changed outside of the stack. Notifications that other programs have configured on the bucket are kept.
    Safe to repeat.

    Example: image-worker provision --dry-run
    """
    settings = start()
    async with (
        open_client("cloudformation", settings) as cloudformation,
        open_client("dynamodb", settings) as dynamodb,
    ):
        with output.working(f"{'comparing' if dry_run else 'deploying'} the stack {stack_name}"):
            deployment = await deploy_storage(
                cloudformation, dynamodb, settings, stack_name=stack_name, dry_run=dry_run
            )
    if json:
        document = {
            "stack": deployment.stack_name,
            "result": deployment.done,
            "dryRun": dry_run,
            "changes": list(deployment.changes),
            "comparesResources": deployment.compares_resources,
            "outputs": dict(deployment.outputs),
        }
        output.print_json(document)
        return
    console = output.console()
    would_be = "would be " if dry_run and deployment.done != "unchanged" else ""
    console.print(f"Stack [bold]{deployment.stack_name}[/]: {would_be}{deployment.done}")
    for change in deployment.changes:
        console.print(f"  {escape(change)}")
    if dry_run:
        return
    console.print(output.table(["output", "value"], sorted(deployment.outputs.items())))
