from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.scaling.autoscaler import Autoscaler, Fixed, Observation
from bench.scaling.fleet import Replica, Run, simulate
from bench.scaling.keda import Keda, Policy, Rules
from bench.scaling.report import percentiles
from bench.scaling.target_tracking import TargetTracking
from bench.scaling.traffic import DAY_S, Series, Traffic

REPLICA = Replica()

UP = Rules(0, (Policy("Pods", 4, 60), Policy("Percent", 100, 60)))
DOWN = Rules(300, (Policy("Pods", 1, 60), Policy("Percent", 20, 60)))
KEDA = Keda(
    backlog_per_replica=100,
    sent_per_replica=None,
    min_replicas=1,
    max_replicas=50,
    polling_s=30,
    cooldown_s=300,
    up=UP,
    down=DOWN,
)
TRACKING = TargetTracking(
    target=100, min_replicas=1, max_replicas=50, out_cooldown_s=60, in_cooldown_s=300, counts_sent=False
)

SHIPPED = pytest.mark.parametrize("shipped", [Keda.shipped, TargetTracking.shipped])


def steady(per_s: float, seconds: int) -> Series:
    return np.full(seconds, per_s)


def burst(uploads: float, *, duration_s: int, then_s: int) -> Series:
    return np.concatenate([steady(uploads / duration_s, duration_s), np.zeros(then_s)])


def changes_under(autoscaler: Autoscaler, *backlogs: tuple[int, float], desired: int = 1) -> list[int]:
    """Return each new size that an autoscaler chooses under (seconds, backlog) pairs, one after the other."""
    autoscaler, changes, now_s = deepcopy(autoscaler), [], 0
    for seconds, backlog in backlogs:
        for _ in range(seconds):
            observation = Observation(now_s=now_s, backlog=backlog, sent=0, running=desired)
            wanted = autoscaler.decide(observation, desired)
            if wanted != desired:
                changes.append(wanted)
            desired, now_s = wanted, now_s + 1
    return changes


def size_changes(run: Run, *, since_s: int) -> int:
    return int(np.count_nonzero(np.diff(run.replicas[since_s:])))


def test_the_same_seed_gives_the_same_uploads_with_the_whole_burst_and_a_period_without_any() -> None:
    traffic = Traffic()
    arrived = traffic.arrivals(7)
    np.testing.assert_array_equal(arrived, traffic.arrivals(7))
    during = slice(traffic.burst_start_s, traffic.burst_end_s)
    assert len(arrived) == 3 * DAY_S
    assert arrived[during].sum() - traffic.rates()[during].sum() == pytest.approx(traffic.burst, rel=0.01)
    assert not arrived[traffic.silent_from_s : traffic.silent_until_s].any()


@pytest.mark.parametrize(
    "autoscaler",
    [Keda.shipped(), TargetTracking.shipped(), Fixed(2), replace(Keda.shipped(), min_replicas=0)],
)
def test_every_message_is_processed_once_or_is_in_the_backlog(autoscaler: Autoscaler) -> None:
    arrived = np.random.default_rng(3).poisson(120, 3600).astype(np.float64)
    run = simulate(arrived, autoscaler, REPLICA)
    np.testing.assert_allclose(np.cumsum(arrived), np.cumsum(run.processed) + run.backlog)
    assert (run.backlog >= 0).all()


@SHIPPED
def test_the_fleet_stays_between_minimum_and_maximum(shipped: Callable[[], Keda | TargetTracking]) -> None:
    policy = shipped()
    run = simulate(burst(500_000, duration_s=300, then_s=3 * 3600), policy, REPLICA)
    assert (run.replicas.min(), run.replicas.max()) == (policy.min_replicas, policy.max_replicas)


@SHIPPED
def test_the_shipped_policies_process_a_burst_as_fast_as_their_maximum_allows_and_return_to_the_minimum(
    shipped: Callable[[], Keda | TargetTracking],
) -> None:
    policy, uploads = shipped(), 300_000
    run = simulate(burst(uploads, duration_s=600, then_s=2 * 3600), policy, REPLICA)
    at_full_size_s = uploads / (policy.max_replicas * REPLICA.per_s)
    reaction_s = 7 * 60  # three minutes of metrics, their delay, startup, and intermediate sizes
    processed_s = int(np.argmax(np.cumsum(run.processed) > uploads - 1))
    assert at_full_size_s < processed_s < max(at_full_size_s, 600) + reaction_s
    assert run.replicas[-1] == policy.min_replicas


@SHIPPED
def test_the_shipped_policies_settle_under_steady_uploads_and_keep_up(
    shipped: Callable[[], Keda | TargetTracking],
) -> None:
    run = simulate(steady(150, 4 * 3600), shipped(), REPLICA)
    assert size_changes(run, since_s=7200) == 0
    assert run.backlog[7200:].max() == 0


@pytest.mark.parametrize(
    "autoscaler",
    [
        replace(Keda.shipped(), sent_per_replica=None),
        replace(TargetTracking.shipped(), counts_sent=False, target=600),
    ],
)
def test_a_policy_on_the_backlog_only_makes_the_fleet_oscillate(autoscaler: Autoscaler) -> None:
    run = simulate(steady(150, 4 * 3600), autoscaler, REPLICA)
    assert size_changes(run, since_s=7200) > 5


@dataclass
class Shrinking:
    """Requests ten replicas for a minute, then two."""

    min_replicas: int = 10

    def decide(self, observation: Observation, desired: int) -> int:
        return 10 if observation.now_s < 60 else 2


