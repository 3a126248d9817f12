"""Remember the uploads of a console: before a worker claims them, they have no record."""

from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

_MAX_UPLOADS: Final = 1000


@dataclass(frozen=True, slots=True)
class RecentUpload:
    """A stored upload: the name and the size of its file."""

    file_name: str
    size_bytes: int


class RecentUploads:
    """The names and sizes of the latest uploads."""

    def __init__(self) -> None:
        self._uploads: OrderedDict[tuple[str, str], RecentUpload] = OrderedDict()

    def add(self, image_id: str, user_id: str, upload: RecentUpload) -> None:
        """Remember an upload, and forget the oldest if there are too many."""
        self._uploads[image_id, user_id] = upload
        if len(self._uploads) > _MAX_UPLOADS:
            self._uploads.popitem(last=False)

    def get(self, image_id: str, user_id: str) -> RecentUpload | None:
        """Return an upload; None if it is not among the latest, or another console stored it."""
        return self._uploads.get((image_id, user_id))
