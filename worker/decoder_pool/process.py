"""Exchange messages with a decoder process, kill and reap it."""

import asyncio
import contextlib
import socket
from collections.abc import Iterator
from typing import Final

from worker.decoder_pool.child_process import ChildProcess
from worker.decoder_pool.frame_io import receive_frame, send_frame
from worker.decoder_pool.process_memory import resident_bytes
from worker.domain.confinement import Guarantee
from worker.domain.focus import Focus
from worker.domain.recipe import Recipe
from worker.ipc.framing import Content, Frame, InvalidFrameError, TruncatedFrameError
from worker.ipc.messages import ACCEPTED, UnexpectedMessageError, image_header, logo_header

EXIT_GRACE_S: Final = 1.0
"""How long a decoder that closed its connection may take to exit with its own status, before it is killed."""


class DecoderDisconnectedError(Exception):
    """Raised when a decoder has exited or closed its connection."""

    def __init__(self) -> None:
        super().__init__("the decoder closed its connection")


class DecoderProcess:
    """
    A decoder process that is ready for images.

    Args:
        process: Handle of the process.
        connection: Worker process's end of the connection, non-blocking.

    Attributes:
        images: Number of images sent to it.
        user_id: Owner of the last image sent to it; None before the first.
        was_killed: Whether this worker has killed it.
        guarantees: What its confinement guarantees.
    """

    def __init__(
        self, process: ChildProcess, connection: socket.socket, guarantees: frozenset[Guarantee] = frozenset()
    ) -> None:
        self.images = 0
        self.user_id: str | None = None
        self.was_killed = False
        self.guarantees = guarantees
        self._process = process
        self._connection = connection
        self._logo_e_tag = ""
        self._initial_mb = resident_bytes(self.pid) // 2**20

    @property
    def pid(self) -> int:
        """Process id."""
        return self._process.pid

    async def send_image(
        self, content: Content, recipe: Recipe, *, user_id: str, focus: Focus | None = None
    ) -> None:
        """
        Send an image and wait until the decoder has accepted it.

        Raises:
            DecoderDisconnectedError: The decoder exited before it accepted the image, for another reason.
            UnexpectedMessageError: The decoder sent another message.
        """
        self.images += 1
        self.user_id = user_id
        logo = recipe.logo
        with connection_errors_mapped():
            self._require_silence()
            if logo is not None and logo.e_tag != self._logo_e_tag:
                await send_frame(self._connection, logo_header(logo), logo.content)
                self._logo_e_tag = logo.e_tag
            await send_frame(self._connection, image_header(recipe, focus), content)
        frame = await self.receive()
        if frame.header != ACCEPTED:
            raise UnexpectedMessageError(expected="accepted", received=frame.header.get("kind"))

    async def receive(self, *, max_body_bytes: int = 0) -> Frame:
        """
        Wait for the decoder's next message.

        Raises:
            DecoderDisconnectedError: The decoder has exited.
            UnexpectedMessageError: The decoder sent an invalid frame.
        """
        return await receive_message(self._connection, max_body_bytes=max_body_bytes)

    def growth_mb(self) -> int:
        """Return the growth of its memory since it was ready, in mebibytes; 0 where there is no /proc."""
        return max(0, resident_bytes(self.pid) // 2**20 - self._initial_mb)

    def kill(self) -> None:
        """Kill its process group unless it has been reaped."""
        if self._process.kill():
            self.was_killed = True

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    async def wait(self) -> str:
        """Wait until the process has exited and is reaped; return `exit <status>` or `signal <number>`."""
        return describe_exit(await self._process.wait())

    async def wait_or_kill(self) -> str:
        """Wait for the exit of a decoder that closed its connection; kill it after `EXIT_GRACE_S`."""
        try:
            async with asyncio.timeout(EXIT_GRACE_S):
                return await self.wait()
        except TimeoutError:
            self.kill()
            return await self.wait()

    def _require_silence(self) -> None:
        """Raise `UnexpectedMessageError` if there is a message already, before the image is sent."""
        with contextlib.suppress(BlockingIOError):
            if self._connection.recv(1, socket.MSG_PEEK):
                raise UnexpectedMessageError(expected="accepted", received="a message before the image")


async def receive_message(connection: socket.socket, *, max_body_bytes: int = 0) -> Frame:
    """
    Wait for the next message of a decoder.

    Raises:
        DecoderDisconnectedError: The decoder has exited.
        UnexpectedMessageError: The decoder sent an invalid frame.
    """
    with connection_errors_mapped():
        frame = await receive_frame(connection, max_body_bytes=max_body_bytes)
    if frame is None:
        raise DecoderDisconnectedError
    return frame


@contextlib.contextmanager
def connection_errors_mapped() -> Iterator[None]:
    """Map the errors of a connection to those of `receive_message`."""
    try:
        yield
    except (TruncatedFrameError, ConnectionError) as error:
        raise DecoderDisconnectedError from error
    except InvalidFrameError as error:
        raise UnexpectedMessageError(expected="frame", received=error) from error


def describe_exit(returncode: int) -> str:
    """Return `exit <status>` or `signal <number>` for the exit status or the negative signal number."""
    return f"signal {-returncode}" if returncode < 0 else f"exit {returncode}"
