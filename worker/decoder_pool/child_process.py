"""Handles of child processes: wait for the exit status, and kill without ever hitting another process."""

import asyncio
import contextlib
import os
import signal
from typing import Protocol


class ChildProcess(Protocol):
    """A child process of the worker process."""

    @property
    def pid(self) -> int:
        """Process id."""
        ...

    async def wait(self) -> int:
        """Wait until it has exited and is reaped; return its exit status, or the negative signal number."""
        ...

    def kill(self) -> bool:
        """Kill its process group; return False if it has been reaped."""
        ...


class ExecutedProcess:
    """A child process that was started as a program, in a session of its own."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.pid = process.pid
        self._process = process

    @property
    def has_exited(self) -> bool:
        """Whether it has exited and is reaped."""
        return self._process.returncode is not None

    async def wait(self) -> int:
        """Wait until it has exited and is reaped; return its exit status, or the negative signal number."""
        return await self._process.wait()

    def kill(self) -> bool:
        """Kill its process group; return False if it has been reaped."""
        if self.has_exited:
            return False
        kill_group(self.pid)  # Process.kill() would reap one that has just exited, and lose its exit status
        return True


class ForkedProcess:
    """
    A child process that the zygote has forked, with the worker process as its parent.

    It is reaped here and nowhere else, so that its process id cannot become that of another process before.
    """

    def __init__(self, pid: int) -> None:
        self.pid = pid
        self._returncode: int | None = None
        self._has_exited = asyncio.Event()
        self._pidfd = os.pidfd_open(pid)
        asyncio.get_running_loop().add_reader(self._pidfd, self._reap)

    async def wait(self) -> int:
        """Wait until it has exited and is reaped; return its exit status, or the negative signal number."""
        await self._has_exited.wait()
        assert self._returncode is not None  # noqa: S101 - for the type checker: the event is set after it
        return self._returncode

    def kill(self) -> bool:
        """Kill its process group; return False if it has been reaped."""
        if self._returncode is not None:
            return False
        kill_group(self.pid)
        return True

    def _reap(self) -> None:
        """Collect the exit status when the pidfd is readable: the process has exited."""
        asyncio.get_running_loop().remove_reader(self._pidfd)
        os.close(self._pidfd)
        kill_group(self.pid)  # before its id is free: processes that it may have left behind
        _, status = os.waitpid(self.pid, 0)
        self._returncode = os.waitstatus_to_exitcode(status)
        self._has_exited.set()


def kill_group(leader: int) -> None:
    """
    Kill a child process that has not been reaped, and its process group.

    It may not be the leader of a group yet.
    """
    for kill in (os.killpg, os.kill):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            kill(leader, signal.SIGKILL)
