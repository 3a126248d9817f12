"""
Run the commands and Python blocks of a page, given as JSON; report the first failure on stderr.

Before the first step, resources are provisioned, a worker is started, and one image is processed.
"""

import contextlib
import gc
import json
import os
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import boto3

from worker.cli.app import run
from worker.domain.status import TERMINAL_STATUSES
from worker.settings import Settings

IMAGE, USER = "img_1234567890abcdef", "alice"
METADATA = {"filename": "forest.jpg", "tags": "walk,autumn", "description": "The path behind the house"}


def main() -> None:
    """Run the steps; exit with status 1 at the first that fails."""
    gc.disable()  # the steps create too little to collect, and a collection would copy what the fork shares
    document = json.loads(sys.argv[1])
    os.environ.update(document["variables"])
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"]  # the variable that boto3 reads
    with worker():
        namespace: dict[str, Any] = {}
        for step in document["steps"]:
            run_step(step, namespace)
            wait_until_processed()


def run_step(step: dict[str, Any], namespace: dict[str, Any]) -> None:
    """Run one step with its stdout redirected to a file, and exit if it fails."""
    before = dict(os.environ)
    path = Path(step.get("into", "stdout"))
    with path.open("w", encoding="utf-8") as file, contextlib.redirect_stdout(file):
        if "python" in step:
            exec(compile(step["python"], f"line {step['line']}", "exec"), namespace)  # noqa: S102 - from the page
            status = 0
        else:
            status = run([os.path.expanduser(word) for word in step["arguments"]])  # noqa: PTH111 - as shells do
    os.environ.clear()
    os.environ.update(before)
    if status:
        sys.exit(
            f"line {step['line']}: {step} failed with status {status}: {path.read_text(encoding='utf-8')}"
        )


@contextlib.contextmanager
def worker() -> Iterator[None]:
    """Provision the resources, run a worker and let it process an image; stop it with SIGTERM."""
    with contextlib.redirect_stdout(sys.stderr):
        assert run(["provision"]) == 0
    pid = os.fork()  # with all modules loaded
    if not pid:
        with Path("worker.log").open("wb") as log:
            os.dup2(log.fileno(), 2)
        gc.enable()
        os._exit(run(["run"]))
    try:
        process_image()
        yield
    finally:
        os.kill(pid, signal.SIGTERM)
        _, status = os.waitpid(pid, 0)
    assert status == 0, Path("worker.log").read_text(encoding="utf-8")


def process_image() -> None:
    """Upload the image that the pages use, and wait until it is processed."""
    settings = Settings()
    user = settings.upload_keys.constant_user or USER
    boto3.client("s3").put_object(
        Bucket=settings.bucket,
        Key=settings.upload_keys.key(user_id=user, name=IMAGE, extension="jpg"),
        Body=Path("beach.jpg").read_bytes(),
        ContentType="image/jpeg",
        Metadata=METADATA,
    )
    wait_until_processed(is_stored=True)


def wait_until_processed(*, is_stored: bool = False) -> None:
    """Wait until the worker is done with the image, if there is one: a step may have requeued it."""
    settings = Settings()
    user = settings.upload_keys.constant_user or USER
    table = boto3.resource("dynamodb").Table(settings.table_name)
    deadline = time.monotonic() + 60
    while True:
        item = table.get_item(Key={"imageId": IMAGE, "userId": user}, ConsistentRead=True).get("Item")
        if item["status"] in TERMINAL_STATUSES if item else not is_stored:
            return
        assert time.monotonic() < deadline, Path("worker.log").read_text(encoding="utf-8")
        time.sleep(0.05)  # between reads: nothing announces to a program that an image is done


if __name__ == "__main__":
    main()
