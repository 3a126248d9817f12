"""The only place that builds clients, ledger, pool and service from the settings."""

import hashlib
import secrets
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from aiobotocore.config import AioConfig
from aiobotocore.session import get_session
from botocore.exceptions import ClientError

from config.settings import FONT, Settings
from config.sizes import SIZES, SizeSettings
from worker.delivery import Deliveries, Terms
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.domain.profile import Profile, recipe_for
from worker.domain.recipe import (
    Anchor,
    Animation,
    Fit,
    Limits,
    Logo,
    OutputFormat,
    Recipe,
    Size,
    Watermark,
)
from worker.imaging.pool import ChildPool
from worker.intake.envelope import Addressing, parse
from worker.intake.heartbeat import Heartbeat
from worker.intake.queue import Queue
from worker.objects.logos import Logos
from worker.objects.results import S3Results
from worker.objects.sources import S3Sources
from worker.record.ledger import DynamoLedger
from worker.record.profiles import CachedProfiles
from worker.retry import error_code
from worker.service import Service

if TYPE_CHECKING:
    from types_aiobotocore_dynamodb import DynamoDBClient
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_sqs import SQSClient

_CONNECT_S = 3.0
_READ_S = 20.0
_SPARE_CONNECTIONS = 8


@dataclass(frozen=True, slots=True)
class Clients:
    """One client for each service, and another for long polls; open for the life of the process."""

    s3: "S3Client"
    sqs: "SQSClient"
    polling: "SQSClient"
    dynamodb: "DynamoDBClient"


@asynccontextmanager
async def open_client(service: str, settings: Settings, *, read_s: float = _READ_S) -> AsyncIterator[Any]:
    """
    Open a client as the settings say; it retries nothing by itself.

    Raises:
        ConfigurationError: No region is set.
    """
    session: Any = get_session()  # create_client is typed for literal names only
    region = settings.region or session.get_config_variable("region")
    if not region:
        message = "no AWS region is set: set AWS_REGION, for example AWS_REGION=eu-west-1"
        raise ConfigurationError(message)
    config = AioConfig(
        connect_timeout=_CONNECT_S,
        read_timeout=read_s,
        retries={"total_max_attempts": 1},
        max_pool_connections=settings.slots + _SPARE_CONNECTIONS,
        parameter_validation=False,
        s3={"addressing_style": "path"} if settings.endpoint_url else {},
    )
    opening = session.create_client(
        service, region_name=region, endpoint_url=settings.endpoint_url, config=config
    )
    async with opening as client:
        yield client


@asynccontextmanager
async def open_clients(settings: Settings) -> AsyncIterator[Clients]:
    """Open the clients of the service."""
    async with AsyncExitStack() as stack:
        yield Clients(
            s3=await stack.enter_async_context(open_client("s3", settings)),
            sqs=await stack.enter_async_context(open_client("sqs", settings)),
            polling=await stack.enter_async_context(
                open_client("sqs", settings, read_s=settings.wait_time_s + _READ_S)
            ),
            dynamodb=await stack.enter_async_context(open_client("dynamodb", settings)),
        )


def sizes(settings: Settings) -> dict[str, Size]:
    """Return every size that a picture can be made in, by name."""
    boxes = {name: SizeSettings(width=width, height=height) for name, (width, height) in SIZES.items()}
    return {
        name: Size(
            name=name,
            width=one["width"],
            height=one["height"],
            fit=Fit(one.get("fit", Fit.INSIDE)),
            gravity=Anchor(one.get("gravity", Anchor.CENTER)),
            background=one.get("background", "#ffffff"),
            enlarge=one.get("enlarge", False),
            format=OutputFormat(one.get("format", OutputFormat.SOURCE)),
            quality=one.get("quality"),
            target_bytes=one.get("target_bytes"),
        )
        for name, one in (boxes | settings.sizes).items()
    }


def standard_recipe(settings: Settings) -> Recipe:
    """Return what the worker makes of a picture whose owner has no wishes."""
    names, by_name = [settings.default_size, *settings.extra_sizes], sizes(settings)
    return Recipe(
        sizes=tuple(by_name[name] for name in dict.fromkeys(names)),
        watermark=standard_watermark(settings) if settings.watermark_enabled else None,
        quality=settings.quality,
        animation=Animation(settings.animation),
        keep_credits=settings.keep_credits,
        record_location=settings.record_location,
    )


