"""Load watermark logos from a bucket or a file; cache them, and revalidate them by ETag."""

import asyncio
import hashlib
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import ClientError

from worker.aws.errors import is_access_denied, is_no_such_bucket, is_not_found, is_not_modified
from worker.aws.retry import RetryPolicy, call_with_retry
from worker.aws.single_flight import SingleFlightCache
from worker.domain.recipe import Logo, Recipe

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectRequestTypeDef

MAX_LOGO_BYTES = 4 * 1024 * 1024
_MAX_CACHED_BYTES = 64 * 1024 * 1024
_ENTRY_BYTES = 1024
"""What a cached logo counts in addition to its content, so that the number of missing ones is bounded too."""

_SCHEME = "s3://"

log = structlog.get_logger(__name__)


class Logos:
    """
    Loads the logos that recipes name.

    Args:
        client: S3 client.
        retry: Retry policy for S3 requests.
        cache_s: How long a logo is used before its ETag is compared again, in seconds.
        max_bytes: Maximum size of a logo.
        monotonic: Clock, in seconds.
    """

    def __init__(
        self,
        client: "S3Client",
        *,
        retry: RetryPolicy,
        cache_s: float,
        max_bytes: int = MAX_LOGO_BYTES,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client, self._retry, self._max_bytes = client, retry, max_bytes
        self._cache = SingleFlightCache[Logo](
            self._load,
            ttl_s=cache_s,
            max_size=_MAX_CACHED_BYTES,
            size_of=lambda logo: len(logo.content) + _ENTRY_BYTES,
            name="load logo",
            monotonic=monotonic,
        )

    async def fill(self, recipe: Recipe) -> Recipe:
        """
        Return the recipe with the content and ETag of its logo, which make a changed logo a changed recipe.

        A logo that is missing, too large or not readable has no content: images get the watermark text
        instead, and their record states why.

        Raises:
            TransientError: The bucket was unavailable.
        """
        if recipe.logo is None:
            return recipe
        return recipe.with_logo(await self._cache.get(recipe.logo.source))

    async def close(self) -> None:
        """Wait for the loads in flight."""
        await self._cache.close()

    async def _load(self, source: str, stale: Logo | None) -> Logo:
        if source.startswith(_SCHEME):
            logo = await self._from_bucket(source, stale)
        else:
            logo = await asyncio.to_thread(self._from_file, source)
        if not logo.content and logo != stale:
            log.warning("logo.rejected", source=source, reason=logo.e_tag)
        return logo

    async def _from_bucket(self, source: str, stale: Logo | None) -> Logo:
        bucket, _, key = source.removeprefix(_SCHEME).partition("/")
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if stale is not None and stale.content:
            request["IfNoneMatch"] = f'"{stale.e_tag}"'
        try:
            return await call_with_retry(
                lambda: self._read(request, source, stale), self._retry, what=f"read {source}"
            )
        except ClientError as error:
            if is_not_found(error) or is_no_such_bucket(error) or is_access_denied(error):
                return Logo(source, e_tag="missing")
            raise

    async def _read(self, request: "GetObjectRequestTypeDef", source: str, stale: Logo | None) -> Logo:
        try:
            response = await self._client.get_object(**request)
        except ClientError as error:
            if stale is not None and is_not_modified(error):
                return stale
            raise
        async with response["Body"] as body:
            if response["ContentLength"] > self._max_bytes:
                return Logo(source, e_tag="too large")
            content = await body.read()
        return Logo(source, e_tag=response["ETag"].strip('"'), content=content)

    def _from_file(self, source: str) -> Logo:
        try:
            content = Path(source).read_bytes()
        except OSError:
            return Logo(source, e_tag="missing")
        if len(content) > self._max_bytes:
            return Logo(source, e_tag="too large")
        return Logo(source, e_tag=hashlib.sha256(content).hexdigest()[:32], content=content)
