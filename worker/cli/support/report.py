"""How a repair tool tells what it does: progress on stderr, each picture, and counts at the end."""

from collections import Counter
from types import TracebackType
from typing import Annotated, Final, Self

import typer
from rich.markup import escape

from worker.cli.support import output

DryRunOption = Annotated[bool, typer.Option("--dry-run", help="Only say what would be done.")]
RateOption = Annotated[
    float,
    typer.Option(
        "--rate",
        min=0.1,
        max=10_000,
        help="Pictures a second at the most, so that fresh uploads are not kept waiting.",
    ),
]
RATE: Final = 20.0
"""A fraction of what one processor does in a second."""

_MOST_LISTED: Final = 1000
"""Pictures and problems that the JSON names one by one; its counts hold them all."""

_TELL_EVERY: Final = 1000


class Report:
    """
    Collects what a run does; a context manager that shows progress while its body runs.

    Args:
        title: What goes on: `reconciling`.
        is_dry: Whether nothing is really done.
        json: Whether the result is one JSON document in place of lines.
    """

    def __init__(self, title: str, *, is_dry: bool = False, json: bool = False) -> None:
        self.is_dry = is_dry
        self.counts: Counter[str] = Counter()
        self.problems: list[str] = []
        self._title, self._json = title, json
        self._images: list[dict[str, str]] = []
        self._out, self._err = output.console(), output.stderr_console()
        # Where both are one terminal, the lines have to know of the progress, so as not to run into it.
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
            self._err.print(f"stopped after: {self._counted()}", soft_wrap=True)

    def did(self, what: str, *, image_id: str, user_id: str) -> None:
        """Count a picture that something was done for, and name it."""
        self._count(what)
        if len(self._images) < _MOST_LISTED:
            self._images.append({"imageId": image_id, "userId": user_id, "action": what})
        if not self._json:
            tense = "would be " if self.is_dry else ""
            self._lines.print(f"{escape(image_id)}  {escape(user_id)}  {tense}{what}", soft_wrap=True)

    def left(self, why: str) -> None:
        """Count a picture that nothing was done for, rightly."""
        self._count(why)

    def could_not(self, what: str, sentence: str) -> None:
        """Tell at once of something that could not be done."""
        self._count("not done")
        if len(self.problems) < _MOST_LISTED:
            self.problems.append(f"{what}: {sentence}")
        self._err.print(f"{escape(what)}: {escape(sentence)}", soft_wrap=True)

    def finish(self) -> int:
        """Print the counts; return the command's exit status."""
        if self._json:
            output.print_json(
                {
                    "dryRun": self.is_dry,
                    "counts": dict(self.counts),
                    "images": self._images,
                    "problems": self.problems,
                }
            )
        else:
            self._out.print(self._counted() or "nothing to do", soft_wrap=True)
        return 1 if self.counts["not done"] else 0

    def _count(self, what: str) -> None:
        self.counts[what] += 1
        self._progress.update(self._bar, advance=1, description=f"{self._title}: {self._counted()}")
        if self.counts.total() % _TELL_EVERY == 0 and not self._err.is_terminal:
            self._err.print(f"{self._title}: {self._counted()}", soft_wrap=True)

    def _counted(self) -> str:
        return ", ".join(f"{count} {what}" for what, count in self.counts.items() if count)
