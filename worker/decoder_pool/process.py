"""Start a decoder process, exchange messages with it, kill and reap it."""

import asyncio
import contextlib
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Final, Self

from worker.decoder_pool.frame_io import receive_frame, send_frame
from worker.decoder_pool.process_memory import resident_bytes
from worker.domain.errors import TransientError
from worker.domain.recipe import Recipe
from worker.ipc.framing import Content, Frame, Header, InvalidFrameError, TruncatedFrameError
from worker.ipc.messages import (
    ACCEPTED,
    Setup,
    UnexpectedMessageError,
    expect_ready,
    image_header,
    logo_header,
    setup_header,
)

if TYPE_CHECKING:
    from worker.domain.confinement import Guarantee

START_TIMEOUT_S: Final = 30.0
EXIT_GRACE_S: Final = 1.0
"""How long a decoder that closed its connection may take to exit with its own status, before it is killed."""

_PACKAGE_ROOT: Final = Path(__file__).resolve().parents[2]
MALLOC_ENVIRONMENT: Final = {
    "MALLOC_MMAP_THRESHOLD_": str(32 * 2**20),
    "MALLOC_TRIM_THRESHOLD_": str(64 * 2**20),
}
"""Makes glibc keep freed memory for the next image: returning it took a third of the CPU time of a WebP."""

_ENVIRONMENT: Final = {
    "PYTHONPATH": str(_PACKAGE_ROOT),
    "PYTHONSAFEPATH": "1",
    "LANG": "C.UTF-8",
    "OPENBLAS_NUM_THREADS": "1",  # numpy's BLAS is not used here, and each of its threads takes address space
    **MALLOC_ENVIRONMENT,
}
_SOCKET_BUFFER_BYTES: Final = 1024 * 1024
"""Requested send buffer of the connection: the worker process wakes up less often than with the default."""
_STDERR_BYTES: Final = 4096


class DecoderDisconnectedError(Exception):
    """Raised when a decoder has exited or closed its connection."""

    def __init__(self) -> None:
        super().__init__("the decoder closed its connection")


