"""
Process of the embedded AWS: MiniStack under hypercorn, on a port of 127.0.0.1.

Started by `worker.local.embedded_aws`. Prints `listening PORT` or `failed MESSAGE` once on stdout. It saves
its state and exits on SIGTERM and when its standard input closes, so it never outlives its parent process.
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

SERVICES: Final = "s3,sqs,dynamodb,dynamodbstreams,events,pipes,cloudformation,iam,sts,kms,cloudwatch"
BACKLOG: Final = 1024
KEEP_ALIVE_S: Final = 75
REQUESTS_PER_CONNECTION: Final = 2**31
GRACE_S: Final = 1.0
"""How long shutdown waits for requests in flight, such as a long poll."""


def main() -> None:
    """Serve until standard input closes or SIGTERM arrives."""
    parser = argparse.ArgumentParser(description="Embedded AWS; exits when its standard input closes.")
    parser.add_argument("directory", type=Path, help="folder for state and objects")
    parser.add_argument("--keep", action="store_true", help="keep state and objects for the next start")
    parser.add_argument("--port", type=int, default=0, help="port of 127.0.0.1; 0 for any free port")
    arguments = parser.parse_args()
    with (arguments.directory / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            listener = socket.create_server(("127.0.0.1", arguments.port), backlog=BACKLOG)
        except BlockingIOError:
            _report(
                f"failed another embedded AWS uses {arguments.directory}; stop it or choose another directory"
            )
        except OSError as error:
            _report(
                f"failed port {arguments.port} of 127.0.0.1 cannot be used ({error.strerror}); choose another"
            )
        else:
            os.environ |= environment(arguments.directory, keep=arguments.keep)
            asyncio.run(serve(listener))


def environment(directory: Path, *, keep: bool) -> dict[str, str]:
    """
    Return the environment variables that MiniStack reads when it is imported.

    The port is not among them: the default port is part of the names under which MiniStack saves queues, and
    it builds the URLs in its responses from the address that the client used.
    """
    persist = "1" if keep else "0"
    return {
        "SERVICES": SERVICES,
        "LOG_LEVEL": "ERROR",
        "PERSIST_STATE": persist,
        "STATE_DIR": str(directory / "state"),
        "S3_PERSIST": persist,
        "S3_DATA_DIR": str(directory / "objects"),
        # Otherwise it also listens on fixed ports, and removes the containers of any MiniStack in Docker.
        "IOT_MTLS_ENABLED": "0",
        "SFTP_ENABLED": "0",
        "DOCKER_HOST": f"unix://{directory}/no-docker",
    }


async def serve(listener: socket.socket) -> None:
    """Serve requests until `stop_event` is set, then save the state."""
    # Imported after the environment is set, which MiniStack reads on import.
    import yaml
    from hypercorn.asyncio import serve as serve_application
    from hypercorn.config import Config

    # MiniStack derives the loader of templates from it: the one in C takes a tenth of the time.
    yaml.SafeLoader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)  # type: ignore[misc]  # a class
    from ministack.app import app

    config = Config()
    port = listener.getsockname()[1]
    config.bind = [f"fd://{listener.detach()}"]
    config.loglevel = "ERROR"
    config.keep_alive_timeout = KEEP_ALIVE_S
    config.keep_alive_max_requests = REQUESTS_PER_CONNECTION
    config.graceful_timeout = GRACE_S
    stop = stop_event()
    await serve_application(with_announcement(app, port=port), config, shutdown_trigger=stop.wait)


def with_announcement(application: "ASGIFramework", *, port: int) -> "ASGIFramework":
    """Return the application, extended to print `listening PORT` once its startup is complete."""

    async def wrapped(scope: "Scope", receive: "ASGIReceiveCallable", send: "ASGISendCallable") -> None:
        async def send_and_report(event: "ASGISendEvent") -> None:
            await send(event)
            if event["type"] == "lifespan.startup.complete":
                _report(f"listening {port}")

        await application(scope, receive, send_and_report if scope["type"] == "lifespan" else send)

    return wrapped


def stop_event() -> asyncio.Event:
    """Return an event that is set when standard input closes or SIGTERM arrives."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()

    def read_input() -> None:
        if not os.read(0, 1024):
            loop.remove_reader(0)
            stop.set()

    loop.add_reader(0, read_input)
    loop.add_signal_handler(signal.SIGTERM, stop.set)
    return stop


def _report(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()
    os.dup2(2, 1)  # anything printed later goes to the log


if __name__ == "__main__":
    main()
