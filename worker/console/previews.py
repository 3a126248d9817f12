"""
Render previews of uploads in a decoder process, one at a time, and keep the newest ones in memory.

The console's own process never decodes an image: a hostile one harms only the decoder, which is replaced.
"""

import asyncio
from collections import OrderedDict
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import Final

from aiohttp import web

from worker.console.image_content import upload_format
from worker.decoder_pool.pool import DecoderPool
from worker.domain.confinement import Guarantee
from worker.domain.errors import NotScannedError, TransientError
from worker.domain.image import Image, Source
from worker.domain.job import Job, SourceVersion
from worker.domain.recipe import Animation, OutputFormat, Recipe, Size
from worker.domain.status import StepName
from worker.domain.step import EncodedRendition, Json, StepReport
from worker.repair.requests import job_of
from worker.s3.nonce import new_nonce, with_nonce

_DISPLAYABLE_PX: Final = 1600
DISPLAYABLE: Final = Recipe(
    sizes=(Size("displayable", _DISPLAYABLE_PX, _DISPLAYABLE_PX, format=OutputFormat.WEBP),),
    watermark=None,
    quality=85,
    animation=Animation.FIRST,
    keep_credits=False,
)
"""Recipe that makes any upload displayable by a browser: without enlarging, watermark and metadata."""

_ENTRY_BYTES: Final = 1024
"""What a kept preview counts in addition to its files."""


class PreviewsBusyError(TransientError):
    """Raised when too many previews wait for the decoder, or one has waited too long."""

    code = "previews_busy"


@dataclass(frozen=True, slots=True, kw_only=True)
class Preview:
    """
    What the worker would make of an upload.

    Attributes:
        renditions: Renditions by size name, with the bytes that the worker would store.
        steps_ms: Duration of each step in the decoder process, in milliseconds.
        details: Attributes of each step, as the record has them.
    """

    renditions: Mapping[str, EncodedRendition]
    steps_ms: Mapping[StepName, int]
    details: Mapping[StepName, Mapping[str, Json]]

    @property
    def elapsed_ms(self) -> int:
        """Duration of all steps."""
        return sum(self.steps_ms.values())

    @property
    def size_bytes(self) -> int:
        """Size of all renditions."""
        return sum(len(rendition.content) for rendition in self.renditions.values())


@dataclass(frozen=True, slots=True)
class _Key:
    bucket: str
    key: str
    version: SourceVersion
    recipe: str


