"""
Keep the history of an image bounded, and number its entries independently of what was dropped.

A history has its first entry, a summary of the entries that were dropped, and those of the last attempts. It
is shortened in the write that begins an attempt or requests one; under a lease it only grows. The summary
contains how many entries it replaces, so that an entry keeps its number when others are dropped, and a write
whose response was lost is recognised by the numbers of its entries.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from itertools import pairwise
from typing import Final

from worker.domain import clock
from worker.domain.image import HistoryEntry
from worker.domain.status import TERMINAL_STATUSES, ImageMove, ImageStatus
from worker.domain.step import Json

SUMMARISED: Final = "summarised"
"""Status of the entry that replaces the dropped ones; older versions of the worker read it as any entry."""

KEPT_ATTEMPTS: Final = 5
"""Attempts whose entries are kept: as many as a message has by default."""

MAX_ENTRIES: Final = 64
"""Entries that are kept at most, whatever their attempts: requests while an image waits count too."""

REQUEUED: Final = "requeued"
"""Reason of an entry which records that the message of a pending image was sent again."""

RETENTION_SET: Final = "retention_set"
"""Status of the entry which records that the image's `ttl` was set or removed; the image's own stays."""

ATTEMPT_RAISED: Final = "attempt_raised"
"""Reason of an entry which records that an attempt got a higher number than its claim gave it."""

OUTCOMES: Final = (
    *(status.value for status in ImageStatus if status in TERMINAL_STATUSES),
    *(move.value for move in ImageMove if move not in {ImageMove.CLAIMED, *TERMINAL_STATUSES}),
    REQUEUED,
    RETENTION_SET,
)
"""What a summary counts, in the order in which it is shown."""


def bounded(history: Sequence[HistoryEntry]) -> tuple[HistoryEntry, ...]:
    """Return the history with a summary in place of the entries that are not kept."""
    entries = [entry for entry in history[1:] if entry.status != SUMMARISED]
    attempts = sorted({entry.attempt for entry in entries})
    is_kept = set(attempts[-KEPT_ATTEMPTS:])
    kept = [entry for entry in entries if entry.attempt in is_kept][-(MAX_ENTRIES - 2) :]
    if len(kept) == len(entries):
        return tuple(history)
    dropped = [entry for entry in history[1:] if entry.status == SUMMARISED]
    dropped += entries[: len(entries) - len(kept)]
    return (history[0], _summary(dropped), *kept)


def entry_count(history: Sequence[HistoryEntry]) -> int:
    """Return the number of entries that were ever added to the history, the dropped ones included."""
    return sum(map(_entries_of, history))


def has_added(
    stored: Sequence[HistoryEntry], *, before: Sequence[HistoryEntry], after: Sequence[HistoryEntry]
) -> bool:
    """
    Return whether a stored history has all entries by which one history is longer than another.

    Args:
        stored: The stored history, which may have grown and been shortened since.
        before: The history from which a write started.
        after: The history that the write leads to; at least one entry longer.
    """
    first, found = entry_count(before) + 1, dict(_numbered(stored))
    added = {number: entry for number, entry in _numbered(after) if number >= first}
    return bool(added) and all(found.get(number) == entry for number, entry in added.items())


def has_begun(
    stored: Sequence[HistoryEntry], *, before: Sequence[HistoryEntry], after: Sequence[HistoryEntry]
) -> bool:
    """Return whether a stored history has some entries by which `after` is longer than `before`, in order."""
    first, wanted = entry_count(before) + 1, dict(_numbered(after))
    found = {number: entry for number, entry in _numbered(stored) if number >= first}
    return bool(found) and all(wanted.get(number) == entry for number, entry in found.items())


def outcomes(history: Sequence[HistoryEntry]) -> Mapping[str, int]:
    """Return how often the image had each outcome, the dropped entries included."""
    counts: Counter[str] = Counter()
    for entry in history:
        if entry.status == SUMMARISED:
            counts.update({name: _integer(entry.detail, name) for name in OUTCOMES})
        elif entry.step is None and (outcome := _outcome(entry)) is not None:
            counts[outcome] += 1
    return {name: counts[name] for name in OUTCOMES if counts[name]}


def claim_count(history: Sequence[HistoryEntry]) -> int:
    """Return how often the image was claimed, the dropped entries included."""
    return sum(
        _integer(entry.detail, "attempts") if entry.status == SUMMARISED else _is_claim(entry)
        for entry in history
    )


def taken_over_at(history: Sequence[HistoryEntry]) -> datetime | None:
    """
    Return when a newer upload last took an image from the worker that was processing it; None if none did.

    That worker finds out at its next write or renewal of the lease, and may store results until then.
    """
    moves = [entry for entry in history if entry.step is None]
    return next(
        (
            entry.at
            for before, entry in reversed(list(pairwise(moves)))
            if entry.detail.get("reason") == ImageMove.UPLOADED_AGAIN
            and before.status == ImageStatus.PROCESSING
        ),
        None,
    )


def has_raised_attempt(history: Sequence[HistoryEntry], *, attempt: int) -> bool:
    """Return whether an attempt got its number after its claim."""
    return any(entry.attempt == attempt and entry.detail.get("reason") == ATTEMPT_RAISED for entry in history)


def begins_attempt(entry: HistoryEntry) -> bool:
    """Return whether an entry records that an attempt begins, or that it goes on under a higher number."""
    return entry.step is None and entry.status == ImageStatus.PROCESSING


def _summary(dropped: Sequence[HistoryEntry]) -> HistoryEntry:
    last = dropped[-1]
    counts: dict[str, Json] = dict(outcomes(dropped))
    since = dropped[0].detail.get("from") if dropped[0].status == SUMMARISED else None
    detail: dict[str, Json] = {
        "entries": entry_count(dropped),
        "attempts": claim_count(dropped),
        "from": since if isinstance(since, str) else clock.to_text(dropped[0].at),
        "to": clock.to_text(last.at),
    }
    return HistoryEntry(at=last.at, status=SUMMARISED, attempt=last.attempt, detail=detail | counts)


def _numbered(history: Sequence[HistoryEntry]) -> Iterator[tuple[int, HistoryEntry]]:
    """Yield the kept entries with their numbers, counted from 1."""
    number = 0
    for entry in history:
        number += _entries_of(entry)
        if entry.status != SUMMARISED:
            yield number, entry


def _entries_of(entry: HistoryEntry) -> int:
    return _integer(entry.detail, "entries") if entry.status == SUMMARISED else 1


def _outcome(entry: HistoryEntry) -> str | None:
    """Return the outcome that an entry of the image itself records; None for a claim or the upload."""
    if entry.status in {*TERMINAL_STATUSES, RETENTION_SET}:
        return entry.status
    reason = entry.detail.get("reason")
    if isinstance(reason, str) and reason in OUTCOMES:
        return reason
    return ImageMove.RELEASED.value if "code" in entry.detail else None


def _is_claim(entry: HistoryEntry) -> bool:
    return begins_attempt(entry) and entry.detail.get("reason") != ATTEMPT_RAISED


def _integer(detail: Mapping[str, Json], name: str) -> int:
    value = detail.get(name)
    return value if isinstance(value, int) else 0
