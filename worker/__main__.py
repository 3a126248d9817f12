"""`python -m worker`, and the `image-worker` command."""

import signal
import sys


def main() -> None:
    """Run the command line and leave with its exit status."""
    # Until there is somebody to catch it, Ctrl-C ends the process as it ends any other: without a traceback.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli.app import run  # noqa: PLC0415 - see above

    signal.signal(signal.SIGINT, handler)
    sys.exit(run())


if __name__ == "__main__":
    main()
