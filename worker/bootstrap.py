"""Builds clients, adapters, the consumer and the repair tools from the settings; the only place that does."""

import os
import secrets
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from functools import cache, partial
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, Final

import structlog
from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession, get_session

from worker.aws.checksums import use_zlib_ng
from worker.aws.clock_skew import ClockSkew
from worker.aws.endpoint_check import reject_non_aws_responses
from worker.aws.errors import is_no_such_queue, is_no_such_table
from worker.aws.fast_path import client_config, enable_fast_path
from worker.aws.http_session import HttpSession
from worker.aws.provision import DEPLOY_TIMEOUT_S, STACK_NAME, Deployment, deploy, plan, stack_outputs
from worker.aws.retry import RetryPolicies, call_with_retry
from worker.aws.task_protection import ScaleInProtection
from worker.decoder_pool.pool import DecoderPool
from worker.decoder_pool.process_memory import resident_bytes
from worker.decoder_pool.supervisor import Replacement, Reuse, ReusePolicy
from worker.delivery.consumer import Consumer
from worker.delivery.handler import DeliveryConfig, MessageHandler
from worker.delivery.isolation import Isolation
from worker.delivery.recipes import Recipes
from worker.domain.clock import utc_now
from worker.domain.confinement import Guarantee, describe_missing, missing_guarantees
from worker.domain.errors import ConfigurationError, TransientError
from worker.domain.recipe import Limits
from worker.domain.requester import Requester
from worker.drift import Storage, TableDrift
from worker.dynamodb.backups import Backups
from worker.dynamodb.deletions import DeletionWrites
from worker.dynamodb.indexes import INDEXES
from worker.dynamodb.ledger import DynamoLedger
from worker.dynamodb.profiles import CachedProfiles, ProfileStore
from worker.dynamodb.queries import OnUnreadable, Queries, log_unreadable
from worker.dynamodb.repair_writes import RepairWrites
from worker.dynamodb.restore import TableRestore
from worker.dynamodb.stream import TableStream
from worker.dynamodb.table import Table
from worker.dynamodb.table_identity import TableIdentity
from worker.events.expiry import Expiry
from worker.recipe_settings import recipe_builder_from, recipe_rules, sizes, standard_recipe
from worker.repair.context import RepairContext, Reporter
from worker.repair.control import UNCONTROLLED, Control
from worker.repair.deletion import DeletionContext
from worker.s3.image_objects import ImageObjects
from worker.s3.logos import Logos
from worker.s3.results import S3Results
from worker.s3.scans import S3Scans
from worker.s3.sources import S3Sources
from worker.s3.uploads import Uploads
from worker.settings import FONT, Settings
from worker.sqs.dead_letters import LONG_POLL_S, DeadLetters
from worker.sqs.events import KeyLayout, parse
from worker.sqs.heartbeat import Heartbeat
from worker.sqs.queue import Queue
from worker.sqs.sender import JobSender, RateLimiter
from worker.telemetry.aws_calls import watch_calls
from worker.telemetry.endpoint import endpoint
from worker.telemetry.loop_lag import measure_lag
from worker.telemetry.metrics import Metrics
from worker.telemetry.observer import Observer
from worker.telemetry.queue_depth import measure_queue
from worker.telemetry.readiness import Readiness
from worker.telemetry.table_metrics import TableMetrics
from worker.telemetry.traces import NoTracing, OpenTelemetryTracing, Tracing

if TYPE_CHECKING:
    from types_aiobotocore_cloudformation import CloudFormationClient
    from types_aiobotocore_cloudwatch import CloudWatchClient
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_dynamodbstreams import DynamoDBStreamsClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

RETRY_POLICIES: Final = RetryPolicies()
"""Retry policies of all AWS calls, passed as arguments to the adapters."""

_log: structlog.stdlib.BoundLogger = structlog.get_logger()
_CONNECT_S = 3.0
_READ_S = 20.0
_SPARE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Clients:
    """Open clients, with a second SQS client for long polling."""

    s3: "S3Client"
    sqs: "SQSClient"
    polling: "SQSClient"
    dynamodb: "DynamoDBClient"


