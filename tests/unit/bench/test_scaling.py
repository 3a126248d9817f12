from collections.abc import Callable
from copy import deepcopy
from dataclasses import dataclass, replace

import numpy as np
import pytest

from bench.scaling.autoscaler import Autoscaler, Fixed, Observed
from bench.scaling.fleet import Replica, Run, simulate
from bench.scaling.keda import Keda, Rules, Step
from bench.scaling.report import percentiles
from bench.scaling.target_tracking import TargetTracking
from bench.scaling.traffic import DAY_S, Series, Traffic

REPLICA = Replica()

UP = Rules(0, (Step("Pods", 4, 60), Step("Percent", 100, 60)))
DOWN = Rules(300, (Step("Pods", 1, 60), Step("Percent", 20, 60)))
KEDA = Keda(
    backlog_each=100, sent_each=None, least=1, most=50, polling_s=30, cooldown_s=300, up=UP, down=DOWN
)
TRACKING = TargetTracking(
    target=100, least=1, most=50, out_cooldown_s=60, in_cooldown_s=300, counts_sent=False
)

SHIPPED = pytest.mark.parametrize("shipped", [Keda.shipped, TargetTracking.shipped])


def steady(per_s: float, seconds: int) -> Series:
    return np.full(seconds, per_s)


def burst(uploads: float, *, lasts_s: int, then_s: int) -> Series:
    return np.concatenate([steady(uploads / lasts_s, lasts_s), np.zeros(then_s)])


def of_backlog(autoscaler: Autoscaler, *backlogs: tuple[int, float], desired: int = 1) -> list[int]:
    """Show an autoscaler a backlog for so many seconds, then the next; return each change of its mind."""
    autoscaler, changes, now_s = deepcopy(autoscaler), [], 0
    for seconds, backlog in backlogs:
        for _ in range(seconds):
            wanted = autoscaler.decide(
                Observed(now_s=now_s, backlog=backlog, sent=0, running=desired), desired
            )
            if wanted != desired:
                changes.append(wanted)
            desired, now_s = wanted, now_s + 1
    return changes


def changes_of(run: Run, *, since_s: int) -> int:
    return int(np.count_nonzero(np.diff(run.replicas[since_s:])))


def test_the_same_seed_draws_the_same_uploads_with_the_whole_burst_and_none_in_the_silence() -> None:
    traffic = Traffic()
    arrived = traffic.arrivals(7)
    np.testing.assert_array_equal(arrived, traffic.arrivals(7))
    during = slice(traffic.burst_at_s, traffic.burst_at_s + traffic.burst_lasts_s)
    assert len(arrived) == 3 * DAY_S
    assert arrived[during].sum() - replace(traffic, burst=0).rates()[during].sum() == pytest.approx(
        traffic.burst, rel=0.01
    )
    assert not arrived[traffic.silent_from_s : traffic.silent_to_s].any()


@pytest.mark.parametrize(
    "autoscaler", [Keda.shipped(), TargetTracking.shipped(), Fixed(2), replace(Keda.shipped(), least=0)]
)
def test_every_message_is_done_once_or_still_waits(autoscaler: Autoscaler) -> None:
    arrived = np.random.default_rng(3).poisson(120, 3600).astype(np.float64)
    run = simulate(arrived, autoscaler, REPLICA)
    np.testing.assert_allclose(np.cumsum(arrived), np.cumsum(run.served) + run.waiting)
    assert (run.waiting >= 0).all()


@SHIPPED
def test_there_are_never_more_replicas_than_the_most_nor_fewer_than_the_least(
    shipped: Callable[[], Keda | TargetTracking],
) -> None:
    policy = shipped()
    run = simulate(burst(500_000, lasts_s=300, then_s=3 * 3600), policy, REPLICA)
    assert (run.replicas.min(), run.replicas.max()) == (policy.least, policy.most)


@SHIPPED
def test_the_shipped_policies_work_off_a_burst_as_fast_as_their_most_allows_and_go_back_to_the_floor(
    shipped: Callable[[], Keda | TargetTracking],
) -> None:
    policy, uploads = shipped(), 300_000
    run = simulate(burst(uploads, lasts_s=600, then_s=2 * 3600), policy, REPLICA)
    at_full_size_s = uploads / (policy.most * REPLICA.per_s)
    reaction_s = 7 * 60  # three minutes of figures, their delay, the start, and steps on the way
    done_s = int(np.argmax(np.cumsum(run.served) > uploads - 1))
    assert at_full_size_s < done_s < max(at_full_size_s, 600) + reaction_s
    assert run.replicas[-1] == policy.least


@SHIPPED
def test_the_shipped_policies_settle_under_steady_uploads_and_keep_up(
    shipped: Callable[[], Keda | TargetTracking],
) -> None:
    run = simulate(steady(150, 4 * 3600), shipped(), REPLICA)
    assert changes_of(run, since_s=7200) == 0
    assert run.waiting[7200:].max() == 0


@pytest.mark.parametrize(
    "autoscaler",
    [
        replace(Keda.shipped(), sent_each=None),
        replace(TargetTracking.shipped(), counts_sent=False, target=600),
    ],
)
def test_the_backlog_alone_makes_the_fleet_swing(autoscaler: Autoscaler) -> None:
    run = simulate(steady(150, 4 * 3600), autoscaler, REPLICA)
    assert changes_of(run, since_s=7200) > 5


