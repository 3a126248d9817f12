"""The bounds of the soak test detect a worker that grows."""

import math

import pytest

from tests.chaos.processes import Descriptors, Memory
from tests.soak.bounds import check_bounds
from tests.soak.run import SoakOptions, SoakResult
from tests.soak.sampling import Sample, lag_between

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
        faults_active=number % 3 == 0,
    )


def broken(samples: list[Sample], *, left: int = 0, exit_status: int = 0) -> list[str]:
    result = SoakResult(
        options=SoakOptions(),
        samples=samples,
        uploads=3000,
        left=left,
        cut=1,
        halted=1,
        exit_status=exit_status,
    )
    return [entry.name for entry in check_bounds(result) if not entry.is_within]


def test_growth_during_the_warm_up_is_ignored() -> None:
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
def test_growth_with_each_sample_is_detected(growth: dict[str, int], name: str) -> None:
    ((what, step),) = growth.items()
    start = {"own": 100 * MB, "decoder": 50 * MB, "files": 25}[what]
    samples = [a_sample(number, **{what: start + step * number}) for number in range(150)]

    assert broken(samples) == [name]


def test_connections_that_are_never_closed_are_detected() -> None:
    assert broken([a_sample(number, half=1) for number in range(150)]) == ["half-closed connections"]


def test_messages_left_and_a_failed_exit_are_detected() -> None:
    samples = [a_sample(number) for number in range(150)]

    assert broken(samples, left=3, exit_status=1) == ["messages left at the end", "exit status"]


def test_lag_between_two_samples_excludes_earlier_measurements() -> None:
    earlier = {0.001: 10.0, 0.01: 10.0, 0.1: 20.0, math.inf: 20.0}
    later = {0.001: 60.0, 0.01: 109.0, 0.1: 120.0, math.inf: 120.0}

    assert [lag_between(earlier, later, share) for share in (0.5, 0.99, 1.0)] == [0.001, 0.01, 0.1]
