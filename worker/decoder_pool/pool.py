"""The pool of decoder processes: each image is decoded in a process that is not trusted."""

import asyncio
import math
import signal
from collections.abc import AsyncGenerator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import structlog

from worker.decoder_pool.decoder_output import expect_rendition, expect_report
from worker.decoder_pool.process import DecoderDisconnectedError, DecoderProcess
from worker.decoder_pool.starters import decoder_starter
from worker.decoder_pool.supervisor import DecoderSupervisor, Replacement, ReusePolicy, pool_stopped_error
from worker.domain.confinement import REQUIRED, Guarantee, describe_missing
from worker.domain.errors import (
    ConfigurationError,
    DecoderCrashedError,
    DecoderKilledError,
    DecodeTimeoutError,
    RejectedError,
    TransientError,
)
from worker.domain.focus import Focus
from worker.domain.recipe import Animation, Limits, Recipe
from worker.domain.status import StepName
from worker.domain.step import DecoderOutput, StepReport
from worker.ipc.framing import Content, Frame
from worker.ipc.messages import (
    RejectionReceivedError,
    Setup,
    UnexpectedMessageError,
    max_rendition_bytes,
)
from worker.ipc.process_attributes import make_non_dumpable

_MAX_HANDOVER_ATTEMPTS: Final = 3
_CPU_LIMIT_EXCEEDED: Final = f"signal {signal.SIGXCPU.value}"
_CALL_FORBIDDEN: Final = f"signal {signal.SIGSYS.value}"
_KILLED: Final = f"signal {signal.SIGKILL.value}"
_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderPool:
    """
    Processes images in decoder processes; implements `worker.delivery.ports.Pool`.

    Start it in the main thread: the kernel kills a decoder when the thread that started it ends.

    Args:
        processes: Number of decoders.
        limits: Largest image that is decoded.
        step_timeout_s: How long a single step of an image may take.
        decoder_memory_mb: Address space of a decoder, in mebibytes.
        policy: When decoders are replaced.
        font: TrueType file for watermark texts.
        more_fonts: TrueType files for the characters that `font` does not have.
        requires_confinement: Whether to process images only in decoders for which all guarantees of
            `worker.domain.confinement.REQUIRED` hold.
        recipe: Recipe of most images, for which decoders are prepared.
    """

    def __init__(  # noqa: PLR0913 - one argument per setting that concerns decoders
        self,
        *,
        processes: int,
        limits: Limits,
        step_timeout_s: float,
        decoder_memory_mb: int,
        policy: ReusePolicy,
        font: Path,
        more_fonts: Sequence[Path] = (),
        requires_confinement: bool = False,
        recipe: Recipe | None = None,
    ) -> None:
        self._step_timeout_s = step_timeout_s
        self._required = REQUIRED if requires_confinement else frozenset()
        self._own_guarantees = frozenset(Guarantee)
        setup = Setup(
            replace(limits, memory_mb=decoder_memory_mb),
            decoder_memory_mb,
            tuple(str(file.resolve()) for file in (font, *more_fonts)),
            cpu_s=math.ceil(step_timeout_s * len(StepName)),
            recipe=recipe,
        )
        self._starter = decoder_starter(setup)
        self._supervisor = DecoderSupervisor(processes=processes, starter=self._starter, policy=policy)

    @property
    def alive(self) -> int:
        """Number of running decoders."""
        return len(self._supervisor.alive)

    @property
    def busy(self) -> int:
        """Number of decoders that are assigned to an image."""
        return len(self._supervisor.busy)

    @property
    def waiting(self) -> int:
        """Number of images that wait for a decoder."""
        return self._supervisor.waiting

    @property
    def restarts(self) -> int:
        """Number of decoders that have been replaced, for any reason."""
        return self._supervisor.replacements.total()

    @property
    def replacements(self) -> Mapping[Replacement, int]:
        """Number of decoders that have been replaced, by reason."""
        return self._supervisor.replacements

    @property
    def interpreter_starts(self) -> int:
        """Number of Python interpreters that have been started to fork decoders from, or as decoders."""
        return self._starter.interpreter_starts

    @property
    def guarantees(self) -> frozenset[Guarantee]:
        """What the confinement of every running decoder guarantees; see `worker.domain.confinement`."""
        return self._own_guarantees.intersection(*(each.guarantees for each in self._supervisor.alive))

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote; None if there is none."""
        return self._starter.zygote_pid

    @property
    def pids(self) -> tuple[int, ...]:
        """Process ids of the running decoders."""
        return tuple(decoder.pid for decoder in self._supervisor.alive)

    @property
    def busy_pids(self) -> tuple[int, ...]:
        """Process ids of the decoders that are assigned to an image."""
        return tuple(decoder.pid for decoder in self._supervisor.busy)

    async def start(self) -> None:
        """
        Start all decoders and wait until they are ready.

        This process becomes non-dumpable: see `worker.ipc.process_attributes.make_non_dumpable`.

        Raises:
            TransientError: A decoder cannot be started; those that were started have been stopped.
            ConfigurationError: A required guarantee does not hold; the decoders have been stopped.
        """
        if not make_non_dumpable():
            self._own_guarantees -= {Guarantee.NON_DUMPABLE}
        await self._supervisor.start()
        if missing := self._required - self.guarantees:
            await self.stop()
            message = (
                f"this system does not confine decoders fully, without {describe_missing(sorted(missing))}; "
                "run the worker on Linux on x86_64 or arm64 where seccomp filters are allowed, "
                "or set WORKER_DECODER_CONFINEMENT=best-effort"
            )
            raise ConfigurationError(message)

    async def stop(self) -> None:
        """Kill and reap all decoders. Images in them, or waiting for one, end with a `TransientError`."""
        await self._supervisor.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def run(
        self, content: Content, recipe: Recipe, *, user_id: str, focus: Focus | None = None
    ) -> AsyncGenerator[DecoderOutput, None]:
        """
        Run all steps on an image in a single decoder; see `worker.delivery.ports.Pool.run`.

        The decoder is released before the last step's report and the renditions are yielded, so that it does
        not wait while they are stored.

        Raises:
            RejectedError: The image is permanently rejected; includes `DecodeTimeoutError` and
                `DecoderCrashedError`.
            TransientError: No decoder can be started, or the pool was stopped.
            DecoderKilledError: Something else killed the decoder, such as the kernel for lack of memory.
        """
        decoder = await self._send_to_decoder(content, recipe, user_id, focus)
        is_intact = False
        try:
            *early, last = StepName
            frames = 1
            for step in early:
                report = expect_report(await self._receive(decoder), step)
                frames = max(frames, _max_frames(report, recipe))
                yield report
            final: list[DecoderOutput] = [expect_report(await self._receive(decoder), last)]
            for size in recipe.sizes:
                frame = await self._receive(decoder, max_body_bytes=max_rendition_bytes(size, frames=frames))
                final.append(expect_rendition(frame, size))
            is_intact = True
        except RejectionReceivedError as received:
            raise received.error from None
        except TimeoutError as error:
            raise DecodeTimeoutError(limit_s=self._step_timeout_s) from error
        except (DecoderDisconnectedError, UnexpectedMessageError) as error:
            raise await self._error_for_dead_decoder(decoder, error) from error
        finally:
            self._supervisor.release(decoder, is_intact=is_intact)
        for output in final:
            yield output

    async def _send_to_decoder(
        self, content: Content, recipe: Recipe, user_id: str, focus: Focus | None
    ) -> DecoderProcess:
        """Return a decoder that has accepted the image; try another if a decoder exits before it accepts."""
        for _ in range(_MAX_HANDOVER_ATTEMPTS):
            decoder = await self._supervisor.acquire(user_id)
            is_accepted = False
            try:
                self._check_guarantees(decoder)
                async with asyncio.timeout(self._step_timeout_s):
                    await decoder.send_image(content, recipe, user_id=user_id, focus=focus)
                is_accepted = True
            except (TimeoutError, DecoderDisconnectedError, UnexpectedMessageError) as error:
                reason = str(error) or f"no response within {self._step_timeout_s:g} s"
                _log.warning("decoder.handover_failed", pid=decoder.pid, reason=reason)
            finally:
                if not is_accepted:
                    self._supervisor.release(decoder, is_intact=False)
            if is_accepted:
                return decoder
        message = f"{_MAX_HANDOVER_ATTEMPTS} decoder processes in a row failed before they accepted the image"
        raise TransientError(message)

    def _check_guarantees(self, decoder: DecoderProcess) -> None:
        if missing := self._required - decoder.guarantees:
            raise UnexpectedMessageError(expected="ready", received=f"without {', '.join(sorted(missing))}")

    async def _receive(self, decoder: DecoderProcess, *, max_body_bytes: int = 0) -> Frame:
        async with asyncio.timeout(self._step_timeout_s):
            return await decoder.receive(max_body_bytes=max_body_bytes)

    async def _error_for_dead_decoder(
        self, decoder: DecoderProcess, error: Exception
    ) -> RejectedError | TransientError:
        """Wait until the decoder has exited, and map its exit status to the error of its image."""
        if isinstance(error, UnexpectedMessageError):
            decoder.kill()
        status = await decoder.wait_or_kill()
        if not self._supervisor.is_running:
            return pool_stopped_error()
        if status == _CALL_FORBIDDEN:
            _log.warning(
                "decoder.call_forbidden",
                pid=decoder.pid,
                reason="it made a system call that no image library makes: the image may be an attack",
            )
        if status == _CPU_LIMIT_EXCEEDED:
            return DecodeTimeoutError(limit_s=None)
        if status == _KILLED and not decoder.was_killed:
            return DecoderKilledError()
        is_unexpected = isinstance(error, UnexpectedMessageError)
        return DecoderCrashedError(exit_status=str(error) if is_unexpected else status)


def _max_frames(report: StepReport, recipe: Recipe) -> int:
    """Return the largest number of frames that a rendition can have."""
    frames = report.detail.get("frames")
    return frames if recipe.animation is Animation.KEEP and isinstance(frames, int) else 1
