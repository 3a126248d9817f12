"""
The embedded AWS's own process: MiniStack under hypercorn, on a port of 127.0.0.1.

Started by `worker.local.embedded_aws`. Prints `listening PORT` or `failed SENTENCE` once on stdout.
It ends, saving its state, when its standard input closes or SIGTERM arrives: no orphan is left.
"""

import argparse
import asyncio
import fcntl
import os
import signal
import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from hypercorn.typing import ASGIFramework, ASGIReceiveCallable, ASGISendCallable, ASGISendEvent, Scope

SERVICES: Final = "s3,sqs,dynamodb,cloudformation,iam,sts,kms,cloudwatch"
BACKLOG: Final = 1024
KEEP_ALIVE_S: Final = 75
REQUESTS_PER_CONNECTION: Final = 2**31
GRACE_S: Final = 1.0
"""How long requests under way, such as a long poll, may hold up the end."""


def main() -> None:
    """Serve until told to stop."""
    parser = argparse.ArgumentParser(description="The embedded AWS; ends when its standard input closes.")
    parser.add_argument("directory", type=Path, help="where state and objects lie")
    parser.add_argument("--keep", action="store_true", help="keep them for the next start")
    parser.add_argument("--port", type=int, default=0, help="0 for any that is free")
    arguments = parser.parse_args()
    with (arguments.directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener = socket.create_server(("127.0.0.1", arguments.port), backlog=BACKLOG)
        except BlockingIOError:
            _say(f"failed another embedded AWS uses {arguments.directory}; end it, or take another directory")
        except OSError as error:
            _say(f"failed port {arguments.port} of 127.0.0.1 cannot be used ({error.strerror}); take another")
        else:
            os.environ |= environment(arguments.directory, keep=arguments.keep)
            asyncio.run(serve(listener))


def environment(directory: Path, *, keep: bool) -> dict[str, str]:
    """
    Say everything that MiniStack reads from its environment, which it does while it is imported.

    It keeps its default port there: it is part of the names that queues are saved under, and answers are told
    by the address that the caller used.
    """
    call_with_retry = "1" if keep else "0"
    return {
        "SERVICES": SERVICES,
        "LOG_LEVEL": "ERROR",
        "PERSIST_STATE": call_with_retry,
        "STATE_DIR": str(directory / "state"),
        "S3_PERSIST": call_with_retry,
        "S3_DATA_DIR": str(directory / "objects"),
        # Otherwise it takes fixed ports too, and removes the containers of any MiniStack in Docker.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }


async def serve(listener: socket.socket) -> None:
    """Answer requests until told to stop, then save the state."""
    from hypercorn.asyncio import serve as serve_application  # noqa: PLC0415 - after the environment is set
    from hypercorn.config import Config  # noqa: PLC0415
    from ministack.app import app  # noqa: PLC0415

    config = Config()
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.graceful_timeout = GRACE_S
    stop = told_to_stop()
    await serve_application(announced(app, port=port), config, shutdown_trigger=stop.wait)


def announced(application: "ASGIFramework", *, port: int) -> "ASGIFramework":
    """Say that it listens as soon as it has started: connections made from then on are answered."""

    async def announcing(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        async def sending(event: "ASGISendEvent") -> None:
            await send(event)
            if event["type"] == "lifespan.startup.complete":
                _say(f"listening {port}")

        await application(scope, receive, sending if scope["type"] == "lifespan" else send)

    return announcing


def told_to_stop() -> asyncio.Event:
    """Return what is set when standard input ends, or at SIGTERM."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_input() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, read_input)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)  # whatever is printed later belongs to the log


if __name__ == "__main__":
    main()
