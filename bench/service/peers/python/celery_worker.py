"""
The service on Celery, with SQS as broker.

Celery receives only messages in its own format. Its tasks are published at the upload (`publish.py`), with
the S3 notification as argument; a bridge from the bucket's notifications would cost three more requests per
image.
"""

import os
from typing import Any

import kombu.asynchronous.aws.connection as sqs_connection  # type: ignore[import-not-found]  # as Celery
from celery import Celery  # type: ignore[import-not-found]  # installed in the peer's environment only
from celery.signals import worker_process_init  # type: ignore[import-not-found]  # installed with the peer

from bench.service.peers.python.processor import ImageProcessor

QUEUE = "images"

if authority := os.environ.get("AWS_CA_BUNDLE"):
    # kombu receives messages through libcurl, for which it has no setting: it always trusts certifi's list.
    sqs_connection.get_cert_path = lambda _verify: authority

processors: list[ImageProcessor] = []

app = Celery("images", broker="sqs://")
app.conf.update(
    broker_transport_options={
        "region": os.environ["AWS_REGION"],
        "predefined_queues": {QUEUE: {"url": os.environ["PEER_QUEUE_URL"]}},
        "visibility_timeout": 60,
        "wait_time_seconds": 20,
        "polling_interval": 0.05,  # the default of 1 s would limit it to 8 images per second
    },
    task_default_queue=QUEUE,
    task_acks_late=True,
    task_reject_on_worker_lost=True,
    task_ignore_result=True,
    worker_prefetch_multiplier=1,
    worker_enable_remote_control=False,
    worker_hijack_root_logger=False,
    worker_redirect_stdouts=False,
)


def open_clients(**_: object) -> None:
    """Create clients in each worker process: connections must not be shared across a fork."""
    processors[:] = [ImageProcessor(connections=1)]


def process_notification(notification: dict[str, Any]) -> None:
    """Process every upload of an S3 notification."""
    processors[0].process_notification(notification)


worker_process_init.connect(open_clients)
process_task = app.task(process_notification, name="process")
