"""Publish a task for each notification, one line of standard input; answer each with a line."""

import json
import sys

from celery_worker import process


def main() -> None:
    """Publish until the input ends."""
    for line in sys.stdin:
        process.delay(json.loads(line))
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
