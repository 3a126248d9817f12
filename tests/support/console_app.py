"""The console's application without AWS, for tests of what is common to all pages."""

from dataclasses import fields
from typing import Any

from aiohttp import web

from tests.support.builders import NOON
from worker.aws.retry import RetryPolicies
from worker.console.app import build_app
from worker.console.context import ConsoleContext
from worker.console.security import SecurityOptions, build_security
from worker.dynamodb.table import Table
from worker.s3.sources import S3Sources

OWN_PAGE = {"Host": "127.0.0.1:8081", "Sec-Fetch-Site": "same-origin"}
"""Headers that a browser sends for a request of the console's own page."""


def a_context(**changes: Any) -> ConsoleContext:
    """Return a context whose clients are absent."""
    absent: dict[str, Any] = dict.fromkeys(field.name for field in fields(ConsoleContext))
    present = {
        "is_local": False,
        "region": "eu-west-1",
        "table": Table("metadata", index_shards=8),
        "max_bytes": 1000,
        "requires_scan": False,
        "retry": RetryPolicies(),
        "sources": S3Sources(absent["s3"], retry=RetryPolicies().bucket),
        "clock": lambda: NOON,
    }
    return ConsoleContext(**absent | present | changes)


def an_app() -> web.Application:
    """Return the application for a local operator."""
    return build_app(a_context(), build_security(SecurityOptions(authentication="none"), user="alice"))
