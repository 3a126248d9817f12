"""What the page of an image shows, and its HTML."""

import json
import re
from dataclasses import replace
from html import unescape
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.support.builders import a_claimant, a_job, a_rendition, after, all_transitions
from tests.support.console import a_context, render_html
from worker.console.image_content import MAX_EVENTS, MAX_ROWS, image_content
from worker.console.views.image import commands, image_page_content, owners_content
from worker.domain.claim import Claimed, decide
from worker.domain.history import SUMMARISED
from worker.domain.image import Failure, HistoryEntry, Image
from worker.domain.printable import UNPRINTABLE
from worker.domain.status import ImageStatus, StepName, StepStatus
from worker.domain.transition import apply_all, failed, image_completed, image_released
from worker.dynamodb.items import to_item

if TYPE_CHECKING:
    from worker.domain.step import Json

CONTEXT = a_context()
HOSTILE = "<script>alert(1)</script>\"'><img src=x onerror=alert(1)>{{ 7*7 }}\x1b[31m\u202eevil\x00"


def claimed(existing: Image | None = None, *, owner: str = "worker-a/1", seconds: float = 0) -> Image:
    decision = decide(existing, a_job(), a_claimant(owner, now=after(seconds)))
    assert isinstance(decision, Claimed)
    return decision.image


def completed() -> Image:
    return apply_all(claimed(), all_transitions(file_size=2_048_576, result_bytes=82_120))


def content_of(image: Image) -> dict[str, Any]:
    return image_page_content(image, CONTEXT)


def html_of(image: Image) -> str:
    return render_html("image.html", content_of(image))


def text_of(html: str) -> str:
    return re.sub(r"\s+", " ", unescape(re.sub("<[^>]*>", "", html)))


def test_a_completed_image_shows_its_result_with_what_it_saves() -> None:
    content = content_of(completed())
    (rendition,) = content["renditions"]
    assert (rendition["size"], rendition["isMain"], rendition["savingPercent"]) == ("medium", True, 96)
    assert rendition["isCropped"] is False
    assert content["original"] == {
        "format": "jpeg",
        "bytes": 2_048_576,
        "width": 1920,
        "height": 1080,
        "as": "file",
    }
    text = text_of(html_of(completed()))
    assert "medium 800\N{MULTIPLICATION SIGN}450 jpeg, 82 kB, 96 % smaller" in text
    assert "14.0 s after the upload" in text


def test_the_focal_point_and_what_was_ignored_are_shown() -> None:
    image = completed()
    ignored: dict[str, Json] = {
        "ignoredMetadata": {"focus": "'x' is no point"},
        "ignoredPreferences": {"a": "b"},
    }
    details: dict[str, dict[str, Json]] = {
        StepName.RESIZE: {"focus": "0.4,0.2"},
        StepName.VALIDATION: ignored,
    }
    steps = {
        step: replace(record, detail={**record.detail, **details.get(step, {})})
        for step, record in image.steps.items()
    }
    text = text_of(html_of(replace(image, steps=steps)))
    assert "Focal point0.4,0.2" in text
    assert "Ignoredfocus: 'x' is no point" in text
    assert "Ignoreda: b" in text


def test_the_page_states_what_the_upload_contains_besides_its_pixels() -> None:
    image = completed()
    validated = image.steps[StepName.VALIDATION]
    detail: dict[str, Json] = {**validated.detail, "hdr": True, "contentCredentials": True}
    marked = replace(image, steps={**image.steps, StepName.VALIDATION: replace(validated, detail=detail)})
    assert content_of(marked)["contains"] == ["HDR", "content credentials"]
    text = text_of(html_of(marked))
    assert "ContainsHDR, content credentials" in text
    assert "True" not in text.partition("The record as JSON")[0]
    assert content_of(image)["contains"] == []


def test_the_content_has_the_record_as_the_command_line_prints_it() -> None:
    assert content_of(completed())["image"] == to_item(completed(), CONTEXT.table)


