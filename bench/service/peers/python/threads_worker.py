"""The same service on threads: one receives, the others settle, and what is settled is deleted in batches."""

import json
import os
import signal
import threading
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from typing import Any

import boto3
from settle import Settler, log

QUEUE_URL = os.environ["RIVAL_QUEUE_URL"]
CONCURRENCY = int(os.environ["WORKER_CONCURRENCY"])
TOGETHER = 10


def main() -> None:
    """Consume until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    sqs = boto3.session.Session().client("sqs")
    settler = Settler(connections=CONCURRENCY)
    in_flight: dict[Future[None], str] = {}
    done: list[str] = []
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        while not stopping.is_set():
            is_idle = not in_flight
            if len(in_flight) <= CONCURRENCY:  # all at work and none waiting: fetch a whole batch
                answer = sqs.receive_message(
                    QueueUrl=QUEUE_URL,
                    MaxNumberOfMessages=TOGETHER,
                    WaitTimeSeconds=1 if is_idle else 0,  # a longer poll would not see SIGTERM
                    VisibilityTimeout=60,
                )
                for message in answer.get("Messages", []):
                    work = pool.submit(settler.settle_all, json.loads(message["Body"]))
                    in_flight[work] = message["ReceiptHandle"]
            if in_flight:
                finished, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                done += _settled(finished, in_flight)
            if len(done) >= TOGETHER // 2 or (done and not in_flight):
                _delete(sqs, done)
                done = []


def _settled(
    finished: Sequence[Future[None]] | set[Future[None]], in_flight: dict[Future[None], str]
) -> list[str]:
    receipts = []
    for work in finished:
        receipt = in_flight.pop(work)
        error = work.exception()
        if error is None:
            receipts.append(receipt)
        else:
            log(event="image.released", reason=repr(error))
    return receipts


def _delete(sqs: Any, receipts: list[str]) -> None:  # noqa: ANN401 - a client of boto3
    for start in range(0, len(receipts), TOGETHER):
        entries = [
            {"Id": str(index), "ReceiptHandle": receipt}
            for index, receipt in enumerate(receipts[start : start + TOGETHER])
        ]
        for failed in sqs.delete_message_batch(QueueUrl=QUEUE_URL, Entries=entries).get("Failed", []):
            log(event="queue.delete_failed", reason=str(failed))


if __name__ == "__main__":
    main()