class DecoderProcess:
    """
    A running decoder process.

    Attributes:
        pid: Process id.
        images: Number of images sent to it.
        was_killed: Whether this worker has killed it.
        guarantees: What its confinement guarantees.
    """

    def __init__(self, process: asyncio.subprocess.Process, connection: socket.socket) -> None:
        self.pid = process.pid
        self.images = 0
        self.was_killed = False
        self.guarantees: frozenset[Guarantee] = frozenset()
        self._process = process
        self._connection = connection
        self._logo_e_tag = ""
        self._initial_mb = 0

    @classmethod
    async def start(cls, setup: Setup) -> Self:
        """
        Start a decoder and wait until it has confined itself.

        Its environment contains only what Python needs to import this package. The last line that it writes
        to standard error before it is ready becomes part of the error message.

        Raises:
            TransientError: The process could not be started, exited, or was not ready in time.
        """
        worker_end, decoder_end = socket.socketpair()
        for end in (worker_end, decoder_end):
            end.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SOCKET_BUFFER_BYTES)
        worker_end.setblocking(False)
        stderr, stderr_write = os.pipe()
        decoder: Self | None = None
        try:
            try:
                process = await asyncio.create_subprocess_exec(
                    sys.executable,
                    *("-m", "worker.imaging.decoder", str(decoder_end.fileno())),
                    stdin=asyncio.subprocess.DEVNULL,
                    stdout=asyncio.subprocess.DEVNULL,
                    stderr=stderr_write,
                    pass_fds=(decoder_end.fileno(),),
                    env=_ENVIRONMENT,
                    cwd="/",
                    start_new_session=True,
                )
            finally:
                decoder_end.close()
                os.close(stderr_write)
            decoder = cls(process, worker_end)
            async with asyncio.timeout(START_TIMEOUT_S):
                await decoder._set_up(setup)
            decoder.growth_mb()
        except BaseException as error:
            worker_end.close()
            if decoder is not None:
                status = await decoder.wait_or_kill()
            else:
                status = "not started"
            if isinstance(error, OSError | TimeoutError | DecoderDisconnectedError | UnexpectedMessageError):
                message = f"a decoder process did not start ({status}): {_last_line(stderr) or error}"
                raise TransientError(message) from error
            raise
        else:
            return decoder
        finally:
            os.close(stderr)

    async def send_image(self, content: Content, recipe: Recipe) -> None:
        """
        Send an image and wait until the decoder has accepted it.

        Raises:
            DecoderDisconnectedError: The decoder exited before it accepted the image, for another reason.
            UnexpectedMessageError: The decoder sent another message.
        """
        self.images += 1
        logo = recipe.logo
        with self._connection_errors_mapped():
            self._require_silence()
            if logo is not None and logo.e_tag != self._logo_e_tag:
                await send_frame(self._connection, logo_header(logo), logo.content)
                self._logo_e_tag = logo.e_tag
            await send_frame(self._connection, image_header(recipe), content)
        await self._expect(ACCEPTED)

    async def receive(self, *, max_body_bytes: int = 0) -> Frame:
        """
        Wait for the decoder's next message.

        Raises:
            DecoderDisconnectedError: The decoder has exited.
            UnexpectedMessageError: The decoder sent an invalid frame.
        """
        with self._connection_errors_mapped():
            frame = await receive_frame(self._connection, max_body_bytes=max_body_bytes)
        if frame is None:
            raise DecoderDisconnectedError
        return frame

    def growth_mb(self) -> int:
        """Return the growth of its memory since it was ready, in mebibytes; 0 where there is no /proc."""
        resident = resident_bytes(self.pid) // 2**20
        if not self._initial_mb:
            self._initial_mb = resident
        return max(0, resident - self._initial_mb)

    def kill(self) -> None:
        """Kill the process unless it has been reaped."""
        if self._process.returncode is None:
            self.was_killed = True
            with contextlib.suppress(ProcessLookupError):
                # Process.kill() would reap a process that has just exited, and lose its exit status.
                os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def wait(self) -> str:
        """Wait until the process has exited and is reaped; return `exit <status>` or `signal <number>`."""
        status = await self._process.wait()
        return f"signal {-status}" if status < 0 else f"exit {status}"

    async def wait_or_kill(self) -> str:
        """Wait for the exit of a decoder that closed its connection; kill it after `EXIT_GRACE_S`."""
        try:
            async with asyncio.timeout(EXIT_GRACE_S):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    async def _set_up(self, setup: Setup) -> None:
        with self._connection_errors_mapped():
            await send_frame(self._connection, setup_header(setup))
        self.guarantees = expect_ready(await self.receive())

    async def _expect(self, header: Header) -> None:
        frame = await self.receive()
        if frame.header != header:
            raise UnexpectedMessageError(expected=str(header["kind"]), received=frame.header.get("kind"))

    def _require_silence(self) -> None:
        """Raise `UnexpectedMessageError` if there is a message already, before the image is sent."""
        with contextlib.suppress(BlockingIOError):
            if self._connection.recv(1, socket.MSG_PEEK):
                raise UnexpectedMessageError(expected="accepted", received="a message before the image")

    @contextlib.contextmanager
    def _connection_errors_mapped(self) -> Iterator[None]:
        try:
            yield
        except (TruncatedFrameError, ConnectionError) as error:
            raise DecoderDisconnectedError from error
        except InvalidFrameError as error:
            raise UnexpectedMessageError(expected="frame", received=error) from error


def _last_line(stderr: int) -> str:
    os.set_blocking(stderr, False)
    try:
        written = os.read(stderr, 16 * _STDERR_BYTES)
    except BlockingIOError:
        return ""
    lines = written[-_STDERR_BYTES:].decode("utf-8", "replace").strip().splitlines()
    return lines[-1] if lines else ""
