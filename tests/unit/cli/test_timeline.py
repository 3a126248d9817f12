"""An image rendered as text."""

from dataclasses import replace
from datetime import timedelta
from io import StringIO

import pytest
from rich.console import Console

from tests.support.builders import (
    a_claimant,
    a_description,
    a_job,
    a_rendition,
    a_report,
    after,
    all_transitions,
)
from worker.cli.support import timeline
from worker.domain.claim import Claimed, decide, image_retried, retention_set
from worker.domain.image import Failure, HistoryEntry, Image, Leftover
from worker.domain.requester import CONSOLE, Requester
from worker.domain.status import ImageMove, ImageStatus, StepMove, StepName
from worker.domain.transition import (
    apply_all,
    image_completed,
    image_failed,
    image_released,
    source_described,
    step_ended,
    step_failed,
)


def claimed(existing: Image | None = None, *, owner: str = "worker-a/1", seconds: float = 0) -> Image:
    decision = decide(existing, a_job(), a_claimant(owner, now=after(seconds)))
    assert isinstance(decision, Claimed)
    return decision.image


def failed(code: str = "truncated", message: str = "the file ends before the picture does") -> Image:
    failure = Failure(code=code, message=message, step=StepName.VALIDATION, retryable=False)
    step_move = step_failed(failure, step=StepName.VALIDATION, at=after(1))
    return apply_all(claimed(), [step_move, image_failed(failure, at=after(1))])


def text_of(image: Image, *, width: int = 100, caching: str | None = None) -> list[str]:
    console = Console(width=width, file=StringIO(), record=True)
    console.print(timeline.render(image, caching=caching))
    return [line.rstrip() for line in console.export_text().splitlines()]


def test_a_completed_image_reads_from_head_to_history() -> None:
    assert text_of(apply_all(claimed(), all_transitions(file_size=2_048_576, result_bytes=82_120))) == [
        "image        img_1",
        "user         user_1",
        "status       completed  attempt 1",
        "file         vacation-photo.jpg, image/jpeg, 2.0 MB",
        "upload       s3://image-uploads/uploads/user_1/img_1.jpg",
        "result       processed/user_1/img_1.jpg  medium, 800x450 jpeg, 82 kB",
        "uploaded     2024-01-01T11:59:51.000Z",
        "ended        2024-01-01T12:00:05.000Z  14.0 s after the upload",
        "tags         vacation, family",
        "camera       iPhone 12",
        "description  Family vacation photo",
        "",
        "Step         Status      Started        ms   Detail",
        "─" * 78,
        "validation   completed   12:00:00.000    7   valid, jpeg",
        "resize       completed   12:00:02.000    7   1920x1080 → 800x450",
        "watermark    completed   12:00:03.000    7   text, Processed by Image Platform",
        "",
        "History (UTC)",
        "2024-01-01",
        "  11:59:51.000               uploaded",
        "2024-01-01  attempt 1 by worker-a",
        "  12:00:00.000    +9,000 ms  claimed",
        "  12:00:00.000        +0 ms    validation started",
        "  12:00:02.000    +2,000 ms    validation completed  took 7 ms",
        "  12:00:02.000        +0 ms    resize started",
        "  12:00:03.000    +1,000 ms    resize completed      took 7 ms",
        "  12:00:03.000        +0 ms    watermark started",
        "  12:00:04.000    +1,000 ms    watermark completed   took 7 ms",
        "  12:00:05.000    +1,000 ms  completed",
    ]


def test_a_failed_image_shows_the_reason_and_what_to_do() -> None:
    lines = text_of(failed(), width=120)
    assert "reason      truncated in validation: the file ends before the picture does" in lines
    assert "what to do  upload the complete file again" in lines
    assert "  12:00:01.000    +1,000 ms    validation failed     truncated" in lines
    assert lines[-1].startswith(
        "  12:00:01.000        +0 ms  failed                  truncated: the file ends"
    )


def test_an_unknown_error_code_has_default_advice() -> None:
    assert "what to do  upload it again" in text_of(failed("gremlins"))


def test_text_from_the_image_is_not_interpreted_as_markup() -> None:
    lines = text_of(failed("corrupt", "odd chunk [/red] at [bold]7[/]"))
    assert "reason      corrupt in validation: odd chunk [/red] at [bold]7[/]" in lines


def test_a_released_image_shows_both_attempts_and_both_workers() -> None:
    transient = Failure(code="unavailable", message="S3 did not respond", step=None, retryable=True)
    released = apply_all(claimed(), [image_released(transient, at=after(3))])
    waiting = text_of(released, width=120)
    assert "status      pending  attempt 1" in waiting
    assert "what to do  nothing: the queue redelivers it" in waiting
    assert (
        waiting[-1] == "  12:00:03.000    +3,000 ms  pending again           unavailable: S3 did not respond"
    )
    reclaimed = text_of(claimed(released, owner="worker-b/9", seconds=75))
    assert "2024-01-01  attempt 2 by worker-b" in reclaimed
    assert "  12:01:15.000  +1 min 12 s  claimed" in reclaimed
    assert "leased by  worker-b/9 until 2024-01-01T12:02:15.000Z" in [
        line for line in reclaimed if "leased" in line
    ]


def test_an_expired_lease_is_shown_in_the_history() -> None:
    lines = text_of(claimed(claimed(), owner="worker-b/9", seconds=120))
    assert any("its lease expired" in line for line in lines)


