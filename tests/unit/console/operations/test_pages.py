"""The pages of failures, dead letters and operations: every state, both roles, and hostile text."""

import re
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import after
from tests.support.console import render_html
from worker.console.operations import describe
from worker.console.operations.operation import Action, Operation, Selection, State, requested
from worker.console.security import Role
from worker.console.views import dead_letters, failures
from worker.domain.image import FailedImage
from worker.domain.printable import UNPRINTABLE
from worker.domain.status import ImageStatus
from worker.repair.failures import Failures, group_by_code

HOSTILE = "<script>alert(1)</script>\"'&\u202e\x1b[31m\x00{{7*7}}"


def an_operation(action: Action = Action.RETRY, text: str = "corrupt", **changes: Any) -> Operation:
    selection = Selection(code=text, user_id=text, status=ImageStatus.FAILED, recipe_changed=True)
    operation = requested(action, selection, operation_id=text, by=text, owner="console-1", at=after(3590))
    return replace(
        operation,
        **{
            "expected": 150,
            "counted": {"retried": 150, text: 1},
            "counts": {"retried": 3, "failed": 2},
            "errors": (text,),
            **changes,
        },
    )


def page(operation: Operation, *, role: Role = Role.OPERATOR) -> str:
    return render_html(
        "operation.html", {"operation": describe.content(operation, now=after(3600))}, role=role
    )


def forms(html: str) -> set[str]:
    return {path.rpartition("/")[2] for path in re.findall(r'action="(/operations/[^"]+)"', html)}


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (State.COUNTING, {"stop"}),
        (State.READY, {"confirm", "discard"}),
        (State.RUNNING, {"pause", "stop"}),
        (State.PAUSED, {"resume", "stop"}),
        (State.STOPPING, set()),
        (State.COMPLETED, set()),
        (State.STOPPED, {"continue"}),
        (State.FAILED, {"continue"}),
        (State.DISCARDED, set()),
    ],
)
def test_the_page_of_an_operation_offers_operators_what_its_state_allows_and_viewers_nothing(
    state: State, expected: set[str]
) -> None:
    operation = an_operation(state=state)
    assert forms(page(operation)) == expected
    assert forms(page(operation, role=Role.VIEWER)) == set()
    assert ("hx-get" in page(operation)) == operation.is_active


def test_an_operation_without_a_console_is_shown_as_stopped() -> None:
    operation = an_operation(state=State.RUNNING, heartbeat_at=after(3560))
    html = page(operation)
    assert "restarted" in html
    assert forms(html) == {"continue"}


@pytest.mark.parametrize("action", Action)
def test_an_operation_has_a_heading_for_each_action(action: Action) -> None:
    operation = an_operation(action)
    assert describe.title(operation).split()[0] == action.value.capitalize()
    assert describe.title(replace(operation, selection=Selection()))


def all_pages(text: str) -> list[str]:
    image = FailedImage(
        image_id=text,
        user_id=text,
        code=text,
        message=text,
        failed_at=after(10),
        created_at=after(1),
        file_name=text,
        file_size=1,
        has_result=True,
    )
    found = Failures(groups=group_by_code([image]), has_more=True, unreadable=1)
    letter = {
        "messageId": text,
        "at": after(5),
        "code": text,
        "reason": text,
        "images": [{"imageId": text, "userId": text, "key": text}],
        "body": text,
    }
    operation = describe.content(an_operation(text=text, state=State.READY), now=after(3600))
    group = failures.group_content(found.groups[0], listed=9)
    bounds = failures.bounds(found, age_s=9.0)
    return [
        render_html("failures.html", {"groups": [group], **bounds}),
        render_html("failure.html", {"group": group, "listed": 9, **bounds}),
        render_html("operation.html", {"operation": operation}),
        render_html(
            "operations.html", {"operations": [operation], "nextToken": None, "token": None, "limit": 50}
        ),
        render_html(
            "dead_letters.html",
            {
                "queueName": text,
                "approximateCount": 1,
                "listing": {
                    "at": after(9),
                    "by": text,
                    "count": 1,
                    "hasMore": True,
                    "groups": dead_letters.groups([letter]),
                },
                "limit": 1000,
                "shown": 50,
            },
        ),
    ]


def assert_harmless(html: str) -> None:
    assert UNPRINTABLE.search(html) is None
    assert "<script>alert" not in html
    assert html.count("<script src=") == html.count("<script")


def test_hostile_text_is_shown_as_text() -> None:
    for html in all_pages(HOSTILE):
        assert_harmless(html)
        assert "&lt;script&gt;alert(1)" in html
        assert "{{7*7}}" in html, "no template is made of data"


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_makes_pages(text: str) -> None:
    for html in all_pages(text):
        assert_harmless(html)