def test_replicas_without_pauses_are_not_stopped_if_busy_replicas_are_protected() -> None:
    for per_s, left in ((50, 2), (350, 10)):
        run = simulate(steady(per_s, 90), Shrinking(), REPLICA, protected_after_s=5)
        assert run.replicas[-1] == left
        assert simulate(steady(per_s, 90), Shrinking(), REPLICA).replicas[-1] == 2


@pytest.mark.parametrize(
    ("backlog", "replicas", "expected"),
    [
        (250, 1, 3),  # ceil(2.5)
        (300, 3, 3),
        (329, 3, 3),  # 10 % above the target is tolerated
        (331, 3, 4),
        (271, 3, 3),  # and 10 % below
        (269, 3, 3),  # ceil(2.69)
        (199, 3, 2),
        (0, 3, 0),
    ],
)
def test_the_recommendation_is_the_backlog_divided_by_its_target_rounded_up(
    backlog: float, replicas: int, expected: int
) -> None:
    observation = Observation(now_s=0, backlog=backlog, sent=0, running=1)
    assert expected == KEDA.recommend(observation, replicas)


def test_while_arrivals_are_unreadable_the_backlog_scales_out_and_nothing_scales_in() -> None:
    keda = replace(KEDA, sent_per_replica=100, fallback_replicas=4, unreadable=(0, 10_000))
    assert changes_under(keda, (600, 0)) == [4]
    assert changes_under(keda, (600, 2000), (1200, 0), desired=10) == [20]
    assert changes_under(replace(keda, fallback_replicas=None), (900, 0), desired=3) == [2, 1]


def test_a_policy_on_the_cpu_only_scales_out() -> None:
    tracking, sizes = replace(TRACKING, cpu_target=0.5, out_cooldown_s=600), [1]
    for second in range(2400):
        size, cpu = sizes[-1], 0.75 if second < 300 else 0.1
        observation = Observation(now_s=second, backlog=95 * size, sent=0, running=size, cpu=cpu)
        sizes.append(tracking.decide(observation, size))
    assert (set(sizes), sizes[-1]) == ({1, 2}, 2)


def test_scaling_up_uses_the_larger_of_doubling_and_adding_pods_in_each_period() -> None:
    # Four more than 1, then none for the rest of the minute; in each following minute the size doubles.
    assert changes_under(KEDA, (300, 100_000)) == [5, 10, 20, 40, 50]


def test_scaling_down_waits_for_its_window_and_uses_the_larger_change_in_each_period() -> None:
    # 20 % of 20 is 4, rounded down: 20, 16, 12, 9, 7, 5; then one per minute.
    assert changes_under(KEDA, (15, 2000), (285, 0), desired=20) == []
    assert changes_under(KEDA, (15, 2000), (1200, 0), desired=20) == [16, 12, 9, 7, 5, 4, 3, 2, 1]


def test_a_dip_shorter_than_the_window_does_not_scale_down() -> None:
    assert changes_under(KEDA, (60, 1000), (240, 0), (60, 1000), (240, 0), desired=10) == []


def test_a_fleet_without_work_scales_to_zero_after_the_cooldown_and_back_at_the_next_poll() -> None:
    keda = replace(KEDA, min_replicas=0)
    assert changes_under(keda, (300, 0)) == []
    assert changes_under(keda, (601, 0), (29, 5)) == [0]
    assert changes_under(keda, (601, 0), (30, 5)) == [0, 1]


def test_target_tracking_scales_out_in_proportion_after_three_minutes_above_the_target() -> None:
    # Three minutes, and one more until their metrics can be read.
    assert changes_under(TRACKING, (240, 250)) == []
    assert changes_under(TRACKING, (241, 250)) == [3]


def test_target_tracking_scales_in_after_fifteen_minutes_below_nine_tenths_of_the_target() -> None:
    assert changes_under(TRACKING, (16 * 60, 89), desired=1) == []
    assert changes_under(TRACKING, (3600, 10 * 91), desired=10) == []
    assert changes_under(TRACKING, (16 * 60, 10 * 49), desired=10) == []
    assert changes_under(TRACKING, (16 * 60 + 1, 10 * 49), desired=10) == [5]


def test_target_tracking_waits_for_the_cooldown_after_scaling_in() -> None:
    tracking = replace(TRACKING, in_cooldown_s=1800)
    assert changes_under(tracking, (16 * 60 + 1800, 200), desired=10) == [2]
    assert changes_under(tracking, (16 * 60 + 1801, 0), desired=10) == [1]


def test_the_delay_is_the_time_from_arrival_to_completion_of_the_same_message() -> None:
    replica = replace(REPLICA, utilization=1, cpus=1, decoder_s=0.05, worker_s=0.05, aws_s=0)
    assert replica.per_s == pytest.approx(10)
    run = simulate(burst(100, duration_s=1, then_s=20), Fixed(1), replica)
    # The middle one of a hundred uploads arrives half a second after the start and is processed after five.
    assert run.delays()[0] == pytest.approx(4.5 + replica.latency_s)
    assert run.replica_hours == pytest.approx(21 / 3600)


def test_percentiles_count_uploads_and_not_seconds() -> None:
    delays, uploads = np.array([1.0, 50.0, 2.0]), np.array([98.0, 1.0, 1.0])
    assert percentiles(delays, uploads, 0.5, 0.985, 1) == [1.0, 2.0, 50.0]


def test_a_replica_processes_nothing_until_it_has_started() -> None:
    keda = replace(Keda.shipped(), up=Rules(0, (Policy("Pods", 100, 15),)))
    run = simulate(steady(500, 120), keda, replace(REPLICA, startup_s=90))
    assert run.replicas[16] > 1
    before = run.processed[80]
    assert before == pytest.approx(REPLICA.per_s)
    assert run.processed[119] > before
