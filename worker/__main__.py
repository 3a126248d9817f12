"""`python -m worker`, and the `image-worker` command."""

import signal
import sys


def main() -> None:
    """Run the command line and exit with its status."""
    # During the imports, let Ctrl-C terminate the process without a traceback.
    handler = signal.signal(signal.SIGINT, signal.SIG_DFL)
    from worker.cli.app import run

    signal.signal(signal.SIGINT, handler)
    sys.exit(run())


if __name__ == "__main__":
    main()