@asynccontextmanager
async def open_client(
    service: str, settings: Settings, *, read_s: float = _READ_S, session: AioSession | None = None
) -> AsyncIterator[Any]:
    """
    Open an AWS client for the region and endpoint of the settings, with botocore's retries off.

    Args:
        service: Name of the service in botocore: `dynamodb`.
        settings: Settings of the worker.
        read_s: Read timeout in seconds.
        session: Session of other clients, to load botocore's service models only once.

    Raises:
        ConfigurationError: No region is set.
    """
    shared: Any = session or get_session()  # the stubs type create_client only for literal service names
    region = settings.region or shared.get_config_variable("region")
    if not region:
        message = "no AWS region is set: set AWS_REGION, for example AWS_REGION=eu-west-1"
        raise ConfigurationError(message)
    config = AioConfig(
        connect_timeout=_CONNECT_S,
        read_timeout=read_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=settings.slots + _SPARE_CONNECTIONS,
        parameter_validation=False,
        user_agent=f"image-worker/{version('image-worker')}",  # botocore would build one for each request
        s3={"addressing_style": "path"} if settings.endpoint_url else {},
        http_session_cls=HttpSession,
    )
    if settings.aws_fast_path:
        config = config.merge(client_config())
    use_zlib_ng()
    opening = shared.create_client(
        service, region_name=region, endpoint_url=settings.endpoint_url, config=config
    )
    async with opening as client:
        reject_non_aws_responses(client)
        clock = ClockSkew(client)
        if settings.aws_fast_path:
            enable_fast_path(client, await shared.get_credentials(), clock)
        yield client


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open the clients of the worker."""
    session = get_session()
    async with AsyncExitStack() as stack:
        yield Clients(
            s3=await stack.enter_async_context(open_client("s3", settings, session=session)),
            sqs=await stack.enter_async_context(open_client("sqs", settings, session=session)),
            polling=await stack.enter_async_context(
                open_client("sqs", settings, read_s=settings.wait_time_s + _READ_S, session=session)
            ),
            dynamodb=await stack.enter_async_context(open_client("dynamodb", settings, session=session)),
        )


def worker_id() -> str:
    """Return a name for this process in leases and in the history: the host name and a random suffix."""
    host = socket.gethostname().partition(".")[0].replace("/", "-")[:20]
    return f"{host}-{secrets.token_hex(2)}"


async def queue_url(client: "SQSClient", name: str) -> str:
    """
    Return the URL of a queue.

    Raises:
        ConfigurationError: The queue does not exist.
        TransientError: SQS is unavailable, or rejected the request.
    """
    try:
        response = await call_with_retry(
            lambda: client.get_queue_url(QueueName=name),
            RETRY_POLICIES.queue,
            what=f"look up the queue {name}",
        )
        return response["QueueUrl"]
    except TransientError as error:
        if is_no_such_queue(error.__cause__):
            message = (
                f"queue {name} does not exist: run `image-worker provision`, "
                "or correct its name in WORKER_QUEUE_NAME or WORKER_DEAD_LETTER_QUEUE_NAME"
            )
            raise ConfigurationError(message) from error
        raise


def table_of(settings: Settings) -> Table:
    """Return the table."""
    return Table(
        settings.table_name,
        index_shards=settings.index_shards,
        compact_history=settings.compact_history,
    )


def key_layout(settings: Settings) -> KeyLayout:
    """Return the bucket and the key prefixes that identify uploads."""
    return KeyLayout(
        bucket=settings.bucket,
        upload_keys=settings.upload_keys,
        # Without results in the upload bucket there are no notifications to ignore.
        processed_prefix=settings.processed_prefix if settings.results_bucket == settings.bucket else None,
    )


def delivery_config(settings: Settings) -> DeliveryConfig:
    """Return the limits and timeouts for message delivery."""
    return DeliveryConfig(
        worker_id=worker_id(),
        lease_s=settings.visibility_timeout_s,
        max_receives=settings.max_receives,
        max_bytes=settings.max_bytes,
        record_delay_s=settings.record_delay_ms / 1000,
        retention=timedelta(days=settings.retention_days) if settings.retention_days else None,
    )


def storage_parameters(settings: Settings) -> dict[str, str]:
    """Return the parameters of the storage stack for these settings."""
    return {
        "BucketName": settings.bucket,
        "OutputBucketName": settings.output_bucket or "",
        "UploadsPrefix": settings.upload_keys.prefix,
        "LogosPrefix": settings.watermark_logos_prefix,
        "ProcessedPrefix": settings.processed_prefix,
        "QueueName": settings.queue_name,
        "DeadLetterQueueName": settings.dead_letter_queue_name,
        "VisibilityTimeout": str(settings.visibility_timeout_s),
        "MaxReceiveCount": str(settings.queue_receives),
        "TableName": settings.table_name,
        "RequireScan": "true" if settings.require_scan else "false",
        "CorsOrigins": ",".join(settings.cors_origins),
        "Stream": "Enabled" if settings.events or settings.delete_expired_objects else "Disabled",
        "EventsDeadLetterQueueName": settings.events_dead_letter_queue_name,
        "EventsPipeName": settings.events_pipe_name,
    }


def build_queries(
    dynamodb: "DynamoDBClient", settings: Settings, *, on_unreadable: OnUnreadable = log_unreadable
) -> Queries:
    """Return the queries on the table; `on_unreadable` is called with the error of each record left out."""
    return Queries(
        dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table, on_unreadable=on_unreadable
    )


def build_expiry(dynamodb: "DynamoDBClient", s3: "S3Client", settings: Settings) -> Expiry:
    """Return what deletes the objects of images whose records have expired."""
    return Expiry(
        bucket=settings.bucket,
        upload_keys=settings.upload_keys,
        objects=build_image_objects(s3, settings),
        queries=build_queries(dynamodb, settings),
    )


def build_table_stream(
    dynamodb: "DynamoDBClient", streams: "DynamoDBStreamsClient", settings: Settings
) -> TableStream:
    """Return the reader of the table's stream."""
    return TableStream(dynamodb, streams, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_repair_writes(dynamodb: "DynamoDBClient", settings: Settings, requester: Requester) -> RepairWrites:
    """Return the writes of the repair tools, which record their requester."""
    return RepairWrites(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table, requester=requester)


def build_ledger(dynamodb: "DynamoDBClient", settings: Settings) -> DynamoLedger:
    """Return the ledger on the table; close it when done."""
    return DynamoLedger(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_profile_store(dynamodb: "DynamoDBClient", settings: Settings) -> ProfileStore:
    """Return the user profiles in the table."""
    return ProfileStore(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_profiles(dynamodb: "DynamoDBClient", settings: Settings) -> CachedProfiles:
    """Return the cache of user profiles; close it when done."""
    return CachedProfiles(build_profile_store(dynamodb, settings), cache_s=settings.profile_cache_s)


def build_sources(s3: "S3Client") -> S3Sources:
    """Return the reader of uploads."""
    return S3Sources(s3, retry=RETRY_POLICIES.bucket)


def build_uploads(s3: "S3Client", settings: Settings) -> Uploads:
    """Return the storage of new uploads."""
    return Uploads(s3, bucket=settings.bucket, keys=settings.upload_keys, retry=RETRY_POLICIES.bucket)


def build_table_identity(dynamodb: "DynamoDBClient", settings: Settings) -> TableIdentity:
    """Return the reader of the table's id."""
    return TableIdentity(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_results(
    s3: "S3Client", settings: Settings, *, table_identity: TableIdentity | None = None
) -> S3Results:
    """Return the writer of results; with the table's identity, they show which record counted them."""
    return S3Results(
        s3,
        retry=RETRY_POLICIES.bucket,
        bucket=settings.results_bucket,
        keys=settings.result_keys,
        table_id=table_identity.get if table_identity else None,
        size_names=sizes(settings),
    )


def build_image_objects(s3: "S3Client", settings: Settings) -> ImageObjects:
    """Return what finds and deletes the objects of images."""
    return ImageObjects(
        s3,
        retry=RETRY_POLICIES.bucket,
        results_bucket=settings.results_bucket,
        result_keys=settings.result_keys,
    )


def build_logos(s3: "S3Client", settings: Settings) -> Logos:
    """Return the cache of watermark logos; close it when done."""
    return Logos(s3, retry=RETRY_POLICIES.bucket, cache_s=settings.watermark_logo_cache_s)


def build_backups(dynamodb: "DynamoDBClient", settings: Settings) -> Backups:
    """Return the backups of the table."""
    return Backups(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_table_restore(dynamodb: "DynamoDBClient", settings: Settings) -> TableRestore:
    """Return the restore of the table to a new one."""
    return TableRestore(dynamodb, table=table_of(settings), retry=RETRY_POLICIES.table)


def build_table_drift(dynamodb: "DynamoDBClient", settings: Settings, *, table_name: str) -> TableDrift:
    """Return what a table differs in from the template, whatever its name."""
    has_stream = storage_parameters(settings)["Stream"] == "Enabled"
    return TableDrift(dynamodb, table_name, has_stream=has_stream)


def build_table_metrics(cloudwatch: "CloudWatchClient", settings: Settings) -> TableMetrics:
    """Return the CloudWatch metrics of the table and its indexes."""
    return TableMetrics(
        cloudwatch, table=settings.table_name, indexes=tuple(INDEXES), retry=RETRY_POLICIES.table
    )


async def build_dead_letters(
    sqs: "SQSClient", settings: Settings, *, visibility_timeout_s: int, wait_time_s: int = LONG_POLL_S
) -> DeadLetters:
    """
    Return the dead-letter queue, for reading and deleting dead letters.

    Args:
        sqs: SQS client.
        settings: Settings of the worker.
        visibility_timeout_s: Visibility timeout in seconds of the dead letters that are read.
        wait_time_s: How long a request waits for messages.

    Raises:
        ConfigurationError: The queue does not exist.
    """
    url = await queue_url(sqs, settings.dead_letter_queue_name)
    return DeadLetters(
        sqs,
        url=url,
        key_layout=key_layout(settings),
        visibility_timeout_s=visibility_timeout_s,
        retry=RETRY_POLICIES.queue,
        wait_time_s=wait_time_s,
    )


def build_decoder_pool(settings: Settings) -> DecoderPool:
    """Return the pool of decoder processes; start it before use."""
    return DecoderPool(
        processes=settings.processes,
        limits=Limits(
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            max_stored_pixels=settings.max_stored_pixels,
            max_frames=settings.max_frames,
            min_side_px=settings.min_side_px,
        ),
        step_timeout_s=settings.step_timeout_s,
        decoder_memory_mb=settings.decoder_memory_mb,
        policy=ReusePolicy(
            reuse=Reuse(settings.decoder_reuse),
            max_images=settings.decoder_max_images,
            max_growth_mb=settings.decoder_growth_mb,
        ),
        font=FONT,
        more_fonts=settings.font_files,
        requires_confinement=settings.decoder_confinement == "require",
        recipe=standard_recipe(settings),
    )


async def deploy_storage(
    cloudformation: "CloudFormationClient",
    dynamodb: "DynamoDBClient",
    settings: Settings,
    *,
    stack_name: str = STACK_NAME,
    timeout_s: float = DEPLOY_TIMEOUT_S,
    dry_run: bool = False,
) -> Deployment:
    """
    Create or update the storage stack for these settings; raises what `deploy` does.

    Args:
        cloudformation: CloudFormation client.
        dynamodb: DynamoDB client.
        settings: Settings of the worker.
        stack_name: Name of the stack.
        timeout_s: How long to wait for CloudFormation to finish.
        dry_run: Whether to return only what would be done.
    """
    parameters = storage_parameters(settings)
    table = await _table_parameters(cloudformation, dynamodb, settings, stack_name)
    session = _session()
    async with (
        open_client("s3", settings, session=session) as s3,
        open_client("sqs", settings, session=session) as sqs,
    ):
        return await (plan if dry_run else deploy)(
            cloudformation,
            Storage(s3, sqs, dynamodb, parameters),
            parameters | table,
            retry=RETRY_POLICIES.table,
            stack_name=stack_name,
            timeout_s=timeout_s,
        )


@cache
def _session() -> AioSession:
    """Return a session that keeps the service models it has loaded, for deployments."""
    return get_session()


async def _table_parameters(
    cloudformation: "CloudFormationClient", dynamodb: "DynamoDBClient", settings: Settings, stack_name: str
) -> dict[str, str]:
    """
    Return the parameters of the storage stack about a table that is not its own.

    One that exists was restored from a backup: the stack keeps its own, because an update would create the
    other a second time, and its policies allow both. One that does not exist replaces the own one, which the
    workers use until they have the new name.
    """
    own, name = (await stack_outputs(cloudformation, stack_name)).get("TableName"), settings.table_name
    if own is None or own == name:
        return {}
    try:
        await call_with_retry(
            lambda: dynamodb.describe_table(TableName=name), RETRY_POLICIES.table, what=f"describe {name}"
        )
    except TransientError as error:
        if is_no_such_table(error.__cause__):
            return {"AdditionalTableName": own}
        raise
    return {"TableName": own, "AdditionalTableName": name}


@asynccontextmanager
async def open_consumer(settings: Settings, clients: Clients) -> AsyncIterator[Consumer]:
    """
    Build the consumer with its telemetry, start the decoder processes, and close everything at the end.

    Raises:
        ConfigurationError: A queue does not exist, the port is in use, or the `otel` extra is not installed.
    """
    async with AsyncExitStack() as stack:
        metrics = Metrics()
        tracing: Tracing = OpenTelemetryTracing() if settings.traces else NoTracing()
        stack.push_async_callback(tracing.close)
        readiness = Readiness(metrics)
        for client in (clients.s3, clients.sqs, clients.polling, clients.dynamodb):
            watch_calls(client, metrics=metrics, tracing=tracing, readiness=readiness)
        url = await queue_url(clients.sqs, settings.queue_name)
        dead_letter_url = await queue_url(clients.sqs, settings.dead_letter_queue_name)
        queue = Queue(
            clients.sqs,
            clients.polling,
            url=url,
            dead_letter_url=dead_letter_url,
            wait_time_s=settings.wait_time_s,
            visibility_timeout_s=settings.visibility_timeout_s,
            retry=RETRY_POLICIES.queue,
        )
        ledger = build_ledger(clients.dynamodb, settings)
        table_identity = build_table_identity(clients.dynamodb, settings)
        profiles = build_profiles(clients.dynamodb, settings)
        logos = build_logos(clients.s3, settings)
        pool = build_decoder_pool(settings)
        isolation = Isolation()
        handler = MessageHandler(
            parse=partial(parse, key_layout=key_layout(settings), requires_scan=settings.require_scan),
            queue=queue,
            ledger=ledger,
            recipes=Recipes(profiles, recipe_builder_from(settings), logos.fill, recipe_rules(settings)),
            sources=build_sources(clients.s3),
            pool=pool,
            results=build_results(clients.s3, settings, table_identity=table_identity),
            observer=Observer(metrics, tracing, clock=utc_now),
            clock=utc_now,
            config=delivery_config(settings),
            isolation=isolation,
            scans=S3Scans(clients.s3, retry=RETRY_POLICIES.bucket) if settings.require_scan else None,
        )
        agent_uri = os.environ.get("ECS_AGENT_URI")  # ECS sets it in every task
        protection = ScaleInProtection(agent_uri) if agent_uri else None
        probes: dict[str, Callable[[], Awaitable[object]]] = {
            "dynamodb": table_identity.refresh,
            "s3": partial(clients.s3.head_bucket, Bucket=settings.bucket),
        }
        consumer = Consumer(
            queue=queue,
            heartbeat=Heartbeat(queue, visibility_timeout_s=settings.visibility_timeout_s),
            handle=handler.handle,
            slots=settings.slots,
            drain_timeout_s=settings.drain_timeout_s,
            isolation=isolation,
            background_tasks={
                "measure lag": partial(measure_lag, metrics),
                "measure queue": partial(
                    measure_queue, clients.sqs, url=url, dead_letter_url=dead_letter_url, metrics=metrics
                ),
                "probe": partial(readiness.probe, probes),
                **({"protect from scale-in": protection.run} if protection else {}),
            },
            on_in_flight_change=protection.in_flight if protection else None,
        )
        _export_gauges(metrics, consumer=consumer, pool=pool, slots=settings.slots)
        if settings.http_port:
            await stack.enter_async_context(
                endpoint(
                    host=settings.http_host,
                    port=settings.http_port,
                    metrics=metrics,
                    why_unhealthy=lambda: None if pool.alive else "no decoder is running",
                    why_unready=lambda: "draining" if consumer.is_draining else readiness.why_unready(),
                )
            )
        stack.push_async_callback(pool.stop)
        for closing in (logos, profiles, ledger, queue):  # the queue is closed first
            stack.push_async_callback(closing.close)
        await pool.start()
        _log_confinement(pool)
        yield consumer


def _log_confinement(pool: DecoderPool) -> None:
    missing = missing_guarantees(pool.guarantees)
    if missing:
        _log.warning("decoder.confinement_incomplete", missing=missing, reason=describe_missing(missing))
    else:
        _log.info("decoder.confined", guarantees=sorted(pool.guarantees))


def _export_gauges(metrics: Metrics, *, consumer: Consumer, pool: DecoderPool, slots: int) -> None:
    """Set the gauges that are read from the consumer and the decoder pool at each scrape."""
    metrics.slots.set(slots)
    metrics.in_flight.set_function(lambda: consumer.in_flight)
    metrics.decoders.labels("busy").set_function(lambda: pool.busy)
    metrics.decoders.labels("idle").set_function(lambda: pool.alive - pool.busy)
    for guarantee in Guarantee:
        metrics.decoder_guarantees.labels(guarantee).set_function(partial(_holds, pool, guarantee))
    metrics.images_waiting.set_function(lambda: pool.waiting)
    metrics.count_decoder_restarts(
        lambda: {reason: pool.replacements.get(reason, 0) for reason in Replacement}
    )
    metrics.resident_bytes.labels("worker").set_function(lambda: resident_bytes(os.getpid()))
    metrics.resident_bytes.labels("decoders").set_function(lambda: sum(map(resident_bytes, pool.pids)))


def _holds(pool: DecoderPool, guarantee: Guarantee) -> bool:
    return guarantee in pool.guarantees


@asynccontextmanager
async def open_repairs(
    settings: Settings,
    clients: Clients,
    *,
    requester: Requester,
    reporter: Reporter,
    rate_per_s: float,
    dry_run: bool = False,
    control: Control = UNCONTROLLED,
) -> AsyncIterator[RepairContext]:
    """
    Build the dependencies of the repair tools, and close them at the end.

    Args:
        settings: Settings of the worker.
        clients: Open clients.
        requester: Who requests the repair, for the history and the messages.
        reporter: Receives the result for each image.
        rate_per_s: Images requeued per second, at most.
        dry_run: Report what would be done, and change nothing.
        control: Pauses or stops the repair between its batches.

    Raises:
        ConfigurationError: The queue does not exist.
    """
    async with AsyncExitStack() as stack:
        ledger = build_ledger(clients.dynamodb, settings)
        profiles, logos = build_profiles(clients.dynamodb, settings), build_logos(clients.s3, settings)
        for closing in (logos, profiles, ledger):
            stack.push_async_callback(closing.close)
        yield RepairContext(
            bucket=settings.bucket,
            upload_keys=settings.upload_keys,
            results_bucket=settings.results_bucket,
            results_prefix=settings.processed_prefix,
            results=build_results(clients.s3, settings),
            table_id=build_table_identity(clients.dynamodb, settings).get,
            s3=clients.s3,
            s3_retry=RETRY_POLICIES.bucket,
            queries=build_queries(
                clients.dynamodb,
                settings,
                on_unreadable=lambda error: reporter.failed(error.image_id, str(error)),
            ),
            writes=build_repair_writes(clients.dynamodb, settings, requester),
            ledger=ledger,
            sender=JobSender(
                clients.sqs,
                url=await queue_url(clients.sqs, settings.queue_name),
                retry=RETRY_POLICIES.queue,
            ),
            rate_limiter=RateLimiter(rate_per_s),
            recipes=Recipes(profiles, recipe_builder_from(settings), logos.fill, recipe_rules(settings)),
            reporter=reporter,
            requester=requester,
            worker_id=worker_id(),
            lease_s=settings.visibility_timeout_s,
            dry_run=dry_run,
            control=control,
        )


def build_deletions(
    settings: Settings,
    clients: Clients,
    *,
    requester: Requester,
    reporter: Reporter,
    dry_run: bool = False,
    control: Control = UNCONTROLLED,
) -> DeletionContext:
    """
    Return the dependencies of deletions.

    Args:
        settings: Settings of the worker.
        clients: Open clients.
        requester: Who requests the deletion, for the history and the log.
        reporter: Receives the result for each image.
        dry_run: Report what would be deleted, and change nothing.
        control: Pauses or stops the deletion of a user between batches of images.
    """
    table, retry = table_of(settings), RETRY_POLICIES.table
    return DeletionContext(
        bucket=settings.bucket,
        upload_keys=settings.upload_keys,
        results_bucket=settings.results_bucket,
        objects=build_image_objects(clients.s3, settings),
        queries=build_queries(
            clients.dynamodb,
            settings,
            on_unreadable=lambda error: reporter.failed(error.image_id, str(error)),
        ),
        writes=DeletionWrites(clients.dynamodb, table=table, retry=retry, requester=requester),
        profiles=build_profile_store(clients.dynamodb, settings),
        reporter=reporter,
        requester=requester,
        lease_s=settings.visibility_timeout_s,
        clock=utc_now,
        dry_run=dry_run,
        control=control,
    )
