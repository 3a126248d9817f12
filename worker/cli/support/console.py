"""Build and serve the web console, for `console` and `local`."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from functools import partial
from importlib.util import find_spec
from typing import TYPE_CHECKING, Final

from rich.markup import escape

from worker.bootstrap import (
    RETRY_POLICIES,
    Clients,
    build_dead_letters,
    build_decoder_pool,
    build_deletions,
    build_logos,
    build_profile_store,
    build_queries,
    build_sources,
    build_uploads,
    open_client,
    open_repairs,
    queue_url,
    table_of,
)
from worker.cli.support import output
from worker.cli.support.checks import run_checks
from worker.cli.support.requester import user_name
from worker.domain.clock import utc_now
from worker.domain.errors import ConfigurationError
from worker.recipe_settings import logo_prefix, recipe_rules, sizes, standard_recipe, standard_watermark
from worker.s3.logos import Logos
from worker.settings import Settings
from worker.telemetry.http_server import HttpLimits, http_server

if TYPE_CHECKING:
    from types_aiobotocore_cloudwatch import CloudWatchClient

    from worker.console.context import ConsoleContext
    from worker.console.security import Role, Security

_LIMITS: Final = HttpLimits(request_s=15.0, body_s=600.0)
"""An upload of 80 MiB takes ten minutes at 140 kB per second."""


@asynccontextmanager
async def open_console(settings: Settings, clients: Clients, *, is_local: bool = False) -> AsyncIterator[str]:
    """
    Serve the web console while the body runs, and yield the link that opens it.

    Args:
        settings: Settings of the worker.
        clients: Open clients.
        is_local: Whether the console belongs to `image-worker local`.

    Raises:
        ConfigurationError: The extra is not installed, the port is in use, the queue does not exist, or the
            settings would open the console to every client.
    """
    if find_spec("jinja2") is None:
        message = "the web console is not installed; install it with: pip install 'image-worker[console]'"
        raise ConfigurationError(message)
    if not settings.console_port:
        message = "WORKER_CONSOLE_PORT is 0: set it to a free port, such as 8081"
        raise ConfigurationError(message)
    from worker.console.app import build_app

    security = _security(settings)
    async with AsyncExitStack() as stack:
        cloudwatch = await stack.enter_async_context(open_client("cloudwatch", settings))
        logos = build_logos(clients.s3, settings)
        stack.push_async_callback(logos.close)
        context = await _context(settings, clients, cloudwatch, logos, is_local=is_local)
        app = build_app(context, security, prefix=settings.console_prefix)
        host, port = settings.console_host, settings.console_port
        try:
            await stack.enter_async_context(http_server(app, host=host, port=port, limits=_LIMITS))
        except OSError as error:
            message = (
                f"cannot listen on {host}:{port} ({error.strerror or error}): "
                f"set WORKER_CONSOLE_PORT to a free port{', or to 0 to start no console' if is_local else ''}"
            )
            raise ConfigurationError(message) from error
        yield _link(security)


async def _context(
    settings: Settings, clients: Clients, cloudwatch: "CloudWatchClient", logos: Logos, *, is_local: bool
) -> "ConsoleContext":
    from worker.console.context import ConsoleContext
    from worker.console.recipe_form import RecipeSettings

    return ConsoleContext(
        is_local=is_local,
        region=clients.dynamodb.meta.region_name,
        bucket=settings.bucket,
        upload_keys=settings.upload_keys,
        results_bucket=settings.results_bucket,
        queue_name=settings.queue_name,
        queue_url=await queue_url(clients.sqs, settings.queue_name),
        dead_letter_queue_name=settings.dead_letter_queue_name,
        dead_letter_queue_url=await queue_url(clients.sqs, settings.dead_letter_queue_name),
        table=table_of(settings),
        max_bytes=settings.max_bytes,
        requires_scan=settings.require_scan,
        recipe_settings=RecipeSettings(
            standard=standard_recipe(settings),
            sizes=sizes(settings),
            custom_sizes=frozenset(settings.sizes),
            watermark=standard_watermark(settings),
            logo_prefix=logo_prefix(settings),
            rules=recipe_rules(settings),
        ),
        with_logo=logos.fill,
        s3=clients.s3,
        sqs=clients.sqs,
        dynamodb=clients.dynamodb,
        cloudwatch=cloudwatch,
        retry=RETRY_POLICIES,
        queries=build_queries(clients.dynamodb, settings),
        profiles=build_profile_store(clients.dynamodb, settings),
        sources=build_sources(clients.s3),
        uploads=build_uploads(clients.s3, settings),
        open_dead_letters=partial(build_dead_letters, clients.sqs, settings),
        open_repairs=partial(open_repairs, settings, clients),
        build_deletions=partial(build_deletions, settings, clients),
        check=partial(run_checks, settings, clients),
        build_decoder_pool=partial(build_decoder_pool, settings.model_copy(update={"processes": 1})),
        clock=utc_now,
        grafana_url=settings.console_grafana_url,
    )


def _security(settings: Settings) -> "Security":
    """Return the security; raise `ConfigurationError` if the settings open the console to every client."""
    from worker.console.security import SecurityOptions, build_security

    def print_next_link(role: "Role") -> None:
        # Never to a log, which more people can read.
        console = output.stderr_console()
        if console.is_terminal:
            link = escape(_link(security, role))
            console.print(f"Signed in. For another browser: [bold]{link}[/]", soft_wrap=True)

    security = build_security(
        SecurityOptions(
            authentication=settings.console_authentication,
            host=settings.console_host,
            port=settings.console_port,
            prefix=settings.console_prefix,
            url=settings.console_url,
            operators=tuple(settings.console_operators),
            operator_groups=tuple(settings.console_operator_groups),
            alb_arn=settings.console_alb_arn,
            alb_issuer=settings.console_alb_issuer,
            alb_client_id=settings.console_alb_client_id,
            name_claim=settings.console_name_claim,
            groups_claim=settings.console_groups_claim,
            user_header=settings.console_user_header,
            groups_header=settings.console_groups_header,
            proxies=tuple(settings.console_proxies),
        ),
        user=user_name(),
        on_sign_in=print_next_link,
    )
    return security


def _link(security: "Security", role: "Role | None" = None) -> str:
    """Return the link that opens the console; with tokens, it signs in one browser in a role."""
    from worker.console.security import Role, TokenAuthentication

    if isinstance(security.authentication, TokenAuthentication):
        return security.authentication.start_link(security.base_url, role=role or Role.OPERATOR)
    return f"{security.base_url}/"
