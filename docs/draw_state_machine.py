"""
Update the diagrams of `state-machine.md` from the tables of legal transitions in `worker.domain.status`.

Run it with `python docs/draw_state_machine.py`. A test fails when the diagrams are out of date.
"""

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Final, TypeVar

from worker.domain.status import IMAGE_MOVES, STEP_MOVES, ImageStatus, StepStatus

DOCUMENT: Final = Path(__file__).with_name("state-machine.md")

Move = TypeVar("Move", bound=StrEnum)
Status = TypeVar("Status", bound=StrEnum)

_BLOCK: Final = re.compile(r"^```mermaid\n.*?^```$", re.MULTILINE | re.DOTALL)


def diagrams() -> tuple[str, str]:
    """Return the Mermaid diagrams of an image and of a step, in the order of the document."""
    return _diagram(ImageStatus, IMAGE_MOVES), _diagram(StepStatus, STEP_MOVES)


def update_diagrams(document: str) -> str:
    """
    Return the document with its diagrams replaced by current ones.

    Raises:
        ValueError: The document does not have exactly two diagrams.
    """
    current = diagrams()
    found = len(_BLOCK.findall(document))
    if found != len(current):
        message = f"{DOCUMENT.name} has {found} Mermaid diagrams instead of {len(current)}"
        raise ValueError(message)
    replacements = iter(current)
    return _BLOCK.sub(lambda _: f"```mermaid\n{next(replacements)}```", document)


def _diagram(statuses: type[Status], moves: Mapping[Move, tuple[frozenset[Status], Status]]) -> str:
    return "".join(f"{line}\n" for line in _lines(statuses, moves))


def _lines(statuses: type[Status], moves: Mapping[Move, tuple[frozenset[Status], Status]]) -> Iterator[str]:
    first, *_ = statuses
    yield "stateDiagram-v2"
    yield f"    [*] --> {first}"
    for start in statuses:
        for end in statuses:
            names = [
                str(move) for move, (legal_from, to) in moves.items() if start in legal_from and to == end
            ]
            if names:
                yield f"    {start} --> {end}: {', '.join(names).replace('_', ' ')}"


if __name__ == "__main__":
    DOCUMENT.write_text(update_diagrams(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")
