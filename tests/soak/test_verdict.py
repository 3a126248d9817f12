"""The verdict of the soak: it has to notice a worker that grows."""

import math

import pytest

from tests.chaos.processes import Descriptors, Memory
from tests.soak.run import Soaked, Terms
from tests.soak.verdict import judgements
from tests.soak.vitals import Sample, lag_between

MB = 1_000_000


def a_sample(
    number: int, *, own: int = 100 * MB, decoder: int = 50 * MB, files: int = 25, half: int = 0
) -> Sample:
    return Sample(
        at_s=number * 4.0,
        parent=Memory(rss=own, pss=own, uss=own),
        decoders={7: Memory(rss=decoder, pss=decoder, uss=decoder)},
        descriptors=Descriptors(count=files, established=files - 10, half_closed=half),
        lag={0.01: 40.0 * number, math.inf: 40.0 * number},
        images=number * 20,
        restarts=0,
        is_stormy=number % 3 == 0,
    )


def broken(samples: list[Sample], *, left: int = 0, exit_status: int = 0) -> list[str]:
    soaked = Soaked(
        terms=Terms(), samples=samples, uploads=3000, left=left, cut=1, halted=1, exit_status=exit_status
    )
    return [one.name for one in judgements(soaked) if not one.is_kept]


def test_a_worker_that_only_grows_while_it_warms_up_is_steady() -> None:
    samples = [a_sample(number, own=min(60 + number, 100) * MB) for number in range(150)]

    assert broken(samples) == []


@pytest.mark.parametrize(
    ("growth", "name"),
    [
        ({"own": 40_000}, "memory of the worker"),
        ({"decoder": 200_000}, "memory of the decoders"),
        ({"files": 1}, "open files"),
    ],
)
def test_what_grows_with_each_sample_is_noticed(growth: dict[str, int], name: str) -> None:
    ((what, step),) = growth.items()
    start = {"own": 100 * MB, "decoder": 50 * MB, "files": 25}[what]
    samples = [a_sample(number, **{what: start + step * number}) for number in range(150)]

    assert broken(samples) == [name]


def test_connections_that_are_never_closed_are_noticed() -> None:
    assert broken([a_sample(number, half=1) for number in range(150)]) == ["half-closed connections"]


def test_messages_that_are_left_and_a_bad_end_are_noticed() -> None:
    samples = [a_sample(number) for number in range(150)]

    assert broken(samples, left=3, exit_status=1) == ["messages left at the end", "exit status"]


def test_lag_between_two_samples_leaves_out_what_was_before() -> None:
    earlier = {0.001: 10.0, 0.01: 10.0, 0.1: 20.0, math.inf: 20.0}
    later = {0.001: 60.0, 0.01: 109.0, 0.1: 120.0, math.inf: 120.0}

    assert [lag_between(earlier, later, share) for share in (0.5, 0.99, 1.0)] == [0.001, 0.01, 0.1]
