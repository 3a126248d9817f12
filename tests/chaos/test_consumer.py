"""The comparison of the events that a consumer has received with the records."""

import json
import random
from pathlib import Path

import pytest

from tests.chaos.consumer import EventConsumer
from tests.support.builders import a_claimant, a_job, all_transitions
from worker.domain.claim import Claimed, decide
from worker.domain.image import Image
from worker.domain.transition import apply_all

COMPLETED = "user_1/img_1/1/completed"


@pytest.fixture
def completed() -> Image:
    result = decide(None, a_job(), a_claimant())
    assert isinstance(result, Claimed)
    return apply_all(result.image, all_transitions())


def differences(image: Image, *received: str) -> list[str]:
    """Return what a consumer finds that has received the events with these ids."""
    consumer = EventConsumer(Path(), {}, random.Random(1))
    for event_id in received:
        line = json.dumps({"detail": {"id": event_id, "imageId": event_id.split("/")[1]}})
        consumer.receive(f"{line}\n".encode())
    return [broken.message for broken in consumer.differences({image.image_id: image})]


def test_each_end_of_the_record_received_once_or_repeated_is_right(completed: Image) -> None:
    assert differences(completed, COMPLETED) == []
    assert differences(completed, COMPLETED, COMPLETED) == []


def test_missing_and_invented_events_are_found(completed: Image) -> None:
    assert "were not received" in differences(completed)[0]
    assert "it ended 1 times" in differences(completed, COMPLETED, "user_1/img_1/1/failed")[0]
    assert differences(completed, COMPLETED, "user_1/img_2/1/completed") == ["it has events, and no record"]


def test_a_line_that_was_cut_off_is_no_event() -> None:
    consumer = EventConsumer(Path(), {}, random.Random(1))
    consumer.receive(b'{"detail": {"id": "user_1/im')
    assert consumer.received == {}
