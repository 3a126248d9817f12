"""What the repair tools decide without asking anybody."""

import json
from datetime import timedelta

import pytest

from tests.support.builders import NOON, a_claimant, a_job, after
from worker.cli import app as command_line
from worker.cli.enqueue import prefix_of
from worker.cli.support.report import Report
from worker.domain.claim import Claimed, decide
from worker.domain.errors import ConfigurationError
from worker.domain.image import Failure, Image
from worker.domain.transition import apply, image_failed, image_released
from worker.repair.reconcile import is_stuck
from worker.repair.requests import job_of
from worker.settings import Settings

FAILURE = Failure(code="unavailable", message="away", step=None, retryable=True)
PATIENCE = timedelta(minutes=5)


def processing() -> Image:
    answer = decide(None, a_job(), a_claimant(now=NOON, lease_s=60))
    assert isinstance(answer, Claimed)
    return answer.image


def test_a_leased_picture_is_not_stuck_and_one_whose_lease_is_over_is() -> None:
    assert not is_stuck(processing(), now=after(59), pending_for=PATIENCE)
    assert is_stuck(processing(), now=after(60), pending_for=PATIENCE)


def test_a_pending_picture_is_stuck_once_patience_is_at_an_end() -> None:
    pending = apply(processing(), image_released(FAILURE, at=after(10)))

    assert not is_stuck(pending, now=after(310), pending_for=PATIENCE)
    assert is_stuck(pending, now=after(311), pending_for=PATIENCE)


def test_a_picture_that_has_ended_is_never_stuck() -> None:
    failed = apply(processing(), image_failed(FAILURE, at=after(10)))

    assert not is_stuck(failed, now=after(1_000_000), pending_for=PATIENCE)


def test_the_job_of_an_image_asks_for_the_upload_that_it_records() -> None:
    assert job_of(processing()) == a_job()


@pytest.mark.parametrize(
    ("where", "prefix"),
    [
        ("s3://image-uploads/uploads/", "uploads/"),
        ("s3://image-uploads/uploads/alice/img_1", "uploads/alice/img_1"),
    ],
)
def test_a_place_among_the_uploads_is_taken(where: str, prefix: str) -> None:
    assert prefix_of(where, Settings()) == prefix


@pytest.mark.parametrize(
    ("where", "sentence"),
    [
        ("uploads/alice/", "is not an S3 location: write it as s3://image-uploads/uploads/"),
        ("s3://", "is not an S3 location: write it as s3://image-uploads/uploads/"),
        ("s3://other/uploads/", "serves the bucket 'image-uploads', not 'other': set WORKER_BUCKET"),
        ("s3://image-uploads", "outside the uploads: start with s3://image-uploads/uploads/"),
        ("s3://image-uploads/processed/", "outside the uploads: start with s3://image-uploads/uploads/"),
    ],
)
def test_a_place_that_the_worker_does_not_serve_is_refused_in_a_sentence(where: str, sentence: str) -> None:
    with pytest.raises(ConfigurationError, match=sentence):
        prefix_of(where, Settings())


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["reprocess"], "no images selected: add an ID, --user, --status or --recipe-changed"),
        (["reprocess", "img_1", "--status", "failed"], "remove --status"),
        (["reprocess", "--status", "pending"], "only completed and failed images can be reprocessed"),
        (["reprocess", "--user", "u", "--before", "noon"], "--before is 'noon'"),
    ],
)
def test_a_wish_that_means_nothing_ends_with_2_and_a_sentence(
    arguments: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert command_line.run(["images", *arguments]) == 2
    told = capsys.readouterr()
    assert sentence in told.err
    assert told.out == ""


def test_a_report_names_counts_and_problems_and_ends_with_1_when_there_are_any(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with Report("trying", dry_run=True, json=True) as report:
        report.done("retried", image_id="img_1", user_id="alice")
        report.skipped("already pending")
        report.failed("img_2", "the queue is away")

    assert report.finish() == 1
    told = capsys.readouterr()
    assert json.loads(told.out) == {
        "dryRun": True,
        "counts": {"retried": 1, "already pending": 1, "failed": 1},
        "images": [{"imageId": "img_1", "userId": "alice", "action": "retried"}],
        "errors": ["img_2: the queue is away"],
    }
    assert "img_2: the queue is away" in told.err


def test_a_report_of_a_dry_run_says_would_be_and_one_of_nothing_says_so(
    capsys: pytest.CaptureFixture[str],
) -> None:
    dry = Report("trying", dry_run=True)
    dry.done("retried", image_id="img_[1]", user_id="alice")

    assert dry.finish() == 0
    assert Report("trying").finish() == 0
    assert capsys.readouterr().out.splitlines() == [
        "img_[1]  alice  would be retried",
        "1 retried",
        "nothing to do",
    ]
