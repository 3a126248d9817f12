"""
Do what a page says, in a process of its own: steps as JSON on standard input, the first failure on stderr.

Before the first step there are the resources, a worker, and a picture that the page may name.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from worker.cli.app import run
from worker.settings import Settings

IMAGE, USER = "img_1234567890abcdef", "alice"
SAID = {"filename": "forest.jpg", "tags": "walk,autumn", "description": "The path behind the house"}


def main() -> None:
    """Do the steps; end with 1 at the first that fails."""
    document = json.load(sys.stdin)
    os.environ.update(document["variables"])
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]  # boto3 reads this one
    with worker():
        namespace: dict[str, Any] = {}
        for step in document["steps"]:
            do(step, namespace)


def do(step: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Do one step, quietly unless it fails."""
    before = dict(os.environ)
    into = Path(step.get("into", "told"))
    with into.open("w", encoding="utf-8") as told, contextlib.redirect_stdout(told):
        if "python" in step:
            exec(compile(step["python"], f"line {step['line']}", "exec"), namespace)  # noqa: S102 - the page's
            status = 0
        else:
            status = run([os.path.expanduser(word) for word in step["arguments"]])  # noqa: PTH111 - as shells do
    os.environ.clear()
    os.environ.update(before)
    if status:
        sys.exit(f"line {step['line']}: {step} ended with {status}: {into.read_text(encoding='utf-8')}")


@contextlib.contextmanager
def worker() -> Iterator[None]:
    """Make the resources, run a worker, and have it process a picture; stop it as an operator would."""
    with contextlib.redirect_stdout(sys.stderr):
        assert run(["provision"]) == 0
    with (
        Path("worker.log").open("wb") as log,
        subprocess.Popen([sys.executable, "-m", "worker", "run"], stderr=log) as process,
    ):
        try:
            process_a_picture()
            yield
        finally:
            process.send_signal(signal.SIGTERM)
            status = process.wait(60)
    assert status == 0, Path("worker.log").read_text(encoding="utf-8")


def process_a_picture() -> None:
    """Upload the picture that the pages name, and wait for its end."""
    settings = Settings()
    boto3.client("s3").put_object(
        Bucket=settings.bucket,
        Key=f"{settings.uploads_prefix}{USER}/{IMAGE}.jpg",
        Body=Path("beach.jpg").read_bytes(),
        ContentType="image/jpeg",
        Metadata=SAID,
    )
    table = boto3.resource("dynamodb").Table(settings.table_name)
    give_up_at = time.monotonic() + 60
    while "processedAt" not in table.get_item(Key={"imageId": IMAGE, "userId": USER}).get("Item", {}):
        assert time.monotonic() < give_up_at, Path("worker.log").read_text(encoding="utf-8")
        time.sleep(0.1)  # a table tells nobody when an item changes


if __name__ == "__main__":
    main()
