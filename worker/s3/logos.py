"""Logos for watermarks: from a bucket or a file, kept for a while, and compared by eTag after that."""

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import structlog
from botocore.exceptions import ClientError

from worker.aws.errors import is_access_denied, is_no_such_bucket, is_not_found, is_not_modified
from worker.aws.retry import BUCKET, call_with_retry
from worker.domain.recipe import Logo, Recipe

if TYPE_CHECKING:
    from types_aiobotocore_s3 import S3Client
    from types_aiobotocore_s3.type_defs import GetObjectRequestTypeDef

MAX_LOGO_BYTES = 4 * 1024 * 1024
_MOST_CACHED_BYTES = 64 * 1024 * 1024

_SCHEME = "s3://"

log = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class _Kept:
    logo: Logo
    compared_at: float


class Logos:
    """
    Puts the content of its logo into a recipe, so that the recipe's hash tells one logo from the next.

    Args:
        client: Of S3.
        cache_s: How long a logo is used before it is compared with what lies there.
        monotonic: Seconds that never run backwards.
    """

    def __init__(
        self, client: "S3Client", *, cache_s: float, monotonic: Callable[[], float] = time.monotonic
    ) -> None:
        self._client, self._cache_s, self._monotonic = client, cache_s, monotonic
        self._kept: OrderedDict[str, _Kept] = OrderedDict()
        self._loading: dict[str, asyncio.Task[Logo]] = {}

    async def fill(self, recipe: Recipe) -> Recipe:
        """
        Return the recipe with its logo's content and eTag; one that names no logo as it is.

        A logo that is missing, too large or not ours to read comes back without content: the pictures get
        the text in its place, and their record says why.

        Raises:
            TransientError: The bucket cannot be reached within its retries.
        """
        if recipe.logo is None:
            return recipe
        return recipe.with_logo(await self._get(recipe.logo.source))

    async def close(self) -> None:
        """Wait for the loads that are under way."""
        while self._loading:
            await asyncio.wait(self._loading.values())

    async def _get(self, source: str) -> Logo:
        kept = self._kept.get(source)
        if kept is not None and self._monotonic() - kept.compared_at < self._cache_s:
            self._kept.move_to_end(source)
            return kept.logo
        loading = self._loading.get(source)
        if loading is None:
            loading = asyncio.create_task(self._load(source, kept), name=f"load logo {source}")
            self._loading[source] = loading
            loading.add_done_callback(lambda _: self._loading.pop(source))
        # Shielded: one waiter's cancellation is not the others'.
        return await asyncio.shield(loading)

    async def _load(self, source: str, kept: _Kept | None) -> Logo:
        known = kept.logo if kept else None
        if source.startswith(_SCHEME):
            logo = await self._from_bucket(source, known)
        else:
            logo = await asyncio.to_thread(_from_file, source)
        if not logo.content and logo != known:
            log.warning("logo.unusable", source=source, reason=logo.e_tag)
        self._kept[source] = _Kept(logo, self._monotonic())
        self._kept.move_to_end(source)
        while sum(len(one.logo.content) for one in self._kept.values()) > _MOST_CACHED_BYTES:
            self._kept.popitem(last=False)
        return logo

    async def _from_bucket(self, source: str, known: Logo | None) -> Logo:
        bucket, _, key = source.removeprefix(_SCHEME).partition("/")
        request: GetObjectRequestTypeDef = {"Bucket": bucket, "Key": key}
        if known is not None and known.content:
            request["IfNoneMatch"] = f'"{known.e_tag}"'
        try:
            return await call_with_retry(
                lambda: self._read(request, source, known), BUCKET, what=f"read {source}"
            )
        except ClientError as error:
            if is_not_found(error) or is_no_such_bucket(error) or is_access_denied(error):
                return Logo(source, e_tag="missing")
            raise

    async def _read(self, request: "GetObjectRequestTypeDef", source: str, known: Logo | None) -> Logo:
        try:
            answer = await self._client.get_object(**request)
        except ClientError as error:
            if known is not None and is_not_modified(error):
                return known
            raise
        async with answer["Body"] as body:
            if answer["ContentLength"] > MAX_LOGO_BYTES:
                return Logo(source, e_tag="too large")
            content = await body.read()
        return Logo(source, e_tag=answer["ETag"].strip('"'), content=content)


def _from_file(source: str) -> Logo:
    try:
        content = Path(source).read_bytes()
    except OSError:
        return Logo(source, e_tag="missing")
    if len(content) > MAX_LOGO_BYTES:
        return Logo(source, e_tag="too large")
    return Logo(source, e_tag=hashlib.sha256(content).hexdigest()[:32], content=content)
