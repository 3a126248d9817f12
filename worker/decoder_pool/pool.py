"""The pool of decoder children: each picture in one of them, none of them trusted."""

import asyncio
import math
import signal
from collections.abc import AsyncGenerator, Sequence
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from worker.decoder_pool.process import DecoderDisconnectedError, DecoderProcess
from worker.decoder_pool.supervisor import DecoderSupervisor, stopped
from worker.domain.errors import DecoderCrashedError, DecodeTimeoutError, RejectedError, TransientError
from worker.domain.recipe import Animation, Limits, Recipe
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput, StepReport
from worker.ipc.framing import Content, Frame
from worker.ipc.messages import (
    RejectionReceivedError,
    Setup,
    UnexpectedMessageError,
    expect_rendition,
    expect_report,
    max_rendition_bytes,
)

_HAND_OVER_TRIES: Final = 3
_OUT_OF_CPU: Final = f"signal {signal.SIGXCPU.value}"
_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderPool:
    """
    Decodes pictures in child processes; see `worker.delivery.ports.Pool`.

    Start it in the main thread: the kernel ends the children with the thread that started them.

    Args:
        processes: How many children.
        limits: What a picture may be at the most.
        step_timeout_s: How long one step of one picture may take.
        decoder_memory_mb: Address space of a child, in mebibytes.
        decoder_max_images: Pictures after which a child is replaced.
        font: The TrueType file that watermarks are written in.
        more_fonts: Files for the characters that it has not.
        decoder_growth_mb: Growth in memory, in mebibytes, after which a child is replaced.
    """

    def __init__(
        self,
        *,
        processes: int,
        limits: Limits,
        step_timeout_s: float,
        decoder_memory_mb: int,
        decoder_max_images: int,
        font: Path,
        more_fonts: Sequence[Path] = (),
        decoder_growth_mb: int = 384,
    ) -> None:
        self._step_timeout_s = step_timeout_s
        self._children = DecoderSupervisor(
            processes=processes,
            setup=Setup(
                limits,
                decoder_memory_mb,
                tuple(str(file.resolve()) for file in (font, *more_fonts)),
                cpu_s=math.ceil(step_timeout_s * len(StepName)),
            ),
            pictures_each=decoder_max_images,
            growth_mb=decoder_growth_mb,
        )

    @property
    def alive(self) -> int:
        """How many children are up."""
        return len(self._children.alive)

    @property
    def busy(self) -> int:
        """How many of them have a picture."""
        return self.alive - self._children.idle

    @property
    def waiting(self) -> int:
        """How many pictures wait for a child."""
        return self._children.waiting

    @property
    def restarts(self) -> int:
        """How many children have been replaced, for whatever reason."""
        return max(0, self._children.starts - self._children.processes)

    @property
    def pids(self) -> tuple[int, ...]:
        """The process ids of the children that are up."""
        return tuple(decoder.pid for decoder in self._children.alive)

    async def start(self) -> None:
        """
        Start all children and wait until they are ready.

        Raises:
            TransientError: One of them cannot be started; none is left running.
        """
        await self._children.start()

    async def stop(self) -> None:
        """Kill and reap all children. Pictures in them, or waiting for one, end with a TransientError."""
        await self._children.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(self, content: Content, recipe: Recipe) -> AsyncGenerator[DecoderOutput, None]:
        """
        Take a picture through all the steps in one child; see `worker.delivery.ports.Pool.run`.

        The child is free again before the last step's report and the renditions are handed out, so that
        storing them does not keep it.

        Raises:
            RejectedError: The picture is at fault; among them DecodeTimeoutError and DecoderCrashedError.
            TransientError: No child can be started, or the pool was stopped.
        """
        decoder = await self._handed_over(content, recipe)
        is_intact = False
        try:
            *early, last = StepName
            frames = 1
            for step in early:
                report = expect_report(await self._answer(decoder), step)
                frames = max(frames, _frames_of(report, recipe))
                yield report
            final: list[DecoderOutput] = [expect_report(await self._answer(decoder), last)]
            for size in recipe.sizes:
                frame = await self._answer(decoder, max_body_bytes=max_rendition_bytes(size, frames=frames))
                final.append(expect_rendition(frame, size))
            is_intact = True
        except RejectionReceivedError as received:
            is_intact = True
            raise received.refusal from None
        except TimeoutError as error:
            raise DecodeTimeoutError(limit_s=self._step_timeout_s) from error
        except (DecoderDisconnectedError, UnexpectedMessageError) as error:
            raise await self._error_for_dead_decoder(decoder, error) from error
        finally:
            self._children.release(decoder, is_intact=is_intact)
        for outcome in final:
            yield outcome

    async def _handed_over(self, content: Content, recipe: Recipe) -> DecoderProcess:
        """Return a child that has the picture; those that are lost before they have it are passed over."""
        for _ in range(_HAND_OVER_TRIES):
            decoder = await self._children.acquire()
            has_it = False
            try:
                async with asyncio.timeout(self._step_timeout_s):
                    await decoder.hand(content, recipe)
                has_it = True
            except (TimeoutError, DecoderDisconnectedError, UnexpectedMessageError) as error:
                _log.warning(
                    "decoder.lost", pid=decoder.pid, reason=str(error) or "it did not answer in time"
                )
            finally:
                if not has_it:
                    self._children.release(decoder, is_intact=False)
            if has_it:
                return decoder
        message = "decoder children are lost before they take a picture"
        raise TransientError(message)

    async def _answer(self, decoder: DecoderProcess, *, max_body_bytes: int = 0) -> Frame:
        async with asyncio.timeout(self._step_timeout_s):
            return await decoder.answer(max_body_bytes=max_body_bytes)

    async def _error_for_dead_decoder(
        self, decoder: DecoderProcess, error: Exception
    ) -> RejectedError | TransientError:
        """Make sure that the child is dead, and say what that means for its picture."""
        if isinstance(error, UnexpectedMessageError):
            decoder.kill()
        status = await decoder.ended()
        if not self._children.is_running:
            return stopped()
        if status == _OUT_OF_CPU:
            return DecodeTimeoutError(limit_s=self._step_timeout_s)
        is_nonsense = isinstance(error, UnexpectedMessageError)
        return DecoderCrashedError(exit_status=str(error) if is_nonsense else status)


def _frames_of(report: StepReport, recipe: Recipe) -> int:
    """Return how many frames a rendition can have."""
    frames = report.detail.get("frames")
    return frames if recipe.animation is Animation.KEEP and isinstance(frames, int) else 1
