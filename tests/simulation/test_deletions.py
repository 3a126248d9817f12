"""
Deletions race with processing, newer uploads, reprocessing, repeated events and crashes, in any interleaving.

The commands and the workers are the real ones. A schedule contains what happens at which time; its seed
determines the time of every request and response.
"""

from collections.abc import Iterator
from typing import Final

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.simulation.fleet import LEASE_S
from tests.simulation.network import Fault
from tests.simulation.schedule import (
    Action,
    DeleteImage,
    DeleteUpload,
    Drain,
    Kill,
    Profile,
    Repair,
    RepeatEvent,
    Schedule,
    Suspend,
    Trouble,
    Upload,
    WorkerPlan,
)
from tests.simulation.uploads import Kind
from tests.simulation.world import simulate, simulating

KEY = "uploads/ann/a.jpg"
TIMES = st.integers(min_value=0, max_value=400).map(lambda hundredths: 1 + hundredths / 100)
"""Everything happens within four seconds, of which the first upload takes up to two."""
REQUESTS = st.none() | st.integers(min_value=1, max_value=16)


@pytest.fixture(autouse=True)
def _simulation() -> Iterator[None]:
    with simulating():
        yield


@st.composite
def uploads(draw: st.DrawFn, number: int) -> Upload:
    return Upload(
        at_s=1 + 1.2 * number,
        upload_id=f"u{number}",
        user="ann",
        name="a.jpg",
        kind=draw(st.sampled_from((Kind.GOOD, Kind.GOOD, Kind.GOOD, Kind.CORRUPT))),
        decode_ms=draw(st.sampled_from((20, 400, 1500))),
        events_after_s=draw(st.sampled_from(((0.05,), (0.05, 0.1), (0.05, 2.0), (1.5,)))),
        with_sequencer=draw(st.booleans()),
    )


def others() -> st.SearchStrategy[Action]:
    return st.one_of(
        st.builds(RepeatEvent, at_s=TIMES, key=st.just(KEY)),
        st.builds(DeleteUpload, at_s=TIMES, key=st.just(KEY)),
        st.builds(
            Repair,
            at_s=TIMES,
            command=st.sampled_from(("retry", "reprocess", "reconcile", "enqueue")),
            killed_at_request=REQUESTS,
        ),
        st.builds(Kill, at_s=TIMES, worker=st.just(0), at_request=REQUESTS, is_applied=st.booleans()),
        st.builds(Drain, at_s=TIMES, worker=st.just(0), is_forced=st.booleans()),
        st.builds(
            Trouble,
            at_s=TIMES,
            for_s=st.just(3.0),
            service=st.sampled_from(("s3", "dynamodb")),
            fault=st.sampled_from((Fault.SERVER_ERROR, Fault.RESPONSE_LOST, Fault.CONFLICT)),
            share=st.sampled_from((0.1, 0.4)),
        ),
    )


def suspensions() -> st.SearchStrategy[Action]:
    """Return suspensions of a worker, some of them for longer than its lease."""
    return st.builds(
        Suspend, at_s=TIMES, worker=st.just(0), for_s=st.sampled_from((2.0, 25.0, LEASE_S + 10.0))
    )


@st.composite
def schedules(draw: st.DrawFn, max_suspensions: int = 0) -> Schedule:
    actions: list[Action] = [draw(uploads(number)) for number in range(draw(st.integers(1, 3)))]
    actions += draw(
        st.lists(
            st.builds(DeleteImage, at_s=TIMES, key=st.just(KEY), killed_at_request=REQUESTS),
            min_size=1,
            max_size=3,
        )
    )
    actions += draw(st.lists(others(), max_size=4))
    actions += draw(st.lists(suspensions(), max_size=max_suspensions))
    return Schedule(
        seed=draw(st.integers(0, 10_000)),
        profile=Profile.DELETIONS,
        workers=draw(st.sampled_from(((WorkerPlan(),), (WorkerPlan(), WorkerPlan())))),
        actions=tuple(sorted(actions, key=lambda action: action.at_s)),
        is_versioned=draw(st.booleans()),
        duplicate_share=draw(st.sampled_from((0.0, 0.0, 0.3))),
    )


def an_upload(number: int, *, at_s: float, decode_ms: int) -> Upload:
    return Upload(
        at_s=at_s,
        upload_id=f"u{number}",
        user="ann",
        name="a.jpg",
        decode_ms=decode_ms,
        events_after_s=(0.05,),
    )


TAKEN_OVER: Final = Schedule(
    seed=0,
    profile=Profile.DELETIONS,
    workers=(WorkerPlan(), WorkerPlan()),
    actions=(
        an_upload(0, at_s=1.0, decode_ms=1500),
        Kill(at_s=1.06, worker=0, at_request=6),
        an_upload(1, at_s=2.2, decode_ms=20),
        DeleteImage(at_s=2.37, key=KEY),
        an_upload(2, at_s=3.4, decode_ms=20),
    ),
)
"""A worker from which a newer upload took the image stores a result after that was deleted, and is killed."""


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedules())
@example(TAKEN_OVER)
def test_every_interleaving_with_a_deletion_ends_legal_and_consistent(schedule: Schedule) -> None:
    assert simulate(schedule).violation is None


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(schedules(max_suspensions=2))
def test_a_deletion_while_a_worker_is_suspended_ends_legal_and_consistent(schedule: Schedule) -> None:
    assert simulate(schedule).violation is None
