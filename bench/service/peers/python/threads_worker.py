"""The service on a thread pool: one thread receives and deletes messages in batches, the others process."""

import json
import os
import signal
import threading
from collections.abc import Iterable
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

import boto3  # type: ignore[import-untyped]  # has no types

from bench.service.peers.python.processor import ImageProcessor, log
from bench.service.peers.python.record import Client

QUEUE_URL = os.environ["PEER_QUEUE_URL"]
CONCURRENCY = int(os.environ["WORKER_CONCURRENCY"])
MAX_BATCH = 10


def main() -> None:
    """Consume the queue until SIGTERM."""
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    sqs: Client = boto3.session.Session().client("sqs")
    processor = ImageProcessor(connections=CONCURRENCY)
    in_flight: dict[Future[None], str] = {}
    processed: list[str] = []
    with ThreadPoolExecutor(CONCURRENCY) as pool:
        while not stopping.is_set():
            if len(in_flight) <= CONCURRENCY:  # every thread is busy and none waits: prefetch a whole batch
                response = sqs.receive_message(
                    QueueUrl=QUEUE_URL,
                    MaxNumberOfMessages=MAX_BATCH,
                    WaitTimeSeconds=0 if in_flight else 1,  # a longer poll would delay SIGTERM
                    VisibilityTimeout=60,
                )
                for message in response.get("Messages", []):
                    future = pool.submit(processor.process_notification, json.loads(message["Body"]))
                    in_flight[future] = message["ReceiptHandle"]
            if in_flight:
                finished, _ = wait(in_flight, return_when=FIRST_COMPLETED)
                processed += _processed(finished, in_flight)
            if len(processed) >= MAX_BATCH // 2 or (processed and not in_flight):
                _delete(sqs, processed)
                processed = []


def _processed(finished: Iterable[Future[None]], in_flight: dict[Future[None], str]) -> list[str]:
    """Remove finished messages from those in flight; return the receipt handles of the successful ones."""
    handles = []
    for future in finished:
        handle = in_flight.pop(future)
        error = future.exception()
        if error is None:
            handles.append(handle)
        else:
            log(event="image.released", reason=repr(error))
    return handles


def _delete(sqs: Client, handles: list[str]) -> None:
    for start in range(0, len(handles), MAX_BATCH):
        entries = [
            {"Id": str(index), "ReceiptHandle": handle}
            for index, handle in enumerate(handles[start : start + MAX_BATCH])
        ]
        for failed in sqs.delete_message_batch(QueueUrl=QUEUE_URL, Entries=entries).get("Failed", []):
            log(event="queue.delete_failed", reason=str(failed))


if __name__ == "__main__":
    main()
