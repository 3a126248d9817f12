"""Reading histories whose older entries may be summarised."""

from collections.abc import Sequence
from itertools import pairwise

from worker.domain.history import ATTEMPT_RAISED, SUMMARISED
from worker.domain.image import HistoryEntry
from worker.domain.status import ImageStatus


def image_moves(history: Sequence[HistoryEntry]) -> set[tuple[ImageStatus, ImageStatus]]:
    """Return the moves between consecutive statuses of the image; a summary hides the moves at its place."""
    of_image = [
        entry for entry in history if entry.step is None and entry.detail.get("reason") != ATTEMPT_RAISED
    ]
    return {
        (ImageStatus(before.status), ImageStatus(after.status))
        for before, after in pairwise(of_image)
        if SUMMARISED not in {before.status, after.status}
    }
