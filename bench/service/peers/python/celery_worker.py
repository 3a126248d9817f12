"""
The same service on Celery, with SQS as its broker.

Celery reads no messages but its own, so the task is published when the picture is uploaded, with what S3
would say in its notification (`publish.py`). A bridge from the bucket's notifications would cost a receive, a
send and a delete for each picture more.
"""

import os
from typing import Any

from celery import Celery
from celery.signals import worker_process_init
from settle import Settler

QUEUE = "images"
settlers: list[Settler] = []

app = Celery("images", broker="sqs://")
app.conf.update(
    broker_transport_options={
        "region": os.environ["AWS_REGION"],
        "predefined_queues": {QUEUE: {"url": os.environ["RIVAL_QUEUE_URL"]}},
        "visibility_timeout": 60,
        "wait_time_seconds": 20,
        "polling_interval": 0.05,  # by default a second: eight pictures in each
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


@worker_process_init.connect
def open_clients(**_: object) -> None:
    """Each process has clients of its own: connections do not survive a fork."""
    settlers[:] = [Settler(connections=1)]


@app.task(name="process")
def process(notification: dict[str, Any]) -> None:
    """Settle everything that a notification tells of."""
    settlers[0].settle_all(notification)
