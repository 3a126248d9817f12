"""Simulated decoder processes, behind the port of the pool."""

import asyncio
from collections.abc import AsyncGenerator, Callable, Mapping
from typing import Any, Final

from tests.simulation.chance import Chance
from tests.simulation.uploads import EXPECTED, REJECTED_IN_DECODER, Kind, parsed, result_of
from worker.decoder_pool.decoder_output import expect_rendition, expect_report
from worker.domain.errors import (
    CorruptError,
    DecoderCrashedError,
    DecodeTimeoutError,
    RejectedError,
    TransientError,
)
from worker.domain.focus import Focus
from worker.domain.recipe import Recipe
from worker.domain.status import StepMove, StepName
from worker.domain.step import DecoderOutput, EncodedRendition, Json, StepReport
from worker.ipc.framing import MAX_HEADER_BYTES, Frame
from worker.ipc.messages import UnexpectedMessageError, image_header

_STEP_TIMEOUT_S: Final = 30.0
_DETAIL: Final[Mapping[str, Json]] = {"format": "jpeg", "width": 1920, "height": 1080}


class SimulatedPool:
    """
    The decoder processes of one worker; implements `worker.delivery.ports.Pool`.

    Args:
        processes: Number of decoders.
        chance: Decides what a decoder that was taken over sends.
        kill_worker: Kills the worker process.
    """

    def __init__(self, *, processes: int, chance: Chance, kill_worker: Callable[[], None]) -> None:
        self.alive = processes
        self._free = asyncio.Semaphore(processes)
        self._chance, self._kill_worker = chance, kill_worker
        self._is_stopped = False

    async def start(self) -> None:
        await asyncio.sleep(0.3)

    async def stop(self) -> None:
        self._is_stopped = True

    async def run(
        self,
        content: bytes | bytearray | memoryview,
        recipe: Recipe,
        *,
        user_id: str,
        focus: Focus | None = None,
    ) -> AsyncGenerator[DecoderOutput, None]:
        if recipe.watermark and len(recipe.watermark.text) > MAX_HEADER_BYTES:
            header_bytes = len(str(image_header(recipe)))
            message = f"the header of the frame has {header_bytes:,} bytes"
            raise ValueError(message)
        async with self._free:
            if self._is_stopped:
                message = "the decoder pool was stopped"
                raise TransientError(message)
            outputs = await self._decoded(content, recipe)
            for output in outputs[:-1]:
                await asyncio.sleep(0.001)
                yield output
            final = outputs[-1]
        for output in final:
            yield output

    async def _decoded(self, content: bytes | bytearray | memoryview, recipe: Recipe) -> list[Any]:
        upload_id, kind, decode_ms = parsed(content)
        if kind is Kind.KILLER:
            await asyncio.sleep(0.01)
            self._kill_worker()
            await asyncio.sleep(_STEP_TIMEOUT_S)
        if kind is Kind.HANGING:
            await asyncio.sleep(_STEP_TIMEOUT_S)
            raise DecodeTimeoutError(limit_s=_STEP_TIMEOUT_S)
        await asyncio.sleep(decode_ms / 1000)
        if kind in REJECTED_IN_DECODER:
            (code,) = EXPECTED[kind].codes
            raise _rejection(str(code))
        if kind is Kind.TAKEOVER:
            return self._taken_over(upload_id, recipe)
        reports = [_report(step, decode_ms) for step in StepName]
        renditions = [
            EncodedRendition(
                size=size.name,
                width=min(640, size.width),
                height=min(480, size.height),
                format="jpeg",
                content=result_of(upload_id, recipe=recipe.hash, size=size.name),
            )
            for size in recipe.sizes
        ]
        *early, last = reports
        return [*early, [last, *renditions]]

    def _taken_over(self, upload_id: str, recipe: Recipe) -> list[Any]:
        """Parse, as the parent does, what a decoder sends that runs the uploader's code."""
        try:
            frames = [expect_report(Frame(self._odd_report(step), bytearray()), step) for step in StepName]
            renditions = [
                expect_rendition(
                    Frame(
                        {
                            "kind": "rendition",
                            "size": size.name,
                            "width": 1,
                            "height": 1,
                            "format": "jpeg",
                        },
                        bytearray(result_of(upload_id, recipe=recipe.hash, size=size.name)),
                    ),
                    size,
                )
                for size in recipe.sizes
            ]
        except UnexpectedMessageError as error:
            raise DecoderCrashedError(exit_status=str(error)) from error
        *early, last = frames
        return [*early, [last, *renditions]]

    def _odd_report(self, step: StepName) -> dict[str, Any]:
        deep: dict[str, Any] = {}
        for _ in range(40):
            deep = {"deeper": deep}
        odd: list[dict[str, Any]] = [
            {},
            {"detail": {"status": "owned"}},
            {"detail": {"status": ["completed"], "startedAt": "yesterday"}},
            {"detail": {"format": 7, "text": "x" * 60_000}},
            {"detail": {"share": 0.5}},
            {"detail": deep},
            {"step": "resize"},
            {"move": "failed"},
            {"elapsed_ms": -1},
            {"metadata": {"camera": "\x1b[31m\u202e"}},
            {"detail": {"": None}},
            {"metadata": {f"name{number}": "x" * 200 for number in range(300)}},
        ]
        report = {
            "kind": "report",
            "step": str(step),
            "move": "completed",
            "elapsed_ms": 5,
            "detail": dict(_DETAIL),
            "metadata": {},
        }
        return report | odd[self._chance.index(len(odd), "taken over")]


def _report(step: StepName, decode_ms: int) -> StepReport:
    detail: Mapping[str, Json] = _DETAIL if step is StepName.VALIDATION else {}
    return StepReport(step=step, move=StepMove.COMPLETED, elapsed_ms=decode_ms // 3, detail=detail)


def _rejection(code: str) -> RejectedError:
    if code == CorruptError.code:
        return CorruptError(reason="simulated")
    return RejectedError.from_report(code, f"simulated: {code}")
