"""Two ways to start decoders: as forks of the zygote, or as interpreters where the system has no zygote."""

import asyncio
import os
import platform
import socket
import sys
from collections.abc import Container
from typing import Final, Protocol

import structlog

from worker.decoder_pool.child_process import ForkedProcess
from worker.decoder_pool.interpreter import START_TIMEOUT_S, Interpreter, open_connection, start_interpreter
from worker.decoder_pool.process import DecoderDisconnectedError, DecoderProcess, receive_message
from worker.domain.errors import TransientError
from worker.ipc.framing import Frame
from worker.ipc.messages import (
    FORK_REQUEST,
    ForkFailedError,
    Setup,
    UnexpectedMessageError,
    expect_forked,
    expect_ready,
)

_DECODER: Final = "worker.imaging.decoder"
_ZYGOTE: Final = "worker.imaging.zygote"
_FORKING_MACHINES: Final = frozenset({"x86_64", "aarch64"})
"""Those of `worker.imaging.fork`."""
_REAP_INTERVAL_S: Final = 0.005
_MAX_REAP_ATTEMPTS: Final = 200

_log: structlog.stdlib.BoundLogger = structlog.get_logger()


class DecoderStarter(Protocol):
    """Starts decoders."""

    @property
    def interpreter_starts(self) -> int:
        """Number of Python interpreters that have been started."""
        ...

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote; None if there is none."""
        ...

    async def start_decoder(self) -> DecoderProcess:
        """
        Start a decoder and wait until it is ready.

        Raises:
            TransientError: The process could not be started, exited, or was not ready in time.
        """
        ...

    async def stop(self) -> None:
        """End and reap the processes that decoders are started from."""
        ...


def decoder_starter(setup: Setup) -> DecoderStarter:
    """
    Return the starter for this system: forks of a zygote on Linux 5.3 and later, otherwise interpreters.

    A fork needs a pidfd, so that its parent waits for it without a thread and never signals another process.
    """
    if sys.platform == "linux" and platform.machine() in _FORKING_MACHINES and _has_pidfd():
        return ForkStarter(setup)
    return InterpreterStarter(setup)


class InterpreterStarter:
    """Starts each decoder as a new interpreter, which takes about a second of CPU time."""

    def __init__(self, setup: Setup) -> None:
        self.interpreter_starts = 0
        self._setup = setup
        self._tasks: set[asyncio.Task[Interpreter]] = set()

    @property
    def zygote_pid(self) -> None:
        """None: there is no zygote."""

    async def start_decoder(self) -> DecoderProcess:
        """Start an interpreter; see `DecoderStarter`."""
        self.interpreter_starts += 1
        task = asyncio.create_task(start_interpreter(_DECODER, self._setup), name="decoder-start")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        interpreter = await task
        return DecoderProcess(interpreter.process, interpreter.connection, interpreter.guarantees)

    async def stop(self) -> None:
        """Cancel the starts that have not finished."""
        for task in self._tasks:
            task.cancel()


class ForkStarter:
    """
    Starts each decoder as a fork of the zygote, an interpreter that has loaded everything and reads no image.

    A zygote that has ended is replaced when the next decoder is started.
    """

    def __init__(self, setup: Setup) -> None:
        self.interpreter_starts = 0
        self._setup = setup
        self._zygote: Zygote | None = None
        self._zygote_start: asyncio.Task[Interpreter] | None = None
        self._is_stopped = False
        self._lock = asyncio.Lock()

    @property
    def zygote_pid(self) -> int | None:
        """Process id of the zygote; None if it has not been started or has failed to fork."""
        return None if self._zygote is None or self._zygote.is_lost else self._zygote.pid

    async def start_decoder(self) -> DecoderProcess:
        """Fork the zygote; see `DecoderStarter`."""
        zygote = await self._running_zygote()
        try:
            return await zygote.fork()
        except ZygoteLostError as lost:
            if not self._is_stopped:
                _log.warning("zygote.lost", pid=zygote.pid, reason=str(lost))
        zygote = await self._running_zygote()
        try:
            return await zygote.fork()
        except ZygoteLostError as lost:
            message = f"a decoder process did not start: {lost}"
            raise TransientError(message) from lost

    async def stop(self) -> None:
        """Kill and reap the zygote and its unfinished forks."""
        self._is_stopped = True
        if self._zygote_start is not None:
            self._zygote_start.cancel()
        async with self._lock:
            if self._zygote is not None:
                await self._zygote.stop()

    async def _running_zygote(self) -> "Zygote":
        """Return the zygote; start one if there is none or it has ended."""
        async with self._lock:
            if self._is_stopped:
                message = "the decoder pool has been stopped"
                raise TransientError(message)
            if self._zygote is not None and not self._zygote.is_lost:
                return self._zygote
            if self._zygote is not None:
                await self._zygote.stop()
            self.interpreter_starts += 1
            start = start_interpreter(_ZYGOTE, self._setup)
            self._zygote_start = asyncio.create_task(start, name="zygote-start")
            self._zygote = Zygote(await self._zygote_start)
            _log.debug("zygote.started", pid=self._zygote.pid)
            return self._zygote


class ZygoteLostError(Exception):
    """Raised when the zygote has ended, or does not fork."""


class Zygote:
    """
    The interpreter that decoders are forked from.

    Its forks are children of the worker process (CLONE_PARENT), which reaps them, and they outlive it. A fork
    stays in the zygote's process group until it has sent its process id: one that dies before is found there.

    Attributes:
        pid: Process id.
    """

    def __init__(self, interpreter: Interpreter) -> None:
        self.pid = interpreter.process.pid
        self._has_failed = False
        self._process = interpreter.process
        self._control = interpreter.connection
        self._tasks: set[asyncio.Task[DecoderProcess]] = set()
        self._forks: set[int] = set()

    @property
    def is_lost(self) -> bool:
        """Whether it has ended or has failed to fork, so that another zygote is needed."""
        return self._has_failed or self._process.has_exited

    async def fork(self) -> DecoderProcess:
        """
        Fork a decoder and wait until it is ready.

        Raises:
            ZygoteLostError: The zygote has ended, or a fork ended before it had sent its process id.
            TransientError: The system does not allow another process, or the decoder was not ready in time.
        """
        task = asyncio.create_task(self._fork(), name="decoder-fork")
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await task

    async def stop(self) -> None:
        """Kill and reap the zygote, and reap the forks whose process id it has not sent; others live on."""
        self._has_failed = True
        self._process.kill()
        self._control.close()
        await self._process.wait()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._reap_unknown_forks()

    async def _fork(self) -> DecoderProcess:
        """Send one end of a connection to the zygote; wait for the process that it becomes."""
        connection, decoder_end = open_connection()
        decoder: DecoderProcess | None = None
        try:
            try:
                with decoder_end:
                    socket.send_fds(self._control, [FORK_REQUEST], [decoder_end.fileno()])
                pid = expect_forked(await self._first_message(connection))
            except ForkFailedError as error:
                message = f"a decoder process did not start: {error}"
                raise TransientError(message) from error
            except (OSError, DecoderDisconnectedError, UnexpectedMessageError) as error:
                self._has_failed = True
                message = f"the zygote {self.pid} did not fork a decoder: {error}"
                raise ZygoteLostError(message) from error
            self._forks.add(pid)
            decoder = DecoderProcess(ForkedProcess(pid), connection)
            async with asyncio.timeout(START_TIMEOUT_S):
                decoder.guarantees = expect_ready(await decoder.receive())
        except BaseException as error:
            connection.close()
            status = "not forked" if decoder is None else await decoder.wait_or_kill()
            if isinstance(error, TimeoutError | DecoderDisconnectedError | UnexpectedMessageError):
                message = f"a decoder process did not start ({status}): {error}"
                raise TransientError(message) from error
            raise
        return decoder

    async def _first_message(self, connection: socket.socket) -> Frame:
        """Wait for the first message of a fork; if it is late, kill the zygote, which ends the connection."""
        try:
            async with asyncio.timeout(START_TIMEOUT_S):
                return await receive_message(connection)
        except TimeoutError:
            self._process.kill()
            return await receive_message(connection)

    async def _reap_unknown_forks(self) -> None:
        """Reap the forks that ended before they had sent their process id; the zygote has been reaped."""
        for _ in range(_MAX_REAP_ATTEMPTS):
            if not _reap_group(self.pid, known=self._forks):
                return
            await asyncio.sleep(_REAP_INTERVAL_S)


def _reap_group(leader: int, *, known: Container[int]) -> bool:
    """
    Reap the ended children of a process group that are not known; others are reaped by their handles.

    Returns:
        False if the group has no children, neither running nor ended.
    """
    while True:
        try:
            ended = os.waitid(os.P_PGID, leader, os.WEXITED | os.WNOWAIT | os.WNOHANG)
        except ChildProcessError:
            return False
        if ended is None or ended.si_pid in known:
            return True
        os.waitpid(ended.si_pid, 0)


def _has_pidfd() -> bool:
    try:
        os.close(os.pidfd_open(os.getpid()))
    except (AttributeError, OSError):
        return False
    return True
