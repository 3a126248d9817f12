"""`image-worker check`: check the queues, buckets, table and permissions."""

from dataclasses import asdict

import typer
from rich.markup import escape

from worker import checks
from worker.bootstrap import RETRY_POLICIES, open_clients
from worker.cli.support import output
from worker.cli.support.entrypoint import asynchronous, start

app = typer.Typer(add_completion=False)

_OK = "[green]ok[/]     "
_WARNING = "[yellow]warning[/]"
_ERROR = "[red]error[/]  "


@app.command()
@asynchronous
async def check(*, json: output.JsonOption = False) -> int:
    """
    Check that the queues, buckets, table and permissions exist and are correct.

    Prints how to fix each problem. Changes nothing.

    Exit status 1: a required check failed.

    Example: image-worker check
    """
    settings = start()
    async with open_clients(settings) as clients:
        with output.working("checking queues, buckets and table"):
            findings = await checks.check(
                clients.sqs, clients.s3, clients.dynamodb, settings, retry=RETRY_POLICIES.startup
            )
    failed = [finding for finding in findings if finding.required and not finding.ok]
    if json:
        output.print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        console = output.console()
        for finding in findings:
            mark = _OK if finding.ok else _ERROR if finding.required else _WARNING
            console.print(f"{mark} {escape(finding.name)}: {escape(finding.message)}")
            if finding.fix:
                console.print(f"        -> {escape(finding.fix)}")
        console.print(
            "All required checks passed." if not failed else f"{len(failed)} required checks failed."
        )
    return 1 if failed else 0
