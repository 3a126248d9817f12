"""The `image-worker` command, also as `python -m worker`."""

import sys

from worker.commands.app import run


def main() -> None:
    """Run the command line and leave with its exit status."""
    sys.exit(run())


if __name__ == "__main__":
    main()
