"""Reduce a failing schedule to the shortest one that violates the same invariant, and print its trace."""

from collections.abc import Callable, Sequence
from dataclasses import replace

from tests.simulation.schedule import Action, Schedule, Trouble, Upload, WorkerPlan
from tests.simulation.world import Outcome, describe, simulate


def shrunk(schedule: Schedule, invariant: str) -> Schedule:
    """
    Return a schedule that violates the invariant, and of which no single part can be left out.

    First halves, quarters, ... of the actions are left out (delta debugging), then whole workers and what is
    special about the remaining actions.
    """

    def fails(candidate: Schedule) -> bool:
        violation = simulate(candidate).violation
        return violation is not None and violation.invariant == invariant

    while True:
        before = schedule
        schedule = _without_actions(schedule, fails)
        for simpler in _simpler(schedule):
            if fails(simpler):
                schedule = simpler
                break
        if schedule == before:
            return schedule


def _without_actions(schedule: Schedule, fails: Callable[[Schedule], bool]) -> Schedule:
    actions: Sequence[Action] = schedule.actions
    size = max(1, len(actions) // 2)
    while True:
        at = 0
        while at < len(actions):
            candidate = [*actions[:at], *actions[at + size :]]
            if fails(schedule.with_actions(candidate)):
                actions = candidate
            else:
                at += size
        if size == 1:
            return schedule.with_actions(actions)
        size = max(1, size // 2)


def _simpler(schedule: Schedule) -> list[Schedule]:
    """Return schedules that are simpler in one respect."""
    simpler = []
    if len(schedule.workers) > 1:
        simpler.append(replace(schedule, workers=schedule.workers[:1]))
        simpler.append(replace(schedule, workers=schedule.workers[:-1]))
    plain = tuple(WorkerPlan(decoders=plan.decoders) for plan in schedule.workers)
    if plain != schedule.workers:
        simpler.append(replace(schedule, workers=plain))
    if schedule.is_versioned:
        simpler.append(replace(schedule, is_versioned=False))
    if schedule.duplicate_share:
        simpler.append(replace(schedule, duplicate_share=0.0))
    for number, action in enumerate(schedule.actions):
        if (other := _simpler_action(action)) != action:
            actions = [*schedule.actions[:number], other, *schedule.actions[number + 1 :]]
            simpler.append(schedule.with_actions(actions))
    return simpler


def _simpler_action(action: Action) -> Action:
    match action:
        case Upload():
            return replace(
                action,
                events_after_s=action.events_after_s[:1],
                event_format="s3",
                with_sequencer=True,
                metadata=0,
            )
        case Trouble():
            return replace(action, share=1.0)
    return action


def report(schedule: Schedule, outcome: Outcome) -> str:
    """Return what explains a failure: the shortest schedule, its trace, and how to repeat it."""
    assert outcome.violation is not None
    smallest = shrunk(schedule, outcome.violation.invariant)
    trace: list[str] = []
    violation = simulate(smallest, trace.append).violation
    workers = ", ".join(
        f"w{number}: version {plan.version}, {plan.decoders} decoders, clock {plan.clock_offset_s:+g} s"
        for number, plan in enumerate(smallest.workers)
    )
    lines = [
        f"Seed {schedule.seed} ({schedule.profile}): {violation}",
        f"To repeat it: make simulate SEED={schedule.seed}",
        f"The shortest schedule has {len(smallest.actions)} of {len(schedule.actions)} actions; {workers}.",
        *(f"{action.at_s:10.3f}  {describe(action)}" for action in smallest.actions),
        "Its trace, in seconds of virtual time:",
        *trace,
    ]
    return "\n".join(lines)
