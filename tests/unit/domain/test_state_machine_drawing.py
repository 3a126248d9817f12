from typing import Any

import pytest

from docs.draw_state_machine import DOCUMENT, diagrams, update_diagrams
from worker.domain.status import IMAGE_MOVES, STEP_MOVES


def test_the_page_shows_the_state_machines_of_the_code() -> None:
    document = DOCUMENT.read_text(encoding="utf-8")
    assert document == update_diagrams(document), "run: python docs/draw_state_machine.py"


def test_every_legal_move_is_drawn() -> None:
    tables: tuple[Any, ...] = (IMAGE_MOVES, STEP_MOVES)
    for moves, diagram in zip(tables, diagrams(), strict=True):
        for move, (legal_from, leads_to) in moves.items():
            for status in legal_from:
                (line,) = (line for line in diagram.splitlines() if f" {status} --> {leads_to}:" in line)
                assert move.replace("_", " ") in line.partition(": ")[2].split(", ")


def test_an_outdated_diagram_is_replaced_and_the_text_around_it_stays() -> None:
    image, step = diagrams()
    document = "Before\n```mermaid\nold\n```\nbetween\n```mermaid\n```\nafter\n"
    assert (
        update_diagrams(document)
        == f"Before\n```mermaid\n{image}```\nbetween\n```mermaid\n{step}```\nafter\n"
    )


def test_a_document_with_a_missing_diagram_is_rejected() -> None:
    with pytest.raises(ValueError, match=r"state-machine\.md has 1 Mermaid diagrams instead of 2"):
        update_diagrams("```mermaid\n```\n")