def standard_watermark(settings: Settings) -> Watermark:
    """Return the mark of pictures whose owner has no wishes."""
    fonts = hashlib.sha256(b"".join(file.read_bytes() for file in settings.font_files)).hexdigest()
    return Watermark(
        text=settings.watermark_text,
        opacity=settings.watermark_opacity_share,
        height_share=settings.watermark_text_share,
        logo=Logo(settings.watermark_image) if settings.watermark_image else None,
        logo_share=settings.watermark_image_share,
        min_px=settings.watermark_min_px,
        max_px=settings.watermark_max_px,
        min_side_px=settings.watermark_min_side_px,
        position=Anchor(settings.watermark_position),
        tiled=settings.watermark_tiled,
        rotation_deg=settings.watermark_rotation_deg,
        colour=settings.watermark_colour,
        outline=None if settings.watermark_outline == "none" else settings.watermark_outline,
        fonts=fonts[:16] if settings.font_files else "",
    )


def recipes(settings: Settings) -> Callable[[Profile | None], Recipe]:
    """Return what bends the standard recipe to a profile, for the worker and the repair tools alike."""
    standard, by_name = standard_recipe(settings), sizes(settings)
    of_users = f"s3://{settings.bucket}/{settings.watermark_logos_prefix}"
    return lambda profile: recipe_for(profile, standard=standard, sizes=by_name, logos=of_users)


def worker_id() -> str:
    """Name this process in leases and in the audit trail: its host, and what tells it from others there."""
    host = socket.gethostname().partition(".")[0].replace("/", "-")[:20]
    return f"{host}-{secrets.token_hex(2)}"


async def queue_url(client: "SQSClient", name: str) -> str:
    """
    Look up a queue.

    Raises:
        ConfigurationError: There is none of that name.
    """
    try:
        return (await client.get_queue_url(QueueName=name))["QueueUrl"]
    except ClientError as error:
        if "NonExistentQueue" in error_code(error) or "QueueDoesNotExist" in error_code(error):
            message = f"there is no queue {name!r}: set WORKER_QUEUE_NAME, or run `image-worker provision`"
            raise ConfigurationError(message) from error
        raise


@asynccontextmanager
async def open_service(settings: Settings, clients: Clients) -> AsyncIterator[Service]:
    """Build the service, start its decoder children, and close both at the end."""
    queue = Queue(
        clients.sqs,
        clients.polling,
        url=await queue_url(clients.sqs, settings.queue_name),
        dead_letter_url=await queue_url(clients.sqs, settings.dead_letter_queue_name),
        wait_time_s=settings.wait_time_s,
        visibility_timeout_s=settings.visibility_timeout_s,
    )
    ledger = DynamoLedger(clients.dynamodb, table=settings.table_name, index_shards=settings.index_shards)
    profiles = CachedProfiles(clients.dynamodb, table=settings.table_name, cache_s=settings.profile_cache_s)
    addressing = Addressing(
        bucket=settings.bucket,
        uploads_prefix=settings.uploads_prefix,
        # Results in another bucket are not announced here, whatever their prefix.
        processed_prefix=settings.processed_prefix if settings.results_bucket == settings.bucket else None,
    )
    logos = Logos(clients.s3, cache_s=settings.watermark_logo_cache_s)
    pool = ChildPool(
        processes=settings.processes,
        limits=Limits(
            max_bytes=settings.max_bytes,
            max_pixels=settings.max_pixels,
            max_frames=settings.max_frames,
            min_side_px=settings.min_side_px,
        ),
        step_timeout_s=settings.step_timeout_s,
        child_memory_mb=settings.child_memory_mb,
        child_pictures=settings.child_pictures,
        font=FONT,
        more_fonts=settings.font_files,
        child_growth_mb=settings.child_growth_mb,
    )
    deliveries = Deliveries(
        parse=lambda message: parse(message, addressing),
        recipe_for=recipes(settings),
        with_logo=logos.fill,
        inbox=queue,
        ledger=ledger,
        profiles=profiles,
        sources=S3Sources(clients.s3),
        pool=pool,
        results=S3Results(clients.s3, bucket=settings.results_bucket, prefix=settings.processed_prefix),
        clock=utc_now,
        terms=Terms(
            worker_id=worker_id(),
            lease_s=settings.visibility_timeout_s,
            max_receives=settings.max_receives,
            max_bytes=settings.max_bytes,
            record_delay_s=settings.record_delay_ms / 1000,
            retention=timedelta(days=settings.retention_days) if settings.retention_days else None,
        ),
    )
    service = Service(
        inbox=queue,
        heartbeat=Heartbeat(queue, visibility_timeout_s=settings.visibility_timeout_s),
        deliver=deliveries.deliver,
        slots=settings.slots,
        drain_timeout_s=settings.drain_timeout_s,
    )
    await pool.start()
    try:
        yield service
    finally:
        await queue.close()
        await ledger.close()
        await profiles.close()
        await logos.close()
        await pool.stop()
