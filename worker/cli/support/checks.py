"""Run the checks of the resources that the settings use, for `image-worker check` and the web console."""

from collections.abc import Sequence

from worker import checks
from worker.bootstrap import RETRY_POLICIES, Clients, open_client
from worker.settings import Settings


async def run_checks(settings: Settings, clients: Clients) -> Sequence[checks.Finding]:
    """Return the findings about buckets, queues and table, and about the stream and the pipe of events."""
    retry = RETRY_POLICIES.startup
    findings = await checks.check(clients.sqs, clients.s3, clients.dynamodb, settings, retry=retry)
    if settings.events or settings.delete_expired_objects:
        findings.append(await checks.check_stream(clients.dynamodb, settings, retry=retry))
    if settings.events:
        async with open_client("pipes", settings) as pipes:
            findings.append(await checks.check_pipe(pipes, settings, retry=retry))
    return findings
