"""What the pages of users and lists of images show."""

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from tests.support.builders import NOON, a_claimant, a_job, after, all_transitions
from tests.support.console import render_html
from worker.console.record import is_key, summary_of
from worker.console.security import Role
from worker.console.views.images import Filters, images_content
from worker.console.views.users import changed_preferences, commands, user_content, users_content
from worker.domain.claim import Claimed, decide
from worker.domain.errors import UnreadableRecordError
from worker.domain.image import Image
from worker.domain.status import ImageStatus
from worker.domain.transition import apply_all
from worker.dynamodb.queries import Page

HOSTILE = "<script>alert(1)</script>\"'\x1b[31m\u202e{{ 7*7 }}"


def completed(image_id: str = "img_1") -> Image:
    decision = decide(None, a_job(image_id), a_claimant())
    assert isinstance(decision, Claimed)
    return apply_all(decision.image, all_transitions())


def content_of_user(user_id: str = "user_1", **profile: Any) -> dict[str, Any]:
    image = completed()
    page = Page(
        (summary_of(image),), "next", (UnreadableRecordError(image_id="x", user_id="u", reason=HOSTILE),)
    )
    item = {"imageId": "user_profile", "userId": user_id, **profile} if profile else None
    return {
        **user_content(user_id, item, page, {("img_1", "user_1"): image}),
        "sizes": ["medium", "large"],
        "mainSize": "medium",
        "commands": commands(user_id, table="images", region="eu-west-1"),
    }


def test_only_an_operator_has_the_form_of_the_preferences() -> None:
    preferences = {"watermarkText": "Mine", "watermarkEnabled": True}
    content = content_of_user(profile={"preferences": preferences})
    assert '<form method="post"' in render_html("user.html", content)
    html = render_html("user.html", content, role=Role.VIEWER)
    assert 'method="post"' not in html
    assert "Mine" in html


def test_a_stored_preference_that_cannot_be_used_is_named() -> None:
    content = content_of_user(
        profile={"preferences": {"watermarkText": "x" * 300, "defaultImageSize": HOSTILE}}
    )
    html = render_html("user.html", content)
    assert "The stored preference watermarkText is ignored: it has 300 characters" in html
    assert "<script>alert" not in html


def test_hostile_text_of_a_profile_is_shown_as_text() -> None:
    content = content_of_user(
        HOSTILE, email=HOSTILE, profile={HOSTILE: HOSTILE}, statistics={"totalImages": HOSTILE}
    )
    html = render_html("user.html", content)
    assert "<script>alert" not in html
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7*7 }}" in html


@pytest.mark.parametrize(
    ("form", "changes"),
    [
        ({}, {}),
        ({"watermarkText": "a", "shown.watermarkText": "a"}, {}),
        ({"watermarkText": "b", "shown.watermarkText": "a"}, {"watermarkText": "b"}),
        ({"watermarkText": " ", "shown.watermarkText": "a"}, {"watermarkText": None}),
        ({"watermarkEnabled": "off", "shown.watermarkEnabled": ""}, {"watermarkEnabled": False}),
        ({"watermarkEnabled": "", "shown.watermarkEnabled": "on"}, {"watermarkEnabled": None}),
        ({"email": "x", "statistics": "y"}, {}),
    ],
    ids=str,
)
def test_only_the_fields_that_were_changed_are_saved(form: dict[str, str], changes: dict[str, Any]) -> None:
    assert changed_preferences(form) == changes


def test_users_are_those_of_the_newest_images() -> None:
    images = [
        replace(summary_of(completed(f"img_{number}")), user_id=user, created_at=after(-number))
        for number, user in enumerate(["alice", "bob", "alice"])
    ]
    users = users_content(Page(tuple(images), None))["users"]
    assert [(user["userId"], user["images"]) for user in users] == [("alice", 2), ("bob", 1)]
    assert users[0]["lastUploadAt"] == "2024-01-01T12:00:00.000Z"


def test_all_filters_apply_to_the_images_of_a_page() -> None:
    image = summary_of(completed())
    assert Filters().match(image)
    assert Filters(status=ImageStatus.COMPLETED, day=date(2024, 1, 1), user="user_1", name="VACATION").match(
        image
    )
    for filters in (
        Filters(status=ImageStatus.FAILED),
        Filters(day=date(2024, 1, 2)),
        Filters(user="user_2"),
        Filters(name="birthday"),
    ):
        assert not filters.match(image)


def test_a_list_states_which_images_it_shows() -> None:
    page = Page((summary_of(completed()),), None)
    assert (
        images_content(page, Filters())["bound"]
        == "1 image of the last 7 days, newest first; there are no more"
    )
    assert images_content(page, Filters(name="none"))["bound"].endswith("0 on this page match all filters")
    more = Page(page.images, "next")
    assert images_content(more, Filters(day=NOON.date()))["bound"].startswith(
        "A page of 1 images uploaded on 2024-01-01"
    )


@pytest.mark.parametrize(
    ("image_id", "user_id", "is_possible"),
    [
        ("a", "b", True),
        ("", "b", False),
        ("a", "", False),
        ("user_profile", "b", False),
        ("x" * 2048, "x" * 1024, True),
        ("x" * 2049, "b", False),
        ("a", "ü" * 513, False),
        ("\ud800", "b", False),
    ],
    ids=range(8),
)
def test_ids_that_no_image_can_have_are_not_looked_up(
    image_id: str, user_id: str, *, is_possible: bool
) -> None:
    assert is_key(image_id=image_id, user_id=user_id) is is_possible