class Previews:
    """
    Renders previews of uploads.

    The decoder is started when the first preview is rendered. Close this when done.

    Args:
        build_pool: Returns a pool that has not been started, of one decoder.
        fetch: Returns an upload; raises the errors of `worker.delivery.ports.Sources.fetch`.
        requires_scan: Whether to decode only uploads that a worker has validated, after their malware scan.
        max_waiting: Maximum number of previews that are rendered or wait.
        timeout_s: How long a preview may take, from its request, in seconds.
        max_kept_bytes: Total size of the previews that are kept.
    """

    def __init__(
        self,
        *,
        build_pool: Callable[[], DecoderPool],
        fetch: Callable[[Job], Awaitable[Source]],
        requires_scan: bool = False,
        max_waiting: int = 16,
        timeout_s: float = 30.0,
        max_kept_bytes: int = 24 * 1024 * 1024,
    ) -> None:
        self._build_pool, self._fetch, self._requires_scan = build_pool, fetch, requires_scan
        self._max_waiting, self._timeout_s = max_waiting, timeout_s
        self._max_kept_bytes, self._kept_bytes = max_kept_bytes, 0
        self._kept: OrderedDict[_Key, Preview] = OrderedDict()
        self._pool: DecoderPool | None = None
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._is_closed = False

    async def render(
        self, image: Image, recipe: Recipe, *, is_wanted: Callable[[], bool] = lambda: True
    ) -> Preview:
        """
        Return what the worker would make of an image by a recipe.

        Args:
            image: Image whose upload is read.
            recipe: The recipe, with the content of its logo.
            is_wanted: Returns whether somebody still waits for it, when it is its turn.

        Raises:
            PreviewsBusyError: Too many previews wait, this one took too long, or it is not wanted any more.
            RejectedError: The upload cannot be read or decoded.
            NotScannedError: It may not have been scanned for malware, as required.
            SupersededError: A newer upload has replaced the one that the record names.
            ConfigurationError: The system does not confine decoders as the settings require.
            TransientError: The bucket is unavailable, or no decoder can be started.
        """
        if self._requires_scan and upload_format(image) is None:
            raise NotScannedError(bucket=image.bucket, key=image.key)
        key = _Key(image.bucket, image.key, image.version, recipe.hash)
        if (kept := self._find(key)) is not None:
            return kept
        async with self._next_turn():
            if not is_wanted():
                message = "the browser does not wait for this preview any more"
                raise PreviewsBusyError(message)
            if (kept := self._find(key)) is None:  # the one before in the queue may have been the same
                kept = await self._render(image, recipe)
                if image.version.e_tag or image.version.version_id:  # otherwise the object may change
                    self._keep(key, kept)
            return kept

    async def displayable(self, image: Image) -> EncodedRendition:
        """
        Return an upload as a WebP of at most 1600x1600 pixels, for browsers that do not show its format.

        Raises:
            ImageWorkerError: Those of `render`.
        """
        (rendition,) = (await self.render(image, DISPLAYABLE)).renditions.values()
        return rendition

    async def guarantees(self) -> frozenset[Guarantee]:
        """Return what the confinement of the decoder guarantees; raises the errors of `render`."""
        async with self._next_turn():
            return (await self._running_pool()).guarantees

    async def close(self) -> None:
        """Kill the decoder; the previews that wait end with a `TransientError`."""
        self._is_closed = True
        if self._pool is not None:
            await self._pool.stop()

    @asynccontextmanager
    async def _next_turn(self) -> AsyncIterator[None]:
        """Wait until no other preview is rendered, and limit how long the body may take."""
        if self._is_closed:
            message = "the console is shutting down"
            raise TransientError(message)
        if self._waiting >= self._max_waiting:
            message = f"{self._waiting} previews wait to be rendered already; try again in a moment"
            raise PreviewsBusyError(message)
        self._waiting += 1
        try:
            async with asyncio.timeout(self._timeout_s) as limit, self._turn:
                yield
        except TimeoutError as error:
            if not limit.expired():
                raise
            message = f"the preview took longer than {self._timeout_s:g} s and was stopped; try again"
            raise PreviewsBusyError(message) from error
        finally:
            self._waiting -= 1

    async def _render(self, image: Image, recipe: Recipe) -> Preview:
        source = await self._fetch(job_of(image))
        pool = await self._running_pool()
        reports: list[StepReport] = []
        renditions: dict[str, EncodedRendition] = {}
        outputs_of_image = pool.run(
            source.content, recipe, user_id=image.user_id, focus=source.description.focus
        )
        async with aclosing(outputs_of_image) as outputs:
            async for output in outputs:
                match output:
                    case StepReport():
                        reports.append(output)
                    case EncodedRendition():
                        renditions[output.size] = replace(output, content=with_nonce(output, new_nonce()))
        return Preview(
            renditions=renditions,
            steps_ms={report.step: report.elapsed_ms for report in reports},
            details={report.step: report.detail for report in reports},
        )

    async def _running_pool(self) -> DecoderPool:
        if self._pool is None:
            self._pool = self._build_pool()
            try:
                await self._pool.start()
            except BaseException:  # it has stopped itself; the next preview tries again
                self._pool = None
                raise
        return self._pool

    def _find(self, key: _Key) -> Preview | None:
        if key in self._kept:
            self._kept.move_to_end(key)
        return self._kept.get(key)

    def _keep(self, key: _Key, preview: Preview) -> None:
        """Keep a preview unless it is too large; discard those that have not been used for longest."""
        size_bytes = _kept_bytes(preview)
        if size_bytes > self._max_kept_bytes:
            return
        self._kept[key] = preview
        self._kept_bytes += size_bytes
        while self._kept_bytes > self._max_kept_bytes:
            _, discarded = self._kept.popitem(last=False)
            self._kept_bytes -= _kept_bytes(discarded)


def _kept_bytes(preview: Preview) -> int:
    return preview.size_bytes + _ENTRY_BYTES


PREVIEWS: Final = web.AppKey("previews", Previews)
"""Key of the previews in the application: `request.app[PREVIEWS]`."""


def add_previews(
    app: web.Application,
    *,
    build_pool: Callable[[], DecoderPool],
    fetch: Callable[[Job], Awaitable[Source]],
    requires_scan: bool = False,
) -> None:
    """Add the previews to an application, which kills their decoder at the end."""
    app[PREVIEWS] = Previews(build_pool=build_pool, fetch=fetch, requires_scan=requires_scan)

    async def close(_: web.Application) -> None:
        await app[PREVIEWS].close()

    app.on_cleanup.append(close)
