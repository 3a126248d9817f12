"""Describe operations in words."""

from typing import Final

from worker.console.operations.operation import Action, Operation, State
from worker.domain.status import ImageStatus

_VERBS: Final = {
    Action.RETRY: "Retry",
    Action.REPROCESS: "Reprocess",
    Action.REDRIVE: "Redrive",
    Action.RECONCILE: "Reconcile",
}

_BADGES: Final = {
    State.COUNTING: "running",
    State.READY: "waiting",
    State.STOPPING: "running",
    State.DISCARDED: "stopped",
}
"""State -> the status whose icon stands for it, where the names differ."""

_WORDS: Final = {State.READY: "waiting for confirmation"}


def title(operation: Operation) -> str:
    """Return what an operation does, as a heading: `Retry images that failed with corrupt`."""
    selection = operation.selection
    verb = _VERBS[operation.action]
    owner = f" of {selection.user_id}" if selection.user_id else ""
    match operation.action:
        case Action.RETRY:
            what = f"images{owner} that failed"
        case Action.REPROCESS:
            status = selection.status or ImageStatus.COMPLETED
            what = f"{status} images{owner}"
        case Action.REDRIVE:
            if selection.message_id:
                return f"{verb} the dead letter {selection.message_id}"
            what = "dead letters"
        case Action.RECONCILE:
            return f"{verb} stuck images" + (" and results" if selection.objects else "")
    code = f" with {selection.code}" if selection.code else ""
    changed = " whose recipe has changed" if selection.recipe_changed else ""
    return f"{verb} {what}{code}{changed}"


def verb(operation: Operation) -> str:
    """Return the verb on the button that confirms an operation."""
    return _VERBS[operation.action]


def badge(state: State) -> tuple[str, str]:
    """Return the name of the icon for a state, and the word next to it."""
    return _BADGES.get(state, state.value), _WORDS.get(state, state.value)


def noun(operation: Operation) -> str:
    """Return what an operation counts."""
    return "dead letters and their images" if operation.action is Action.REDRIVE else "images"