def test_a_skipped_step_shows_its_reason() -> None:
    report = replace(
        a_report(StepName.WATERMARK, move=StepMove.SKIPPED), detail={"reason": "the owner wants none"}
    )
    moves = [*all_transitions()[:5], step_ended(report, at=after(4))]
    lines = text_of(apply_all(claimed(), moves))
    assert "watermark    skipped     12:00:03.000    7   the owner wants none" in lines


def test_a_step_without_a_recorded_computing_time_shows_its_duration() -> None:
    image = failed()
    (validation,) = (line for line in text_of(image) if line.startswith("validation"))
    assert validation == "validation   failed    12:00:00.000   1,000   truncated"


def test_every_rendition_and_the_end_of_retention_are_shown() -> None:
    thumbnail = replace(a_rendition(), key="processed/user_1/img_1@thumbnail.jpg", width=150, height=84)
    done = image_completed({"medium": a_rendition(), "thumbnail": thumbnail}, main_size="medium", at=after(5))
    image = replace(apply_all(claimed(), [*all_transitions()[:-1], done]), ttl=1_735_689_600)
    lines = text_of(image)
    assert "             processed/user_1/img_1@thumbnail.jpg  thumbnail, 150x84 jpeg, 82 kB" in lines
    assert "kept until   2025-01-01T00:00:00.000Z" in lines


@pytest.mark.parametrize("move", [ImageMove.UPLOADED_AGAIN, ImageMove.RETRIED, ImageMove.REPROCESSED])
def test_every_reason_for_requeueing_is_explained(move: ImageMove) -> None:
    image = failed()
    entry = replace(image.history[-1], status="pending", detail={"reason": move.value})
    (line,) = (
        line for line in text_of(replace(image, history=(*image.history, entry))) if "pending again" in line
    )
    assert move.value not in line


def test_dropped_entries_are_summarised_on_one_line() -> None:
    summary = HistoryEntry(
        at=after(86_400),
        status="summarised",
        attempt=1445,
        detail={
            "entries": 12_980,
            "attempts": 1_445,
            "from": "2024-01-01T12:00:00.000Z",
            "to": "2024-06-02T12:00:00.000Z",
            "completed": 1_440,
            "lease_expired": 5,
        },
    )
    first, *rest = apply_all(claimed(), all_transitions()).history
    lines = text_of(replace(failed(), history=(first, summary, *rest)), width=140)
    line = (
        "2024-01-01 to 2024-06-02  12,980 entries of 1,445 attempts are summarised: "
        "1,440 completed, 5 lease expired"
    )
    assert lines[lines.index(line) - 1].endswith("uploaded")
    assert lines[lines.index(line) + 1] == "2024-01-01  attempt 1 by worker-a"


@pytest.mark.parametrize(
    ("duration", "text"),
    [
        (timedelta(milliseconds=12), "12 ms"),
        (timedelta(seconds=41.34), "41.3 s"),
        (timedelta(minutes=5, seconds=3), "5 min 3 s"),
        (timedelta(hours=2, minutes=10), "2 h 10 min"),
        (timedelta(days=30, hours=4), "30 d 4 h"),
    ],
)
def test_a_duration_has_the_precision_that_matters(duration: timedelta, text: str) -> None:
    image = failed()
    ended = replace(image, processed_at=image.created_at + duration)
    (line,) = (line for line in text_of(ended) if line.startswith("ended"))
    assert line.endswith(f"  {text} after the upload")


def test_an_image_that_was_never_claimed_can_be_shown() -> None:
    described = apply_all(claimed(), [source_described(a_description(), at=after(1))])
    untaken = replace(described, status=ImageStatus.PENDING, attempt=0, lease=None, steps={}, history=())
    assert "status       pending" in text_of(untaken)


def test_a_request_names_who_made_it_and_an_older_one_its_command() -> None:
    image = failed()
    retried = image_retried(
        image,
        requester=Requester(by="alice@example.com", via=CONSOLE, command="images retry"),
        at=after(60),
    )
    older = replace(
        retried,
        history=(*image.history, replace(retried.history[-1], detail={"reason": "retried", "by": "x y"})),
    )

    new_line, old_line = text_of(retried, width=140)[-1], text_of(older, width=140)[-1]
    assert new_line.endswith("a retry was requested, by alice@example.com via console, command images retry")
    assert old_line.endswith("a retry was requested, by x y")


def test_a_change_of_the_retention_is_shown_with_its_end_and_requester() -> None:
    image = apply_all(claimed(), all_transitions())
    requester = Requester(by="bob@host", via="command line", command="images retention")
    kept = retention_set(image, ttl=2_000_000_000, requester=requester, at=after(60))
    forever = retention_set(kept, ttl=None, requester=requester, at=after(120))

    *_, first, second = text_of(forever, width=160)
    assert "kept" in first
    assert "until 2033-05-18T03:33:20.000Z, by bob@host via command line" in first
    assert "forever, by bob@host" in second


def test_the_header_of_the_result_and_what_is_left_over_are_shown() -> None:
    leftover = Leftover(key="processed/user_1/img_1.png", e_tag="older")
    image = replace(apply_all(claimed(), all_transitions()), leftovers=(leftover,))

    lines = text_of(image, caching="no-cache")

    assert "caching      no-cache" in lines
    assert "left over    processed/user_1/img_1.png  to be deleted" in lines
