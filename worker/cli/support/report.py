"""Report the progress and the result of a repair command."""

from collections import Counter
from types import TracebackType
from typing import Annotated, Final, Self

import typer
from rich.markup import escape

from worker.cli.support import output

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Show what would be done, and change nothing.")]
RateOption = Annotated[
    float,
    typer.Option(
        "--rate",
        min=0.1,
        max=10_000,
        help="Requeue at most this many images per second, so that new uploads are not delayed.",
    ),
]

_FAILED: Final = "failed"
_MAX_LISTED: Final = 1000
"""Images and errors that the JSON lists; its counts include them all."""

_PROGRESS_EVERY: Final = 1000


class Report:
    """
    Implements `Reporter` and `ObjectReporter` of `worker.repair`; as a context manager, shows its progress.

    Args:
        title: What the command is doing, for the progress bar: `reconciling`.
        dry_run: Whether the command changes nothing.
        json: Print the result as one JSON document in place of lines.
    """

    def __init__(self, title: str, *, dry_run: bool = False, json: bool = False) -> None:
        self.counts: Counter[str] = Counter()
        self.errors: list[str] = []
        self._title, self._dry_run, self._json = title, dry_run, json
        self._images: list[dict[str, str]] = []
        self._objects: list[dict[str, str]] = []
        self._out, self._err = output.console(), output.stderr_console()
        # When both are the same terminal, lines have to be printed above the progress bar.
        is_shared = self._out.is_terminal and self._err.is_terminal
        self._lines = self._err if is_shared else self._out
        self._progress = output.bars(self._err)
        self._bar = self._progress.add_task(title, total=None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._progress.stop()
        if error is not None and self.counts:
            self._err.print(f"stopped after: {self.summary()}", soft_wrap=True)

    def done(self, action: str, *, image_id: str, user_id: str) -> None:
        """Count and print an image that was repaired, or would be in a dry run."""
        self._count(action)
        if len(self._images) < _MAX_LISTED:
            self._images.append({"imageId": image_id, "userId": user_id, "action": action})
        if not self._json:
            prefix = "would be " if self._dry_run else ""
            self._lines.print(f"{escape(image_id)}  {escape(user_id)}  {prefix}{action}", soft_wrap=True)

    def skipped(self, reason: str) -> None:
        """Count an image that needs no repair."""
        self._count(reason)

    def failed(self, subject: str, message: str) -> None:
        """Count an image that could not be repaired, and print the reason."""
        self._count(_FAILED)
        if len(self.errors) < _MAX_LISTED:
            self.errors.append(f"{subject}: {message}")
        self._err.print(f"{escape(subject)}: {escape(message)}", soft_wrap=True)

    def found(self, what: str, *, key: str) -> None:
        """Count and print an object that is left as it is."""
        self._object(what, key)

    def removed(self, what: str, *, key: str) -> None:
        """Count and print an object that was removed, or would be in a dry run."""
        self._object(f"{'would be ' if self._dry_run else ''}removed: {what}", key)

    def _object(self, what: str, key: str) -> None:
        self._count(what)
        if len(self._objects) < _MAX_LISTED:
            self._objects.append({"key": key, "found": what})
        if not self._json:
            self._lines.print(f"{escape(key)}  {what}", soft_wrap=True)

    def finish(self) -> int:
        """Print the counts; return the exit status of the command."""
        if self._json:
            output.print_json(
                {
                    "dryRun": self._dry_run,
                    "counts": dict(self.counts),
                    "images": self._images,
                    **({"objects": self._objects} if self._objects else {}),
                    "errors": self.errors,
                }
            )
        else:
            self._out.print(self.summary() or "nothing to do", soft_wrap=True)
        return 1 if self.counts[_FAILED] else 0

    def _count(self, result: str) -> None:
        self.counts[result] += 1
        self._progress.update(self._bar, advance=1, description=f"{self._title}: {self.summary()}")
        if self.counts.total() % _PROGRESS_EVERY == 0 and not self._err.is_terminal:
            self._err.print(f"{self._title}: {self.summary()}", soft_wrap=True)

    def summary(self) -> str:
        """Return the counts in words."""
        return ", ".join(f"{count} {result}" for result, count in self.counts.items() if count)
