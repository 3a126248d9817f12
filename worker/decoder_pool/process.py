"""One decoder child, seen from the parent: started, spoken to, killed and reaped."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final, Self

import structlog

from worker.decoder_pool.frame_io import receive_frame, send_frame
from worker.decoder_pool.process_memory import resident_bytes
from worker.domain.errors import TransientError
from worker.domain.recipe import Recipe
from worker.ipc.framing import Content, Frame, InvalidFrameError, TruncatedFrameError
from worker.ipc.messages import (
    ACCEPTED,
    READY,
    READY_WITH_NETWORK,
    Setup,
    UnexpectedMessageError,
    image_header,
    logo_header,
    setup_header,
)

START_TIMEOUT_S: Final = 30.0
LAST_WORDS_S: Final = 1.0
"""How long a child that has hung up may take to end, so that its own exit status is the one reported."""

_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
MALLOC_ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Has glibc keep freed memory for the next picture: giving it back took a third of the CPU time of a WebP."""

_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_PACKAGE_ROOT),
    "PYTHONSAFEPATH": "1",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # a part of numpy that is not used here; each thread takes address space
    **MALLOC_ENVIRONMENT,
}
_BUFFER_BYTES: Final = 1024 * 1024
"""Of the connection, as far as the system allows it: fewer wake-ups for the parent than with its default."""
_CHATTER_BYTES: Final = 4096


_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderDisconnectedError(Exception):
    """The child is dead, or has hung up, which ends the same way."""

    def __init__(self) -> None:
        super().__init__("the connection ended")


class DecoderProcess:
    """
    A running child.

    Attributes:
        pid: Its process id.
        pictures: How many it has been given.
    """

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket) -> None:
        self.pid = process.pid
        self.pictures = 0
        self._process = process
        self._connection = connection
        self._logo = ""
        self._first_mb = 0

    @classmethod
    async def start(cls, setup: Setup) -> Self:
        """
        Start a child and wait until it has confined itself.

        Its environment holds what Python needs to find this package, and nothing else. What it writes to
        standard error until it is ready is kept for the error message.

        Raises:
            TransientError: It could not be started, or died, or took too long.
        """
        ours, theirs = socket.socketpair()
        for end in (ours, theirs):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _BUFFER_BYTES)
        ours.setblocking(False)  # noqa: FBT003 - the name says it
        chatter, stderr = os.pipe()
        decoder: Self | None = None
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "worker.imaging.decoder", str(theirs.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=stderr,
                    pass_fds=(theirs.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            finally:
                theirs.close()
                os.close(stderr)
            decoder = cls(process, ours)
            async with asyncio.timeout(START_TIMEOUT_S):
                await decoder._greet(setup)
            decoder.growth_mb()
        except BaseException as error:
            ours.close()
            if decoder is not None:
                status = await decoder.ended()
            else:
                status = "not started"
            if isinstance(error, OSError | TimeoutError | DecoderDisconnectedError | UnexpectedMessageError):
                message = f"a decoder child did not start ({status}): {_last_line(chatter) or error}"
                raise TransientError(message) from error
            raise
        else:
            return decoder
        finally:
            os.close(chatter)

    async def hand(self, content: Content, recipe: Recipe) -> None:
        """
        Give the child a picture, and wait until it says that it has it.

        Raises:
            DecoderLostError: It has died before: the picture has nothing to do with it.
            UnexpectedMessageError: It said something else.
        """
        self.pictures += 1
        logo = recipe.logo
        with self._loss_named():
            if logo is not None and logo.e_tag != self._logo:
                await send_frame(self._connection, logo_header(logo), logo.content)
                self._logo = logo.e_tag
            await send_frame(self._connection, image_header(recipe), content)
        await self._due(ACCEPTED)

    async def answer(self, *, max_body_bytes: int = 0) -> Frame:
        """
        Wait for the child's next message.

        Raises:
            DecoderLostError: It has died.
            UnexpectedMessageError: It sent what is no message.
        """
        with self._loss_named():
            frame = await receive_frame(self._connection, max_body_bytes=max_body_bytes)
        if frame is None:
            raise DecoderDisconnectedError
        return frame

    def growth_mb(self) -> int:
        """Return by how many mebibytes of memory it has grown since it was ready; 0 where nobody tells."""
        resident = resident_bytes(self.pid) // 2**20
        if not self._first_mb:
            self._first_mb = resident
        return max(0, resident - self._first_mb)

    def kill(self) -> None:
        """End the process now, whatever it does."""
        if self._process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                # Not Process.kill(): it reaps a child that has just died, and loses how it died.
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the connection; whoever holds the child last does it."""
        self._connection.close()

    async def exited(self) -> str:
        """Wait until the process has ended and is reaped; return how, in words."""
        status = await self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit {status}"

    async def ended(self) -> str:
        """Wait for the end of a child that has hung up, helping it along if need be; return how, in words."""
        try:
            async with asyncio.timeout(LAST_WORDS_S):
                return await self.exited()
        except TimeoutError:
            self.kill()
            return await self.exited()

    async def _greet(self, setup: Setup) -> None:
        with self._loss_named():
            await send_frame(self._connection, setup_header(setup))
        if await self._due(READY, READY_WITH_NETWORK) == READY_WITH_NETWORK:
            _log.warning("decoder.network_open", pid=self.pid, reason="this system has no seccomp filter")

    async def _due(self, *headers: Mapping[str, Any]) -> Mapping[str, Any]:
        frame = await self.answer()
        if frame.header not in headers:
            raise UnexpectedMessageError(due=headers[0]["kind"], got=frame.header.get("kind"))
        return frame.header

    @contextlib.contextmanager
    def _loss_named(self) -> Iterator[None]:
        try:
            yield
        except (TruncatedFrameError, ConnectionError) as error:
            raise DecoderDisconnectedError from error
        except InvalidFrameError as error:
            raise UnexpectedMessageError(due="frame", got=error) from error


def _last_line(chatter: int) -> str:
    os.set_blocking(chatter, False)
    try:
        written = os.read(chatter, 16 * _CHATTER_BYTES)
    except BlockingIOError:
        return ""
    lines = written[-_CHATTER_BYTES:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