def test_a_cropped_result_is_not_laid_over_the_original() -> None:
    square = replace(a_rendition(), width=450)
    image = replace(completed(), renditions={"square": square})
    assert content_of(image)["renditions"][0]["isCropped"] is True
    assert "data-compare" not in html_of(image)
    assert "data-compare" in html_of(completed())


@pytest.mark.parametrize(("file_format", "size"), [("heic", 1000), ("jpeg", 20_000_000)])
def test_an_original_that_browsers_do_not_show_is_rendered(file_format: str, size: int) -> None:
    image = completed()
    validated = replace(image.steps[StepName.VALIDATION], detail={"result": "valid", "format": file_format})
    image = replace(image, file_size=size, steps={**image.steps, StepName.VALIDATION: validated})
    assert content_of(image)["original"]["as"] == "preview"
    html = html_of(image)
    assert 'src="/preview/original/user_1/img_1"' in html
    assert "Left: the original, rendered as WebP." in text_of(html)
    assert 'href="/media/user_1/img_1/original" download' in html


def test_a_failed_image_shows_the_cause_and_what_to_do_and_not_its_pixels() -> None:
    failure = Failure(code="truncated", message="it ends early", step=StepName.VALIDATION, retryable=False)
    image = apply_all(claimed(), failed(failure, at=after(1)))
    html = html_of(image)
    assert "<img" not in html
    text = text_of(html)
    assert "The file ends before the image data does." in text
    assert "What to do: upload the complete file again." in text


def test_attempts_are_rows_with_their_workers_and_the_gaps_between_them() -> None:
    lost = claimed(claimed(), owner="worker-b/9", seconds=120)
    transient = Failure(code="unavailable", message="S3 did not respond", step=None, retryable=True)
    released = apply_all(lost, [image_released(transient, at=after(123))])
    content = content_of(claimed(released, owner="worker-a/7", seconds=180))
    assert [row.get("label") or row["outcome"] for row in content["timeline"]] == [
        "waiting in queue",
        "lease expired",
        "lease expired",
        "released",
        "released",
        "processing",
    ]
    assert content["workers"] == {"worker-a": 0, "worker-b": 1}
    assert [row["colour"] for row in content["timeline"] if row["kind"] == "attempt"] == [0, 1, 0]
    assert [row["ms"] for row in content["timeline"]][-2:] == [57_000, 0]


def test_an_expired_lease_is_explained_until_another_worker_has_claimed_the_image() -> None:
    text = text_of(html_of(claimed()))  # the console's clock is an hour later
    assert "The lease of worker-a/1 expired 59 min ago. The worker ended without releasing the image." in text
    assert "ends in 1 min" in text_of(html_of(claimed(claimed(), owner="worker-b/2", seconds=3601)))


def test_the_live_part_is_made_of_the_content_of_an_image_alone() -> None:
    html = render_html("_image_live.html", image_content(completed(), CONTEXT.table))
    assert "<html" not in html
    assert html.strip() in html_of(completed())


def test_a_summarised_history_is_one_row() -> None:
    first, *rest = completed().history
    summary = HistoryEntry(
        at=after(1), status=SUMMARISED, attempt=9000, detail={"entries": 81_000, "attempts": 9_000}
    )
    text = text_of(html_of(replace(completed(), history=(first, summary, *rest))))
    assert text.count("81,000 entries of 9,000 attempts are summarised") == 2  # in the rows and the events


def test_a_history_without_bound_is_shown_in_part() -> None:
    first, *rest = completed().history
    image = replace(completed(), history=(first, *rest * 500))
    content = content_of(image)
    assert len(content["timeline"]) == MAX_ROWS
    assert len(content["events"]) == MAX_EVENTS
    assert content["earlierEvents"] == len(image.history) - MAX_EVENTS
    assert "earlier ones are in the JSON of the record" in html_of(image)


