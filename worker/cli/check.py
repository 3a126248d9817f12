"""`image-worker check`: whether everything is there and right."""

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
_WRONG = "[red]wrong[/]  "


@app.command()
@asynchronous
async def check(*, json: output.JsonOption = False) -> int:
    """
    Say whether queue, bucket, table and permissions are there and right, and what to do if not.

    Exit status 1: something has to be mended.

    Example: image-worker check
    """
    settings = start()
    async with open_clients(settings) as clients:
        with output.working("looking at queue, bucket and table"):
            findings = await checks.check(
                clients.sqs, clients.s3, clients.dynamodb, settings, retry=RETRY_POLICIES.startup
            )
    failed = [finding for finding in findings if finding.required and not finding.ok]
    if json:
        output.print_json({"ok": not failed, "findings": [asdict(finding) for finding in findings]})
    else:
        console = output.console()
        for finding in findings:
            mark = _OK if finding.ok else _WRONG if finding.required else _WARNING
            console.print(f"{mark} {escape(finding.name)}: {escape(finding.message)}")
            if finding.remedy:
                console.print(f"        -> {escape(finding.remedy)}")
        console.print("Everything is there." if not failed else f"{len(failed)} to mend.")
    return 1 if failed else 0
