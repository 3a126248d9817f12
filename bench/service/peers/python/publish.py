"""Publish a Celery task for each S3 notification on stdin, one per line; acknowledge each with a line."""

import json
import sys

from bench.service.peers.python.celery_worker import process_task


def main() -> None:
    """Publish tasks until the end of standard input."""
    for line in sys.stdin:
        process_task.delay(json.loads(line))
        sys.stdout.write("\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
