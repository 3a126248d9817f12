"""Describe operations in words."""

from collections.abc import Mapping
from datetime import datetime
from typing import Final

from worker.console.operations.operation import DELETING, Action, Operation, State
from worker.console.operations.store import document
from worker.domain.status import ImageStatus
from worker.domain.step import Json

_VERBS: Final = {
    Action.RETRY: "Retry",
    Action.REPROCESS: "Reprocess",
    Action.REDRIVE: "Redrive",
    Action.RECONCILE: "Reconcile",
    Action.DELETE: "Delete",
    Action.FORGET: "Forget",
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
        case Action.DELETE:
            return f"{verb} the image {selection.image_id}{owner}"
        case Action.FORGET:
            return f"{verb} the user {selection.user_id}"
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
    names = {Action.REDRIVE: "dead letters and their images", Action.FORGET: "images and profiles"}
    return names.get(operation.action, "images")


def content(recorded: Operation, *, now: datetime) -> Mapping[str, Json]:
    """Return an operation as pages and their JSON show it."""
    operation = recorded.as_seen_at(now)
    icon, word = badge(operation.state)
    return {
        "expected": None,
        "startedAt": None,
        "endedAt": None,
        "outcome": None,
        **document(operation),
        "title": title(operation),
        "badge": icon,
        "stateText": word,
        "noun": noun(operation),
        "verb": verb(operation),
        "isActive": operation.is_active,
        "isPausable": operation.state is State.RUNNING,
        "isContinuable": operation.state in {State.STOPPED, State.FAILED},
        "isDestructive": operation.action in DELETING,
        "needsTyping": operation.needs_typing,
        "handled": operation.handled,
        "isDryRun": operation.started_at is None,
    }
