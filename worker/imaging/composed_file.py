"""Animations whose frames are composed on a canvas, one after another."""

from typing import TYPE_CHECKING

from PIL import Image, ImageFile

if TYPE_CHECKING:
    from PIL._imaging import PixelAccess


class ComposedFile(ImageFile.ImageFile):
    """
    An opened animation; a subclass composes its frames.

    When it has opened the file, it calls `_restart` and sets `_number`, the selected frame, to 0.
    """

    _number: int

    def seek(self, frame: int) -> None:
        """Select a frame, from 0."""
        self._require_frame(frame)
        if frame < self._number:
            self._restart()
        self._number = frame

    def tell(self) -> int:
        """Return the number of the selected frame."""
        return self._number

    def load(self) -> "PixelAccess | None":
        """Compose the selected frame, and the frames before it."""
        while self._composed < self._number or self._composed < 0:
            self._compose_next()
        return Image.Image.load(self)

    def _restart(self) -> None:
        self._composed = -1
        self._canvas: Image.Image | None = None
        self._below: Image.Image | None = None

    def _require_frame(self, number: int) -> None:
        """Raise `EOFError` if the file has no frame of this number."""
        raise NotImplementedError

    def _compose_next(self) -> None:
        """Compose the frame after `_composed`, and set that to its number."""
        raise NotImplementedError