@dataclass
class Shrinking:
    """Wants ten replicas for a minute, and then two."""

    least: int = 10

    def decide(self, seen: Observed, desired: int) -> int:  # noqa: ARG002 - the protocol's
        return 10 if seen.now_s < 60 else 2


def test_replicas_without_a_pause_are_not_stopped_where_the_busy_protect_themselves() -> None:
    for per_s, left in ((50, 2), (350, 10)):
        assert simulate(steady(per_s, 90), Shrinking(), REPLICA, busy_s=5).replicas[-1] == left
        assert simulate(steady(per_s, 90), Shrinking(), REPLICA).replicas[-1] == 2


@pytest.mark.parametrize(
    ("backlog", "replicas", "expected"),
    [
        (250, 1, 3),  # ceil(2.5)
        (300, 3, 3),
        (329, 3, 3),  # 10 % too much is tolerated
        (331, 3, 4),
        (271, 3, 3),  # and too little
        (269, 3, 3),  # ceil(2.69)
        (199, 3, 2),
        (0, 3, 0),
    ],
)
def test_the_metric_asks_for_the_backlog_over_its_target_rounded_up(
    backlog: float, replicas: int, expected: int
) -> None:
    assert expected == KEDA.recommend(Observed(now_s=0, backlog=backlog, sent=0, running=1), replicas)


def test_scaling_up_doubles_or_adds_the_pods_of_the_step_whichever_is_more_in_each_period() -> None:
    # From 1: four more; then nothing for the rest of the minute. From 5 in the next: double. From 10: double.
    assert of_backlog(KEDA, (300, 100_000)) == [5, 10, 20, 40, 50]


def test_scaling_down_waits_for_its_window_and_takes_the_larger_step_in_each_period() -> None:
    # 20 % of 20 is 4, and rounding goes down: 20, 16, 12, 9, 7, 5; then one a minute.
    assert of_backlog(KEDA, (15, 2000), (285, 0), desired=20) == []
    assert of_backlog(KEDA, (15, 2000), (1200, 0), desired=20) == [16, 12, 9, 7, 5, 4, 3, 2, 1]


def test_a_dip_shorter_than_the_window_removes_nobody() -> None:
    assert of_backlog(KEDA, (60, 1000), (240, 0), (60, 1000), (240, 0), desired=10) == []


def test_a_fleet_without_work_goes_to_zero_after_the_cooldown_and_comes_back_at_the_next_poll() -> None:
    keda = replace(KEDA, least=0)
    assert of_backlog(keda, (300, 0)) == []
    assert of_backlog(keda, (601, 0), (29, 5)) == [0]
    assert of_backlog(keda, (601, 0), (30, 5)) == [0, 1]


def test_target_tracking_needs_three_minutes_above_the_target_and_then_acts_in_proportion() -> None:
    # Three minutes, and one until their figures can be read.
    assert of_backlog(TRACKING, (240, 250)) == []
    assert of_backlog(TRACKING, (241, 250)) == [3]


def test_target_tracking_needs_fifteen_minutes_below_nine_tenths_of_the_target_to_scale_in() -> None:
    assert of_backlog(TRACKING, (16 * 60, 89), desired=1) == []
    assert of_backlog(TRACKING, (3600, 10 * 91), desired=10) == []
    assert of_backlog(TRACKING, (16 * 60, 10 * 49), desired=10) == []
    assert of_backlog(TRACKING, (16 * 60 + 1, 10 * 49), desired=10) == [5]


def test_target_tracking_waits_out_its_cooldown_after_scaling_in() -> None:
    tracking = replace(TRACKING, in_cooldown_s=1800)
    changes = of_backlog(tracking, (16 * 60 + 1800, 200), desired=10)
    assert changes == [2]
    assert of_backlog(tracking, (16 * 60 + 1801, 0), desired=10) == [1]


def test_the_delay_is_what_lies_between_arrival_and_service_of_the_same_message() -> None:
    replica = replace(REPLICA, share=1, cpus=1, child_s=0.05, parent_s=0.05, waiting_s=0)
    assert replica.per_s == pytest.approx(10)
    run = simulate(burst(100, lasts_s=1, then_s=20), Fixed(1), replica)
    # The middle of the hundred comes half a second after the start, and is done after five.
    assert run.delays()[0] == pytest.approx(4.5 + replica.latency_s)
    assert run.replica_hours == pytest.approx(21 / 3600)


def test_a_percentile_counts_uploads_and_not_seconds() -> None:
    delays, weights = np.array([1.0, 50.0, 2.0]), np.array([98.0, 1.0, 1.0])
    assert percentiles(delays, weights, 0.5, 0.985, 1) == [1.0, 2.0, 50.0]


def test_a_replica_starts_to_work_only_when_it_has_started() -> None:
    keda = replace(Keda.shipped(), up=Rules(0, (Step("Pods", 100, 15),)))
    run = simulate(steady(500, 120), keda, replace(REPLICA, starts_in_s=90))
    assert run.replicas[16] > 1
    before = run.served[80]
    assert before == pytest.approx(REPLICA.per_s)
    assert run.served[119] > before
