"""The dependencies of the console's views."""

from collections.abc import Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, Protocol

from aiohttp import web

from worker.aws.retry import RetryPolicies
from worker.checks.finding import Finding
from worker.console.recipe_form import RecipeSettings
from worker.decoder_pool.pool import DecoderPool
from worker.domain.clock import Clock
from worker.domain.keys import UploadKeyTemplate
from worker.domain.recipe import Recipe
from worker.domain.requester import Requester
from worker.dynamodb.profiles import ProfileStore
from worker.dynamodb.queries import Queries
from worker.dynamodb.table import Table
from worker.repair.context import RepairContext, Reporter
from worker.repair.control import UNCONTROLLED, Control
from worker.repair.deletion import DeletionContext
from worker.s3.sources import S3Sources
from worker.s3.uploads import Uploads
from worker.sqs.dead_letters import DeadLetters

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient


class OpenRepairs(Protocol):
    """Builds the dependencies of the repair tools, and closes them at the end."""

    def __call__(
        self,
        *,
        requester: Requester,
        reporter: Reporter,
        rate_per_s: float,
        dry_run: bool = False,
        control: Control = UNCONTROLLED,
    ) -> AbstractAsyncContextManager[RepairContext]:
        """Open the dependencies; the arguments are those of `bootstrap.open_repairs`."""


class BuildDeletions(Protocol):
    """Builds the dependencies of deletions."""

    def __call__(
        self,
        *,
        requester: Requester,
        reporter: Reporter,
        dry_run: bool = False,
        control: Control = UNCONTROLLED,
    ) -> DeletionContext:
        """Return the dependencies; the arguments are those of `bootstrap.build_deletions`."""


class OpenDeadLetters(Protocol):
    """Builds the reader of the dead-letter queue."""

    async def __call__(self, *, visibility_timeout_s: int, wait_time_s: int) -> DeadLetters:
        """Return the dead-letter queue; the arguments are those of `bootstrap.build_dead_letters`."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ConsoleContext:
    """
    The dependencies of the console's views.

    Attributes:
        is_local: Whether the console belongs to `image-worker local`, with its embedded AWS.
        region: AWS region of the clients.
        bucket: Bucket of the uploads.
        upload_keys: Template of the keys of uploads.
        results_bucket: Bucket of the results.
        queue_name: Name of the queue.
        queue_url: URL of the queue.
        dead_letter_queue_name: Name of the dead-letter queue.
        dead_letter_queue_url: URL of the dead-letter queue.
        table: The table of the records.
        max_bytes: Maximum size of an upload.
        requires_scan: Whether uploads are decoded only after a malware scan.
        recipe_settings: The settings that determine recipes.
        with_logo: Adds the content of its logo to a recipe that names one.
        s3: S3 client.
        sqs: SQS client.
        dynamodb: DynamoDB client.
        cloudwatch: CloudWatch client.
        retry: Retry policies of all AWS calls.
        queries: Reads images from the table.
        profiles: Reads and writes user profiles.
        sources: Reads uploads.
        uploads: Stores uploads.
        open_dead_letters: Returns the dead-letter queue.
        open_repairs: Opens the dependencies of the repair tools.
        build_deletions: Returns the dependencies of deletions.
        check: Runs the checks of `image-worker check`.
        build_decoder_pool: Returns a pool of one decoder process, which is not started.
        clock: Returns the current time.
        grafana_url: Address of a Grafana dashboard about the worker; None if there is none.
    """

    is_local: bool
    region: str
    bucket: str
    upload_keys: UploadKeyTemplate
    results_bucket: str
    queue_name: str
    queue_url: str
    dead_letter_queue_name: str
    dead_letter_queue_url: str
    table: Table
    max_bytes: int
    requires_scan: bool
    recipe_settings: RecipeSettings
    with_logo: Callable[[Recipe], Awaitable[Recipe]]
    s3: "S3Client"
    sqs: "SQSClient"
    dynamodb: "DynamoDBClient"
    cloudwatch: "CloudWatchClient"
    retry: RetryPolicies
    queries: Queries
    profiles: ProfileStore
    sources: S3Sources
    uploads: Uploads
    open_dead_letters: OpenDeadLetters
    open_repairs: OpenRepairs
    build_deletions: BuildDeletions
    check: Callable[[], Awaitable[Sequence[Finding]]]
    build_decoder_pool: Callable[[], DecoderPool]
    clock: Clock
    grafana_url: str | None


CONTEXT: Final = web.AppKey("context", ConsoleContext)
"""Key of the context in the application: `request.app[CONTEXT]`."""
