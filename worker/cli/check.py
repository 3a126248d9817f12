"""`image-worker check`: check the queues, buckets, table, permissions and decoders."""

from dataclasses import asdict

import typer
from rich.markup import escape

from worker import checks
from worker.bootstrap import build_decoder_pool, open_clients
from worker.cli.support import output
from worker.cli.support.checks import run_checks
from worker.cli.support.entrypoint import asynchronous, start
from worker.domain.errors import ConfigurationError, TransientError
from worker.settings import Settings

app = typer.Typer(add_completion=False)

_OK = "[green]ok[/]     "
_WARNING = "[yellow]warning[/]"
_ERROR = "[red]error[/]  "


@app.command()
@asynchronous
async def check(*, json: output.JsonOption = False) -> int:
    """
    Check that the queues, buckets, table and permissions exist and are correct.

    Starts a decoder process to find out how far this system confines it. Prints how to fix each problem.
    Changes nothing.

    Exit status 1: a required check failed.

    Example: image-worker check
    """
    settings = start()
    async with open_clients(settings) as clients:
        with output.working("checking queues, buckets, table and decoders"):
            findings = [*await run_checks(settings, clients), await _check_decoder(settings)]
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


async def _check_decoder(settings: Settings) -> checks.Finding:
    try:
        async with build_decoder_pool(settings.model_copy(update={"processes": 1})) as pool:
            return checks.check_confinement(pool.guarantees)
    except (ConfigurationError, TransientError) as error:
        return checks.unconfined(str(error))