def hostile(text: str) -> Image:
    """Return an image with a text wherever an upload, a worker or another program can have put one."""
    image = completed()
    entries = (
        HistoryEntry(at=after(9), status=text, attempt=2, worker=text, detail={"reason": text, text: text}),
        HistoryEntry(at=after(9), status="processing", attempt=3, worker=text, detail={"code": text}),
    )
    steps = {
        step: replace(
            record,
            detail={**record.detail, "reason": text, "blurHash": text, "dominantColor": text, "focus": text},
        )
        for step, record in image.steps.items()
    }
    steps[StepName.VALIDATION] = replace(
        steps[StepName.VALIDATION],
        detail={"format": text, "ignoredMetadata": {text: text}, "ignoredPreferences": text},
        status=StepStatus.FAILED,
    )
    rendition = replace(a_rendition(), key=text, format=text, e_tag=text)
    return replace(
        image,
        image_id=text,
        user_id=text,
        bucket=text,
        key=text,
        file_name=text,
        file_type=text,
        status=ImageStatus.FAILED,
        error=Failure(code=text, message=text, step=None, retryable=False),
        steps=steps,
        renditions={text: rendition, "shown": a_rendition()},
        tags=(text,),
        metadata={text: text, "copyright": text},
        history=(*image.history, *entries),
    )


def assert_harmless(html: str) -> None:
    assert UNPRINTABLE.search(html) is None
    without_static = re.sub(r"<(?:script src|/?script|link)[^>]*>", "", html)
    assert "<script" not in without_static
    tags = re.findall(r"<[a-z][^>]*>", html)
    assert [tag for tag in tags if re.search(r"\s(?:on[a-z]+|style)\s*=", tag)] == []


def test_hostile_text_is_shown_as_text() -> None:
    html = html_of(hostile(HOSTILE))
    assert_harmless(html)
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in html
    assert "{{ 7*7 }}" in html
    assert_harmless(render_html("owners.html", owners_content(HOSTILE, [hostile(HOSTILE)] * 2)))


@settings(max_examples=25, deadline=None)
@given(st.text(st.characters(exclude_categories=["Cs"]), min_size=1))
def test_any_text_makes_a_page(text: str) -> None:
    assert_harmless(html_of(hostile(text)))


def test_a_number_without_bound_makes_a_page() -> None:
    image = completed()
    huge = 10**37
    entries = tuple(replace(entry, attempt=huge, detail={"ms": huge}) for entry in image.history)
    rendition = replace(a_rendition(), width=huge, height=1, size_bytes=huge)
    image = replace(
        image, history=entries, attempt=huge, file_size=1, renditions={"medium": rendition}, ttl=huge
    )
    html_of(image)
    json.dumps(content_of(image))


def test_a_result_in_an_unknown_format_is_not_shown() -> None:
    image = replace(completed(), renditions={"medium": replace(a_rendition(), format="svg+xml")})
    assert '<img class="after"' not in html_of(image)


@pytest.mark.parametrize("image_id", ["img_1", "-rf", "it's $(x)", "a\x1b[31m\u202e"], ids=ascii)
def test_commands_name_the_image_exactly(image_id: str) -> None:
    image = replace(completed(), image_id=image_id)
    found = commands(image, table="images", region="eu-west-1")
    assert UNPRINTABLE.search(found["cli"] + found["boto3"]) is None
    compile(found["boto3"], "boto3.py", "exec")
    assert "-- " in found["cli"]


def test_the_commands_of_a_plain_image_are_as_in_the_documentation() -> None:
    found = commands(completed(), table="images", region="eu-west-1")
    assert found["cli"] == "image-worker images get --json --user=user_1 -- img_1"
    assert "table.get_item(Key={\"imageId\": 'img_1', \"userId\": 'user_1'}).get('Item')" in found["boto3"]


def test_a_thumbnail_follows_the_main_result() -> None:
    main, small = a_rendition(), replace(a_rendition(), key="processed/user_1/img_1@small.jpg")
    done = image_completed({"small": small, "medium": main}, main_size="medium", at=after(5))
    image = apply_all(claimed(), [*all_transitions()[:-1], done])
    assert [each["size"] for each in content_of(image)["renditions"]] == ["medium", "small"]
